//! Several OpenClaw instances of one user: found with the units that run them, and each one reached as
//! itself by whatever is asked of its CLI.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::stage::{Home, Login};

/// Notes which instance it was called for.
const CLI: &str = r#"#!/bin/sh
echo "$OPENCLAW_STATE_DIR $OPENCLAW_CONFIG_PATH ${OPENCLAW_GATEWAY_PORT:-} $*" >>"$HOME/calls"
case "$1 $2 $3" in
"secrets reload --json") echo '{"ok":true,"warningCount":0}' ;;
"models auth list") echo '{"profiles":[{"id":"anthropic:default","provider":"anthropic","type":"token"}]}' ;;
"models auth order") echo '{"order":null}' ;;
*) exit 9 ;;
esac
"#;

fn instance(home: &Home, directory: &str, release: &str) {
    home.mkdir(directory);
    home.write(
        &format!("{directory}/openclaw.json"),
        json!({"meta": {"lastTouchedVersion": release}}).to_string(),
    );
}

fn unit(home: &Home, name: &str, lines: &str) {
    home.mkdir(".config/systemd/user");
    home.write(&format!(".config/systemd/user/{name}"), format!("[Service]\n{lines}\n"));
}

/// The entries that a set-up proposes, as `id state_dir unit`.
fn proposed(home: &Home) -> Vec<String> {
    let ran = home.run(&["setup", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let written = home.read(".config/tokensink/tokensink.d/50-setup.toml");
    let written = written.replace(home.path("").display().to_string().trim_end_matches('/'), "~");
    let tables: Vec<&str> = written.split("\n[[").collect();
    let of = |table: &str, key: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.map(|value| value.trim_matches(['"', '[', ']']).to_owned())
    };
    let sinks = tables.iter().filter(|table| table.starts_with("sink]]")).map(|sink| {
        let id = of(sink, "id").unwrap();
        let gateway =
            tables.iter().find(|t| t.starts_with("gateway]]") && of(t, "sinks").as_ref() == Some(&id));
        let unit = gateway.and_then(|gateway| of(gateway, "unit")).unwrap_or_else(|| "-".to_owned());
        format!("{id} {} {unit}", of(sink, "state_dir").unwrap())
    });
    sinks.collect()
}

#[test]
fn every_instance_is_proposed_with_the_unit_that_runs_it() {
    let home = Home::new();
    instance(&home, ".openclaw", "2026.9.6");
    instance(&home, ".openclaw-work", "2026.2.25");
    instance(&home, ".openclaw-dev", "2026.9.6");
    instance(&home, ".openclaw-backup-2026", "2026.9.6");
    instance(&home, "srv/claw", "2026.9.6");
    home.mkdir(".openclaw-empty");
    unit(&home, "openclaw-gateway.service", "ExecStart=/n /d/index.js gateway");
    let state = home.path(".openclaw-work").display().to_string();
    unit(
        &home,
        "openclaw-gateway-work.service",
        &format!("Environment=OPENCLAW_PROFILE=work OPENCLAW_STATE_DIR={state}"),
    );
    unit(&home, "openclaw-gateway-third.service", "Environment=OPENCLAW_STATE_DIR=%h/srv/claw");
    unit(&home, "openclaw-gateway-gone.service", "Environment=OPENCLAW_STATE_DIR=%h/srv/gone");
    assert_eq!(
        proposed(&home),
        [
            "openclaw ~/.openclaw openclaw-gateway.service",
            "openclaw-dev ~/.openclaw-dev -",
            "openclaw-work ~/.openclaw-work openclaw-gateway-work.service",
            "openclaw-third ~/srv/claw openclaw-gateway-third.service",
        ]
    );
    home.finish();
}

#[test]
fn openclaws_configuration_is_given_away_by_its_own_word_only() {
    for (arguments, is_managed) in [(&["setup", "--yes"][..], false), (&["setup", "--yes", "--manage"], true)]
    {
        let home = Home::new();
        instance(&home, ".openclaw", "2026.9.6");
        assert_eq!(home.run(arguments).code, 0);
        let written = home.read(".config/tokensink/tokensink.d/50-setup.toml");
        assert_eq!(written.contains("manage = true"), is_managed, "{written}");
        assert_eq!(home.run(&["config", "check"]).code, 0);
        home.finish();
    }
}

#[test]
fn a_login_made_before_the_set_up_stands_beside_it() {
    let home = Home::new();
    instance(&home, ".openclaw", "2026.9.6");
    home.mkdir(".config/tokensink/tokensink.d");
    let entry = "[[login]]\nid = \"work\"\nprovider = \"codex\"\npath = \"~/work.json\"\n";
    home.write(".config/tokensink/tokensink.d/60-login-work.toml", entry);
    assert_eq!(proposed(&home), ["openclaw ~/.openclaw -"]);
    let shown = home.run(&["config", "show"]).stdout;
    assert!(shown.contains("id = \"work\"") && shown.contains("id = \"claude\""), "{shown}");
    assert!(home.run(&["setup", "--yes"]).stdout.contains("already configured"));
    home.finish();
}

#[test]
fn an_instance_of_the_older_name_is_found_under_it() {
    let home = Home::new();
    home.mkdir(".clawdbot");
    home.write(".clawdbot/clawdbot.json", r#"{"meta":{"lastTouchedVersion":"2026.1.24"}}"#);
    unit(&home, "clawdbot-gateway.service", "ExecStart=/n /clawdbot/index.js gateway");
    assert_eq!(proposed(&home), ["openclaw ~/.clawdbot clawdbot-gateway.service"]);
    home.rotate(&Login::nth(1));
    let report = home.run(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    assert!(report.to_string().contains("not known to be safe"), "its release is read: {report}");
    home.finish();
}

#[test]
fn the_cli_is_always_that_of_the_sinks_own_instance() {
    let mut home = Home::new();
    home.mkdir("bin");
    let cli = home.write("bin/openclaw.mjs", CLI);
    fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
    home.write("bin/package.json", json!({"name": "openclaw", "version": "2026.9.6"}).to_string());
    std::os::unix::fs::symlink("openclaw.mjs", home.path("bin/openclaw")).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
    home.holds_tokens(".local/state/tokensink/mirrors/dev.json");
    home.holds_tokens(".local/state/tokensink/mirrors/work.json");
    let mut config =
        String::from("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n");
    for name in ["dev", "work"] {
        home.mkdir(&format!(".openclaw-{name}/state"));
        home.write(&format!(".openclaw-{name}/state/openclaw.sqlite"), "SQLite format 3\0");
        let mirror = home.path(&format!(".local/state/tokensink/mirrors/{name}.json"));
        let refers = json!({
            "secrets": {"providers": {"any": {"source": "file", "path": mirror, "mode": "json"}}},
            "models": {"providers": {"anthropic":
                {"apiKey": {"source": "file", "provider": "any", "id": "/anthropic/accessToken"}}}},
        });
        home.write(&format!(".openclaw-{name}/openclaw.json"), refers.to_string());
        config += &format!(
            "[[sink]]\nid = \"{name}\"\nlogin = \"claude\"\nkind = \"openclaw\"\nstate_dir = \"~/.openclaw-{name}\"\n\
             [[gateway]]\nid = \"{name}\"\nsinks = [\"{name}\"]\ncommand = [\"false\"]\n"
        );
    }
    home.configure(&config);
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    assert_eq!(home.run(&["order", "get", "--sink", "work"]).code, 0);
    let calls = fs::read_to_string(home.path("calls"))
        .unwrap()
        .replace(home.path("").display().to_string().trim_end_matches('/'), "~");
    let of = |name: &str, port: &str, what: &str| {
        let (dir, config) = (format!("~/.openclaw-{name}"), format!("~/.openclaw-{name}/openclaw.json"));
        let found = calls.lines().any(|line| line.starts_with(&format!("{dir} {config} {port} {what}")));
        assert!(found, "{name} {what}:\n{calls}");
    };
    of("dev", "19001", "secrets reload --json");
    of("work", "", "secrets reload --json");
    of("work", "", "models auth order get");
    home.finish();
}

/// An engine that knows one container, as the file `container` describes it, and notes what it is asked.
const ENGINE: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/calls"
case "$1 $2" in
"ps --all") echo c1 ;;
"inspect --type") [ -e "$HOME/container" ] || exit 1; cat "$HOME/container" ;;
"exec "*)
    [ "$2" != -i ] || shift
    shift 2
    case "$*" in
    "node dist/index.js secrets store set "*) cat >"$HOME/stored" ;;
    "node dist/index.js config set models.providers.anthropic.apiKey "*)
        printf '{"models":{"providers":{"anthropic":{"apiKey":%s}}}}' "$6" >"$HOME/.openclaw/openclaw.json" ;;
    "node dist/index.js --version") cat "$HOME/release" ;;
    "node dist/index.js secrets reload --json") echo '{"ok":true,"warningCount":0}' ;;
    *) exit 127 ;;
    esac ;;
*) exit 9 ;;
esac
"#;

/// A home with an OpenClaw of 2026.9.6 of its own, and one in a container with that release and image.
fn contained(release: &str, gateway: &str, sink: &str) -> Home {
    let mut home = Home::new();
    home.mkdir("bin");
    for (name, text) in [("docker", ENGINE), ("openclaw.mjs", "#!/bin/sh\nexit 9\n")] {
        let program = home.write(&format!("bin/{name}"), text);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    home.write("bin/package.json", json!({"name": "openclaw", "version": "2026.9.6"}).to_string());
    std::os::unix::fs::symlink("openclaw.mjs", home.path("bin/openclaw")).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
    home.openclaw("2026.2.25", &["main"]);
    home.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n{sink}\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\n{gateway}\n"
    ));
    becomes(&home, "c1", "sha256:1", release);
    home.rotate(&Login::nth(1));
    home
}

/// The container is this one from now on.
fn becomes(home: &Home, id: &str, image: &str, release: &str) {
    let mounts =
        json!([{"Type": "bind", "Source": home.path(".openclaw"), "Destination": "/home/node/.openclaw"}]);
    let labels = json!({"com.docker.compose.project": "claw", "com.docker.compose.service": "openclaw-gateway",
        "com.docker.compose.project.working_dir": home.path("")});
    let container = json!([{"Id": id, "Image": image, "State": {"Running": true}, "Path": "docker-entrypoint.sh",
        "Args": ["node", "dist/index.js", "gateway", "--bind", "lan"], "Mounts": mounts, "Config": {"Labels": labels}}]);
    home.write("container", container.to_string());
    home.write("release", format!("OpenClaw {release} (0a1b2c3)\n"));
}

fn asked(home: &Home) -> Vec<String> {
    let calls = fs::read_to_string(home.path("calls")).unwrap_or_default();
    let _ = fs::remove_file(home.path("calls"));
    calls.lines().map(str::to_owned).collect()
}

const INSPECT: &str = "inspect --type container claw";
const VERSION: &str = "exec c1 node dist/index.js --version";
/// What it sees of what was written; one that cannot say is not doubted.
const LOOK: &str =
    "exec --env LC_ALL=C c1 sha256sum /home/node/.openclaw/agents/main/agent/auth-profiles.json";
const RELOAD: &str = "exec c1 node dist/index.js secrets reload --json";

#[test]
fn the_release_inside_a_container_is_asked_once_and_the_reload_goes_inside() {
    let home = contained("2026.2.26", "container = \"claw\"", "");
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(
        (&report["sinks"][0]["state"], &report["findings"]),
        (&"current".into(), &json!([])),
        "{report}"
    );
    assert_eq!(asked(&home), [INSPECT, VERSION, RELOAD, INSPECT, LOOK]);
    assert_eq!(home.run(&["sync"]).code, 0);
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["gateways"][0]["version"], "2026.2.26");
    assert_eq!(asked(&home), [""; 0], "nothing to do, nothing asked");
    home.rotate(&Login::nth(2));
    assert_eq!(home.run(&["sync"]).code, 0);
    assert_eq!(asked(&home), [INSPECT, RELOAD, INSPECT, LOOK]);
    assert!(home.read(".openclaw/agents/main/agent/auth-profiles.json").contains(&Login::nth(2).access));
    home.finish();
}

#[test]
fn a_container_that_was_made_anew_is_asked_before_the_next_write() {
    let home = contained("2026.2.26", "compose = { dir = \"~\", service = \"openclaw-gateway\" }", "");
    assert_eq!(home.run(&["sync"]).code, 0);
    let store = ".openclaw/agents/main/agent/auth-profiles.json";
    let before = home.read(store);
    becomes(&home, "c2", "sha256:2", "2026.9.6");
    home.rotate(&Login::nth(2));
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    assert_eq!(home.read(store), before);
    home.finish();
}

#[test]
fn a_container_that_cannot_be_asked_is_what_its_configuration_says_or_unknown() {
    let home = contained("", "container = \"claw\"", "");
    fs::remove_file(home.path("container")).unwrap();
    let report = home.run(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], json!(null), "lastTouchedVersion: {report}");
    home.write(".openclaw/openclaw.json", "{}");
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(
        report["sinks"][0]["code"], "VERSION_UNSUPPORTED",
        "the package here is not its own: {report}"
    );
    home.finish();
}

#[test]
fn a_container_that_does_not_see_our_file_is_not_made_to_refer_to_it() {
    let home = contained("2026.7.1", "container = \"claw\"", "manage = true");
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    assert!(report["findings"][0]["summary"].as_str().unwrap().contains("mounted"), "{report}");
    assert!(asked(&home).iter().all(|call| !call.contains("config")));
    home.finish();
}

#[test]
fn a_container_that_does_not_see_our_file_gets_the_token_into_its_own_secret_store() {
    let home = contained("2026.9.6", "container = \"claw\"", "manage = true");
    home.holds_tokens("stored");
    let report = home.run(&["sync", "--json"]).json();
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    let called = asked(&home);
    let name = "TOKENSINK_ANTHROPIC_ACCESS_TOKEN";
    let set = format!("exec -i c1 node dist/index.js secrets store set {name} --kind secret");
    assert!(called.contains(&set), "{called:?}");
    assert!(called.iter().any(|call| call.contains("config set") && call.contains(name)), "{called:?}");
    assert_eq!(home.read("stored"), Login::nth(1).access);
    home.rotate(&Login::nth(2));
    assert_eq!(home.run(&["sync"]).code, 0);
    assert_eq!(home.read("stored"), Login::nth(2).access);
    home.finish();
}
