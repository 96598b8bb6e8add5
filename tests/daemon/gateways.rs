//! How a change reaches a gateway unit, on a real `systemd --user` of the test's own. Each unit
//! notes, when it starts, which generation it has read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;

use crate::private_manager::PrivateManager;
use crate::stage::{Home, Login};

struct Stage {
    manager: PrivateManager,
    home: Home,
}

impl Stage {
    fn new() -> Self {
        let manager = PrivateManager::start();
        let mut home = Home::new();
        home.set("XDG_RUNTIME_DIR", manager.runtime_dir().to_str().unwrap());
        home.set("DBUS_SESSION_BUS_ADDRESS", manager.addresses().session.unwrap());
        home.rotate(&Login::nth(1));
        Self { manager, home }
    }

    /// Three sinks, and a gateway `gateway.service` over all of them.
    fn configure(&self, more: &str) {
        self.configure_all(&[("gateway", more)]);
    }

    /// Three sinks, and a gateway for each name, with further keys.
    fn configure_all(&self, gateways: &[(&str, &str)]) {
        let gateways: String = gateways
            .iter()
            .map(|(name, more)| {
                format!(
                    "[[gateway]]\nid = \"{name}\"\nsinks = [\"oauth\", \"env\", \"secret\"]\n\
                     unit = \"{name}.service\"\n{more}\n"
                )
            })
            .collect();
        self.home.configure(&self.home.three_sinks(&gateways));
    }

    /// A unit that notes the generation it reads; it waits at its gate first, when it has one.
    fn unit(&self, name: &str, is_gated: bool, more: &str) {
        let home = self.home.path("").display().to_string();
        let gate = self.gate(name);
        let wait = if is_gated {
            nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
            format!("read -r _ <{}\n", gate.display())
        } else {
            String::new()
        };
        let script = self.manager.write_script(
            &format!("{name}.sh"),
            &format!(
                "#!/bin/sh\n[ ! -e \"$HOME/poison\" ] || exit 3\n\
                 echo begins >>{home}/{name}.begun\n{wait}\
                 grep -o 'oat01-[^-]*-[0-9]*' {home}/sinks/token.json | cut -d- -f3 >>{home}/{name}.log\n\
                 env >>{home}/{name}.environment\nsystemd-notify --ready\nexec sleep infinity\n"
            ),
        );
        self.manager.write_unit(
            &format!("{name}.service"),
            &format!(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nNotifyAccess=all\n\
                 ExecStart={}\nTimeoutStartSec=infinity\n{more}",
                script.display()
            ),
        );
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.home.path(&format!("{name}.gate"))
    }

    /// Waits until a unit is at its gate, and lets it through.
    fn open(&self, name: &str) {
        let gate = self.gate(name);
        self.home.until("the unit comes to its gate", || {
            // Without a reader there is nobody at the gate.
            let opened = fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&gate);
            opened.is_ok_and(|mut gate| gate.write_all(b"go\n").is_ok())
        });
    }

    fn begun(&self, name: &str) -> usize {
        self.home.read(&format!("{name}.begun")).lines().count()
    }

    /// The generations that the starts of a unit have read.
    fn read(&self, name: &str) -> Vec<String> {
        self.home.read(&format!("{name}.log")).lines().map(str::to_owned).collect()
    }

    fn property(&self, name: &str, property: &str) -> String {
        self.manager.systemctl_ok(&["show", "--value", "-p", property, &format!("{name}.service")])
    }

    fn start_unit(&self, name: &str) {
        self.manager.systemctl_ok(&["start", &format!("{name}.service")]);
    }

    /// First sinks, without a gateway that would be restarted for them.
    fn seed(&self) {
        self.home.configure(&self.home.three_sinks(""));
        assert_eq!(self.home.run(&["sync"]).code, 0);
    }

    fn gateway(&self, name: &str) -> serde_json::Value {
        self.home.state()["gateways"][name].clone()
    }

    fn until_settled(&self, name: &str) {
        self.home.until("the gateway is settled", || {
            let known = self.gateway(name);
            known.is_object() && known["pending"].is_null()
        });
    }
}

#[test]
fn one_rotation_with_three_sinks_is_one_restart() {
    let stage = Stage::new();
    stage.seed();
    stage.unit("gateway", false, "");
    stage.unit("reloaded", false, "ExecReload=/bin/true\n");
    stage.start_unit("gateway");
    stage.start_unit("reloaded");
    let old = stage.property("gateway", "InvocationID");
    let kept = stage.property("reloaded", "InvocationID");
    stage.configure_all(&[("gateway", ""), ("reloaded", "apply = \"reload\"")]);
    let daemon = stage.home.ready();
    assert_eq!(stage.read("gateway"), ["0001"], "nothing has changed, nothing is restarted");

    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(2));
    stage.home.until_said(mark, "gateway gateway restarted");
    stage.home.until_said(mark, "gateway reloaded reloaded");
    stage.until_settled("gateway");
    daemon.stop();
    assert_eq!(stage.read("gateway"), ["0001", "0002"], "it was restarted once, after all sinks");
    let new = stage.property("gateway", "InvocationID");
    assert_ne!(new, old);
    assert_eq!(stage.gateway("gateway")["invocation"], new.as_str());
    assert_eq!(stage.property("reloaded", "InvocationID"), kept);
    let report = stage.home.run(&["status", "--json"]).json();
    let gateway = &report["gateways"][0];
    assert_eq!((&gateway["applied"], &gateway["last_action"]), (&true.into(), &"restart".into()));
    assert_eq!(report["gateways"][1]["last_action"], "reload");
    stage.home.finish();
}

#[test]
fn every_reason_why_a_unit_is_not_restarted_is_told_apart() {
    let stage = Stage::new();
    stage.seed();
    for name in ["masked", "idle"] {
        stage.unit(name, false, "");
    }
    stage.manager.write_unit("broken.service", "[Service]\nType=simple\n");
    stage.manager.write_unit(
        "limited.service",
        "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    stage.manager.write_unit("deaf.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    for name in ["masked", "deaf"] {
        stage.start_unit(name);
    }
    fs::remove_file(stage.manager.home().join(".config/systemd/user/masked.service")).unwrap();
    stage.manager.systemctl_ok(&["mask", "masked.service"]);
    // After that: masking makes the manager reload, and forget how often units were started.
    stage.start_unit("limited");
    let names = ["nowhere", "masked", "broken", "idle", "limited"];
    let mut gateways: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    gateways.push(("deaf", "apply = \"reload\""));
    stage.configure_all(&gateways);
    let daemon = stage.home.ready();
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(2));
    for (name, why) in [
        ("nowhere", "there is no such unit"),
        ("masked", "the unit is masked"),
        ("broken", "the unit file cannot be used (bad-setting)"),
        ("limited", "started too often"),
        ("deaf", "org.freedesktop.systemd1.JobTypeNotApplicable"),
    ] {
        let (_, line) = stage.home.until_said(mark, &format!("UNIT_FAILED {name}: "));
        assert!(line.contains(why), "{line}");
        assert_eq!(stage.gateway(name)["pending"]["attempts"], 1, "{name}: still to be done");
    }
    stage.home.until_said(mark, "gateway idle does not run");
    stage.until_settled("idle");
    daemon.stop();
    assert_eq!(stage.property("idle", "ActiveState"), "inactive", "it is not ours to start");
    assert_eq!(stage.property("masked", "ActiveState"), "active");
    assert!(stage.home.sinks_hold(&Login::nth(2)));
    let sync = stage.home.run(&["sync"]);
    assert_eq!(sync.code, 1, "a person who asks does not wait for the next attempt: {sync:?}");
    stage.home.finish();
}

#[test]
fn a_unit_that_fails_is_tried_again_later() {
    let stage = Stage::new();
    stage.seed();
    stage.unit("gateway", false, "");
    stage.start_unit("gateway");
    stage.configure("");
    let daemon = stage.home.ready();
    let poison = stage.manager.home().join("poison");
    fs::write(&poison, "").unwrap();
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(2));
    let (failed, line) = stage.home.until_said(mark, "UNIT_FAILED gateway: ");
    assert!(line.contains("exit-code"), "{line}");
    fs::remove_file(poison).unwrap();
    let (again, _) = stage.home.until_said(mark, "gateway gateway restarted");
    let waited = again - failed;
    assert!(waited >= Duration::from_secs(9) && waited < Duration::from_secs(20), "{waited:?}");
    stage.home.until_said(mark, "UNIT_FAILED gateway is resolved");
    stage.until_settled("gateway");
    daemon.stop();
    assert_eq!(stage.read("gateway"), ["0001", "0002"]);
    stage.home.finish();
}

#[test]
fn a_slow_unit_holds_up_nothing_else_and_a_restart_is_superseded_by_a_stop() {
    let stage = Stage::new();
    stage.seed();
    stage.unit("gateway", true, "");
    stage.manager.systemctl_ok(&["start", "--no-block", "gateway.service"]);
    stage.open("gateway");
    stage.start_unit("gateway");
    stage.configure("min_interval = \"1s\"");
    let daemon = stage.home.ready();
    stage.home.rotate(&Login::nth(2));
    stage.home.until("the unit is starting", || stage.begun("gateway") == 2);
    // Sinks follow while it starts, and no second job is submitted.
    for n in 3..6 {
        stage.home.rotate(&Login::nth(n));
        stage.home.until_sinks_hold(&Login::nth(n));
    }
    assert_eq!(stage.begun("gateway"), 2);
    let mark = stage.home.mark();
    stage.open("gateway");
    stage.home.until_said(mark, "gateway gateway restarted");
    // What changed meanwhile is not settled by that restart, whatever the unit has read.
    stage.home.until("the unit starts again", || stage.begun("gateway") == 3);
    let mark = stage.home.mark();
    stage.manager.systemctl_ok(&["stop", "gateway.service"]);
    let (_, line) = stage.home.until_said(mark, "UNIT_FAILED gateway: ");
    assert!(line.contains("another job took the place"), "{line}");
    // Its owner has stopped it: there is nothing to restart any more.
    stage.home.until_said(mark, "gateway gateway does not run");
    stage.until_settled("gateway");
    stage.home.until_said(mark, "UNIT_FAILED gateway is resolved");
    daemon.stop();
    assert_eq!(stage.property("gateway", "ActiveState"), "inactive");
    assert_eq!(stage.read("gateway"), ["0001", "0005"]);
    stage.home.finish();
}

#[test]
fn changes_within_the_interval_are_one_restart_and_a_dying_token_does_not_wait() {
    let stage = Stage::new();
    stage.seed();
    stage.unit("gateway", false, "");
    stage.unit("patient", false, "");
    stage.start_unit("gateway");
    stage.start_unit("patient");
    stage.configure_all(&[("gateway", "min_interval = \"4s\""), ("patient", "min_interval = \"1h\"")]);
    let daemon = stage.home.ready();
    let mark = stage.home.mark();
    // This one ends soon: whoever uses it must not be left with it for an hour.
    let mut short = Login::nth(2);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    short.expires_at = now as i64 + 6000;
    let begun = Instant::now();
    stage.home.rotate(&short);
    let (first, _) = stage.home.until_said(mark, "gateway gateway restarted");
    stage.home.until_said(mark, "gateway patient restarted");
    let mark = stage.home.mark();
    for n in 3..8 {
        stage.home.rotate(&Login::nth(n));
        stage.home.until_sinks_hold(&Login::nth(n));
    }
    let (second, _) = stage.home.until_said(mark, "gateway gateway restarted");
    assert!(second - first >= Duration::from_millis(3900), "{:?}", second - first);
    let (third, _) = stage.home.until_said(mark, "gateway patient restarted");
    assert!(third - begun >= Duration::from_millis(5900), "{:?}", third - begun);
    stage.until_settled("gateway");
    stage.until_settled("patient");
    daemon.stop();
    assert_eq!(stage.read("gateway"), ["0001", "0002", "0007"]);
    assert_eq!(stage.read("patient"), ["0001", "0002", "0007"]);
    stage.home.finish();
}

#[test]
fn a_busy_gateway_is_restarted_when_it_is_idle_or_when_its_token_ends() {
    let stage = Stage::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let mut short = Login::nth(2);
    short.expires_at = now as i64 + 15_000;
    stage.home.rotate(&short);
    stage.seed();
    for name in ["gateway", "tireless"] {
        stage.unit(name, false, "");
        stage.start_unit(name);
    }
    let work = stage.home.write("work", "");
    let idle = format!("idle = \"test ! -e {}\"", work.display());
    stage.configure_all(&[("gateway", &idle), ("tireless", "idle = \"echo busy\"")]);
    let daemon = stage.home.ready();
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(3));
    let (first, _) =
        stage.home.until_said(mark, "gateway gateway is busy, its restart waits; asked again in 5 s");
    // A change that joins meanwhile makes no restart of its own.
    stage.home.rotate(&Login::nth(4));
    stage.home.until_sinks_hold(&Login::nth(4));
    fs::remove_file(work).unwrap();
    let (restarted, _) = stage.home.until_said(mark, "gateway gateway restarted");
    assert!(restarted - first >= Duration::from_millis(4900), "{:?}", restarted - first);
    stage.home.until_said(mark, "gateway tireless is restarted whether it is busy or not");
    stage.home.until_said(mark, "gateway tireless restarted");
    let after = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(after as i64 >= short.expires_at, "not before the end of the token that it used");
    stage.until_settled("gateway");
    stage.until_settled("tireless");
    daemon.stop();
    for name in ["gateway", "tireless"] {
        assert_eq!(stage.read(name), ["0002", "0004"], "{name}");
    }
    stage.home.finish();
}

#[test]
fn a_process_is_only_called_old_when_it_started_before_its_package_came() {
    let mut stage = Stage::new();
    let home = &mut stage.home;
    home.mkdir("bin");
    let manifest = r#"{"name": "openclaw", "version": "2026.2.26"}"#;
    home.write("bin/package.json", manifest);
    let cli = home.write("bin/openclaw", "#!/bin/sh\necho 'device signature invalid' >&2\nexit 1\n");
    fs::set_permissions(cli, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
    home.openclaw("2026.2.26", &["main"]);
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n\
         [[gateway]]\nid = \"gateway\"\nsinks = [\"claw\"]\nunit = \"gateway.service\"\n",
    );
    stage.manager.write_unit("gateway.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    stage.start_unit("gateway");
    let daemon = stage.home.start();
    stage.home.until_said(daemon.from, "gateway does not accept its own CLI; trying again in 10 s");
    stage.home.replace("bin/package.json", manifest);
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(2));
    stage.home.until_said(mark, "its old process still runs");
    stage.until_settled("gateway");
    daemon.stop();
    stage.home.finish();
}

#[test]
fn a_manager_that_cannot_be_reached_is_survived_and_the_restart_made_up_for() {
    let stage = Stage::new();
    stage.seed();
    stage.unit("gateway", false, "");
    stage.start_unit("gateway");
    stage.configure("");
    let daemon = stage.home.ready();
    // The bus alone is not missed: the manager has a socket of its own.
    stage.manager.stop_bus();
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(2));
    stage.home.until_said(mark, "gateway gateway restarted");
    stage.until_settled("gateway");
    daemon.stop();

    stage.configure("min_interval = \"1s\"");
    let daemon = stage.home.ready();
    let (socket, hidden) =
        (stage.manager.runtime_dir().join("systemd/private"), stage.manager.runtime_dir().join("hidden"));
    fs::rename(&socket, &hidden).unwrap();
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(3));
    stage.home.until_said(mark, "BUS_UNAVAILABLE gateway: ");
    assert!(stage.home.sinks_hold(&Login::nth(3)), "the sinks need no bus");
    assert!(stage.gateway("gateway")["pending"].is_object());
    fs::rename(&hidden, &socket).unwrap();
    stage.manager.start_bus();
    stage.home.until_said(mark, "gateway gateway restarted");
    stage.home.until_said(mark, "BUS_UNAVAILABLE gateway is resolved");
    stage.until_settled("gateway");
    daemon.stop();
    assert_eq!(stage.read("gateway"), ["0001", "0002", "0003"]);
    stage.home.finish();
}

#[test]
fn a_restart_in_hand_survives_a_crash_of_ours() {
    let stage = Stage::new();
    stage.seed();
    stage.unit("gateway", true, "");
    stage.manager.systemctl_ok(&["start", "--no-block", "gateway.service"]);
    stage.open("gateway");
    stage.start_unit("gateway");
    stage.configure("");
    let daemon = stage.home.ready();
    stage.home.rotate(&Login::nth(2));
    stage.home.until("the unit is starting", || stage.begun("gateway") == 2);
    daemon.crash();
    assert!(stage.gateway("gateway")["pending"].is_object(), "recorded before it was begun");

    let daemon = stage.home.ready();
    let mark = daemon.from;
    // Whether it joins the restart that is under way or begins another is its own business.
    stage.home.until("the gateway uses the new generation", || {
        stage.open_if_waiting("gateway");
        !stage.home.said(mark, "gateway gateway restarted").is_empty()
    });
    stage.until_settled("gateway");
    daemon.stop();
    let read = stage.read("gateway");
    assert!(read.last().is_some_and(|last| last == "0002") && (2..=3).contains(&read.len()), "{read:?}");
    assert_eq!(stage.gateway("gateway")["invocation"], stage.property("gateway", "InvocationID").as_str());
    stage.home.finish();
}

impl Stage {
    fn open_if_waiting(&self, name: &str) {
        let opened = fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(self.gate(name));
        if let Ok(mut gate) = opened {
            let _ = gate.write_all(b"go\n");
        }
    }
}

#[test]
fn a_stopped_unit_is_settled_and_one_that_only_does_not_answer_is_not() {
    let mut stage = Stage::new();
    let home = &mut stage.home;
    // An OpenClaw whose CLI finds nobody, with a configuration that refers to our file.
    home.mkdir("bin");
    home.write("bin/package.json", r#"{"name": "openclaw", "version": "2026.9.6"}"#);
    let cli =
        home.write("bin/openclaw", "#!/bin/sh\necho 'gateway not reachable (ECONNREFUSED)' >&2\nexit 1\n");
    fs::set_permissions(cli, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
    home.mkdir(".openclaw");
    let mirror = home.holds_tokens(".local/state/tokensink/mirrors/claw.json");
    let config = serde_json::json!({
        "secrets": {"providers": {"ours": {"source": "file", "path": mirror, "mode": "json"}}},
        "models": {"providers": {"anthropic":
            {"apiKey": {"source": "file", "provider": "ours", "id": "/anthropic/accessToken"}}}},
    });
    home.write(".openclaw/openclaw.json", config.to_string());
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n\
         [[gateway]]\nid = \"gateway\"\nsinks = [\"claw\"]\nunit = \"gateway.service\"\n",
    );
    stage.unit("gateway", false, "");
    let daemon = stage.home.start();
    stage.home.until_said(daemon.from, "gateway gateway does not run");
    stage.until_settled("gateway");

    stage.manager.write_unit("gateway.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    stage.start_unit("gateway");
    let invocation = stage.property("gateway", "InvocationID");
    let mark = stage.home.mark();
    stage.home.rotate(&Login::nth(2));
    stage.home.until_said(mark, "gateway does not answer; trying again in 10 s");
    assert!(!stage.gateway("gateway")["pending"].is_null());
    assert_eq!(stage.property("gateway", "InvocationID"), invocation, "it is not restarted for that");
    daemon.stop();
    stage.home.finish();
}
