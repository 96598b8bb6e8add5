//! The installed product on a booted Debian, as an ordinary user has it, with the real Claude Code CLI.
//!
//! The first tests prove the harness itself, so that a failure of the last one speaks of the product.
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

#[path = "system/alerts.rs"]
mod alerts;
#[path = "system/credentials.rs"]
mod credentials;
#[path = "system/journal.rs"]
mod journal;
#[path = "system/limits.rs"]
mod limits;
#[path = "system/log.rs"]
mod log;
#[path = "system/migration.rs"]
mod migration;
#[path = "system/on_bus.rs"]
mod on_bus;
#[path = "system/sandbox.rs"]
mod sandbox;
#[path = "system/setup.rs"]
mod setup;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::claude;
use support::npm::claude_code;
use support::nspawn::{BootedDebian, Options};
use support::provider::Pair;
use support::remote::{Remote, stand_in_program};
use support::world::{self, SINKS, SOURCE};

const RELEASE: &str = "bookworm";
const SOON: Duration = Duration::from_secs(20);

fn with_claude() -> Options {
    let home: PathBuf = claude_code("latest").parent().unwrap().to_owned();
    Options { read_only: vec![(home, "/opt/claude".to_owned())] }
}

fn stand_in(debian: &BootedDebian) -> Remote {
    world::install_stand_in(debian, &stand_in_program());
    Remote::attach(debian.spawn_user("/opt/stand-in/provider-stand-in /home/alice/stand-in"))
}

#[test]
fn a_booted_debian_has_a_user_manager_a_bus_and_a_journal() {
    let debian = BootedDebian::start(RELEASE);
    println!("booted in {:.2?}", debian.boot_time);
    debian.exec_user("systemd-run --user --wait --unit=hello sh -c 'echo said by a unit'").ok();
    assert!(
        debian
            .exec_user("journalctl --user --sync; journalctl --user -u hello -o cat")
            .ok()
            .contains("said by a unit")
    );
    debian.exec_user("busctl --user status org.freedesktop.systemd1").ok();
    assert_eq!(debian.exec_user("id -un; pwd").ok(), "alice\n/home/alice");
    assert!(debian.exec_user("cat /proc/net/dev").ok().lines().count() == 3, "nothing but loopback");
    println!("powered off in {:.2?}", debian.poweroff());
}

#[test]
fn two_instances_at_once_do_not_see_each_other() {
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| BootedDebian::start(RELEASE));
        let two = BootedDebian::start(RELEASE);
        (one.join().unwrap(), two)
    });
    one.write_user("/home/alice/mark", "one");
    assert_eq!(two.read_user("/home/alice/mark"), None);
    let machine = |debian: &BootedDebian| debian.exec_root("cat /etc/machine-id").ok().to_owned();
    assert_ne!(machine(&one), machine(&two));
    one.exec_user("systemd-run --user --unit=busy sleep infinity").ok();
    drop(one);
    two.exec_user("systemctl --user is-system-running").ok();
    assert_eq!(two.exec_user("systemctl --user is-active busy").stdout, "inactive\n", "unknown here");
}

#[test]
fn the_stand_in_gateway_records_what_it_read_at_every_start() {
    let debian = BootedDebian::start(RELEASE);
    let pair = Pair::invent("claude");
    world::furnish(&debian, &claude::document(&pair, claude::in_seconds(3600)).to_string());
    let starts = world::gateway_starts(&debian);
    assert_eq!((starts.len(), starts[0].token.as_str()), (1, "none"));
    assert_eq!(starts[0].invocation, world::gateway_invocation(&debian));

    debian
        .exec_user_with("cat >> openclaw/.env", format!("ANTHROPIC_OAUTH_TOKEN={}\n", pair.access).as_bytes())
        .ok();
    debian.exec_user("systemctl --user restart openclaw-gateway").ok();
    let starts = world::gateway_starts(&debian);
    assert_eq!((starts.len(), &starts[1].token), (2, &pair.access));
    assert_eq!(starts[1].invocation, world::gateway_invocation(&debian));
    assert_no_canary(&debian, &[pair]);
}

#[test]
fn the_real_cli_refreshes_inside_a_booted_debian() {
    let debian = BootedDebian::start_with(RELEASE, &with_claude());
    let mut provider = stand_in(&debian);
    let old = provider.seed("claude");
    debian.write_user(SOURCE, &claude::document(&old, claude::in_seconds(-3600)).to_string());
    let began = Instant::now();
    assert_eq!(world::run_claude(&debian, &provider.url(), &provider.ca).ok(), "ok");
    println!("the CLI ran {:.1?}", began.elapsed());
    let ledger = provider.ledger();
    assert_eq!((ledger.grants(), ledger.refused()), (1, 0));
    let saved: Value = serde_json::from_str(&debian.read_user(SOURCE).unwrap()).unwrap();
    assert_eq!(saved["claudeAiOauth"]["refreshToken"], json!(ledger.live("claude").refresh));
}

#[test]
fn the_selftest_restarts_a_transient_unit_and_leaves_nothing() {
    let debian = BootedDebian::start(RELEASE);
    world::install(&debian);
    let before = debian.exec_user("ls -A ~ /tmp").ok().to_owned();
    let ran = debian.exec_user("tokensink selftest");
    print!("{}", ran.ok());
    assert!(ran.ok().contains("transient user unit tokensink-selftest-"), "{ran}");
    assert_eq!(
        ran.ok().matches(", invocation ").count(),
        4,
        "first supply, rename, in place, new login: {ran}"
    );
    assert_eq!(ran.ok().matches("the alert channel was told").count(), 2, "{ran}");
    assert!(ran.ok().contains("\npassed: "), "{ran}");
    assert_eq!(debian.exec_user("ls -A ~ /tmp").ok(), before);
    let units = debian.exec_user("systemctl --user list-units --all --no-legend 'tokensink-selftest-*'");
    assert_eq!(units.ok().trim(), "");
}

#[test]
fn every_kind_of_rotation_reaches_the_sinks_and_restarts_the_gateway_once() {
    let debian = BootedDebian::start_with(RELEASE, &with_claude());
    world::install(&debian);
    let verified =
        debian.exec_user("systemd-analyze --user --man=no verify /usr/lib/systemd/user/tokensink.service");
    assert_eq!((verified.code, verified.both().trim()), (Some(0), ""), "{verified}");

    let mut provider = stand_in(&debian);
    let mut pairs = vec![Pair::invent("claude")];
    world::furnish(&debian, &claude::document(&pairs[0], claude::in_seconds(3600)).to_string());
    debian.exec_user("systemctl --user daemon-reload; systemctl --user enable --now tokensink").ok();
    wait_for_delivery(&debian, &pairs[0].access);
    let mut starts = fence(&debian);

    // (a) truncated and written in place, as Claude Code up to 2.1.113.
    let pair = Pair::invent("claude");
    world::rotate_in_place(&debian, &claude::document(&pair, claude::in_seconds(3600)).to_string());
    starts = assert_one_restart(&debian, &pair.access, starts);
    pairs.push(pair);

    // (b) temporary file and rename, as every later one. The bus is recorded from here on.
    on_bus::record(&debian);
    let pair = provider.seed("claude");
    world::rotate_by_rename(&debian, &claude::document(&pair, claude::in_seconds(3600)).to_string());
    starts = assert_one_restart(&debian, &pair.access, starts);
    pairs.push(pair);

    // The same tokens again, with other white space: nothing to do.
    let document = claude::document(pairs.last().unwrap(), claude::in_seconds(3600));
    world::rotate_in_place(&debian, &serde_json::to_string_pretty(&document).unwrap());
    assert_eq!(fence(&debian), starts, "a write without a rotation restarts nothing");

    // (c) the real CLI, which finds its token expired.
    let expired = claude::document(pairs.last().unwrap(), claude::in_seconds(-60));
    world::rotate_in_place(&debian, &expired.to_string());
    starts = fence(&debian);
    assert_eq!(world::run_claude(&debian, &provider.url(), &provider.ca).ok(), "ok");
    let ledger = provider.ledger();
    assert_eq!((ledger.grants(), ledger.refused()), (1, 0), "exactly one refresh, and it is the CLI's");
    pairs.push(ledger.live("claude").clone());
    assert_one_restart(&debian, &ledger.live("claude").access, starts);

    assert_the_journal_tells(&debian);
    journal::assert_filters_find(
        &debian,
        &[
            "findings, raised",
            "one login, all of it",
            "tokens that changed",
            "sinks that were written",
            "restarts and reloads of a gateway",
            "starts and ends of the daemon",
        ],
    );
    on_bus::assert_it_answers(&debian);
    assert_tokens_stay_where_they_belong(&debian, &pairs);
    journal::assert_examples_tell(&debian);
    assert_no_canary(&debian, &pairs);
    debian.exec_user("systemctl --user stop tokensink").ok();
    assert_eq!(debian.exec_user("systemctl --user show -P Result tokensink").ok(), "success");
}

/// What the daemon of the next test is told.
fn configure_cli(debian: &BootedDebian, way: &str) {
    let text = format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\npath = \"~/.claude/.credentials.json\"\n\
         [login.refresh]\nmode = \"cli\"\nway = \"{way}\"\n\
         [[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"~/oauth.json\"\n"
    );
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", &text);
}

#[test]
fn the_sandboxed_daemon_has_the_cli_renew_and_exchange_outside_its_sandbox() {
    let debian = BootedDebian::start_with(RELEASE, &with_claude());
    world::install(&debian);
    let mut provider = stand_in(&debian);
    let first = provider.seed("claude");
    let mut pairs = vec![first.clone()];
    debian.exec_user("mkdir -p .local/bin; ln -s /opt/claude/claude .local/bin/claude").ok();
    let environment = format!(
        "[Service]\nEnvironment=HTTPS_PROXY={} NODE_EXTRA_CA_CERTS={}\n",
        provider.url(),
        provider.ca
    );
    debian.write_user("/home/alice/.config/systemd/user/tokensink.service.d/network.conf", &environment);
    let copied =
        |access: &str| debian.read_user("/home/alice/oauth.json").is_some_and(|text| text.contains(access));

    // In the last four minutes, by a prompt.
    configure_cli(&debian, "prompt");
    debian.write_user(SOURCE, &claude::document(&first, claude::in_seconds(200)).to_string());
    debian.exec_user("systemctl --user daemon-reload; systemctl --user start tokensink").ok();
    assert!(provider.wait_for_grants(1, Duration::from_secs(60)), "the CLI refreshes");
    pairs.push(provider.ledger().live("claude").clone());
    debian.wait_until("the sink follows", SOON, || copied(&pairs[1].access));
    let told = "journalctl --user --sync; journalctl --user -o cat -u tokensink -u tokensink-refresh-claude";
    debian.wait_until("its record", SOON, || {
        let told = debian.exec_user(told);
        told.ok().contains("refreshed: rotated, by the CLI") && told.ok().contains("by its own CLI")
    });

    // At half of what is left, by an exchange, slow enough to be looked at.
    provider.set(json!({"delay_ms": 4000}));
    configure_cli(&debian, "exchange");
    debian.exec_user("systemctl --user reload tokensink").ok();
    let brief = claude::document(&pairs[1], claude::in_seconds(16));
    world::rotate_by_rename(&debian, &brief.to_string());
    debian.wait_until("the CLI asks", Duration::from_secs(60), || {
        debian
            .exec_user("systemctl --user is-active tokensink-exchange-claude")
            .stdout
            .starts_with("activating")
            && debian.exec_user("test -e .local/state/tokensink/intents/claude.exchange/environment").code
                == Some(1)
    });
    let shown = debian.exec_user("systemctl --user show tokensink-exchange-claude");
    assert!(shown.ok().contains("intents/claude.exchange/environment"), "{shown}");
    assert_no_canary(&debian, &pairs);
    assert!(provider.wait_for_grants(2, Duration::from_secs(60)), "the CLI exchanges");
    pairs.push(provider.ledger().live("claude").clone());
    debian.wait_until("the sink follows", SOON, || copied(&pairs[2].access));
    let saved: Value = serde_json::from_str(&debian.read_user(SOURCE).unwrap()).unwrap();
    assert_eq!(saved["claudeAiOauth"]["refreshToken"], json!(pairs[2].refresh));
    assert_eq!(saved["claudeAiOauth"]["unknownInside"], brief["claudeAiOauth"]["unknownInside"]);
    debian.wait_until("its record", SOON, || {
        debian.exec_user(told).ok().contains("refreshed: rotated, stored")
    });
    assert_eq!((provider.ledger().grants(), provider.ledger().refused()), (2, 0));
    assert_eq!(debian.exec_user("ls .local/state/tokensink/intents").ok(), "claude.lock");
    debian.exec_user("systemctl --user stop tokensink").ok();
    assert_no_canary(&debian, &pairs);
}

fn delivered(debian: &BootedDebian, access: &str) -> bool {
    SINKS.iter().all(|(_, path)| debian.read_user(path).is_some_and(|text| text.contains(access)))
        && world::gateway_starts(debian).last().is_some_and(|start| start.token == access)
}

#[track_caller]
fn wait_for_delivery(debian: &BootedDebian, access: &str) {
    debian.wait_until("every sink and the gateway have the token", SOON, || delivered(debian, access));
}

/// A pass that begins after everything so far; then the number of gateway starts.
#[track_caller]
fn fence(debian: &BootedDebian) -> usize {
    debian.exec_user("tokensink sync").ok();
    world::gateway_starts(debian).len()
}

#[track_caller]
fn assert_one_restart(debian: &BootedDebian, access: &str, before: usize) -> usize {
    let began = Instant::now();
    wait_for_delivery(debian, access);
    println!("delivered and restarted in {:.1?}", began.elapsed());
    let after = fence(debian);
    assert_eq!(after, before + 1, "exactly one restart: {:?}", invocations(debian));
    let last = world::gateway_starts(debian).pop().unwrap();
    assert_eq!(last.invocation, world::gateway_invocation(debian));
    let refresh: Value = serde_json::from_str(&debian.read_user(SOURCE).unwrap()).unwrap();
    let oauth = debian.read_user(SINKS[0].1).unwrap();
    assert!(oauth.contains(refresh["claudeAiOauth"]["refreshToken"].as_str().unwrap()), "the seed's mapping");
    let environment = debian.read_user(SINKS[1].1).unwrap();
    assert!(
        environment.starts_with("# the gateway's environment\nOPENCLAW_PORT=18789\n"),
        "other lines stay"
    );
    let profiles: Value = serde_json::from_str(&debian.read_user(SINKS[2].1).unwrap()).unwrap();
    assert_eq!(profiles["profiles"]["openai:default"]["key"], "sk-other", "other profiles stay");
    let modes = SINKS.map(|(_, path)| debian.exec_user(&format!("stat -c %a {path}")).ok().to_owned());
    assert_eq!(modes, ["600", "600", "600"]);
    after
}

fn invocations(debian: &BootedDebian) -> Vec<String> {
    world::gateway_starts(debian).into_iter().map(|start| start.invocation).collect()
}

#[track_caller]
fn assert_the_journal_tells(debian: &BootedDebian) {
    let status = debian.exec_user("systemctl --user status tokensink --no-pager");
    assert!(status.ok().contains("Status: \""), "{status}");
    let lines = debian.exec_user("journalctl --user --sync; journalctl --user --all -o json -u tokensink");
    let entries: Vec<Value> = lines.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let values = |field: &str| -> BTreeSet<String> {
        entries.iter().filter_map(|entry| entry[field].as_str()).map(str::to_owned).collect()
    };
    assert!(values("TOKENSINK_LOGIN").contains("claude"), "{entries:#?}");
    assert!(values("TOKENSINK_GATEWAY").contains("openclaw"), "{entries:#?}");
    for (sink, _) in SINKS {
        assert!(values("TOKENSINK_SINK").contains(sink), "{sink}: {entries:#?}");
    }
    let ours = |entry: &&Value| entry["SYSLOG_IDENTIFIER"] == "tokensink";
    let kinds: BTreeSet<_> =
        entries.iter().filter(ours).filter_map(|entry| entry["MESSAGE_ID"].as_str()).collect();
    assert!(!kinds.is_empty(), "{entries:#?}");
    for kind in kinds {
        assert!(!debian.exec_root(&format!("journalctl --dump-catalog {kind}")).ok().is_empty(), "{kind}");
    }
    let explained = debian.exec_user("journalctl --user -x --no-pager -u tokensink _COMM=tokensink");
    assert!(
        explained.ok().contains("-- Subject:") || explained.stdout.contains("░░ Subject:"),
        "{explained}"
    );
}

/// No part of any token is in the journal, in what systemd shows, in our reports or in the process table with its environments.
#[track_caller]
fn assert_no_canary(debian: &BootedDebian, pairs: &[Pair]) {
    debian.exec_root("journalctl --sync").ok();
    // The official CLI in mid-exchange alone takes a token by its environment; see the threat model.
    let script = "journalctl --all -o json; journalctl --all -o export; cat /proc/*/cmdline; \
        for process in /proc/[0-9]*; do \
        grep -qs tokensink-exchange $process/cgroup || cat $process/environ; done";
    let mut shown = debian.exec_root(script).both();
    let installed = debian.exec_user("command -v tokensink").code == Some(0);
    shown += &debian
        .exec_user("systemctl --user status --all --full --no-pager; systemctl --user show '*'")
        .both();
    if installed {
        for form in ["--full", "--simple", "--json", "--prometheus"] {
            shown += &debian.exec_user(&format!("tokensink status {form}")).both();
        }
        shown += &debian
            .exec_user(
                "tokensink sync --dry-run --json; tokensink history --json; tokensink history --svg -; \
                 tokensink doctor; cat recording",
            )
            .both();
    }
    assert!(shown.len() > 1000, "there was something to search");
    for canary in pairs.iter().flat_map(Pair::canaries) {
        assert!(!shown.contains(&canary), "a token was shown: …{}", near(&shown, &canary));
    }
}

/// On the whole system, files of every process and of every user: temporary files, records, cores.
#[track_caller]
fn assert_tokens_stay_where_they_belong(debian: &BootedDebian, pairs: &[Pair]) {
    let patterns: Vec<String> =
        pairs.iter().flat_map(|pair| [pair.access.clone(), pair.refresh.clone()]).collect();
    debian.exec_user_with("cat >.patterns", patterns.join("\n").as_bytes()).ok();
    let found = debian.exec_root(
        "grep -rlsIF -f /home/alice/.patterns / --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr --exclude-dir=opt \
         --exclude=.patterns; rm /home/alice/.patterns",
    );
    let homes = [SOURCE, "/home/alice/gateway-starts", "/home/alice/.local/state/tokensink/displaced/"];
    // The real CLI's own notes, and those of the stand-in provider.
    let others = ["/home/alice/.claude", "/home/alice/stand-in/"];
    let belongs = |path: &str| {
        SINKS.iter().map(|(_, sink)| *sink).chain(homes).chain(others).any(|place| path.starts_with(place))
    };
    let strays: Vec<&str> = found.ok().lines().filter(|path| !belongs(path)).collect();
    assert!(found.stdout.contains(SOURCE) && strays.is_empty(), "{strays:?} of {found}");
}

fn near(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap_or(0);
    text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect()
}
