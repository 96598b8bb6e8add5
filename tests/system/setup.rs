//! `tokensink setup` as people come to it, each one a user of the same booted Debian: lingering or not,
//! with and without a bus, by `sudo -u` and half of another's environment, as root, and in a locale that
//! this program does not speak. Then what README tells a newcomer, exactly as it is written there.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokensink::systemd::bus::BusAddresses;

use super::support::claude;
use super::support::nspawn::BootedDebian;
use super::support::provider::Pair;
use super::support::run::Ran;
use super::support::world;
use super::{SOON, assert_no_canary};

const DROP_IN: &str = ".config/tokensink/tokensink.d/50-setup.toml";

#[test]
fn everybody_is_set_up_and_taken_back_on_bookworm() {
    everybody("bookworm");
}

#[test]
fn everybody_is_set_up_and_taken_back_on_trixie() {
    everybody("trixie");
}

fn everybody(release: &str) {
    let debian = BootedDebian::start(release);
    world::install(&debian);
    let pair = Pair::invent("claude");
    let host =
        Host { debian: &debian, login: claude::document(&pair, claude::in_seconds(8 * 3600)).to_string() };
    lingering_in_another_language(&host);
    no_manager_and_nobody_to_ask(&host);
    lingering_starts_the_manager(&host);
    half_of_anothers_environment(&host);
    no_bus(&host);
    root(&host);
    newcomer(&host);
    assert_no_canary(&debian, &[pair]);
}

struct Host<'a> {
    debian: &'a BootedDebian,
    login: String,
}

/// Somebody at a shell: an account, and what that shell has in its environment.
struct Person<'a> {
    host: &'a Host<'a>,
    name: &'static str,
    home: String,
    environment: String,
}

impl Host<'_> {
    /// A new account with a Claude Code login and an OpenClaw of the JSON era, and a bare shell: a search
    /// path and a home, as `sudo -u` leaves it.
    fn person(&self, name: &'static str, uid: u32) -> Person<'_> {
        self.debian.exec_root(&format!("useradd -m -u {uid} -s /bin/bash {name}")).ok();
        let person = self.shell_of(name, &format!("/home/{name}"));
        person.furnish();
        person
    }

    fn shell_of(&self, name: &'static str, home: &str) -> Person<'_> {
        let environment = format!("HOME={home} PATH=/usr/local/bin:/usr/bin:/bin");
        Person { host: self, name, home: home.to_owned(), environment }
    }
}

impl Person<'_> {
    fn furnish(&self) {
        let script = "umask 077; mkdir -p .claude .openclaw/agents/main/agent; cat >.claude/.credentials.json; \
            echo '{\"meta\":{\"lastTouchedVersion\":\"2026.2.9\"}}' >.openclaw/openclaw.json; \
            echo '{\"version\":1,\"profiles\":{}}' >.openclaw/agents/main/agent/auth-profiles.json";
        let script = format!("cd {} && {{ {script}; }}", self.home);
        let mut command = self.host.debian.root_command(&format!(
            "exec env -i {} /usr/sbin/runuser -u {} -- sh -c '{}'",
            self.environment,
            self.name,
            script.replace('\'', "'\\''")
        ));
        super::support::run::run(&mut command, self.host.login.as_bytes()).ok();
    }

    /// With more in the environment.
    fn with(&self, more: &str) -> Self {
        let environment = format!("{} {more}", self.environment);
        Self { host: self.host, name: self.name, home: self.home.clone(), environment }
    }

    /// In a control group of the booted system, which its login manager asks after, and in no session.
    fn run(&self, script: &str) -> Ran {
        let script = script.replace('\'', "'\\''");
        self.host.debian.exec_root(&inside(&format!(
            "--uid={} --working-directory={} /usr/bin/env -i {} sh -c '{script}'",
            self.name, self.home, self.environment,
        )))
    }

    /// What `systemctl --user` says of our unit.
    fn unit(&self, property: &str) -> String {
        let ran = self.host.debian.exec_root(&format!(
            "exec env -i PATH=/usr/bin:/bin HOME={} XDG_RUNTIME_DIR=/run/user/$(id -u {name}) \
             /usr/sbin/runuser -u {name} -- systemctl --user show -P {property} tokensink",
            self.home,
            name = self.name
        ));
        ran.ok().to_owned()
    }

    fn has(&self, path: &str) -> bool {
        self.host.debian.exec_root(&format!("test -e {}/{path}", self.home)).code == Some(0)
    }

    fn lingers(&self) -> bool {
        self.host.debian.exec_root(&format!("test -e /var/lib/systemd/linger/{}", self.name)).code == Some(0)
    }

    #[track_caller]
    fn assert_protected(&self, ran: &Ran) {
        assert_eq!(ran.code, Some(0), "{ran}");
        assert_eq!(
            (self.unit("ActiveState"), self.unit("UnitFileState")),
            ("active".into(), "enabled".into())
        );
        let store = format!("{}/.openclaw/agents/main/agent/auth-profiles.json", self.home);
        let login: serde_json::Value = serde_json::from_str(&self.host.login).unwrap();
        let store = self.host.debian.exec_root(&format!("cat {store}")).stdout;
        assert!(store.contains(login["claudeAiOauth"]["accessToken"].as_str().unwrap()), "{ran}");
        for told in ["sink     openclaw/main  current", "what to expect", "journalctl --user -u tokensink"] {
            assert!(ran.stdout.contains(told), "{told}: {ran}");
        }
    }

    #[track_caller]
    fn assert_taken_back(&self) {
        let ran = self.run("tokensink setup --undo");
        assert_eq!(ran.code, Some(0), "{ran}");
        // Where lingering was taken back as well there may be no manager any more to ask.
        let status = self.run("tokensink status --json");
        assert!(status.ok().contains("\"running\": false"), "{status}");
        assert!(!self.has(".config/systemd/user/default.target.wants/tokensink.service"), "{ran}");
        assert!(!self.has(DROP_IN) && !self.has(".local/state/tokensink/setup.json"), "{ran}");
        let again = self.run("tokensink setup --undo");
        assert!(again.code == Some(0) && again.stdout.contains("nothing to do"), "{again}");
    }
}

/// A command of the booted system itself, waited for.
fn inside(command: &str) -> String {
    format!("exec systemd-run --quiet --pipe --wait --collect {command}")
}

/// Everything that a home shows of having been touched, but for what a daemon keeps.
fn trace(person: &Person<'_>) -> String {
    let find = "find . -path ./.local/state -prune -o -printf '%p %m %s %C@\\n'";
    let root = person.host.debian.exec_root(&format!("cd {} && {find} | sort", person.home));
    root.ok().to_owned()
}

fn lingering_in_another_language(host: &Host<'_>) {
    let alice = host.shell_of("alice", "/home/alice");
    alice.furnish();
    let alice = alice.with(
        "LANG=zh_CN.UTF-8 LC_ALL=de_DE.UTF-8 LANGUAGE=de:fr XDG_RUNTIME_DIR=/run/user/1000 \
         DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus",
    );
    let before = trace(&alice);
    let dry = alice.run("tokensink setup --dry-run");
    assert!(dry.ok().contains("yours runs (lingering is on)") && dry.ok().contains("state_dir = "), "{dry}");
    let asked = alice.run("tokensink setup");
    assert!(asked.code == Some(1) && asked.stderr.contains("nothing was changed"), "{asked}");
    assert_eq!(trace(&alice), before, "a look touches nothing");
    assert_eq!(
        (alice.unit("ActiveState"), alice.unit("UnitFileState")),
        ("inactive".into(), "disabled".into())
    );

    alice.assert_protected(&alice.run("tokensink setup --yes"));
    let (after, invocation) = (trace(&alice), alice.unit("InvocationID"));
    let record = alice.run("cat .local/state/tokensink/setup.json");
    let again = alice.run("tokensink setup --yes");
    alice.assert_protected(&again);
    assert!(again.stdout.contains("already configured"), "{again}");
    assert_eq!(
        (trace(&alice), alice.unit("InvocationID")),
        (after, invocation),
        "a second time changes nothing"
    );
    assert_eq!(alice.run("cat .local/state/tokensink/setup.json").ok(), record.ok());
    alice.assert_taken_back();
    assert!(alice.lingers(), "that was so before");
}

fn no_manager_and_nobody_to_ask(host: &Host<'_>) {
    let bob = host.person("bob", 1001);
    let ran = bob.run("tokensink setup --yes");
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stdout.contains("no session was opened by a login"), "{ran}");
    assert!(ran.stderr.contains("BUS_UNAVAILABLE") && ran.stderr.contains("setup --yes --linger"), "{ran}");
    assert!(bob.has(DROP_IN) && !bob.lingers(), "{ran}");
    // There is no polkit here that could allow it.
    let ran = bob.run("tokensink setup --yes --linger");
    assert!(ran.code == Some(1) && ran.stderr.contains("\n  sudo loginctl enable-linger bob\n"), "{ran}");
    assert!(!bob.lingers());
    host.debian.exec_root(&inside("loginctl enable-linger bob")).ok();
    host.debian.wait_until("the manager of bob", SOON, || {
        host.debian.exec_root("systemctl is-active user@1001").stdout == "active\n"
    });
    let by_hand = "tokensink daemon 2>/dev/null & \
        timeout 30 sh -c 'until tokensink status --json | grep -q \"running\\\": true\"; do :; done'; \
        tokensink setup --yes; ended=$?; kill $!; wait; exit $ended";
    let ran = bob.run(by_hand);
    assert!(ran.code == Some(1) && ran.stderr.contains("another daemon of yours is running (pid "), "{ran}");
    // What is done is no proof: a login that is none is said, and everything stays for the next try.
    let husk = "umask 077; cd .claude; mv .credentials.json kept; \
        echo '{\"claudeAiOauth\":{\"accessToken\":\"\",\"refreshToken\":\"\",\"expiresAt\":0}}' >.credentials.json";
    bob.run(husk).ok();
    let ran = bob.run("tokensink setup --yes");
    assert!(ran.code == Some(1) && ran.stderr.contains("tokensink: HUSK claude: "), "{ran}");
    assert!(ran.stdout.contains("what was done stays; `tokensink setup --undo` takes it back"), "{ran}");
    assert_eq!(bob.unit("ActiveState"), "active", "{ran}");
    bob.run("mv .claude/kept .claude/.credentials.json").ok();
    bob.assert_protected(&bob.run("tokensink setup --yes"));
    bob.assert_taken_back();
    assert!(bob.lingers(), "root did that");
}

fn lingering_starts_the_manager(host: &Host<'_>) {
    let carol = host.person("carol", 1002);
    let allows = Polkit::start(host.debian);
    let ran = carol.run("tokensink setup --yes --linger");
    carol.assert_protected(&ran);
    assert!(carol.lingers() && ran.stdout.contains("lingers   carol"), "{ran}");
    assert!(allows.asked().iter().all(|action| action == "org.freedesktop.login1.set-self-linger"));
    // A person's change of what we wrote is kept, and said.
    carol.run(&format!("echo '# mine' >>{DROP_IN}")).ok();
    let ran = carol.run("tokensink setup --undo");
    assert!(ran.ok().contains("it was changed since"), "{ran}");
    assert!(carol.has(DROP_IN) && !carol.lingers(), "{ran}");
    drop(allows);
}

fn half_of_anothers_environment(host: &Host<'_>) {
    let dave = host.person("dave", 1003);
    dave.run("mkdir odd; printf '#!/bin/sh\\n' >odd/claude; chmod +x odd/claude; echo 'PATH=$HOME/odd:$PATH' >>.profile")
        .ok();
    // What a login on a terminal brings about.
    host.debian.exec_root("systemctl start user@1003").ok();
    let by_sudo = dave.with("SUDO_USER=root SUDO_UID=0 SUDO_GID=0");
    // On a terminal each risky step is asked, and a no to the whole changes nothing.
    let ran = by_sudo.run("printf 'n\\ny\\nn\\n' | script -qec 'tokensink setup' /dev/null");
    for asked in
        ["takes both back)? [y/N]", "Turn lingering on? [y/N]", "Do this? [y/N]", "nothing was changed"]
    {
        assert!(ran.code == Some(1) && ran.stdout.contains(asked), "{asked}: {ran}");
    }
    assert!(!dave.has(".config/tokensink") && !dave.lingers(), "{ran}");
    let ran = by_sudo.run("tokensink setup --yes");
    dave.assert_protected(&ran);
    assert!(ran.stdout.contains("although XDG_RUNTIME_DIR does not name it"), "{ran}");
    assert!(ran.stdout.contains("left      lingering is off") && !dave.lingers(), "{ran}");
    assert!(ran.stdout.contains("/home/dave/odd/claude, where a unit does not look"), "{ran}");
    // The line that is given helps.
    dave.run("mkdir -p .config/environment.d; echo 'PATH=/home/dave/odd:$PATH' >.config/environment.d/50-path.conf").ok();
    dave.with("XDG_RUNTIME_DIR=/run/user/1003").run("systemctl --user daemon-reload").ok();
    let ran = dave.run("tokensink setup --dry-run");
    assert!(ran.ok().contains("cli       claude: /home/dave/odd/claude\n"), "{ran}");
    // All of it is that of another user, as an old `su` leaves it.
    let alice = host.shell_of("alice", "/home/alice");
    let before = trace(&alice);
    let foreign = dave.with(
        "HOME=/home/alice XDG_CONFIG_HOME=/home/alice/.config XDG_RUNTIME_DIR=/run/user/1000 \
         DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus",
    );
    let ran = foreign.run("tokensink setup --yes");
    assert!(ran.ok().contains("HOME said /home/alice, which is not yours"), "{ran}");
    assert!(ran.ok().contains("already configured in /home/dave/.config"), "{ran}");
    assert_eq!(trace(&alice), before);
    dave.assert_taken_back();
}

fn no_bus(host: &Host<'_>) {
    let erin = host.person("erin", 1004);
    erin.run("mkdir -p .config/systemd/user; cd .config/systemd/user; ln -s /dev/null dbus.socket; ln -s /dev/null dbus.service")
        .ok();
    host.debian.exec_root("systemctl start user@1004").ok();
    assert!(host.debian.exec_root("test -e /run/user/1004/bus").code == Some(1), "there is no bus");
    let ran = erin.run("tokensink setup --yes");
    erin.assert_protected(&ran);
    assert!(ran.stdout.contains("yours runs, without a bus"), "{ran}");
    erin.assert_taken_back();
}

fn root(host: &Host<'_>) {
    let root = host.shell_of("root", "/root");
    let ran = root.with("SUDO_USER=alice SUDO_UID=1000").run("tokensink setup --yes");
    assert!(ran.code == Some(1) && ran.stderr.contains("as alice, without sudo"), "{ran}");
    // `sudo` that kept HOME.
    let ran = root.with("SUDO_USER=alice HOME=/home/alice").run("tokensink setup --yes");
    assert!(ran.code == Some(1) && ran.stdout.contains("HOME said /home/alice"), "{ran}");
    assert!(!root.has(".config/tokensink") && !host.shell_of("alice", "/home/alice").has(DROP_IN));

    root.furnish();
    let ran = root.run("tokensink setup --yes");
    assert!(ran.ok().contains("started   tokensink@root.service of the system's service manager"), "{ran}");
    let shown =
        || host.debian.exec_root("systemctl show -P ActiveState -P UnitFileState tokensink@root").stdout;
    assert_eq!(shown(), "active\nenabled\n");
    assert!(root.run("tokensink setup --yes").ok().contains("already configured"));
    assert!(root.run("tokensink setup --undo").ok().contains("disabled  tokensink@root.service"));
    assert_eq!(shown(), "inactive\ndisabled\n");
    assert!(!root.has(DROP_IN));
}

/// The commands of README's first five minutes up to the words "That is all", each block as one script.
fn first_five_minutes() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let part = readme.split("\n## First five minutes\n").nth(1).unwrap();
    let part = part.split("That is all").next().unwrap();
    let blocks = part.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.collect()
}

fn newcomer(host: &Host<'_>) {
    let blocks = first_five_minutes();
    assert!(blocks.len() >= 2 && blocks.concat().contains("tokensink setup --yes"), "{blocks:?}");
    let frank = host.person("frank", 1005);
    let cli = "mkdir -p .local/bin; printf '#!/bin/sh\\n' >.local/bin/claude; chmod +x .local/bin/claude";
    let unit = "mkdir -p .config/systemd/user; printf '[Service]\\nExecStart=/bin/sleep infinity\\n' \
        >.config/systemd/user/openclaw-gateway.service";
    frank.run(&format!("{cli}; {unit}")).ok();
    host.debian.exec_root("systemctl start user@1005").ok();
    // As a login by SSH has it.
    let bus = "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1005/bus";
    let frank = frank.with(&format!("XDG_RUNTIME_DIR=/run/user/1005 {bus}"));
    frank.run("systemctl --user start openclaw-gateway").ok();
    let _allows = Polkit::start(host.debian);
    for block in &blocks {
        let ran = frank.run(&format!("set -e\n{block}"));
        println!("{block}{}", ran.ok());
    }
    assert_eq!((frank.unit("ActiveState"), frank.unit("UnitFileState")), ("active".into(), "enabled".into()));
    assert!(frank.lingers());
    let status = frank.run("tokensink status --json");
    let status: serde_json::Value = serde_json::from_str(status.ok()).unwrap();
    assert_eq!((&status["overall"], &status["findings"]), (&"ok".into(), &serde_json::json!([])), "{status}");
    assert_eq!(status["gateways"][0]["id"], "openclaw");
    assert_eq!(status["logins"][0]["refresh"]["owner"], "cli");
    frank.assert_taken_back();
    assert!(!frank.lingers());
}

/// A polkit that says yes, on the system's bus of the booted Debian.
struct Polkit {
    asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Polkit {
    fn start(debian: &BootedDebian) -> Self {
        let policy = "<busconfig><policy user=\"root\"><allow own=\"org.freedesktop.PolicyKit1\"/></policy>\
            <policy context=\"default\"><allow send_destination=\"org.freedesktop.PolicyKit1\"/></policy></busconfig>";
        debian.exec_root(&format!("echo '{policy}' >/etc/dbus-1/system.d/polkit.conf")).ok();
        let reload =
            "busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig";
        debian.exec_root(reload).ok();
        let socket = debian.root().join("run/dbus/system_bus_socket");
        let addresses = BusAddresses {
            session: Some(format!("unix:path={}", socket.display())),
            ..BusAddresses::default()
        };
        let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let noted = std::sync::Arc::clone(&asked);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = tokensink::systemd::bus::user_bus(&addresses).await.unwrap();
                let mut messages = zbus::MessageStream::from(&connection);
                connection.request_name("org.freedesktop.PolicyKit1").await.unwrap();
                ready.send(()).unwrap();
                let answer = async {
                    while let Some(Ok(message)) = messages.next().await {
                        let header = message.header();
                        if header.member().is_none_or(|member| member.as_str() != "CheckAuthorization") {
                            continue;
                        }
                        let body = message.body();
                        type Subject<'a> = (&'a str, HashMap<&'a str, zbus::Variant<'a>>);
                        type Asked<'a> = (Subject<'a>, &'a str, HashMap<&'a str, &'a str>, u32, &'a str);
                        let (_, action, _, flags, _): Asked<'_> = body.deserialize().unwrap();
                        assert_eq!(flags, 0, "nobody is asked for a password");
                        noted.lock().unwrap().push(action.to_owned());
                        let yes = (true, false, HashMap::<&str, &str>::new());
                        connection.reply(&header, &(yes,)).await.unwrap();
                    }
                };
                tokio::select! {
                    () = answer => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv_timeout(Duration::from_secs(20)).expect("polkit's name can be had");
        Self { asked, stop: Some(stop), thread: Some(thread) }
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap().clone();
        assert!(!asked.is_empty(), "nobody asked");
        asked
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}
