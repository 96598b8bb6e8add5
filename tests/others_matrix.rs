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

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::claude::{document, in_seconds};
use support::host::{Host, Said};
use support::kills::{Points, assert_tidy, kill};
use support::looks::{contains, tree};
use support::private_manager::PrivateManager;
use support::provider::{Fault, Pair};
use support::run::{Ran, run};
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
fn an_exchange_by_a_child_that_dies_anywhere_is_lost_nowhere_and_made_once() {
    exchanged("exchange by a child", 55, 1, false);
}

#[test]
fn an_exchange_by_a_unit_that_dies_anywhere_is_lost_nowhere_and_made_once() {
    exchanged("exchange by a unit", 60, 4, true);
}

/// Killed when everything was done but the removal of its directory; a request of our own is made next.
#[test]
fn an_exchange_that_is_accounted_for_is_not_taken_for_what_became_of_a_later_request() {
    let mut operations = Exchange::new(false).run().operations(CALLS);
    operations.retain(|one| one.call.starts_with("unlink") && one.about.contains("claude.exchange"));
    let removal = operations.first().expect("its scratch directory is removed");
    let scene = Exchange::new(false);
    let run = scene.run();
    run.end(run.killed_at(removal, 0));
    assert_eq!(run.aim(removal, 0), Ok(()));
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

#[test]
fn what_an_exchange_left_and_cannot_be_read_is_kept_whoever_forces_the_next() {
    let scene = Exchange::new(false);
    scene.host.provider.set(|s| s.fault = Fault::CutAfterGrant);
    assert_eq!(scene.refresh(&[]).outcome, "unknown");
    scene.host.provider.set(|s| s.fault = Fault::None);
    let left = scene.scratch().join("claude/.credentials.json");
    fs::remove_file(&left).unwrap();
    fs::create_dir(&left).unwrap();
    scene.configure(&format!("mode = \"direct\"\ntoken_url = \"{}\"", scene.host.token_url()));
    let forced = scene.refresh(&["--force"]);
    assert_eq!((forced.outcome.as_str(), scene.host.requests()), ("not-sent", 1), "{forced}");
    assert!(forced.detail.contains(&left.display().to_string()) && left.exists(), "{forced}");
    // There is nothing in its place any more: whoever forces it now knows what may be lost.
    fs::remove_dir(&left).unwrap();
    let forced = scene.refresh(&["--force"]);
    assert_eq!(
        (forced.outcome.as_str(), scene.host.requests(), scene.scratch().exists()),
        ("rejected", 2, false)
    );
}

// ---- a set-up with a service manager

const GATEWAY: &str = "openclaw-gateway.service";
const TIMER: &str = "oauth-sync.timer";
const OURS: &str = "tokensink.service";
const SET_UP: &[&str] = &["setup", "--yes", "--replace"];
const UNDO: &[&str] = &["setup", "--undo"];
/// What did this work before.
const BEFORE: &str = "#!/bin/sh\n\
    token=$(sed -n 's/.*\"accessToken\":\"\\([^\"]*\\)\".*/\\1/p' \"$HOME/.claude/.credentials.json\")\n\
    sed -i \"s|^ANTHROPIC_OAUTH_TOKEN=.*|ANTHROPIC_OAUTH_TOKEN=$token|\" \"$HOME/stack/.env\"\n";

/// A user's manager, with an OpenClaw whose gateway it runs, and a timer that copies tokens.
struct Managed {
    manager: PrivateManager,
    pair: Pair,
}

impl Managed {
    fn new() -> Self {
        let manager = PrivateManager::start();
        let (home, pair) = (manager.home(), Pair::invent("claude"));
        write(&home.join(".claude/.credentials.json"), &document(&pair, in_seconds(8 * 3600)).to_string());
        write(&home.join(".openclaw/openclaw.json"), "{\"meta\": {\"lastTouchedVersion\": \"2026.2.9\"}}");
        write(
            &home.join(".openclaw/agents/main/agent/auth-profiles.json"),
            "{\"version\": 1, \"profiles\": {}}\n",
        );
        write(&home.join("stack/.env"), "OTHER=1\nANTHROPIC_OAUTH_TOKEN=\n");
        manager.write_script("sync-oauth-token.sh", BEFORE);
        manager.write_unit(
            GATEWAY,
            "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=default.target\n",
        );
        manager
            .write_unit("oauth-sync.service", "[Service]\nType=oneshot\nExecStart=%h/sync-oauth-token.sh\n");
        manager.write_unit(TIMER, "[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n");
        let unit = format!(
            "[Service]\nType=notify\nExecStart={} daemon\nExecReload=/bin/kill -HUP $MAINPID\nStandardError=append:%h/log\n\
             Environment=TOKENSINK_LOG=error\n[Install]\nWantedBy=default.target\n",
            env!("CARGO_BIN_EXE_tokensink")
        );
        manager.write_unit(OURS, &unit);
        manager.daemon_reload();
        manager.systemctl_ok(&["enable", "--now", GATEWAY, TIMER]);
        Self { manager, pair }
    }

    fn set_up() -> Self {
        let scene = Self::new();
        scene.tokensink(SET_UP).ok();
        scene
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.manager.command(env!("CARGO_BIN_EXE_tokensink"));
        command.args(arguments).env("TOKENSINK_LOG", "error");
        command
    }

    fn tokensink(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments), b"")
    }

    /// Every file of configuration and every unit, ours and others': where links lead, what is written, what runs.
    fn state(&self) -> BTreeMap<String, String> {
        let (home, root) = (self.manager.home(), self.manager.home().display().to_string());
        let mut found = BTreeMap::new();
        for path in tree(&home.join(".config")).into_iter().filter(|path| path.is_symlink() || path.is_file())
        {
            let text = match fs::read_link(&path) {
                Ok(target) => target.display().to_string(),
                Err(_) => fs::read_to_string(&path).unwrap(),
            };
            found.insert(path.display().to_string().replace(&root, "~"), text.replace(&root, "~"));
        }
        // By the files: what the manager says was so when it read them last.
        for unit in [GATEWAY, TIMER, OURS] {
            let enabled = self.manager.systemctl(&["is-enabled", unit]);
            let shown = self.manager.systemctl_ok(&["show", unit, "-p", "ActiveState", "-p", "DropInPaths"]);
            found.insert(unit.to_owned(), shown + " " + &String::from_utf8_lossy(&enabled.stdout));
        }
        found
    }

    fn has_record(&self) -> bool {
        self.manager.home().join(".local/state/tokensink/setup.json").exists()
    }

    #[track_caller]
    fn assert_completed(&self, whole: &BTreeMap<String, String>, what: &Operation) {
        let ran = self.tokensink(SET_UP);
        assert_eq!(ran.code, Some(0), "{what:?}: {ran}");
        assert_eq!(&self.state(), whole, "{what:?}: {ran}");
        for sink in [".openclaw/agents/main/agent/auth-profiles.json", "stack/.env"] {
            assert!(contains(&self.manager.home().join(sink), &self.pair.access), "{what:?}: {sink}: {ran}");
        }
        assert!(self.has_record(), "{what:?}: nobody takes it back");
    }

    #[track_caller]
    fn assert_taken_back(&self, before: &BTreeMap<String, String>, what: &Operation) {
        let ran = self.tokensink(UNDO);
        assert_eq!(ran.code, Some(0), "{what:?}: {ran}");
        assert_eq!(&self.state(), before, "{what:?}: {ran}");
        assert!(!self.has_record(), "{what:?}");
        assert_tidy(&self.manager.home(), what);
    }
}

/// What of a set-up is there, in words.
fn done_of(state: &BTreeMap<String, String>) -> String {
    let unit = |name: &str| format!("~/.config/systemd/user/{name}");
    let done = [
        ("drop-in", state.contains_key("~/.config/tokensink/tokensink.d/50-setup.toml")),
        ("enabled", state.contains_key(&unit("default.target.wants/tokensink.service"))),
        ("running", state[OURS].contains("=active")),
        ("replaced", !state.contains_key(&unit("timers.target.wants/oauth-sync.timer"))),
    ];
    let done: Vec<_> = done.into_iter().filter_map(|(name, is_done)| is_done.then_some(name)).collect();
    if done.is_empty() { "nothing".to_owned() } else { done.join(", ") }
}

/// Kills the one command, one of so many times, and runs the other then.
fn managed(title: &str, one_of: usize, killed: &[&str], then: &[&str]) {
    let furnished = Managed::new();
    let before = furnished.state();
    furnished.tokensink(SET_UP).ok();
    let whole = furnished.state();
    assert_eq!(
        (done_of(&before).as_str(), done_of(&whole).as_str()),
        ("nothing", "drop-in, enabled, running, replaced")
    );
    drop(furnished);
    let (prepare, at_least) =
        if killed == UNDO { (Managed::set_up as fn() -> Managed, 36) } else { (Managed::new as _, 70) };
    kill(
        Points { title, at_least, one_of, is_on_terminal: false, is_on_bus: true },
        prepare,
        |scene| Run::of(scene.command(killed), scene.manager.home().parent().unwrap()).alone(),
        |scene, what| {
            let done = done_of(&scene.state());
            if then == SET_UP {
                scene.assert_completed(&whole, what);
            }
            scene.assert_taken_back(&before, what);
            done + " then"
        },
    );
}

#[test]
fn a_set_up_with_a_manager_that_dies_anywhere_is_completed_by_the_next() {
    managed("setup with a manager, completed", 8, SET_UP, SET_UP);
}

#[test]
fn a_set_up_with_a_manager_that_dies_anywhere_is_taken_back_whole() {
    managed("setup with a manager, taken back", 8, SET_UP, UNDO);
}

#[test]
fn a_set_up_that_is_half_taken_back_is_taken_back_whole_by_the_next() {
    managed("setup --undo with a manager, completed", 6, UNDO, UNDO);
}

#[test]
fn a_set_up_that_is_half_taken_back_is_made_again_by_the_next() {
    managed("setup --undo with a manager, set up again", 6, UNDO, SET_UP);
}

/// As one leaves it that died between the change of the files and the word to the manager.
#[test]
fn what_is_enabled_is_what_the_files_say_whatever_the_manager_read_before() {
    let scene = Managed::new();
    let before = scene.state();
    let wants = scene.manager.home().join(".config/systemd/user");
    scene.tokensink(SET_UP).ok();
    let whole = scene.state();
    fs::remove_file(wants.join("default.target.wants").join(OURS)).unwrap();
    scene.tokensink(SET_UP).ok();
    assert_eq!(scene.state(), whole);
    scene.manager.systemctl_ok(&["enable", TIMER]);
    fs::remove_file(wants.join("timers.target.wants").join(TIMER)).unwrap();
    scene.tokensink(UNDO).ok();
    assert_eq!(scene.state(), before);
}
