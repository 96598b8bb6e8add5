//! The process's surroundings, read once at the start: environment, home, our own directories.
//! The only file that reads the environment; everything else is handed what it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the process was started with.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's home directory.
    pub home: PathBuf,
    /// Environment variables; those that are not UTF-8 are left out.
    pub variables: BTreeMap<String, String>,
}

impl Surroundings {
    /// Reads the environment. `HOME` wins over the account's home directory, as everywhere.
    ///
    /// # Errors
    /// When there is neither: nothing can be located then.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn read() -> Result<Self, &'static str> {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let home =
            variables.get("HOME").filter(|h| h.starts_with('/')).map(PathBuf::from).or_else(account_home);
        Ok(Self { home: home.ok_or("no home directory: HOME is unset and the account has none")?, variables })
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// `$XDG_CONFIG_HOME/tokensink`.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// `$XDG_STATE_HOME/tokensink`. Not `$STATE_DIRECTORY`: the user manager of systemd before 254
    /// puts that under the configuration, and commands typed by a person would look elsewhere.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    /// Our own login store, in the state directory; `LoginSettings::is_own` knows it by this name.
    #[must_use]
    pub fn logins_dir(&self) -> PathBuf {
        self.state_dir().join("logins")
    }

    fn xdg(&self, variable: &str, fallback: &str) -> PathBuf {
        // The XDG base directory specification: a relative path is to be ignored.
        let base = self.variable(variable).map(Path::new).filter(|p| p.is_absolute());
        base.map_or_else(|| self.home.join(fallback), Path::to_owned).join("tokensink")
    }

    /// `$XDG_RUNTIME_DIR`, or where systemd puts it when the variable is lost (`sudo -u`, cron).
    #[must_use]
    pub fn runtime_dir(&self) -> Option<PathBuf> {
        let named = self.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        named
            .or_else(|| Some(PathBuf::from(format!("/run/user/{}", nix::unistd::getuid()))))
            .filter(|p| p.is_dir())
    }

    /// The name of this host, as the kernel knows it.
    #[must_use]
    pub fn host_name(&self) -> String {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Some(name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "this host".to_owned())
    }

    /// `$PATH`, or what a user unit has without one.
    #[must_use]
    pub fn search_path(&self) -> &str {
        self.variable("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin")
    }

    /// The environment for an official CLI: a child's, with its own settings and the ways to the
    /// network, which it has to use like us.
    #[must_use]
    pub fn cli_environment(&self) -> BTreeMap<String, String> {
        const KEPT: [&str; 11] = [
            "CLAUDE_CONFIG_DIR",
            "CLAUDE_SECURESTORAGE_CONFIG_DIR",
            "CODEX_HOME",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "ANTHROPIC_BASE_URL",
            "CODEX_CA_CERTIFICATE",
        ];
        let mut environment = self.child_environment();
        environment.extend(
            KEPT.iter().filter_map(|name| Some(((*name).to_owned(), self.variable(name)?.to_owned()))),
        );
        environment
    }

    /// The environment for a child that must not inherit ours: who and where, nothing else.
    #[must_use]
    pub fn child_environment(&self) -> BTreeMap<String, String> {
        const KEPT: [&str; 10] = [
            "USER",
            "LOGNAME",
            "LANG",
            "LC_ALL",
            "TZ",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
            "DOCKER_HOST",
            "CONTAINER_HOST",
            "XDG_CONFIG_HOME",
        ];
        let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), self.variable(name)?.to_owned())));
        let mut environment: BTreeMap<String, String> = kept.collect();
        environment.insert("HOME".into(), self.home.display().to_string());
        environment.insert("PATH".into(), self.search_path().to_owned());
        environment
    }
}

fn account_home() -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
    Some(user.dir).filter(|d| d.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_told_who_and_where_and_the_way_to_an_engine_and_no_more() {
        let given = ["USER", "DOCKER_HOST", "CONTAINER_HOST", "CLAUDE_CODE_OAUTH_TOKEN", "LD_PRELOAD", "TZ"];
        let variables = given.iter().map(|name| ((*name).to_owned(), format!("of {name}"))).collect();
        let child = Surroundings { home: "/home/alice".into(), variables }.child_environment();
        let names: Vec<&str> = child.keys().map(String::as_str).collect();
        assert_eq!(names, ["CONTAINER_HOST", "DOCKER_HOST", "HOME", "PATH", "TZ", "USER"]);
        assert_eq!(child["HOME"], "/home/alice");
    }
}
