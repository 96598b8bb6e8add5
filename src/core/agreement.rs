//! What OpenClaw says of its own health beside what we say, and why the two may differ while both
//! are right: `openclaw models status --json --check` knows neither who renews a token nor the login
//! behind it, and judges some ways of supply always the same.
//! Facts: OpenClaw 2026.2.26 and 2026.9.6, by running.

use super::verdict::Check;

/// What it said of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// How its check ended: 0 ok, 1 expired or missing, 2 expiring.
    pub exit: i32,
    /// Profiles with their states.
    pub profiles: Vec<(String, String)>,
    /// Providers that its models need and for which it finds nothing.
    pub missing: Vec<String>,
    /// Profiles that it does not use for a while, with the reason.
    pub unusable: Vec<(String, String)>,
}

/// How the agent is supplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By an entry of its store.
    Entry,
    /// By a reference of its configuration.
    Reference,
    /// Not at all: it runs Claude Code, which has the login itself.
    Native,
}

/// What we say of the same.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// How the agent is supplied.
    pub way: Way,
    /// The profile that we supply.
    pub profile: &'a str,
    /// OpenClaw's name of the provider.
    pub provider: &'a str,
    /// The login as a whole.
    pub login: Check,
    /// Its access token alone.
    pub access: Check,
}

/// How the two stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreement {
    /// Both say the same.
    Agrees,
    /// They say different things, and this is why; nothing is wrong.
    Explained(String),
    /// They say different things, and OpenClaw may have trouble that we do not see.
    Contradicts(String),
}

/// Compares the two.
#[must_use]
pub fn judge(said: &Said, ours: &Ours<'_>) -> Agreement {
    if let Some((_, reason)) = said.unusable.iter().find(|(id, _)| is_ours(id, ours)) {
        let why =
            format!("it does not use {} for a while ({reason}); a new token does not end that", ours.profile);
        return Agreement::Contradicts(why);
    }
    if said.exit == i32::from(ours.login.exit_code()) {
        return Agreement::Agrees;
    }
    let state = said.profiles.iter().find(|(id, _)| is_ours(id, ours)).map(|(_, state)| state.as_str());
    match said.exit {
        0 => Agreement::Explained(quiet(ours).to_owned()),
        2 => expiring(said, ours, state),
        1 => failing(said, ours, state),
        other => Agreement::Contradicts(format!("it ended with {other}, which means nothing known")),
    }
}

/// Cooldowns of a key of the configuration are noted under a name of their own (2026.9.6).
fn is_ours(id: &str, ours: &Ours<'_>) -> bool {
    match ours.way {
        Way::Entry => id == ours.profile,
        Way::Reference => id.strip_prefix("inline-api-key:") == Some(ours.provider),
        Way::Native => false,
    }
}

fn quiet(ours: &Ours<'_>) -> &'static str {
    if ours.way == Way::Reference {
        "it looks only whether the reference can be resolved, not at what the token is worth"
    } else {
        "it knows the token it holds and nothing of the login behind it"
    }
}

fn expiring(said: &Said, ours: &Ours<'_>, state: Option<&str>) -> Agreement {
    if state == Some("expiring") && ours.login == Check::Ok {
        let why = "it calls every access token that ends within 24 h expiring, whoever renews it";
        return Agreement::Explained(why.to_owned());
    }
    other_profile(said, ours, "expiring")
        .unwrap_or_else(|| Agreement::Contradicts("it says expiring and names no profile".to_owned()))
}

fn failing(said: &Said, ours: &Ours<'_>, state: Option<&str>) -> Agreement {
    if ours.way == Way::Native {
        let why = "for the claude-cli runtime it says 1 whether the CLI is logged in or not";
        return Agreement::Explained(why.to_owned());
    }
    if said.missing.iter().any(|provider| provider == ours.provider) {
        let why = format!("it finds no credential of {} that it may use", ours.provider);
        return Agreement::Contradicts(why);
    }
    match state {
        Some("expired") if ours.access == Check::Expired => {
            let why = "the access token is over and will be renewed; it judges that token alone";
            return Agreement::Explained(why.to_owned());
        }
        Some(state @ ("expired" | "missing")) => {
            return Agreement::Contradicts(format!(
                "to it {} is {state}: it goes on with another token",
                ours.profile
            ));
        }
        _ => {}
    }
    if let Some(provider) = said.missing.first() {
        return Agreement::Explained(format!("it misses {provider}, which nobody supplies from here"));
    }
    let other = ["expired", "missing"].into_iter().find_map(|state| other_profile(said, ours, state));
    other.unwrap_or_else(|| Agreement::Contradicts("it says 1 and names no reason".to_owned()))
}

fn other_profile(said: &Said, ours: &Ours<'_>, wanted: &str) -> Option<Agreement> {
    let (id, _) = said.profiles.iter().find(|(id, state)| !is_ours(id, ours) && state == wanted)?;
    Some(Agreement::Explained(format!("to it profile {id} is {wanted}, which is not supplied from here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Ours<'_> = Ours {
        way: Way::Entry,
        profile: "anthropic:default",
        provider: "anthropic",
        login: Check::Ok,
        access: Check::Ok,
    };

    fn said(exit: i32, profiles: &[(&str, &str)], missing: &[&str]) -> Said {
        let profiles = profiles.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect();
        Said {
            exit,
            profiles,
            missing: missing.iter().map(|p| (*p).to_owned()).collect(),
            unusable: Vec::new(),
        }
    }

    fn explained(said: &Said, ours: &Ours<'_>, word: &str) {
        let judged = judge(said, ours);
        assert!(matches!(&judged, Agreement::Explained(why) if why.contains(word)), "{said:?} {judged:?}");
    }

    fn contradicts(said: &Said, ours: &Ours<'_>, word: &str) {
        let judged = judge(said, ours);
        assert!(matches!(&judged, Agreement::Contradicts(why) if why.contains(word)), "{said:?} {judged:?}");
    }

    #[test]
    fn what_both_say_agrees() {
        assert_eq!(judge(&said(0, &[("anthropic:default", "static")], &[]), &OURS), Agreement::Agrees);
        let dead = Ours { login: Check::Expired, access: Check::Expired, ..OURS };
        assert_eq!(judge(&said(1, &[("anthropic:default", "expired")], &[]), &dead), Agreement::Agrees);
        let ends = Ours { login: Check::Expiring, ..OURS };
        assert_eq!(judge(&said(2, &[("anthropic:default", "expiring")], &[]), &ends), Agreement::Agrees);
    }

    #[test]
    fn an_eight_hour_token_is_always_expiring_to_openclaw() {
        explained(&said(2, &[("anthropic:default", "expiring")], &[]), &OURS, "24 h");
        contradicts(&said(2, &[("anthropic:default", "ok")], &[]), &OURS, "names no profile");
    }

    #[test]
    fn a_login_that_runs_in_the_cli_is_never_well_to_openclaw() {
        let native = Ours { way: Way::Native, ..OURS };
        explained(&said(1, &[], &["anthropic"]), &native, "claude-cli");
    }

    #[test]
    fn a_reference_that_resolves_is_always_well_to_openclaw() {
        let over = Ours { way: Way::Reference, login: Check::Expired, access: Check::Expired, ..OURS };
        explained(&said(0, &[], &[]), &over, "resolved");
        let deadline = Ours { login: Check::Expiring, ..OURS };
        explained(&said(0, &[("anthropic:default", "static")], &[]), &deadline, "login behind it");
    }

    #[test]
    fn what_is_not_supplied_from_here_is_named() {
        explained(&said(1, &[("anthropic:default", "ok")], &["openai"]), &OURS, "openai");
        let both = [("anthropic:default", "ok"), ("google:x", "expired")];
        explained(&said(1, &both, &[]), &OURS, "google:x");
        explained(&said(2, &[("anthropic:default", "ok"), ("google:x", "expiring")], &[]), &OURS, "google:x");
        let renewing = Ours { access: Check::Expired, ..OURS };
        explained(&said(1, &[("anthropic:default", "expired")], &[]), &renewing, "renewed");
    }

    #[test]
    fn trouble_that_only_openclaw_sees_is_a_contradiction() {
        contradicts(&said(1, &[], &["anthropic"]), &OURS, "no credential");
        contradicts(&said(1, &[("anthropic:default", "expired")], &[]), &OURS, "another token");
        contradicts(&said(1, &[], &[]), &OURS, "no reason");
        contradicts(&said(-1, &[], &[]), &OURS, "nothing known");
        let cooled = |id: &str, exit| Said {
            unusable: vec![(id.to_owned(), "auth".to_owned())],
            ..said(exit, &[("anthropic:default", "static")], &[])
        };
        contradicts(&cooled("anthropic:default", 0), &OURS, "auth");
        let reference = Ours { way: Way::Reference, ..OURS };
        contradicts(&cooled("inline-api-key:anthropic", 0), &reference, "auth");
        assert_eq!(judge(&cooled("inline-api-key:anthropic", 0), &OURS), Agreement::Agrees);
    }
}
