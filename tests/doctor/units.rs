//! Units of a real `systemd --user`: what they are given, where they look, and whether they are there at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::Looked;
use crate::private_manager::PrivateManager;
use crate::stage::{CANARY, Home, Login, PROGRAM};

struct Stage {
    manager: PrivateManager,
    home: Home,
}

const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

impl Stage {
    fn new() -> Self {
        let manager = PrivateManager::start();
        let mut home = Home::new();
        home.set("XDG_RUNTIME_DIR", manager.runtime_dir().to_str().unwrap());
        home.set("DBUS_SESSION_BUS_ADDRESS", manager.addresses().session.unwrap());
        home.rotate(&Login::nth(1));
        Self { manager, home }
    }

    /// The unit `claw.service` with these lines, started anew.
    fn unit(&self, lines: &str) {
        self.manager.write_unit("claw.service", &format!("{SLEEPER}{lines}"));
        self.manager.daemon_reload();
        self.manager.systemctl_ok(&["restart", "claw.service"]);
    }

    /// A view for that unit's own Claude Code.
    fn view(&self) {
        self.home.mkdir("view");
        self.home.holds_tokens("view/.credentials.json");
        self.home.configure(
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\
             [[sink]]\nid = \"view\"\nlogin = \"claude\"\nkind = \"claude-credentials\"\npath = \"~/view/.credentials.json\"\n\
             [[gateway]]\nid = \"claw\"\nsinks = [\"view\"]\nunit = \"claw.service\"\napply = \"none\"\n",
        );
        assert_eq!(self.home.run(&["sync"]).code, 0);
    }

    fn view_directory(&self) -> String {
        self.home.path("view").display().to_string()
    }
}

#[test]
fn a_variable_that_hides_a_sink_is_named_with_where_it_comes_from_and_never_its_value() {
    let stage = Stage::new();
    stage.view();
    let leads = format!("Environment=CLAUDE_CONFIG_DIR={}\n", stage.view_directory());
    stage.unit(&leads);
    let looked = Looked::at(&stage.home);
    looked.none("ENV_SHADOWS_FILE");
    assert_eq!(looked.check("variables of gateways"), Some(0));

    // A drop-in. `Looked` asserts that the value is not printed.
    let units = stage.manager.home().join(".config/systemd/user/claw.service.d");
    fs::create_dir_all(&units).unwrap();
    let drop_in = units.join("10-token.conf");
    fs::write(&drop_in, format!("[Service]\nEnvironment=CLAUDE_CODE_OAUTH_TOKEN={CANARY}\n")).unwrap();
    stage.unit(&leads);
    let (evidence, next) = Looked::at(&stage.home).one("ENV_SHADOWS_FILE", "claw");
    assert!(evidence.contains(drop_in.to_str().unwrap()) && evidence.contains("process "), "{evidence}");
    assert!(next.contains("UnsetEnvironment=CLAUDE_CODE_OAUTH_TOKEN"), "{next}");
    // The remedy is one.
    stage.unit(&format!("{leads}UnsetEnvironment=CLAUDE_CODE_OAUTH_TOKEN\n"));
    Looked::at(&stage.home).none("ENV_SHADOWS_FILE");
    fs::remove_file(&drop_in).unwrap();

    // A file of the unit.
    let file = stage.manager.home().join("claw.env");
    fs::write(&file, format!("A=b\nANTHROPIC_API_KEY='{CANARY}'\n")).unwrap();
    stage.unit(&format!("{leads}EnvironmentFile=-{}\n", file.display()));
    let (evidence, next) = Looked::at(&stage.home).one("ENV_SHADOWS_FILE", "claw");
    assert!(evidence.starts_with(&format!("ANTHROPIC_API_KEY: {}", file.display())), "{evidence}");
    assert!(next.starts_with(&format!("remove ANTHROPIC_API_KEY from {}", file.display())), "{next}");

    // The manager gives it to everybody.
    stage.manager.systemctl_ok(&["set-environment", &format!("CLAUDE_CODE_OAUTH_TOKEN={CANARY}")]);
    stage.unit(&leads);
    let (evidence, next) = Looked::at(&stage.home).one("ENV_SHADOWS_FILE", "claw");
    assert!(evidence.contains("the service manager's own environment"), "{evidence}");
    assert!(next.starts_with("systemctl --user unset-environment CLAUDE_CODE_OAUTH_TOKEN"), "{next}");
    stage.home.finish();
}

#[test]
fn an_openclaw_that_is_supplied_by_reference_uses_its_environment_first_and_a_profile_comes_before_that() {
    let mut stage = Stage::new();
    let gateway =
        "[[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\nunit = \"claw.service\"\napply = \"none\"\n";
    stage.home.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n{gateway}"
    ));
    let state_dir = format!("Environment=OPENCLAW_STATE_DIR={}\n", stage.home.path(".openclaw").display());
    // Its own file, which it reads at its start.
    stage.home.openclaw("2026.2.25", &["main"]);
    stage.home.write(".openclaw/.env", "ANTHROPIC_API_KEY=sk-ant-api03-made-up\n");
    stage.unit(&state_dir);
    Looked::at(&stage.home).none("ENV_SHADOWS_FILE");

    let mirror = stage.home.path(".local/state/tokensink/mirrors/claw.json");
    let config = serde_json::json!({
        "meta": {"lastTouchedVersion": "2026.9.6"},
        "secrets": {"providers": {"any": {"source": "file", "path": mirror, "mode": "json"}}},
        "models": {"providers": {"anthropic":
            {"apiKey": {"source": "file", "provider": "any", "id": "/anthropic/accessToken"}}}},
    });
    stage.home.write(".openclaw/openclaw.json", config.to_string());
    let (evidence, next) = Looked::at(&stage.home).one("ENV_SHADOWS_FILE", "claw");
    let file = stage.home.path(".openclaw/.env").display().to_string();
    assert_eq!(evidence, format!("ANTHROPIC_API_KEY: {file}"));
    assert!(next.starts_with(&format!("remove ANTHROPIC_API_KEY from {file}")), "{next}");

    stage.home.write(".openclaw/.env", "ANTHROPIC_API_KEY=\n");
    Looked::at(&stage.home).none("ENV_SHADOWS_FILE");
    // What a person has in the shell is worth knowing, and nothing more.
    stage.home.set("ANTHROPIC_API_KEY", "sk-ant-api03-made-up");
    let (evidence, _) = Looked::at(&stage.home).one("ENV_SHADOWS_FILE", "claude");
    assert!(evidence.starts_with("ANTHROPIC_API_KEY: this shell"), "{evidence}");
    stage.home.finish();
}

#[test]
fn an_environment_file_that_we_keep_current_hides_nothing() {
    let stage = Stage::new();
    stage.home.configure(&stage.home.three_sinks(
        "[[gateway]]\nid = \"claw\"\nsinks = [\"env\"]\nunit = \"claw.service\"\napply = \"none\"\n",
    ));
    assert_eq!(stage.home.run(&["sync"]).code, 0);
    stage.unit(&format!("EnvironmentFile={}\n", stage.home.path("sinks/gateway.env").display()));
    Looked::at(&stage.home).none("ENV_SHADOWS_FILE");
    stage.home.finish();
}

#[test]
fn a_gateway_whose_variables_lead_elsewhere_is_named() {
    let stage = Stage::new();
    stage.view();
    stage.unit("");
    let (evidence, next) = Looked::at(&stage.home).one("CONSUMER_ELSEWHERE", "claw");
    assert!(evidence.contains(&format!("HOME={}", stage.manager.home().display())), "{evidence}");
    assert!(next.contains("systemctl --user edit claw.service"), "{next}");
    stage.unit(&format!("Environment=CLAUDE_CONFIG_DIR={}\n", stage.view_directory()));
    Looked::at(&stage.home).none("CONSUMER_ELSEWHERE");
    stage.home.finish();
}

#[test]
fn a_cli_that_only_the_shell_finds_and_a_unit_that_is_not_enabled_are_named() {
    let mut stage = Stage::new();
    stage.home.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
    let bin = stage.home.mkdir("odd/bin");
    fs::write(bin.join("claude"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(bin.join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
    stage.home.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let looked = Looked::at(&stage.home);
    let (_, next) = looked.one("UNIT_NOT_ENABLED", "tokensink.service");
    assert!(next.contains("make install"), "{next}");

    let install = "[Install]\nWantedBy=default.target\n";
    stage.manager.write_unit("tokensink.service", &format!("{SLEEPER}{install}"));
    stage.manager.daemon_reload();
    let looked = Looked::at(&stage.home);
    let (_, next) = looked.one("CLI_OFF_PATH", "claude");
    assert!(next.contains(&format!("Environment=PATH={}", bin.display())), "{next}");
    let (evidence, next) = looked.one("UNIT_NOT_ENABLED", "tokensink.service");
    assert_eq!(
        (evidence.as_str(), next.as_str()),
        ("inactive, disabled", "systemctl --user enable --now tokensink")
    );

    let path = format!("{SLEEPER}Environment=PATH={}:/usr/bin:/bin\n{install}", bin.display());
    stage.manager.write_unit("tokensink.service", &path);
    stage.manager.daemon_reload();
    stage.manager.systemctl_ok(&["enable", "--now", "tokensink.service"]);
    let looked = Looked::at(&stage.home);
    looked.none("CLI_OFF_PATH");
    looked.none("UNIT_NOT_ENABLED");
    looked.none("BUS_UNAVAILABLE");
    assert_eq!(looked.check("the daemon's unit"), Some(0));
    stage.home.finish();
}

#[test]
fn without_a_service_manager_that_is_said() {
    let home = Home::new();
    home.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
    home.rotate(&Login::nth(1));
    let looked = Looked::at(&home);
    let (evidence, _) = looked.one("BUS_UNAVAILABLE", "user manager");
    assert!(evidence.contains("no service manager answers"), "{evidence}");
    assert_eq!(looked.check("the daemon's unit"), None);
    home.finish();
}

#[test]
fn a_user_whose_services_end_with_the_session_is_named() {
    let home = Home::new();
    home.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
    home.rotate(&Login::nth(1));
    // As systemd leaves it where it has started the host.
    let booted = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system
        mount -t tmpfs tmpfs /var/lib/systemd; mkdir /var/lib/systemd/linger; true";
    let (_, next) =
        Looked::by(&home, home.unshared(booted, &["doctor", "--json"])).one("NO_LINGER", "linger");
    assert_eq!(next, "loginctl enable-linger root");
    let lingers = format!("{booted}; touch /var/lib/systemd/linger/root");
    let looked = Looked::by(&home, home.unshared(&lingers, &["doctor", "--json"]));
    assert_eq!(looked.check("lingering"), Some(0));
    home.finish();
}

#[test]
fn an_instance_that_units_of_both_managers_run_is_named() {
    let stage = Stage::new();
    stage.home.openclaw("2026.9.6", &["main"]);
    stage.home.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
    let unit = format!(
        "{SLEEPER}Environment=HOME={}\n[Install]\nWantedBy=default.target\n",
        stage.home.path("").display()
    );
    stage.manager.write_unit("openclaw-gateway.service", &unit);
    stage.manager.daemon_reload();
    stage.manager.systemctl_ok(&["enable", "--now", "openclaw-gateway.service"]);
    stage.home.mkdir(".config/systemd/user");
    stage.home.write(".config/systemd/user/openclaw-gateway.service", &unit);
    Looked::at(&stage.home).none("DUPLICATE_SERVICE");

    stage.home.write("system.service", &unit);
    let system = |wants: &str| {
        let setup = format!(
            "mount -t tmpfs tmpfs /etc/systemd/system; mkdir /etc/systemd/system/multi-user.target.wants
             cp ~/system.service /etc/systemd/system/openclaw-gateway.service; {wants}"
        );
        Looked::by(&stage.home, stage.home.unshared(&setup, &["doctor", "--json"]))
    };
    system("true").none("DUPLICATE_SERVICE");
    let link = "ln -s ../openclaw-gateway.service /etc/systemd/system/multi-user.target.wants/openclaw-gateway.service";
    let (evidence, next) = system(link).one("DUPLICATE_SERVICE", "openclaw-gateway.service");
    assert!(evidence.contains("of the user manager: runs, enabled"), "{evidence}");
    assert_eq!(next, "sudo systemctl disable --now openclaw-gateway.service");
    stage.home.finish();
}

#[test]
fn a_daemon_whose_program_was_replaced_and_a_second_daemon_are_named() {
    let stage = Stage::new();
    let home = &stage.home;
    home.configure("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n");
    let program = home.root().join("tokensink");
    let copy =
        |to: &std::path::Path| assert!(Command::new("cp").arg(PROGRAM).arg(to).status().unwrap().success());
    copy(&program);
    let mut command = Command::new(&program);
    command.arg("daemon");
    home.dress(&mut command);
    let daemon = home.start_as(command);
    daemon.until_ready();
    let looked = Looked::at(home);
    looked.none("VERSION_DIFFERS");
    looked.none("DUPLICATE_SERVICE");
    assert_eq!(looked.check("the version that runs"), Some(0));

    let next = home.root().join("next");
    copy(&next);
    fs::rename(next, &program).unwrap();
    let (evidence, _) = Looked::at(home).one("VERSION_DIFFERS", "daemon");
    assert!(evidence.ends_with(&format!("{}, replaced", program.display())), "{evidence}");

    // A state of its own is a lock of its own.
    let mut command = home.command(&["daemon"]);
    command.env("XDG_STATE_HOME", home.mkdir("other-state"));
    let second = home.start_as(command);
    second.until_ready();
    let (evidence, next) = Looked::at(home).one("DUPLICATE_SERVICE", "daemon");
    assert!(evidence.contains(&format!("process {}", second.pid)), "{evidence}");
    assert_eq!(next, format!("systemctl --user status {}", second.pid));
    second.stop();
    daemon.stop();
    fs::remove_file(program).unwrap();
    home.finish();
}
