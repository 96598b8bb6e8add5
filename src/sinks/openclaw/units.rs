//! Units that run a gateway of OpenClaw, as their files describe them, and which instance each one
//! runs. No service manager is asked. Facts: OpenClaw 2026.2.26 and 2026.9.6 (`gateway install`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::probe::read;
use crate::config::settings::UnitScope;
use crate::format::unit_file::Service;

/// What the units of gateways are called: `NAME.service`, `NAME-PROFILE.service`. The older names
/// are those of the same program until 2026.1.
const NAMES: [&str; 3] = ["openclaw-gateway", "clawdbot-gateway", "moltbot-gateway"];
/// State directories below a home, the first one that is there is used.
const STATE_DIRS: [&str; 4] = [".openclaw", ".clawdbot", ".moldbot", ".moltbot"];

/// The unit as its files describe it, drop-ins included.
pub fn service_of(unit: &str, scope: UnitScope, home: &Path) -> Option<Service> {
    let directories = directories(scope, home);
    let own = directories.iter().find_map(|directory| read(&directory.join(unit)))?;
    let mut service = Service::default();
    service.read(&String::from_utf8_lossy(own.expose()), home);
    // The nearest directory has the last word.
    for directory in directories.iter().rev() {
        let listed = std::fs::read_dir(directory.join(format!("{unit}.d"))).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        files.sort();
        for document in files.iter().filter_map(|file| read(file)) {
            service.read(&String::from_utf8_lossy(document.expose()), home);
        }
    }
    Some(service)
}

fn directories(scope: UnitScope, home: &Path) -> Vec<PathBuf> {
    match scope {
        UnitScope::User => [home.join(".config/systemd/user"), home.join(".local/share/systemd/user")]
            .into_iter()
            .chain(["/etc/systemd/user", "/run/systemd/user", "/usr/lib/systemd/user"].map(PathBuf::from))
            .collect(),
        UnitScope::System => ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"]
            .map(PathBuf::from)
            .into(),
    }
}

/// The names of everything in the unit directories of a manager.
#[must_use]
pub fn installed(scope: UnitScope, home: &Path) -> BTreeSet<String> {
    names_in(directories(scope, home))
}

/// Whether a unit's file is a link to one elsewhere.
#[must_use]
pub fn is_linked(unit: &str, scope: UnitScope, home: &Path) -> bool {
    let nearest = directories(scope, home).into_iter().map(|directory| directory.join(unit));
    nearest.into_iter().find(|file| file.symlink_metadata().is_ok()).is_some_and(|file| file.is_symlink())
}

/// The units that are switched on: those that something else pulls in by a link.
#[must_use]
pub fn wanted(scope: UnitScope, home: &Path) -> BTreeSet<String> {
    let pulls_in = |directory: &PathBuf| {
        directory.extension().is_some_and(|kind| kind == "wants" || kind == "requires" || kind == "upholds")
    };
    let listed = directories(scope, home).into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    names_in(listed.map(|entry| entry.path()).filter(pulls_in).collect())
}

fn names_in(directories: Vec<PathBuf>) -> BTreeSet<String> {
    let listed = directories.into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    listed.filter_map(|entry| entry.file_name().to_str().map(str::to_owned)).collect()
}

/// The units that are named like a gateway's, sorted, each with its manager.
#[must_use]
pub fn named_like_gateways(home: &Path) -> Vec<(String, UnitScope)> {
    let named = |scope| {
        let names = installed(scope, home).into_iter().filter(|name| is_gateway(name));
        names.map(move |name| (name, scope))
    };
    [UnitScope::User, UnitScope::System].into_iter().flat_map(named).collect()
}

fn is_gateway(unit: &str) -> bool {
    let Some(stem) = unit.strip_suffix(".service") else { return false };
    let rest = NAMES.iter().find_map(|name| stem.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether a unit says itself where its instance lives: one of the system that does not may be anybody's.
#[must_use]
pub fn is_placed(service: &Service) -> bool {
    let says = ["HOME", "OPENCLAW_HOME", "OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"];
    says.iter().any(|name| service.environment.contains_key(*name))
}

/// The state directory of the instance that a unit runs. `OPENCLAW_PROFILE` alone names none:
/// OpenClaw takes it for the name of the unit only.
#[must_use]
pub fn state_dir(service: &Service, home: &Path) -> PathBuf {
    let variable = |names: &[&str]| names.iter().find_map(|name| service.environment.get(*name));
    let home = variable(&["OPENCLAW_HOME", "HOME"]).map_or_else(|| home.to_owned(), PathBuf::from);
    if let Some(named) = variable(&["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"]) {
        return named.strip_prefix("~/").map_or_else(|| PathBuf::from(named), |rest| home.join(rest));
    }
    match profile(&service.exec) {
        Some(name) => home.join(format!(".openclaw-{name}")),
        None => default_state_dir(&home),
    }
}

/// The profile that a command line names.
fn profile(exec: &[String]) -> Option<&str> {
    let following = exec.iter().zip(exec.iter().skip(1));
    let named = following.filter(|(word, _)| *word == "--profile").map(|(_, name)| name.as_str()).next_back();
    let named = named.or_else(|| exec.iter().find_map(|word| word.strip_prefix("--profile=")));
    let named = named.or_else(|| exec.iter().any(|word| word == "--dev").then_some("dev"));
    named.filter(|name| *name != "default")
}

/// The state directory of an instance without a profile.
#[must_use]
pub fn default_state_dir(home: &Path) -> PathBuf {
    let there = STATE_DIRS.iter().map(|name| home.join(name)).find(|directory| directory.is_dir());
    there.unwrap_or_else(|| home.join(".openclaw"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> PathBuf {
        let mut service = Service::default();
        service.read(&format!("[Service]\n{lines}\n"), Path::new("/h"));
        state_dir(&service, Path::new("/h"))
    }

    #[test]
    fn a_unit_runs_the_instance_that_its_environment_or_its_arguments_name() {
        for (lines, directory) in [
            ("ExecStart=/n /openclaw/index.js gateway --port 1", "/h/.openclaw"),
            ("Environment=OPENCLAW_PROFILE=work", "/h/.openclaw"),
            ("Environment=OPENCLAW_STATE_DIR=/srv/a CLAWDBOT_STATE_DIR=/srv/b", "/srv/a"),
            ("Environment=CLAWDBOT_STATE_DIR=~/b", "/h/b"),
            ("Environment=OPENCLAW_HOME=/o HOME=/x", "/o/.openclaw"),
            ("ExecStart=/bin/openclaw --profile work gateway run", "/h/.openclaw-work"),
            ("ExecStart=/bin/openclaw --profile=work gateway run", "/h/.openclaw-work"),
            ("ExecStart=/bin/openclaw --dev gateway run", "/h/.openclaw-dev"),
            ("ExecStart=/bin/openclaw --profile default gateway run", "/h/.openclaw"),
        ] {
            assert_eq!(of(lines), Path::new(directory), "{lines}");
        }
    }

    #[test]
    fn the_units_of_gateways_are_known_by_their_names() {
        for name in ["openclaw-gateway.service", "openclaw-gateway-work.service", "clawdbot-gateway.service"]
        {
            assert!(is_gateway(name), "{name}");
        }
        for name in ["openclaw-gateways.service", "openclaw-gateway.timer", "openclaw.service"] {
            assert!(!is_gateway(name), "{name}");
        }
    }
}
