//! The sandbox of both real units: a command sink, which runs in it, tries what must fail there and what must
//! work. The same is tried without it, so that a refusal is known to be the sandbox's.

use super::support::claude;
use super::support::nspawn::BootedDebian;
use super::support::provider::Pair;
use super::support::run::Ran;
use super::support::world::{self, SOURCE};
use super::{RELEASE, SOON};

const CONFIGURATION: &str = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
    [[sink]]\nid = \"probe\"\nlogin = \"claude\"\nkind = \"command\"\n\
    command = [\"/bin/sh\", \"-c\", \"sh ~/probe.sh >~/part; mv ~/part ~/found\"]\n";

/// An engine's socket that a group may use, and a server on the loopback.
const SERVERS: &str = r#"use Socket; umask 0117; socket(U, PF_UNIX, SOCK_STREAM, 0);
    bind(U, sockaddr_un("/run/engine.sock")); listen(U, 9); chown 0, scalar getgrnam("docker"), "/run/engine.sock";
    umask 022; socket(T, PF_INET, SOCK_STREAM, 0); bind(T, sockaddr_in(0, INADDR_LOOPBACK)); listen(T, 9);
    open F, ">", "/srv/alice/port"; print F (sockaddr_in(getsockname(T)))[0]; close F; sleep 600"#;

const YES: &str = "yes";
const DENIED: &str = "Permission denied";
const REFUSED: &str = "Operation not permitted";
const READ_ONLY: &str = "Read-only file system";

/// What is tried, and what comes of it without a sandbox, in the user unit and in the system unit.
const MATRIX: &[(&str, &str, &str, &str)] = &[
    ("ssh", YES, DENIED, DENIED),
    ("gnupg", YES, DENIED, DENIED),
    ("aws", YES, DENIED, DENIED),
    ("kube", YES, DENIED, DENIED),
    ("etc", DENIED, READ_ONLY, READ_ONLY),
    ("usr", DENIED, READ_ONLY, READ_ONLY),
    ("elsewhere", YES, READ_ONLY, READ_ONLY),
    ("temporary", YES, "No such file or directory", "No such file or directory"),
    ("setting", DENIED, READ_ONLY, READ_ONLY),
    ("groups", YES, READ_ONLY, READ_ONLY),
    ("devices", YES, "", ""),
    // A user manager may not mount another /proc: ProtectProc= does nothing there.
    ("others", YES, YES, "No such file or directory"),
    ("namespace", YES, REFUSED, REFUSED),
    ("setuid", YES, REFUSED, REFUSED),
    ("realtime", "Invalid argument", REFUSED, REFUSED),
    ("personality", YES, REFUSED, REFUSED),
    (
        "packets",
        REFUSED,
        "Address family not supported by protocol",
        "Address family not supported by protocol",
    ),
    ("listen-tcp", YES, REFUSED, REFUSED),
    ("listen-unix", YES, REFUSED, REFUSED),
    ("cores", YES, "0", "0"),
    ("lock", YES, YES, YES),
    ("home", YES, YES, YES),
    ("engine", YES, YES, YES),
    ("loopback", YES, YES, YES),
    ("names", YES, YES, YES),
    ("journal", YES, YES, YES),
    ("user-bus", YES, YES, YES),
    ("system-bus", YES, YES, YES),
    ("manager", YES, YES, YES),
];

#[test]
fn the_sandbox_refuses_what_is_not_needed_and_allows_what_is() {
    let debian = BootedDebian::start(RELEASE);
    world::install(&debian);
    assert_it_holds(&debian);
}

/// Says what it is given; the shell is what a drop-in forbids.
const PLAIN: &str =
    "[[sink]]\nid = \"plain\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/plain\"\n";

/// On a system where the product is installed and no daemon runs; no daemon runs after it.
#[track_caller]
pub fn assert_it_holds(debian: &BootedDebian) {
    furnish(debian);
    let outside = debian.exec_user("systemd-run --user --quiet --pipe --wait sh probe.sh </dev/null");
    assert_found(outside.ok(), |row| row.1);

    let user = "systemctl --user restart tokensink";
    assert_found(&found_by(debian, || debian.exec_user(user)), |row| row.2);
    reload(debian);
    assert_nobody_gets_near(debian);
    debian.exec_user("systemctl --user stop tokensink").ok();
    assert_eq!(debian.exec_user("systemctl --user show -P Result tokensink").ok(), "success");

    let system = "systemctl daemon-reload; systemctl restart tokensink@alice";
    assert_found(&found_by(debian, || debian.exec_root(system)), |row| row.3);
    debian.exec_root("systemctl reload tokensink@alice; systemctl stop tokensink@alice").ok();
    assert_eq!(debian.exec_root("systemctl show -P Result tokensink@alice").ok(), "success");
    assert_figures(debian);
}

fn furnish(debian: &BootedDebian) {
    // A supplementary group is the manager's from its start on.
    let script = "groupadd docker; usermod -aG docker alice; systemctl restart user@1000; \
        echo '127.0.0.1 localhost' >/etc/hosts; install -d -o alice /srv/alice; touch /tmp/mark; cd /home/alice; \
        for i in ssh gnupg aws kube; do install -d -o alice .$i; echo s >.$i/secret; done";
    debian.exec_root(script).ok();
    debian.write_user("/home/alice/servers", SERVERS);
    debian.exec_root("systemd-run --quiet --unit=servers perl /home/alice/servers").ok();
    debian.wait_until("the servers listen", SOON, || {
        debian.exec_root("test -s /srv/alice/port").code == Some(0)
    });
    debian.write_user("/home/alice/probe.sh", include_str!("probe.sh"));
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", CONFIGURATION);
}

/// What the command of the sink wrote when it got a new token of a daemon that was started so.
fn found_by(debian: &BootedDebian, start: impl FnOnce() -> Ran) -> String {
    debian.exec_user("rm -f found").ok();
    rotate(debian);
    start().ok();
    debian.wait_until("the command has run", SOON, || debian.exec_user("test -e found").code == Some(0));
    debian.read_user("found").unwrap()
}

fn rotate(debian: &BootedDebian) -> Pair {
    let pair = Pair::invent("claude");
    debian.write_user(SOURCE, &claude::document(&pair, claude::in_seconds(3600)).to_string());
    pair
}

#[track_caller]
fn assert_found(
    found: &str,
    expected: fn(&(&str, &'static str, &'static str, &'static str)) -> &'static str,
) {
    let found: Vec<&str> = found.lines().map(str::trim_end).collect();
    let expected: Vec<String> =
        MATRIX.iter().map(|row| format!("{} {}", row.0, expected(row)).trim_end().to_owned()).collect();
    assert_eq!(found, expected);
}

/// Another user of the host, and of the daemon's memory other programs of its own user.
#[track_caller]
fn assert_nobody_gets_near(debian: &BootedDebian) {
    let pid = debian.exec_user("systemctl --user show -P MainPID tokensink").ok().trim().to_owned();
    let memory = format!("for i in environ maps mem auxv; do : </proc/{pid}/$i && echo $i; done;");
    let others = format!(
        "{memory} cat ~alice/.local/state/tokensink/state.json; ls /run/user/1000/tokensink ~alice/.config; \
         ls ~alice/.local/state/tokensink; kill -HUP {pid} && echo signal; \
         systemctl --user --machine=alice@ stop tokensink && echo stop"
    );
    let stranger = format!("setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '{others}'");
    assert_eq!(debian.exec_root(&stranger).stdout, "");
    assert_eq!(debian.exec_user(&memory).stdout, "");
    assert!(debian.exec_user("cat .local/state/tokensink/state.json").ok().contains("format_version"));
}

/// As a person does it; on a system without any program `kill`.
fn reload(debian: &BootedDebian) {
    debian.exec_root("mv /usr/bin/kill /usr/bin/kill.away").ok();
    debian.exec_user("systemctl --user reload tokensink").ok();
    debian.wait_until("the configuration was read again", SOON, || {
        let said = debian.exec_user("journalctl --user -u tokensink -o cat --lines=20");
        said.ok().contains("configuration read again")
    });
    debian.exec_root("mv /usr/bin/kill.away /usr/bin/kill").ok();
}

/// No unit is more exposed than the documentation says, and none has a line that systemd does not like.
#[track_caller]
fn assert_figures(debian: &BootedDebian) {
    let version = debian.exec_user("systemctl --version").ok().split_whitespace().nth(1).unwrap().to_owned();
    let page = include_str!("../../docs/sandbox.md");
    let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {version} |")));
    let stated: Vec<f64> = row
        .unwrap_or_else(|| panic!("docs/sandbox.md has no figures for systemd {version}"))
        .split('|')
        .filter_map(|cell| cell.trim().parse().ok())
        .collect();
    let units = [("--user", "tokensink.service", "user"), ("--system", "tokensink@alice.service", "system")];
    for ((scope, unit, folder), stated) in units.into_iter().zip(stated) {
        let analyzed = debian.exec_user(&format!("systemd-analyze {scope} --no-pager security {unit}"));
        let last = analyzed.ok().lines().last().unwrap().to_owned();
        let figure: f64 = last.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        println!("systemd {version}, {unit}: {figure}");
        assert!(figure <= stated, "{last}: more than the {stated} of docs/sandbox.md");
        let file = unit.replace("alice", "");
        let verify = format!("systemd-analyze {scope} --man=no verify /usr/lib/systemd/{folder}/{file}");
        let verified = debian.exec_user(&verify);
        assert_eq!((verified.code, verified.both().trim()), (Some(0), ""), "{verified}");
    }
}

/// The drop-in of that name from the examples, alone; the daemon is stopped.
fn drop_in(debian: &BootedDebian, name: &str) {
    let script = format!(
        "cd .config/systemd/user; rm -rf tokensink.service.d; mkdir tokensink.service.d; \
         cp /usr/share/doc/tokensink/examples/{name} tokensink.service.d; systemctl --user daemon-reload"
    );
    debian
        .exec_user(&format!("systemctl --user stop tokensink; mkdir -p .config/systemd/user; {script}"))
        .ok();
}

#[test]
fn the_drop_ins_of_the_examples_do_what_they_say() {
    let debian = BootedDebian::start(RELEASE);
    world::install(&debian);
    debian.write_user("/home/alice/.config/tokensink/tokensink.toml", &format!("{CONFIGURATION}{PLAIN}"));
    debian.write_user("/home/alice/probe.sh", "cat >/dev/null; readlink /proc/self/ns/user");
    let manager = debian.exec_user("readlink /proc/self/ns/user").ok().to_owned();
    let start = || debian.exec_user("systemctl --user start tokensink");
    assert_ne!(found_by(&debian, start).trim(), manager);

    // Where no namespace is to be had, none is made.
    drop_in(&debian, "without-namespaces.conf");
    assert_eq!(found_by(&debian, start).trim(), manager);

    // Without a shell, and with what needs none.
    drop_in(&debian, "no-commands.conf");
    let pair = rotate(&debian);
    debian.exec_user("rm found; systemctl --user start tokensink").ok();
    debian.wait_until("the file follows", SOON, || {
        debian.read_user("plain").is_some_and(|text| text.contains(&pair.access))
    });
    debian.wait_until("the command was refused", SOON, || {
        let said = debian.exec_user("journalctl --user -u tokensink -o cat");
        said.ok().contains("SINK_FAILED probe")
    });
    assert_eq!(debian.read_user("found"), None);
    reload(&debian);
    debian.exec_user("systemctl --user stop tokensink").ok();
}
