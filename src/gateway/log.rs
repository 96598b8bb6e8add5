//! What a gateway's unit writes to the journal, as far as somebody wants to hear of it: by journalctl,
//! which waits for entries by inotify. A reader of our own would be a second implementation of the
//! journal's format; a binding of libsystemd would be the program's one C library.
//!
//! Facts: systemd 252 and 257. `--user-unit=` without `--user` finds a user's entries wherever the
//! user may read them: without persistent storage there are no journals of single users.
//! `--output-fields=` keeps each entry to some two hundred bytes, whatever is in it.

use crate::config::settings::{GatewayKind, GatewaySettings, UnitScope};
use crate::core::unauthorized;

/// The command that prints a line for each entry that means 401, from now on; `None` where nobody
/// wants to know.
#[must_use]
pub fn command(gateway: &GatewaySettings) -> Option<Vec<String>> {
    let wanted = gateway.unauthorized.as_deref()?;
    let mut argv =
        ["journalctl", "--follow", "--lines=0", "--no-pager", "--output=json", "--output-fields=PRIORITY"]
            .map(str::to_owned)
            .to_vec();
    match &gateway.kind {
        GatewayKind::Unit { unit, scope: UnitScope::User } => argv.push(format!("--user-unit={unit}")),
        GatewayKind::Unit { unit, scope: UnitScope::System } => argv.push(format!("--unit={unit}")),
        _ => {}
    }
    match unauthorized::matches(wanted) {
        Some(matches) => {
            argv.push("--".to_owned());
            argv.extend(matches.into_iter().map(str::to_owned));
        }
        None => argv.push(format!("--grep={wanted}")),
    }
    Some(argv)
}

/// The command that shows whether that log can be read at all, at once; `None` where nobody wants to know.
#[must_use]
pub fn look(gateway: &GatewaySettings) -> Option<Vec<String>> {
    let followed = command(gateway)?;
    let which =
        followed.into_iter().filter(|word| word.starts_with("--user-unit=") || word.starts_with("--unit="));
    let look = ["journalctl", "--quiet", "--lines=1", "--no-pager", "--output=cat"].map(str::to_owned);
    Some(look.into_iter().chain(which).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::id::GatewayId;
    use crate::config::settings::Apply;

    fn gateway(kind: GatewayKind, unauthorized: &str) -> GatewaySettings {
        GatewaySettings {
            id: GatewayId::try_new("claw").unwrap(),
            sinks: Vec::new(),
            kind,
            apply: Apply::Auto,
            probe: None,
            idle: None,
            min_interval: Duration::ZERO,
            unauthorized: Some(unauthorized.to_owned()).filter(|text| !text.is_empty()),
        }
    }

    fn tail(kind: GatewayKind, unauthorized: &str) -> Vec<String> {
        command(&gateway(kind, unauthorized)).map_or_else(Vec::new, |argv| argv[6..].to_vec())
    }

    #[test]
    fn a_pattern_is_looked_up_in_the_unit_and_a_match_is_a_match() {
        let unit = |scope| GatewayKind::Unit { unit: "claw.service".into(), scope };
        assert_eq!(
            tail(unit(UnitScope::User), "--HTTP 401"),
            ["--user-unit=claw.service", "--grep=--HTTP 401"]
        );
        assert_eq!(tail(unit(UnitScope::System), "A=b C=d"), ["--unit=claw.service", "--", "A=b", "C=d"]);
        let container = GatewayKind::Container { name: "claw".into() };
        assert_eq!(tail(container, "CONTAINER_NAME=claw"), ["--", "CONTAINER_NAME=claw"]);
        assert_eq!(tail(unit(UnitScope::User), ""), [""; 0]);
    }
}
