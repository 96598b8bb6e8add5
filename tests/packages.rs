//! The packages as their users meet them: installed on a booted Debian, used, upgraded, removed and purged.
//! `make packages previous` has built them; the previous ones are the same program under an older version.
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

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use support::nspawn::BootedDebian;
use support::run::run;
use support::world::{self, SINKS, SOURCE};

const SOON: Duration = Duration::from_secs(30);

/// A package that `make packages previous` has built.
fn package(directory: &str, ending: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_tokensink")).ancestors().nth(2).unwrap().join(directory);
    let listed = std::fs::read_dir(&target).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        listed.filter(|path| path.file_name().unwrap().to_string_lossy().ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "one {ending} in {}: `make packages previous` builds it", target.display());
    found.remove(0)
}

/// A login with the token number `n`.
fn login(n: u32) -> String {
    let token = format!("sk-ant-oat01-package-{n:04}-{}", "made-up-".repeat(9));
    json!({"claudeAiOauth": {
        "accessToken": token, "refreshToken": token.replace("oat01", "ort01"),
        "expiresAt": 4_100_000_000_000_u64 + u64::from(n), "scopes": ["user:inference"],
    }})
    .to_string()
}

fn sinks_hold(debian: &BootedDebian, n: u32) -> bool {
    let token = format!("oat01-package-{n:04}-");
    SINKS.iter().all(|(_, path)| debian.read_user(path).is_some_and(|text| text.contains(&token)))
}

fn pid(debian: &BootedDebian) -> u32 {
    debian.exec_user("systemctl --user show -P MainPID tokensink").ok().trim().parse().unwrap()
}

/// Rotates, and waits until every sink and the gateway have the token.
fn rotate(debian: &BootedDebian, n: u32) {
    let before = world::gateway_starts(debian).len();
    world::rotate_by_rename(debian, &login(n));
    debian.wait_until("the sinks hold the token", SOON, || sinks_hold(debian, n));
    debian.wait_until("the gateway has read it", SOON, || world::gateway_starts(debian).len() > before);
}

/// What of ours is in a system, outside homes, logs and what is gone at the next boot.
fn left_over(debian: &BootedDebian) -> String {
    let script = "find / -xdev \\( -path /home -o -path /proc -o -path /run -o -path /tmp -o -path /root \\) -prune \
        -o \\( -iname '*tokensink*' -not -path '/var/log/*' -not -path '/packages/*' -print \\)";
    debian.exec_root(script).ok().to_owned()
}

/// One way to handle packages.
struct Tools {
    install: &'static str,
    upgrade: &'static str,
    remove: &'static str,
    purge: Option<&'static str>,
    ending: &'static str,
}

const DEB: Tools = Tools {
    install: "dpkg --install",
    upgrade: "dpkg --install",
    remove: "dpkg --remove tokensink",
    purge: Some("dpkg --purge tokensink"),
    ending: "_amd64.deb",
};

/// Debian's rpm has no database of what is installed: it is told not to look for what we depend on.
const RPM: Tools = Tools {
    install: "rpm --install --nodeps",
    upgrade: "rpm --upgrade --nodeps",
    remove: "rpm --erase --nodeps tokensink",
    purge: None,
    ending: ".x86_64.rpm",
};

fn whole_life(release: &str, tools: &Tools) {
    let debian = BootedDebian::start(release);
    let put = |directory: &str| {
        let host = package(directory, tools.ending);
        let inside = format!("/packages/{directory}{}", tools.ending);
        debian.copy_in(&host, &inside, 0o644);
        inside
    };
    let (old, new) = (put("previous"), put("packages"));

    // Installed: nothing runs, nothing is enabled, one command is named, no home is touched.
    let home = "ls -AR /home/alice";
    let before = debian.exec_root(home).ok().to_owned();
    let installed = debian.exec_root(&format!("{} {old}", tools.install));
    assert!(installed.ok().contains("tokensink setup"), "{installed}");
    assert_eq!(debian.exec_user("systemctl --user is-enabled tokensink || true").ok().trim(), "disabled");
    assert_eq!(debian.exec_user("systemctl --user is-active tokensink || true").ok().trim(), "inactive");
    assert_eq!(debian.exec_root(home).ok(), before);
    debian.exec_user("systemd-analyze --user --man=no verify /usr/lib/systemd/user/tokensink.service").ok();
    debian.exec_root("systemd-analyze --man=no verify /usr/lib/systemd/system/tokensink@.service").ok();
    let catalog = debian.exec_root("journalctl --list-catalog");
    assert!(catalog.ok().contains("tokensink") || catalog.ok().contains("Tokensink"), "{catalog}");
    assert!(debian.exec_user("tokensink --version").ok().starts_with("tokensink "));

    // Used: the whole main job, as a lingering user.
    world::furnish(&debian, &login(1));
    debian.exec_user("systemctl --user enable --now tokensink").ok();
    debian.wait_until("the first supply", SOON, || sinks_hold(&debian, 1));
    rotate(&debian, 2);
    assert_eq!(debian.exec_user("tokensink status --check --simple").ok().trim(), "OK");

    // Upgraded: who runs is restarted into the new program, and goes on.
    let first = pid(&debian);
    debian.exec_root(&format!("{} {new}", tools.upgrade)).ok();
    debian.wait_until("the new program runs", SOON, || {
        let now = pid(&debian);
        now != first && now != 0 && debian.exec_user("systemctl --user is-active tokensink").code == Some(0)
    });
    let program = debian.exec_root(&format!("readlink /proc/{}/exe", pid(&debian)));
    assert_eq!(program.ok().trim(), "/usr/bin/tokensink", "the file that is there now, not a deleted one");
    assert_eq!(debian.exec_user("systemctl --user show -P NeedDaemonReload tokensink").ok().trim(), "no");
    rotate(&debian, 3);
    let status = debian.exec_user("tokensink status --json").ok().to_owned();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let mut severities = status["findings"].as_array().unwrap().iter().map(|found| &found["severity"]);
    assert!(status["overall"] == "ok" && severities.all(|severity| severity == "notice"), "{status}");

    // Who stopped it finds it stopped after the next upgrade.
    debian.exec_user("systemctl --user stop tokensink").ok();
    if tools.purge.is_some() {
        debian.exec_root(&format!("{} {new}", tools.upgrade)).ok();
        assert_eq!(debian.exec_user("systemctl --user is-active tokensink || true").ok().trim(), "inactive");
    }
    debian.exec_user("systemctl --user start tokensink").ok();

    // Removed: what runs is stopped, the package is gone, everybody's own is as it was.
    let own = "cd ~ && find .claude .openclaw openclaw .config/tokensink .local/state/tokensink -type f ! -name '*.lock' \
        ! -name state.json ! -name history.jsonl ! -name alerts.json -exec sha256sum {} + | sort";
    let before = debian.exec_user(own).ok().to_owned();
    assert!(before.contains(SOURCE.strip_prefix("/home/alice/").unwrap()), "{before}");
    debian.exec_root(tools.remove).ok();
    debian.wait_until("the daemon has stopped", SOON, || {
        debian.exec_root("pgrep -x tokensink").code != Some(0)
    });
    assert_ne!(debian.exec_root("test -e /usr/bin/tokensink").code, Some(0));
    if let Some(purge) = tools.purge {
        debian.exec_root(purge).ok();
    }
    assert_eq!(left_over(&debian), "", "nothing is left behind");
    assert_eq!(debian.exec_user(own).ok(), before, "logins, sinks, configuration and state are their user's");
    debian.poweroff();
}

#[test]
fn the_deb_is_installed_used_upgraded_removed_and_purged_on_bookworm() {
    whole_life("bookworm", &DEB);
}

#[test]
fn the_deb_is_installed_used_upgraded_removed_and_purged_on_trixie() {
    whole_life("trixie", &DEB);
}

#[test]
fn the_rpm_is_installed_used_upgraded_and_removed_by_rpm_itself() {
    whole_life("trixie", &RPM);
}

#[test]
fn lintian_has_no_complaint() {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning,info", "--allow-root", "--pedantic"]);
    let ran = run(lintian.arg(package("packages", DEB.ending)), b"");
    assert_eq!(ran.ok().trim(), "", "{ran}");
}

/// The names of the regular files in a package, with the directories of documentation that differ left out.
fn files(mut command: Command) -> Vec<String> {
    let listed = run(&mut command, b"");
    let mut names: Vec<String> = listed
        .ok()
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|name| name.trim_start_matches('.').trim_end_matches(".gz").to_owned())
        .filter(|name| name.starts_with("/usr") && !name.ends_with('/'))
        .filter(|name| !name.contains("/licenses/") && !name.contains("/.build-id"))
        .filter(|name| {
            !["copyright", "changelog", "changelog.Debian", "CHANGELOG.md"].iter().any(|n| name.ends_with(n))
        })
        .filter(|name| !name.contains("lintian"))
        .collect();
    names.sort();
    names
}

#[test]
fn both_packages_hold_the_same_files() {
    let mut deb = Command::new("dpkg-deb");
    deb.arg("--contents").arg(package("packages", DEB.ending));
    let mut rpm = Command::new("rpm");
    rpm.args(["--query", "--package", "--queryformat", "[%{FILEMODES:perms} %{FILENAMES}\n]"]);
    rpm.arg(package("packages", RPM.ending));
    let of_rpm: Vec<String> =
        run(&mut rpm, b"").ok().lines().filter(|l| !l.starts_with('d')).map(str::to_owned).collect();
    let of_deb = files(deb);
    let mut names = Command::new("printf");
    names.arg("%s\n").args(&of_rpm);
    assert_eq!(files(names), of_deb);
    for wanted in [
        "/usr/bin/tokensink",
        "/usr/lib/systemd/user/tokensink.service",
        "/usr/lib/systemd/system/tokensink@.service",
        "/usr/lib/systemd/user-preset/50-tokensink.preset",
        "/usr/lib/systemd/catalog/tokensink.catalog",
        "/usr/share/dbus-1/services/org.tokensink.Daemon1.service",
        "/usr/share/man/man8/tokensink.service.8",
        "/usr/share/bash-completion/completions/tokensink",
        "/usr/share/doc/tokensink/third-party-notices",
        "/usr/share/doc/tokensink/examples/tokensink.toml",
    ] {
        assert!(of_deb.iter().any(|name| name == wanted), "{wanted}");
    }
    // No file of /etc: there is nothing to merge at an upgrade.
    assert!(of_deb.iter().all(|name| name.starts_with("/usr/")));
}

#[test]
fn the_program_says_nothing_of_the_machine_that_built_it() {
    let mut unpacked = Command::new("sh");
    unpacked.args(["-c", "dpkg-deb --fsys-tarfile \"$1\" | tar -xO ./usr/bin/tokensink", "sh"]);
    let bytes = unpacked.arg(package("packages", DEB.ending)).output().unwrap().stdout;
    assert!(bytes.starts_with(b"\x7fELF"));
    let home = std::env::var("HOME").unwrap();
    for path in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/.cargo")] {
        assert!(!bytes.windows(path.len()).any(|window| window == path.as_bytes()), "{path}");
    }
}
