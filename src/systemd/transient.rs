//! Transient services: a command in a control group of its own, which outlives a restart of ours.
//!
//! Neither the command line nor the environment of a unit is private: every client of the bus can
//! read both. No secret goes into a [`TransientService`]; of an environment file the bus shows the
//! name only.
//! Property names and types: org.freedesktop.systemd1(5) of systemd 252.

use std::path::PathBuf;
use std::time::Duration;

use zbus::Variant;

/// When the start job of a transient service is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransientKind {
    /// `Type=exec`: once the program was executed. For what keeps running.
    Exec,
    /// `Type=oneshot`: once the program has exited. For a command whose result is wanted.
    Oneshot,
}

/// A command to be run by the service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransientService {
    /// Shown by `systemctl status`.
    pub description: String,
    /// Program (an absolute path, or a name for the manager's search path) and arguments.
    pub command: Vec<String>,
    /// Variables added to the manager's own environment; values are readable by others.
    pub environment: Vec<(String, String)>,
    /// Variables of the manager's own environment that the command must not have.
    pub unset: Vec<String>,
    /// A file of further variables, read once when the program is executed; it must be there then.
    pub environment_file: Option<PathBuf>,
    /// The file that gets both output streams; `None` means the manager's default.
    pub output: Option<PathBuf>,
    /// Where it runs; `None` means the manager's default.
    pub working_directory: Option<PathBuf>,
    /// When the start job is done.
    pub kind: TransientKind,
    /// How long the start may take, which for [`TransientKind::Oneshot`] is the whole run; `None`
    /// means the manager's default.
    pub timeout_start: Option<Duration>,
    /// How long it may take to end on SIGTERM before SIGKILL; `None` means the manager's default.
    pub timeout_stop: Option<Duration>,
    /// How long it may run ([`TransientKind::Exec`] only); `None` means without limit.
    pub runtime_max: Option<Duration>,
    /// Whether the unit is forgotten also when it failed (`CollectMode=inactive-or-failed`).
    pub collect: bool,
}

impl TransientService {
    /// A service that runs `command` to its end, and is forgotten after it.
    #[must_use]
    pub fn oneshot(description: impl Into<String>, command: Vec<String>) -> Self {
        Self {
            description: description.into(),
            command,
            environment: Vec::new(),
            unset: Vec::new(),
            environment_file: None,
            output: None,
            working_directory: None,
            kind: TransientKind::Oneshot,
            timeout_start: None,
            timeout_stop: None,
            runtime_max: None,
            collect: true,
        }
    }

    /// The properties of `StartTransientUnit`. `referenced` asks the manager to keep the unit
    /// until we have read its result.
    pub(super) fn properties(&self, referenced: bool) -> Vec<(&'static str, Variant<'_>)> {
        let program = self.command.first().map_or("", String::as_str);
        let argv: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let kind = match self.kind {
            TransientKind::Exec => "exec",
            TransientKind::Oneshot => "oneshot",
        };
        let mut properties = vec![
            ("Description", Variant::from(self.description.as_str())),
            ("Type", Variant::from(kind)),
            ("ExecStart", Variant::from(vec![(program, argv, false)])),
        ];
        if !self.environment.is_empty() {
            let assignments: Vec<String> =
                self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
            properties.push(("Environment", Variant::from(assignments)));
        }
        if !self.unset.is_empty() {
            properties.push(("UnsetEnvironment", Variant::from(self.unset.clone())));
        }
        if let Some(file) = self.environment_file.as_ref().and_then(|f| f.to_str()) {
            properties.push(("EnvironmentFiles", Variant::from(vec![(file, false)])));
        }
        if let Some(file) = self.output.as_ref().and_then(|f| f.to_str()) {
            properties.push(("StandardOutputFile", Variant::from(file)));
            properties.push(("StandardErrorFile", Variant::from(file)));
        }
        if let Some(directory) = self.working_directory.as_ref().and_then(|d| d.to_str()) {
            properties.push(("WorkingDirectory", Variant::from(directory)));
        }
        for (name, duration) in [
            ("TimeoutStartUSec", self.timeout_start),
            ("TimeoutStopUSec", self.timeout_stop),
            ("RuntimeMaxUSec", self.runtime_max),
        ] {
            if let Some(duration) = duration {
                properties.push((name, Variant::from(micros(duration))));
            }
        }
        if self.collect {
            properties.push(("CollectMode", Variant::from("inactive-or-failed")));
        }
        if referenced {
            properties.push(("AddRef", Variant::from(true)));
        }
        properties
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_sent() {
        let plain = TransientService::oneshot("a run", vec!["/bin/true".to_owned()]);
        let names: Vec<_> = plain.properties(false).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Description", "Type", "ExecStart", "CollectMode"]);

        let full = TransientService {
            environment: vec![("A".to_owned(), "b c".to_owned())],
            unset: vec!["B".to_owned()],
            environment_file: Some(PathBuf::from("/e")),
            output: Some(PathBuf::from("/o")),
            working_directory: Some(PathBuf::from("/")),
            timeout_start: Some(Duration::from_secs(1)),
            timeout_stop: Some(Duration::from_millis(2)),
            runtime_max: Some(Duration::MAX),
            ..plain
        };
        let sent = full.properties(true);
        let find = |name: &str| sent.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
        assert_eq!(find("Environment"), Some(&Variant::from(vec!["A=b c".to_owned()])));
        assert_eq!(find("UnsetEnvironment"), Some(&Variant::from(vec!["B".to_owned()])));
        assert_eq!(find("EnvironmentFiles"), Some(&Variant::from(vec![("/e", false)])));
        assert_eq!(find("StandardErrorFile"), Some(&Variant::from("/o")));
        assert_eq!(find("TimeoutStartUSec"), Some(&Variant::from(1_000_000_u64)));
        assert_eq!(find("TimeoutStopUSec"), Some(&Variant::from(2_000_u64)));
        assert_eq!(find("RuntimeMaxUSec"), Some(&Variant::from(u64::MAX)));
        assert_eq!(find("AddRef"), Some(&Variant::from(true)));
    }
}
