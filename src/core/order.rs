//! Which profile of a provider an OpenClaw uses, and in which way the order of an agent may be set.
//! Facts: OpenClaw 2026.2.26 (selection and modes), 2026.7.1, 2026.8.2 and 2026.9.6 (the commands
//! `models auth list` and `models auth order`).

use super::windows::{self, Window};
use crate::base::code::Code;
use crate::format::openclaw_config::Configured;
use crate::format::release::Release;

/// In which way the order of an agent is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// In its JSON store.
    Store(Window),
    /// By OpenClaw's own CLI.
    Cli,
}

/// The releases with a database whose CLI may be asked to set an order, first and last.
const BY_CLI: (Release, Release) = (Release::new(2026, 7, 1), Release::new(2026, 9, 6));

/// Decides in which way an instance's orders are set.
///
/// # Errors
/// The finding and the reason why they are not.
pub fn way(release: Option<&Release>, is_sqlite: bool) -> Result<Way, (Code, String)> {
    let Some(release) = release else {
        let why = "nothing is written to this OpenClaw: its release is not known".to_owned();
        return Err((Code::VersionUnsupported, why));
    };
    let (first, last) = BY_CLI;
    match windows::window_of(release) {
        Some(window) if !is_sqlite => Ok(Way::Store(window)),
        _ if is_sqlite && first <= *release && *release <= last => Ok(Way::Cli),
        _ => {
            let why = format!("nothing is written to OpenClaw {release}: it is not known to be safe");
            Err((if is_sqlite { Code::StoreRetired } else { Code::VersionUnsupported }, why))
        }
    }
}

/// The orders of one provider's profiles that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// The agent's own.
    pub agent: Option<Vec<String>>,
    /// That of the configuration, for every agent without one of its own.
    pub global: Option<Vec<String>>,
}

/// Where the order that holds comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The agent's own.
    Agent,
    /// The configuration.
    Global,
    /// There is none: OpenClaw decides at each turn.
    Automatic,
}

impl From {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Global => "global",
            Self::Automatic => "automatic",
        }
    }
}

impl Orders {
    /// The order that holds, and where it comes from.
    #[must_use]
    pub fn effective(&self) -> (From, &[String]) {
        match (&self.agent, &self.global) {
            (Some(ids), _) => (From::Agent, ids),
            (None, Some(ids)) => (From::Global, ids),
            (None, None) => (From::Automatic, &[]),
        }
    }
}

/// Why an OpenClaw of the JSON era does not use the profile `id` of type `token` or `oauth`, if it
/// does not. `configured` are the profiles of its provider that the configuration names, and
/// `is_stored` tells which profiles the store has.
#[must_use]
pub fn why_unused(
    id: &str,
    kind: &str,
    orders: &Orders,
    configured: &[Configured],
    is_stored: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let own = configured.iter().find(|profile| profile.id == id);
    if let Some(own) = own.filter(|own| own.mode != kind && own.mode != "oauth" && !own.mode.is_empty()) {
        return Some(format!(
            "the configuration says mode {} (auth.profiles) where the profile is of type {kind}",
            own.mode
        ));
    }
    match orders.effective() {
        (From::Agent, ids) if !ids.iter().any(|known| known == id) => {
            Some("the agent's own order does not name it".to_owned())
        }
        (From::Global, ids) if !ids.iter().any(|known| known == id) => {
            Some("auth.order of the configuration does not name it".to_owned())
        }
        (From::Automatic, _) if own.is_none() && configured.iter().any(|other| is_stored(&other.id)) => {
            Some("auth.profiles of the configuration names others of its provider and not it".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Option<Vec<String>> {
        Some(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    fn named(id: &str, mode: &str) -> Configured {
        Configured { id: id.to_owned(), mode: mode.to_owned() }
    }

    #[test]
    fn an_order_is_set_only_in_the_examined_releases_each_in_its_way() {
        let way = |text: &str, is_sqlite| way(Release::parse(text).as_ref(), is_sqlite);
        assert!(matches!(way("2026.2.9", false), Ok(Way::Store(_))));
        assert!(matches!(way("2026.3.31", false), Ok(Way::Store(_))));
        for release in ["2026.7.1", "2026.8.2", "2026.9.6"] {
            assert_eq!(way(release, true), Ok(Way::Cli));
        }
        for (release, code) in [
            ("", Code::VersionUnsupported),
            ("2026.2.14", Code::VersionUnsupported),
            ("2026.5.28", Code::VersionUnsupported),
            ("2026.9.6", Code::VersionUnsupported),
        ] {
            assert!(matches!(way(release, false), Err((c, _)) if c == code), "{release}");
        }
        for release in ["2026.2.26", "2026.6.11", "2026.9.7"] {
            assert!(matches!(way(release, true), Err((Code::StoreRetired, _))), "{release}");
        }
    }

    #[test]
    fn the_agents_own_order_comes_before_the_global_one() {
        let both = Orders { agent: ids(&["a:x"]), global: ids(&["a:y"]) };
        assert_eq!(both.effective(), (From::Agent, &["a:x".to_owned()][..]));
        let global = Orders { agent: None, ..both };
        assert_eq!(global.effective(), (From::Global, &["a:y".to_owned()][..]));
        assert_eq!(Orders::default().effective(), (From::Automatic, &[][..]));
    }

    #[test]
    fn a_profile_is_unused_by_order_by_omission_or_by_its_mode() {
        let none = Orders::default();
        let why = |orders: &Orders, configured: &[Configured], stored: &[&str]| {
            why_unused("a:x", "token", orders, configured, &|id| stored.contains(&id)).is_some()
        };
        assert!(!why(&none, &[], &[]));
        assert!(why(&Orders { agent: ids(&["a:y"]), global: ids(&["a:x"]) }, &[], &[]));
        assert!(why(&Orders { agent: None, global: ids(&["a:y"]) }, &[], &[]));
        assert!(!why(&Orders { agent: ids(&["a:y", "a:x"]), global: None }, &[], &[]));
        // Others are named: only if one of them is there.
        assert!(why(&none, &[named("a:y", "token")], &["a:y"]));
        assert!(!why(&none, &[named("a:y", "token")], &[]));
        assert!(!why(&none, &[named("a:x", "token"), named("a:y", "token")], &["a:y"]));
        assert!(!why(&Orders { agent: None, global: ids(&["a:x"]) }, &[named("a:y", "token")], &["a:y"]));
        // The one mode that goes with another type.
        assert!(!why(&none, &[named("a:x", "oauth")], &[]));
        assert!(why(&none, &[named("a:x", "api_key")], &[]));
        let oauth = why_unused("a:x", "oauth", &none, &[named("a:x", "token")], &|_| true);
        assert!(oauth.unwrap().contains("mode token"));
    }
}
