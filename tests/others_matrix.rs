//! The real program, killed before every single call that others can see the effect of, messages on a bus among them,
//! where others go on after its death: the official CLI that exchanges a refresh token, and the user's service manager
//! by which a set-up enables, starts and stops units. What was begun is completed or taken back whole by the next run.
//!
//! A figure for each scene, as in `tests/kill_matrix.rs`; one of several points, `TOKENSINK_LONG=1` takes all calls.
//! Needs root, systemd, dbus, dbus-user-session, bash, strace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::host::{Host, Said};
use support::kills::{Points, assert_tidy, kill};
use support::looks::contains;
use support::private_manager::PrivateManager;
use support::provider::Fault;
use support::run::run;
use support::strace::{CALLS, Operation, Run};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

// ---- a refresh by exchange

/// What Claude Code does when it finds a refresh token in its environment: one request, then its own file, renamed.
const CLI: &str = r#"#!/bin/bash
[ "$1" != --version ] || { echo "2.1.329 (Claude Code)"; exit; }
echo began >>BEGAN
body='{"grant_type":"refresh_token","refresh_token":"'$CLAUDE_CODE_OAUTH_REFRESH_TOKEN'"}'
exec 3<>/dev/tcp/127.0.0.1/PORT || exit 1
printf 'POST /v1/oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
    ${#body} "$body" >&3
answer=$(cat <&3)
of() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$answer"; }
new="$CLAUDE_CONFIG_DIR/.credentials.json.new"
printf '{"claudeAiOauth":{"accessToken":"%s","refreshToken":"%s","expiresAt":%s,"scopes":["user:inference"]}}' \
    "$(of access_token)" "$(of refresh_token)" "$(date -d '8 hours' +%s)000" >"$new"
mv "$new" "$CLAUDE_CONFIG_DIR/.credentials.json"
"#;

/// A login that is exchanged by a CLI, which is a child of ours or a unit of a user's manager.
struct Exchange {
    host: Host,
    manager: Option<PrivateManager>,
}

impl Exchange {
    fn new(has_manager: bool) -> Self {
        let host = Host::new();
        let cli = host.home.join(".local/bin/claude");
        let began = host.home.join("began").display().to_string();
        write(&cli, &CLI.replace("PORT", &host.provider.port.to_string()).replace("BEGAN", &began));
        fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
        let scene = Self { host, manager: has_manager.then(PrivateManager::start) };
        scene.configure("mode = \"cli\"\nway = \"exchange\"\ngrants_per_day = 1440");
        scene
    }

    fn configure(&self, refresh: &str) {
        let text = format!("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\n{refresh}\n");
        write(&self.host.home.join(".config/tokensink/tokensink.toml"), &text);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(arguments);
        if let Some(manager) = &self.manager {
            let places = manager.environment();
            command.envs(
                places
                    .into_iter()
                    .filter(|(name, _)| ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"].contains(name)),
            );
        }
        // How many lines a log has depends on the time.
        command.env("TOKENSINK_LOG", "error");
        command
    }

    fn run(&self) -> Run<'_> {
        Run::of(self.command(&["refresh", "--json"]), self.host.home.parent().unwrap()).alone()
    }

    fn refresh(&self, more: &[&str]) -> Said {
        self.host.say(&mut self.command(&[&["refresh", "--json"][..], more].concat()))
    }

    fn scratch(&self) -> PathBuf {
        self.host.state_dir().join("intents/claude.exchange")
    }

    /// Where the newest refresh token is, if there is a new one.
    fn place_of_new(&self) -> Option<&'static str> {
        let live = self.host.live().refresh;
        let is_in_scratch = || contains(&self.scratch().join("claude/.credentials.json"), &live);
        (live != self.host.pair.refresh).then(|| match self.host.place_of_live() {
            "nowhere" if is_in_scratch() => "its scratch directory",
            "nowhere" => "the CLI",
            place => place,
        })
    }

    fn judge(&self, what: &Operation) -> String {
        let host = &self.host;
        serde_json::from_str::<Value>(&host.read()).expect("never torn");
        let (was_intended, then) = (host.intent().is_some(), self.place_of_new());
        host.pass_over_locks();
        // Waits for a CLI that goes on.
        let next = self.refresh(&[]);
        let has_begun = host.home.join("began").exists();
        let is_unknown = next.outcome == "unknown";
        assert!(is_unknown || next.code == Some(0), "{what:?}: {next}");
        // In doubt is that alone which a CLI was to be started for and was not.
        assert_eq!(is_unknown, was_intended && !has_begun, "{what:?}: {then:?}: {next}");
        assert_eq!(host.requests(), usize::from(!is_unknown), "{what:?}: {next}");
        if is_unknown {
            assert_eq!(self.refresh(&[]).outcome, "unknown", "{what:?}: not sent again by itself");
            assert_eq!((host.requests(), host.place_of_live()), (0, "source"), "{what:?}");
        } else {
            assert_eq!(self.place_of_new(), Some("source"), "{what:?}: {next}");
        }
        let forced = self.refresh(&["--force"]);
        assert_eq!(
            (forced.outcome.as_str(), self.place_of_new()),
            ("rotated", Some("source")),
            "{what:?}: {forced}"
        );
        assert_eq!(host.provider.ledger().refused(), 0, "{what:?}: a spent token was sent");
        assert!(!self.scratch().exists() && host.intent().is_none(), "{what:?}");
        assert!(host.locks().iter().all(|lock| !lock.exists()), "{what:?}");
        run(&mut self.command(&["sync"]), b"").ok();
        assert_tidy(&host.home, what);
        match (was_intended || then.is_some(), is_unknown, then) {
            (false, ..) => "not sent".to_owned(),
            (_, true, _) => "unknown (intended, the CLI not started)".to_owned(),
            (_, _, None) => "not sent yet, the CLI under way".to_owned(),
            (_, _, Some(place)) => format!("sent, token in {place}"),
        }
    }
}

fn exchanged(title: &str, at_least: usize, one_of: usize, has_manager: bool) {
    let points = Points { title, at_least, one_of, is_on_terminal: false, is_on_bus: has_manager };
    let prepare = || {
        let scene = Exchange::new(has_manager);
        // So that it is under way when we ask after it.
        scene.host.provider.set(|s| s.delay_ms = if has_manager { 300 } else { 0 });
        scene
    };
    kill(points, prepare, Exchange::run, Exchange::judge);
}

#[test]
fn an_exchange_by_a_child_that_outlives_us_is_lost_nowhere_and_made_once() {
    exchanged("exchange by a child", 50, 1, false);
}

#[test]
fn an_exchange_by_a_unit_that_outlives_us_is_lost_nowhere_and_made_once() {
    exchanged("exchange by a unit", 50, 4, true);
}

/// Killed when everything was done but the last removal, in the place of which a request of our own is made next.
#[test]
fn an_exchange_that_is_accounted_for_is_not_taken_for_what_became_of_a_later_request() {
    let mut operations = Exchange::new(false).run().operations(CALLS);
    operations.retain(|one| one.call.starts_with("unlink") && one.about.contains("claude.exchange"));
    let last = operations.first().expect("its scratch directory is removed");
    let scene = Exchange::new(false);
    let run = scene.run();
    run.end(run.killed_at(last, 0));
    assert_eq!(run.aim(last, 0), Ok(()));
    drop(run);
    let live = scene.host.live().refresh;
    assert!(scene.host.read().contains(&live) && scene.host.intent().is_none() && scene.scratch().exists());
    scene.host.pass_over_locks();
    scene.configure(&format!("mode = \"direct\"\ntoken_url = \"{}\"", scene.host.token_url()));
    scene.host.provider.set(|s| s.fault = Fault::CutAfterGrant);
    assert_eq!(scene.refresh(&["--force"]).outcome, "unknown");
    scene.host.provider.set(|s| s.fault = Fault::None);
    let next = scene.refresh(&[]);
    assert_eq!((next.outcome.as_str(), scene.host.requests()), ("unknown", 2), "{next}");
    assert!(scene.host.read().contains(&live));
}
