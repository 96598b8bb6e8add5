//! `openclaw` sinks: which way an instance is supplied, with packages that have a manifest and a CLI
//! that notes how it is called. What the real one does is proved in `openclaw_real`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::stage::{Home, Login};

/// Keeps what it is told in `openclaw.json`, and its one secret in `stored`; answers its reloads by the lines of `answers`, then whole.
const CLI: &str = r#"#!/bin/sh
echo "$OPENCLAW_STATE_DIR $*" >>"$HOME/calls"
case "$1 $2 $3" in
"config set secrets.providers.tokensink") printf %s "$4" >"$HOME/alias" ;;
"config set models.providers.anthropic.apiKey")
    [ -e "$HOME/alias" ] || { printf '{"models":{"providers":{"anthropic":{"apiKey":%s}}}}' "$4" >"$OPENCLAW_CONFIG_PATH"; exit; }
    printf '{"secrets":{"providers":{"tokensink":%s}},"models":{"providers":{"anthropic":{"apiKey":%s}}}}' \
        "$(cat "$HOME/alias")" "$4" >"$OPENCLAW_CONFIG_PATH" ;;
"config set agents.defaults.model.primary")
    sed -i "s#^{#{\"agents\":{\"defaults\":{\"model\":{\"primary\":$4}}},#" "$OPENCLAW_CONFIG_PATH" ;;
"secrets store set") cat >"$HOME/stored" ;;
"secrets store rm") rm -f "$HOME/stored" ;;
"config unset "*) echo '{}' >"$OPENCLAW_CONFIG_PATH" ;;
"models status --json")
    [ ! -e "$HOME/health" ] || { cat "$HOME/health"; exit "$(cat "$HOME/health.exit")"; }
    model=$(cat "$HOME/model" 2>/dev/null || echo anthropic/claude-opus-5)
    echo "{\"resolvedDefault\":\"$model\",\"auth\":{\"missingProvidersInUse\":[\"openai\"]}}" ;;
"secrets reload --json")
    answer=$(head -n 1 "$HOME/answers" 2>/dev/null)
    [ -z "$answer" ] || sed -i 1d "$HOME/answers"
    case "$answer" in
    "") echo '{"ok":true,"warningCount":0}' ;;
    warnings) echo '{"ok":true,"warningCount":2}' ;;
    *) echo "$answer" >&2; exit 1 ;;
    esac ;;
"gateway call gateway.restart.preflight") cat "$HOME/safe" || exit 1 ;;
*) exit 9 ;;
esac
"#;

/// An OpenClaw of that release behind `bin/openclaw`, with a database, and a sink for it.
pub fn world(release: &str, keys: &str) -> Home {
    let mut home = Home::new();
    home.mkdir("bin");
    package(&home, "package", release);
    std::os::unix::fs::symlink("../package/openclaw.mjs", home.path("bin/openclaw")).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
    home.mkdir(".openclaw/state");
    home.write(".openclaw/openclaw.json", "{}");
    home.write(".openclaw/state/openclaw.sqlite", "SQLite format 3\0");
    home.holds_tokens(".local/state/tokensink/mirrors/claw.json");
    configure(&home, keys, "command = [\"touch\", \"restarted\"]");
    home.rotate(&Login::nth(1));
    home
}

pub fn configure(home: &Home, keys: &str, gateway: &str) {
    home.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n{keys}\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\n{gateway}\n"
    ));
}

/// A package with a CLI, in a directory of the home.
fn package(home: &Home, directory: &str, release: &str) {
    home.mkdir(directory);
    let manifest =
        json!({"name": "openclaw", "version": release, "openclaw": {"schemaVersions": {"state": 18}}});
    let before = json!({"name": "openclaw", "version": release});
    let manifest = if release < "2026.6" { before } else { manifest };
    home.replace(&format!("{directory}/package.json"), manifest.to_string());
    let cli = home.replace(&format!("{directory}/openclaw.mjs"), CLI);
    fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn mirror(home: &Home) -> PathBuf {
    home.path(".local/state/tokensink/mirrors/claw.json")
}

/// What the CLI was called with, oldest first.
pub fn calls(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.path("calls")).unwrap_or_default();
    let ours = home.path("").display().to_string();
    text.lines().map(|line| line.replace(&ours, "~")).collect()
}

pub fn sync(home: &Home) -> Value {
    home.run(&["sync", "--json"]).json()
}

pub fn codes(report: &Value) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings.map(|f| (text(&f["code"]), text(&f["severity"]))).collect()
}

/// A configuration that refers to our file already.
fn set_up(home: &Home) {
    let config = json!({
        "secrets": {"providers": {"any": {"source": "file", "path": mirror(home), "mode": "json"}}},
        "models": {"providers": {"anthropic":
            {"apiKey": {"source": "file", "provider": "any", "id": "/anthropic/accessToken"}}}},
    });
    home.write(".openclaw/openclaw.json", config.to_string());
}

pub const RELOAD: &str = "~/.openclaw secrets reload --json";

#[test]
fn a_set_up_begins_with_a_reload_that_works_and_ends_with_one() {
    let home = world("2026.9.6", "manage = true");
    let report = sync(&home);
    assert_eq!((&report["sinks"][0]["state"], codes(&report)), (&"current".into(), vec![]), "{report}");
    let called = calls(&home);
    assert_eq!(called.len(), 5, "{called:?}");
    assert_eq!(called[4], "~/.openclaw models status --json", "one of Anthropic's is left as it is");
    assert_eq!((&*called[0], &*called[3]), (RELOAD, RELOAD));
    assert!(called[1].starts_with("~/.openclaw config set secrets.providers.tokensink {"), "{called:?}");
    assert!(
        called[2].starts_with("~/.openclaw config set models.providers.anthropic.apiKey {"),
        "{called:?}"
    );
    let token: Value = serde_json::from_slice(&fs::read(mirror(&home)).unwrap()).unwrap();
    assert_eq!(token, json!({"anthropic": {"accessToken": Login::nth(1).access}}));
    assert_eq!(fs::metadata(mirror(&home)).unwrap().permissions().mode() & 0o777, 0o600);

    sync(&home);
    assert_eq!(calls(&home).len(), 5, "nothing changed, nothing is done");
    home.rotate(&Login::nth(2));
    sync(&home);
    assert_eq!(calls(&home)[5..], [RELOAD], "a rotation is one reload");
    assert!(!home.path("restarted").exists());
    home.finish();
}

#[test]
fn what_was_set_up_is_taken_back_on_request() {
    let home = world("2026.9.6", "manage = true");
    sync(&home);
    let refused = home.run(&["setup", "--undo"]);
    assert!(refused.code == 1 && refused.stderr.contains("manage = true"), "{refused:?}");
    configure(&home, "", "command = [\"touch\", \"restarted\"]");
    assert_eq!(home.run(&["setup", "--undo"]).code, 0);
    assert_eq!(fs::read_to_string(home.path(".openclaw/openclaw.json")).unwrap(), "{}\n");
    assert!(!mirror(&home).exists());
    let report = sync(&home);
    assert_eq!(report["sinks"][0]["code"], "STORE_RETIRED", "{report}");
    let ran = home.run(&["setup", "--undo"]);
    assert!(ran.code == 0 && ran.stdout.contains("nothing to do"), "{ran:?}");
    home.finish();
}

#[test]
fn undo_takes_back_the_reference_with_everything_else() {
    let home = world("2026.9.6", "manage = true");
    sync(&home);
    let ran = home.run(&["undo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("does not refer to"), "{ran:?}");
    assert_eq!(fs::read_to_string(home.path(".openclaw/openclaw.json")).unwrap(), "{}\n");
    assert!(!mirror(&home).exists());
    let again = home.run(&["undo"]);
    assert!(again.code == 0 && again.stdout.contains("nothing of ours"), "{again:?}");
    home.finish();
}

#[test]
fn a_default_model_is_set_where_none_could_be_used_and_only_it_is_taken_back() {
    const KEY: &str = "config set agents.defaults.model.primary";
    for (own, was, is_set) in [
        ("openai/gpt-6-astra", "{}", true),
        ("google/gemini-9", "{}", false),
        ("openai/gpt-6-astra", r#"{"agents":{"defaults":{"model":{"primary":"openai/gpt-5"}}}}"#, false),
    ] {
        let home = world("2026.9.6", "manage = true");
        home.write("model", own);
        home.write(".openclaw/openclaw.json", was);
        // This stub forgets what was configured when the reference is set; the owner's model is kept.
        let keeps = format!("{was}\n");
        if was != "{}" {
            let stub = CLI.replace(
                "printf '{\"secrets\"",
                "printf '{\"agents\":{\"defaults\":{\"model\":{\"primary\":\"openai/gpt-5\"}}},\"secrets\"",
            );
            let cli = home.replace("package/openclaw.mjs", stub);
            fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let report = sync(&home);
        assert_eq!(report["sinks"][0]["state"], "current", "{keeps}: {report}");
        let called = calls(&home);
        assert_eq!(called.iter().any(|call| call.contains(KEY)), is_set, "{own} {was}: {called:?}");
        sync(&home);
        assert_eq!(calls(&home), called, "once");

        configure(&home, "", "command = [\"touch\", \"restarted\"]");
        let undone = home.run(&["setup", "--undo"]);
        assert_eq!(undone.code, 0, "{undone:?}");
        let taken = calls(&home).iter().any(|call| call.contains("config unset agents.defaults.model"));
        assert_eq!(taken, is_set, "{own} {was}: {:?}", calls(&home));
        home.finish();
    }
}

/// OpenClaw 2026.9.6 names one when the key of a provider is set.
#[test]
fn a_default_model_that_came_with_the_set_up_goes_with_it() {
    let home = world("2026.9.6", "manage = true");
    let stub = CLI.replace(
        "printf '{\"secrets\"",
        "printf '{\"agents\":{\"defaults\":{\"model\":{\"primary\":\"anthropic/any\"}}},\"secrets\"",
    );
    let cli = home.replace("package/openclaw.mjs", stub);
    fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
    sync(&home);
    configure(&home, "", "command = [\"touch\", \"restarted\"]");
    assert_eq!(home.run(&["setup", "--undo"]).code, 0);
    let called = calls(&home);
    assert!(called.iter().any(|call| call.ends_with("config unset agents.defaults.model")), "{called:?}");
    assert!(!called.iter().any(|call| call.contains("config set agents")), "{called:?}");
    home.finish();
}

#[test]
fn a_default_model_that_its_owner_changed_since_stays() {
    let home = world("2026.9.6", "manage = true");
    home.write("model", "openai/gpt-6-astra");
    sync(&home);
    let config = home.read(".openclaw/openclaw.json");
    assert!(config.contains("anthropic/claude-opus-5"), "{config}");
    home.replace(".openclaw/openclaw.json", config.replace("claude-opus-5", "claude-sonnet-5"));
    configure(&home, "", "command = [\"touch\", \"restarted\"]");
    assert_eq!(home.run(&["setup", "--undo"]).code, 0);
    let called = calls(&home);
    assert!(!called.iter().any(|call| call.contains("unset agents.defaults.model")), "{called:?}");
    home.finish();
}

#[test]
fn a_set_up_that_does_not_prove_itself_is_taken_back_and_not_repeated() {
    let home = world("2026.9.6", "manage = true");
    // The first reload works, every one after the set-up has warnings.
    let seen = "[ ! -e \"$HOME/alias\" ] || echo warnings >\"$HOME/answers\"";
    let cli = home
        .replace("package/openclaw.mjs", CLI.replace("answer=$(head", &format!("{seen}\n    answer=$(head")));
    fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = home.run(&["sync", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let called = calls(&home);
    assert!(
        called.iter().any(|call| call.contains("config unset models.providers.anthropic.apiKey")),
        "{called:?}"
    );
    assert_eq!(fs::read_to_string(home.path(".openclaw/openclaw.json")).unwrap(), "{}\n");
    let report = sync(&home);
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    home.rotate(&Login::nth(2));
    sync(&home);
    assert_eq!(calls(&home), called, "it is not tried again with this release");

    fs::remove_file(home.path("alias")).unwrap();
    package(&home, "package", "2026.8.2");
    let report = sync(&home);
    assert_eq!(report["sinks"][0]["state"], "current", "another release, another try: {report}");
    home.finish();
}

#[test]
fn a_profile_beside_the_reference_is_told_with_the_command_that_removes_it() {
    let token = json!({"type": "token", "provider": "anthropic", "token": "sk-ant-oat01-own"});
    for (release, noted, stored, shadow) in [
        ("2026.9.6", json!({}), json!({}), None),
        ("2026.9.6", json!({"openai:x": {"provider": "openai", "mode": "oauth"}}), json!({}), None),
        (
            "2026.9.6",
            json!({"anthropic:mine": {"provider": "anthropic", "mode": "token"}}),
            json!({}),
            Some("mine"),
        ),
        // Nobody reads a store beside a database.
        ("2026.9.6", json!({}), json!({"anthropic:old": token}), None),
        (
            "2026.5.28",
            json!({}),
            json!({"anthropic:old": token, "openai:x": {"provider": "openai"}}),
            Some("old"),
        ),
    ] {
        let home = world(release, "");
        set_up(&home);
        let mut config: Value = serde_json::from_str(&home.read(".openclaw/openclaw.json")).unwrap();
        config["auth"] = json!({"profiles": noted});
        home.replace(".openclaw/openclaw.json", config.to_string());
        if release < "2026.6" {
            fs::remove_file(home.path(".openclaw/state/openclaw.sqlite")).unwrap();
        }
        home.mkdir(".openclaw/agents/main/agent");
        let store = json!({"version": 1, "profiles": stored});
        home.write(".openclaw/agents/main/agent/auth-profiles.json", store.to_string());
        let report = sync(&home);
        assert_eq!(report["sinks"][0]["state"], "current", "{report}");
        let told = codes(&report);
        assert_eq!(
            told.contains(&("PROFILE_SHADOWS".into(), "warning".into())),
            shadow.is_some(),
            "{report}"
        );
        let next = shadow.map(|id| match release {
            "2026.9.6" => format!("openclaw models auth logout anthropic:{id} --agent main --yes"),
            _ => "openclaw models auth list --agent main".to_owned(),
        });
        let findings = report["findings"].as_array().unwrap().iter();
        let named = findings.filter(|f| f["code"] == "PROFILE_SHADOWS").map(|f| f["next"].as_str().unwrap());
        assert_eq!(named.collect::<Vec<_>>(), next.as_deref().into_iter().collect::<Vec<_>>());
        home.finish();
    }
}

#[test]
fn a_cli_that_was_paired_for_less_comes_with_an_identity_of_its_own() {
    let home = world("2026.6.11", "manage = true");
    set_up(&home);
    home.write("answers", "pairing required: device is asking for more scopes than currently approved\n");
    let report = sync(&home);
    assert_eq!(codes(&report), [], "{report}");
    let called = calls(&home);
    assert_eq!(called, [RELOAD, "~/.local/state/tokensink/identities/claw secrets reload --json"]);
    assert!(!home.path("restarted").exists());
    home.finish();
}

#[test]
fn a_gateway_that_knows_no_reload_is_restarted_and_one_that_is_down_is_waited_for() {
    let home = world("2026.9.6", "manage = true");
    set_up(&home);
    home.write("answers", "gateway not reachable (ECONNREFUSED)\n");
    let ran = home.run(&["sync", "--json"]);
    assert_eq!(codes(&ran.json()), [("NOT_CONVERGED".to_owned(), "notice".to_owned())], "{ran:?}");
    assert_eq!(ran.code, 0, "a gateway that is down is no failure: {ran:?}");
    assert!(!home.path("restarted").exists());

    home.write("answers", "error: unknown command 'secrets'\nerror: unknown command 'secrets'\n");
    let report = sync(&home);
    assert_eq!(codes(&report), [], "{report}");
    assert!(home.path("restarted").exists());
    home.finish();
}

#[test]
fn a_reload_with_warnings_is_not_taken_for_one() {
    let home = world("2026.9.6", "");
    set_up(&home);
    home.write("answers", "warnings\n");
    let ran = home.run(&["sync", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(codes(&ran.json()), [("NOT_CONVERGED".to_owned(), "critical".to_owned())]);
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["gateways"][0]["applied"], false);
    home.finish();
}

#[test]
fn a_restart_waits_for_an_openclaw_that_says_it_has_work_and_for_no_other() {
    let busy = r#"{"safe": false, "counts": {"embeddedRuns": 1}}"#;
    for (says, waits) in [(busy, true), (r#"{"safe": true}"#, false), ("Error: unknown method", false)] {
        let home = world("2026.9.6", "");
        set_up(&home);
        home.write("safe", says);
        configure(&home, "", "apply = \"restart\"\ncommand = [\"touch\", \"restarted\"]");
        let ran = home.run(&["sync", "--json"]);
        assert_eq!((ran.code, codes(&ran.json())), (0, vec![]), "waiting is no failure: {ran:?}");
        assert_eq!(home.path("restarted").exists(), !waits, "{says}");
        assert_eq!(calls(&home), ["~/.openclaw gateway call gateway.restart.preflight --json"]);
        let gateway = &home.run(&["status", "--json"]).json()["gateways"][0];
        assert_eq!(
            (&gateway["applied"], gateway["busy_since"].is_null()),
            (&(!waits).into(), !waits),
            "{gateway}"
        );
        if waits {
            assert_eq!(ran.json()["waiting"][0]["gateway"], "claw");
            home.rotate(&Login::nth(2));
            sync(&home);
            assert_eq!(calls(&home).len(), 1, "a change that joins asks no sooner");
            let text = home.run(&["status"]).stdout;
            assert!(text.contains("waiting until it is idle"), "{text}");
        }
        home.finish();
    }
}

#[test]
fn an_idle_of_the_owner_s_is_asked_instead() {
    for (idle, restarts) in
        [("exit 1", false), ("echo busy with 3 turns", false), ("echo idle", true), ("exit 127", true)]
    {
        let home = world("2026.9.6", "");
        set_up(&home);
        configure(
            &home,
            "",
            &format!("apply = \"restart\"\nidle = \"{idle}\"\ncommand = [\"touch\", \"restarted\"]"),
        );
        sync(&home);
        assert_eq!((home.path("restarted").exists(), calls(&home).len()), (restarts, 0), "{idle}");
        home.finish();
    }
}

#[test]
fn an_old_process_under_a_new_package_is_told_and_left_alone() {
    let home = world("2026.2.26", "");
    fs::remove_file(home.path(".openclaw/state/openclaw.sqlite")).unwrap();
    home.openclaw("2026.2.26", &["main"]);
    home.write("answers", "Error: gateway closed (1008): device signature invalid\n");
    let ran = home.run(&["sync", "--json"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (0, vec![("NOT_CONVERGED".to_owned(), "warning".to_owned())]),
        "{ran:?}"
    );
    assert!(
        ran.json()["findings"][0]["summary"].as_str().unwrap().contains("its old process still runs"),
        "{ran:?}"
    );
    sync(&home);
    assert_eq!(calls(&home).len(), 1, "it is not asked again for that change");
    home.rotate(&Login::nth(2));
    let report = sync(&home);
    assert_eq!(codes(&report), [], "another answer, another finding: {report}");
    assert!(!home.path("restarted").exists());
    home.finish();
}

#[test]
fn a_reload_that_keeps_failing_is_a_restart_when_the_token_is_about_to_end() {
    let unanswered = "Error: gateway request timeout for secrets.reload";
    for (answer, apply, is_restarted) in [
        (unanswered, "", true),
        (unanswered, "apply = \"reload\"", false),
        // What cannot be resolved now cannot be at a start either, which may fail for it.
        ("warnings", "", false),
        ("UNAVAILABLE: secrets.reload failed", "", false),
    ] {
        let home = world("2026.9.6", "");
        set_up(&home);
        configure(&home, "", &format!("{apply}\ncommand = [\"touch\", \"restarted\"]"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let mut short = Login::nth(1);
        short.expires_at = now as i64 + 60_000;
        home.rotate(&short);
        sync(&home);
        home.write("answers", format!("{answer}\n").repeat(4));
        home.rotate(&Login::nth(2));
        for failed in 1..=3 {
            let report = sync(&home);
            let critical = ("NOT_CONVERGED".to_owned(), "critical".to_owned());
            assert_eq!(codes(&report), [critical], "{failed}: {report}");
            assert!(!home.path("restarted").exists(), "{failed}");
        }
        let report = sync(&home);
        assert_eq!(codes(&report).is_empty(), is_restarted, "{answer} {apply}: {report}");
        assert_eq!(home.path("restarted").exists(), is_restarted, "{answer} {apply}");
        home.finish();
    }
}

#[test]
fn a_sink_that_no_gateway_reads_is_not_said_to_be_current() {
    let home = world("2026.9.6", "manage = true");
    for gateway in
        ["", "[[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\napply = \"none\"\ncommand = [\"false\"]\n"]
    {
        home.configure(&format!(
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
             [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\nmanage = true\n{gateway}"
        ));
        let report = sync(&home);
        assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
        assert!(calls(&home).is_empty() && !mirror(&home).exists());
    }
    home.finish();
}

#[test]
fn what_the_owner_has_decided_is_left_alone() {
    let key = json!({"models": {"providers": {"anthropic": {"apiKey": "sk-ant-api03-made-up"}}}});
    let elsewhere = json!({
        "secrets": {"providers": {"own": {"source": "file", "path": "/elsewhere.json", "mode": "json"}}},
        "models": {"providers": {"anthropic": {"apiKey": {"source": "file", "provider": "own", "id": "/k"}}}},
    });
    for (config, keys, state) in [
        (&key, "manage = true", "refused"),
        (&elsewhere, "manage = true", "refused"),
        (&json!({}), "", "refused"),
        (
            &json!({"agents": {"defaults": {"models": {"anthropic/claude-opus-5": {"agentRuntime": {"id": "claude-cli"}}}}}}),
            "manage = true",
            "current",
        ),
    ] {
        let home = world("2026.9.6", keys);
        home.write(".openclaw/openclaw.json", config.to_string());
        let ran = home.run(&["sync", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let report = ran.json();
        assert_eq!(report["sinks"][0]["state"], state, "{config}: {report}");
        assert_eq!(report["sinks"][0]["code"] == "STORE_RETIRED", state == "refused", "{report}");
        assert!(calls(&home).is_empty() && !mirror(&home).exists(), "{config}");
        assert_eq!(fs::read_to_string(home.path(".openclaw/openclaw.json")).unwrap(), config.to_string());
        home.finish();
    }
}

#[test]
fn an_upgrade_underneath_is_noticed_before_the_next_write() {
    let home = world("2026.2.25", "");
    fs::remove_file(home.path(".openclaw/state/openclaw.sqlite")).unwrap();
    let store = &home.openclaw("2026.2.25", &["main"])[0];
    assert_eq!(sync(&home)["sinks"][0]["state"], "current");
    let before = fs::read(store).unwrap();
    package(&home, "package", "2026.9.6");
    home.rotate(&Login::nth(2));
    let report = sync(&home);
    assert_eq!(report["sinks"][0]["code"], "STORE_RETIRED", "{report}");
    assert_eq!(fs::read(store).unwrap(), before);
    home.finish();
}

#[test]
fn what_a_gateway_writes_back_is_put_right_as_often_as_it_does() {
    let home = world("2026.2.26", "");
    fs::remove_file(home.path(".openclaw/state/openclaw.sqlite")).unwrap();
    let store = &home.openclaw("2026.2.26", &["main"])[0];
    sync(&home);
    let old = fs::read(store).unwrap();
    home.rotate(&Login::nth(2));
    sync(&home);
    let new = fs::read(store).unwrap();
    assert_ne!(new, old);
    for round in 0..5 {
        let before = calls(&home).len();
        fs::write(store, &old).unwrap();
        let report = sync(&home);
        assert_eq!(codes(&report), [], "round {round}: {report}");
        assert_eq!(fs::read(store).unwrap(), new, "round {round}");
        assert_eq!(calls(&home).len(), before + 1, "round {round}: each ends in a reload");
    }
    assert!(!home.path("restarted").exists());
    home.finish();
}

#[test]
fn the_package_that_the_unit_runs_is_what_counts() {
    let home = world("2026.2.25", "");
    fs::remove_file(home.path(".openclaw/state/openclaw.sqlite")).unwrap();
    home.openclaw("2026.2.25", &["main"]);
    package(&home, "other", "2026.9.6");
    home.mkdir(".config/systemd/user/openclaw-gateway.service.d");
    let run = home.path("other/openclaw.mjs").display().to_string();
    let unit = format!("[Service]\nExecStart=/usr/bin/env {run} gateway --port 18789\n");
    home.write(".config/systemd/user/openclaw-gateway.service", unit);
    configure(&home, "", "unit = \"openclaw-gateway.service\"");
    let report = home.run(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], "STORE_RETIRED", "{report}");

    // A unit of another instance says nothing about this one.
    let other = "[Service]\nEnvironment=OPENCLAW_STATE_DIR=/srv/other\n";
    home.write(".config/systemd/user/openclaw-gateway.service.d/10-other.conf", other);
    let report = home.run(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(report["sinks"][0]["code"], Value::Null, "{report}");
    home.finish();
}

#[test]
fn where_openclaws_own_health_check_differs_the_doctor_says_why() {
    let home = world("2026.9.6", "");
    set_up(&home);
    sync(&home);
    let asked = |exit: i32, answer: Value| {
        home.replace("health", answer.to_string());
        home.replace("health.exit", exit.to_string());
        let before = home.snapshot();
        let report = home.run(&["doctor", "--json"]).json();
        let differences =
            report["findings"].as_array().unwrap().iter().filter(|f| f["code"] == "HEALTH_DIFFERS");
        let found: Vec<_> = differences.map(|f| (f["severity"].clone(), f["summary"].clone())).collect();
        let shown = home.run(&["status", "--probe"]);
        let mut after = home.snapshot();
        after.retain(|path, _| !path.ends_with("calls"));
        assert!(after.iter().all(|(path, trace)| before.get(path) == Some(trace)), "nothing is changed");
        (found, shown.stdout)
    };
    let (found, shown) = asked(0, json!({"auth": {}}));
    assert_eq!(found, []);
    assert!(shown.contains("openclaw claw/main  says ok, as we do"), "{shown}");
    let expired = json!({"profileId": "google:x", "status": "expired"});
    let (found, shown) = asked(1, json!({"auth": {"oauth": {"profiles": [expired]}}}));
    assert!(found[0].0 == "notice" && found[0].1.as_str().unwrap().contains("google:x"), "{found:?}");
    assert!(shown.contains("nothing is wrong"), "{shown}");
    let cooled = json!({"profileId": "inline-api-key:anthropic", "reason": "auth"});
    let (found, _) = asked(0, json!({"auth": {"unusableProfiles": [cooled]}}));
    assert!(found[0].0 == "warning" && found[0].1.as_str().unwrap().contains("auth"), "{found:?}");
    let (found, _) = asked(1, json!("no report"));
    assert_eq!(found[0].0, "notice", "{found:?}");
    home.finish();
}

#[test]
fn what_a_killed_undo_left_of_a_reference_goes_with_the_next_one() {
    for command in [&["undo"][..], &["setup", "--undo"]] {
        let home = world("2026.9.6", "manage = true");
        sync(&home);
        let alias = json!({"source": "file", "path": mirror(&home), "mode": "json"});
        // Between the two keys of the reference; and another source of the owner's own.
        let config = json!({"secrets": {"providers": {"tokensink": alias, "vault": {"source": "env"}}}});
        home.replace(".openclaw/openclaw.json", config.to_string());
        configure(&home, "", "command = [\"touch\", \"restarted\"]");
        fs::remove_file(home.path("calls")).unwrap();
        let ran = home.run(command);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(calls(&home), ["~/.openclaw config unset secrets.providers.tokensink"]);
        assert!(!mirror(&home).exists());

        // A key that the owner has set since is none of ours.
        let own = json!({"secrets": {"providers": {"tokensink": alias}},
            "models": {"providers": {"anthropic": {"apiKey": "sk-ant-api03-own"}}}});
        home.replace(".openclaw/openclaw.json", own.to_string());
        fs::remove_file(home.path("calls")).unwrap();
        assert_eq!((home.run(command).code, calls(&home)), (0, vec![]));
        home.replace(".openclaw/openclaw.json", "{}\n");

        // And after both, with the file alone.
        home.write(".local/state/tokensink/mirrors/claw.json", "{}");
        let ran = home.run(command);
        assert_eq!((ran.code, mirror(&home).exists(), calls(&home)), (0, false, vec![]), "{ran:?}");
        home.finish();
    }
}

#[test]
fn a_reference_under_a_name_of_the_owners_own_is_taken_back_and_the_name_stays_with_its_file() {
    let home = world("2026.9.6", "");
    set_up(&home);
    sync(&home);
    let config = home.read(".openclaw/openclaw.json");
    // What is unset is gone from the file, and the rest of it is there.
    let cli = CLI.replace("echo '{}' >", "sed -i 's/\"models\"/\"removed\"/' ");
    let cli = home.replace("package/openclaw.mjs", cli);
    fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(home.path("calls")).unwrap();
    let ran = home.run(&["undo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(calls(&home), ["~/.openclaw config unset models.providers.anthropic.apiKey"]);
    assert_ne!(home.read(".openclaw/openclaw.json"), config);
    assert!(mirror(&home).exists() && ran.stdout.contains("speaks of it"), "{ran:?}");
    home.finish();
}

#[test]
fn what_something_else_takes_from_our_file_stays_when_a_set_up_is_taken_back() {
    let home = world("2026.9.6", "manage = true");
    sync(&home);
    let alias = json!({"source": "file", "path": mirror(&home), "mode": "json"});
    let reference = json!({"source": "file", "provider": "tokensink", "id": "/anthropic/accessToken"});
    for key in ["anthropic", "proxy"] {
        // As a whole, and as an undo that was killed left it.
        let mut providers = json!({"proxy": {"apiKey": reference}});
        providers[key] = json!({"apiKey": reference});
        let config =
            json!({"secrets": {"providers": {"tokensink": alias}}, "models": {"providers": providers}});
        home.replace(".openclaw/openclaw.json", config.to_string());
        let cli = CLI.replace("echo '{}' >", "sed -i 's/\"anthropic\":{/\"gone\":{/' ");
        let cli = home.replace("package/openclaw.mjs", cli);
        fs::set_permissions(cli, fs::Permissions::from_mode(0o755)).unwrap();
        configure(&home, "", "command = [\"touch\", \"restarted\"]");
        fs::remove_file(home.path("calls")).unwrap_or_default();
        let ran = home.run(&["setup", "--undo"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let unset = calls(&home).into_iter().filter(|call| call.contains("config unset")).collect::<Vec<_>>();
        let own = "~/.openclaw config unset models.providers.anthropic.apiKey".to_owned();
        assert_eq!(unset, if key == "anthropic" { vec![own] } else { vec![] });
        assert!(mirror(&home).exists(), "{ran:?}");
    }
    home.finish();
}
