//! In which way an OpenClaw is supplied, by its release and what is seen of it: its JSON store is
//! written under its lock, or its configuration refers to a file of ours, or its own secret store is
//! handed the token, or nothing is written.
//! Facts: the JSON stores of 2026.1.29 to 2026.3.31 (2026.2.9, 2.25, 2.26, 3.13 and 3.31 by
//! running), references in seven releases from 2026.2.26 to 2026.9.6 by running.

use crate::base::code::Code;
use crate::format::release::Release;

/// The lock that a release's own writers take on `auth-profiles.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreLockKind {
    /// A directory `auth-profiles.json.lock` (up to 2026.2.12).
    Directory,
    /// A file of that name (from 2026.2.17).
    File,
}

/// What may be done with the JSON store of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its lock.
    pub lock: StoreLockKind,
    /// The gateway reads the file at each turn; else it keeps a snapshot and must be told.
    pub is_read_live: bool,
    /// The release can be trusted with a refresh token if the owner asks for it.
    pub may_hold_refresh: bool,
}

const READ_LIVE_DIRECTORY: Window =
    Window { lock: StoreLockKind::Directory, is_read_live: true, may_hold_refresh: true };
const READ_LIVE_FILE: Window =
    Window { lock: StoreLockKind::File, is_read_live: true, may_hold_refresh: true };
const SNAPSHOT: Window = Window { lock: StoreLockKind::File, is_read_live: false, may_hold_refresh: false };

/// First and last release of each writable window.
const WINDOWS: [(&str, &str, Window); 4] = [
    ("2026.1.29", "2026.2.12", READ_LIVE_DIRECTORY),
    ("2026.2.17", "2026.2.25", READ_LIVE_FILE),
    ("2026.2.26", "2026.3.13", SNAPSHOT),
    ("2026.3.31", "2026.3.31", SNAPSHOT),
];

/// The writable window of a release; `None` for a release whose JSON store must not be written.
#[must_use]
pub fn window_of(release: &Release) -> Option<Window> {
    WINDOWS.iter().find_map(|(first, last, window)| {
        let (first, last) = (Release::parse(first)?, Release::parse(last)?);
        (first <= *release && *release <= last).then_some(*window)
    })
}

/// The releases whose configuration may be made to refer to a file of ours, first and last. Seven of
/// them were seen to follow such a reference at a reload (2026.2.26, 3.13, 5.28, 6.11, 7.1, 8.2, 9.6);
/// the others prove it themselves, because a set-up is taken back when its reload does not.
const REFERENCES: (Release, Release) = (Release::new(2026, 2, 26), Release::new(2026, 9, 6));
/// The first release with a secret store of its own (2026.8.2 and 2026.9.6 by running).
const SECRETS: Release = Release::new(2026, 8, 2);

/// The default model for a release whose own is not Anthropic's: what its `onboard` would set for an
/// Anthropic login (2026.5.28, 6.11, 7.1, 8.2, 9.6). `None` where nothing is known, and for releases whose
/// default is Anthropic's anyway (2026.2.26, 3.13).
#[must_use]
pub fn default_model(release: &Release) -> Option<&'static str> {
    const MODELS: [(Release, &str); 2] = [
        (Release::new(2026, 8, 2), "anthropic/claude-opus-5"),
        (Release::new(2026, 5, 28), "anthropic/claude-opus-4-8"),
    ];
    let found = MODELS.into_iter().find(|(first, _)| first <= release).filter(|_| *release <= REFERENCES.1);
    found.map(|(_, model)| model)
}

/// The releases whose gateway takes a call over its loopback port from a program with its token alone,
/// first and last, and the protocol they speak. Seen with 2026.5.28, 6.11, 7.1, 8.2 and 9.6; 2026.3.13
/// speaks protocol 3 and gives such a caller no rights. What is in between proves itself at each call.
const CALLS: (Release, Release, u32) = (Release::new(2026, 5, 28), Release::new(2026, 9, 6), 4);

/// The protocol of a release's loopback port; `None` for a release that is called by its CLI only.
#[must_use]
pub fn protocol_of(release: &Release) -> Option<u32> {
    let (first, last, protocol) = CALLS;
    (first <= *release && *release <= last).then_some(protocol)
}

/// Where an instance's configuration says that its key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// It says nothing: from the profiles of the store.
    Store,
    /// From our file.
    Mirror,
    /// From our entry of the instance's own secret store.
    Entry,
    /// From elsewhere: its owner has decided.
    Elsewhere,
}

/// What is seen of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its release.
    pub release: Option<&'a Release>,
    /// Its credentials are in SQLite, or the release at hand would put them there.
    pub is_sqlite: bool,
    /// Where the key of the provider comes from.
    pub key: KeySource,
    /// A reference was seen to work for its provider.
    pub is_referable: bool,
    /// The models of the provider run in the provider's own CLI, with that CLI's login.
    pub runs_in_cli: bool,
    /// The owner lets us set up its configuration.
    pub may_set_up: bool,
    /// Its gateway cannot read a file of ours: it is in a container, or another user's.
    pub is_apart: bool,
}

/// In which way an instance is supplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supply {
    /// Its JSON store is written.
    Store(Window),
    /// It refers to our file.
    Reference {
        /// It does not yet: its configuration has to be set up.
        needs_set_up: bool,
    },
    /// Its own secret store is handed the token.
    Entry {
        /// Its configuration does not refer to the entry yet: it has to be set up.
        needs_set_up: bool,
    },
    /// It uses the login of the provider's CLI itself.
    Native,
    /// Nothing is written, for this reason.
    Refused(Code, String),
}

/// Decides in which way an instance is supplied.
///
/// A reference that is there is served whatever the release: the file is ours, and a gateway that
/// follows it would be cut off otherwise. Whether it does is proved at each reload.
#[must_use]
pub fn supply(seen: Seen<'_>) -> Supply {
    if seen.key == KeySource::Mirror {
        return Supply::Reference { needs_set_up: false };
    }
    if seen.key == KeySource::Entry {
        return Supply::Entry { needs_set_up: false };
    }
    if !seen.is_sqlite
        && let Some(window) = seen.release.and_then(window_of)
    {
        return Supply::Store(window);
    }
    let (first, last) = REFERENCES;
    let can_refer = seen.release.is_some_and(|r| first <= *r && *r <= last);
    if seen.is_referable && seen.runs_in_cli && (can_refer || seen.is_sqlite) {
        return Supply::Native;
    }
    let code = if seen.is_sqlite { Code::StoreRetired } else { Code::VersionUnsupported };
    let what = match seen.release {
        _ if !seen.is_referable => {
            "this provider is left to OpenClaw's own login (`openclaw models auth login`)"
        }
        _ if can_refer => match (seen.key, seen.may_set_up) {
            (KeySource::Store, true) if seen.is_apart && seen.release.is_some_and(|r| SECRETS <= *r) => {
                return Supply::Entry { needs_set_up: true };
            }
            (KeySource::Store, true) if seen.is_apart => {
                "its gateway cannot read a file of ours, and this release has no secret store of its own: where it runs in a container, the directory of our files has to be mounted there under its own name"
            }
            (KeySource::Store, true) => return Supply::Reference { needs_set_up: true },
            (KeySource::Store, false) => {
                "it is supplied through a file that its configuration refers to, once a sink of kind openclaw has manage = true"
            }
            _ => "its configuration already says where the key comes from; that is left to its owner",
        },
        Some(release) if *release > last => "it is newer than any release that is known here",
        Some(_) => "its release is not known to be safe to supply",
        None => "its release is not known",
    };
    let store = if seen.is_sqlite {
        "this OpenClaw keeps credentials in SQLite; its JSON store must not be written any more, and"
    } else {
        "nothing is written to the credential store of this OpenClaw:"
    };
    Supply::Refused(code, format!("{store} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(release: &str, is_sqlite: bool, change: impl FnOnce(&mut Seen<'_>)) -> Supply {
        let release = Release::parse(release);
        let mut seen = Seen {
            release: release.as_ref(),
            is_sqlite,
            key: KeySource::Store,
            is_referable: true,
            runs_in_cli: false,
            may_set_up: false,
            is_apart: false,
        };
        change(&mut seen);
        supply(seen)
    }

    fn refused(supply: &Supply) -> Option<Code> {
        match supply {
            Supply::Refused(code, _) => Some(*code),
            _ => None,
        }
    }

    #[test]
    fn a_database_is_supplied_by_reference_and_only_when_the_owner_agrees() {
        for release in ["2026.6.11", "2026.7.1", "2026.8.2", "2026.9.6"] {
            assert_eq!(refused(&decided(release, true, |_| {})), Some(Code::StoreRetired), "{release}");
            let agreed = decided(release, true, |seen| seen.may_set_up = true);
            assert_eq!(agreed, Supply::Reference { needs_set_up: true }, "{release}");
            let elsewhere = decided(release, true, |seen| {
                (seen.may_set_up, seen.key) = (true, KeySource::Elsewhere);
            });
            assert_eq!(refused(&elsewhere), Some(Code::StoreRetired), "{release}");
            let native = decided(release, true, |seen| (seen.may_set_up, seen.runs_in_cli) = (true, true));
            assert_eq!(native, Supply::Native, "{release}");
            let other = decided(release, true, |seen| (seen.may_set_up, seen.is_referable) = (true, false));
            assert_eq!(refused(&other), Some(Code::StoreRetired), "{release}");
        }
    }

    #[test]
    fn an_instance_that_runs_the_cli_itself_needs_nothing_unless_nothing_is_known_of_it() {
        let native = |release: &str, is_sqlite| decided(release, is_sqlite, |seen| seen.runs_in_cli = true);
        assert_eq!(native("2026.4.1", false), Supply::Native, "a release with references");
        assert_eq!(native("2026.9.7", true), Supply::Native, "a database, of whichever release");
        assert_eq!(refused(&native("2026.9.7", false)), Some(Code::VersionUnsupported));
    }

    #[test]
    fn a_release_that_is_not_known_is_not_set_up() {
        for release in ["", "2026.2.14", "2026.9.7", "2027.1.1"] {
            let agreed = decided(release, true, |seen| seen.may_set_up = true);
            assert_eq!(refused(&agreed), Some(Code::StoreRetired), "{release}");
            let agreed = decided(release, false, |seen| seen.may_set_up = true);
            assert_eq!(refused(&agreed), Some(Code::VersionUnsupported), "{release}");
        }
    }

    #[test]
    fn a_reference_that_is_there_is_served_whatever_the_release() {
        for (release, is_sqlite) in [("", true), ("2026.2.26", false), ("2026.9.6", true), ("2027.1.1", true)]
        {
            let served = decided(release, is_sqlite, |seen| seen.key = KeySource::Mirror);
            assert_eq!(served, Supply::Reference { needs_set_up: false }, "{release}");
        }
    }

    #[test]
    fn a_gateway_that_cannot_read_our_file_is_handed_the_token_where_it_has_a_secret_store() {
        for release in ["2026.8.2", "2026.9.6"] {
            let agreed = decided(release, true, |seen| (seen.may_set_up, seen.is_apart) = (true, true));
            assert_eq!(agreed, Supply::Entry { needs_set_up: true }, "{release}");
            let not_asked = decided(release, true, |seen| seen.is_apart = true);
            assert_eq!(refused(&not_asked), Some(Code::StoreRetired), "{release}");
        }
        for release in ["2026.5.28", "2026.7.1", "2026.9.7"] {
            let agreed = decided(release, true, |seen| (seen.may_set_up, seen.is_apart) = (true, true));
            assert_eq!(refused(&agreed), Some(Code::StoreRetired), "{release}");
        }
        let named = decided("2027.1.1", true, |seen| seen.key = KeySource::Entry);
        assert_eq!(named, Supply::Entry { needs_set_up: false }, "who refers to our entry gets it");
    }

    #[test]
    fn a_json_store_that_must_not_be_written_is_supplied_by_reference_when_the_owner_agrees() {
        for release in ["2026.3.20", "2026.4.1", "2026.5.28"] {
            assert_eq!(
                refused(&decided(release, false, |_| {})),
                Some(Code::VersionUnsupported),
                "{release}"
            );
            let agreed = decided(release, false, |seen| seen.may_set_up = true);
            assert_eq!(agreed, Supply::Reference { needs_set_up: true }, "{release}");
        }
    }

    #[test]
    fn a_json_store_beside_a_database_is_never_written() {
        assert!(matches!(decided("2026.2.26", false, |_| {}), Supply::Store(_)));
        assert!(matches!(decided("2026.2.26", true, |_| {}), Supply::Refused(Code::StoreRetired, _)));
    }

    #[test]
    fn the_default_model_is_that_of_the_releases_own_onboarding() {
        let of = |text: &str| default_model(&Release::parse(text).unwrap());
        for release in ["2026.2.26", "2026.3.13", "2026.9.7"] {
            assert_eq!(of(release), None, "{release}");
        }
        for release in ["2026.5.28", "2026.6.11", "2026.7.1"] {
            assert_eq!(of(release), Some("anthropic/claude-opus-4-8"), "{release}");
        }
        for release in ["2026.8.2", "2026.9.6"] {
            assert_eq!(of(release), Some("anthropic/claude-opus-5"), "{release}");
        }
    }

    fn lock_of(text: &str) -> Option<StoreLockKind> {
        window_of(&Release::parse(text).unwrap()).map(|w| w.lock)
    }

    #[test]
    fn only_the_examined_json_releases_are_writable_each_with_its_own_lock() {
        for unknown in
            ["2026.1.24", "2026.1.28", "2026.2.13", "2026.2.16", "2026.3.14", "2026.3.30", "2026.4.1"]
        {
            assert_eq!(lock_of(unknown), None, "{unknown}");
        }
        for retired in ["2026.5.28", "2026.6.11", "2026.9.6", "2027.1.1"] {
            assert_eq!(lock_of(retired), None, "{retired}");
        }
        assert_eq!(lock_of("2026.1.29"), Some(StoreLockKind::Directory));
        assert_eq!(lock_of("2026.2.12"), Some(StoreLockKind::Directory));
        for file in ["2026.2.17", "2026.2.25", "2026.2.26", "2026.3.13", "2026.3.31"] {
            assert_eq!(lock_of(file), Some(StoreLockKind::File), "{file}");
        }
    }

    #[test]
    fn a_gateway_with_a_snapshot_is_never_trusted_with_a_refresh_token() {
        let window = window_of(&Release::parse("2026.2.26").unwrap()).unwrap();
        assert!(!window.may_hold_refresh && !window.is_read_live);
    }
}
