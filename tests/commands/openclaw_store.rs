//! A gateway that cannot read a file of ours is handed the token for its own secret store: by a
//! call over its loopback port, else by its CLI on standard input.

use std::fs;

use serde_json::{Value, json};

use crate::claw_door::{ClawDoor, Play, TOKEN, refusal, result};
use crate::openclaw::{RELOAD, calls, codes, configure, mirror, sync, world};
use crate::stage::{Home, Login};

const NAME: &str = "TOKENSINK_ANTHROPIC_ACCESS_TOKEN";
const SET: &str = "~/.openclaw secrets store set TOKENSINK_ANTHROPIC_ACCESS_TOKEN --kind secret";

fn used() -> Value {
    json!({"ok": true, "reloaded": true, "warningCount": 0})
}

fn listening(port: u16, more: &Value) -> String {
    let mut config = json!({
        "gateway": {"port": port, "bind": "loopback", "auth": {"mode": "token", "token": TOKEN}},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string()
}

/// A configuration that refers to our entry.
fn referring() -> Value {
    json!({"models": {"providers": {"anthropic":
        {"apiKey": {"source": "store", "provider": "default", "id": NAME}}}}})
}

/// An OpenClaw that refers to our entry and whose port plays `play`.
fn referred(play: Play) -> (Home, ClawDoor) {
    let home = world("2026.9.6", "");
    home.holds_tokens("stored");
    let door = ClawDoor::open(play);
    home.write(".openclaw/openclaw.json", listening(door.port, &referring()));
    (home, door)
}

/// The tokens that were handed over the port, oldest first.
fn handed(door: &ClawDoor) -> Vec<String> {
    let heard = door.heard().into_iter().filter(|request| request["method"] == "secrets.store.set");
    heard.map(|request| request["params"]["value"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_gateway_of_another_user_is_set_up_with_its_own_store_and_handed_every_rotation() {
    let home = world("2026.9.6", "manage = true");
    std::os::unix::fs::chown(home.path(".openclaw"), Some(4711), None).unwrap();
    home.holds_tokens("stored");
    // A reload as things are, the first token, which nothing uses yet, then one that is used.
    let first = vec![
        result("2", json!({"ok": true, "warningCount": 0})),
        result("2", json!({"ok": true, "reloaded": false})),
    ];
    let door = ClawDoor::open(Play { first, ..Play::good(used()) });
    home.write(".openclaw/openclaw.json", listening(door.port, &json!({})));
    let report = sync(&home);
    assert_eq!((&report["sinks"][0]["state"], codes(&report)), (&"current".into(), vec![]), "{report}");
    let methods = door.methods().into_iter().filter(|method| method != "connect").collect::<Vec<_>>();
    assert_eq!(methods, ["secrets.reload", "secrets.store.set", "secrets.store.set"]);
    let value = Login::nth(1).access;
    let asked = json!({"name": NAME, "kind": "secret", "value": value});
    assert!(door.heard().iter().filter(|r| r["method"] == "secrets.store.set").all(|r| r["params"] == asked));
    assert!(!Value::from(door.heard()).to_string().contains(&Login::nth(1).refresh));
    let value = json!({"source": "store", "provider": "default", "id": NAME});
    assert_eq!(
        calls(&home),
        [
            format!("~/.openclaw config set models.providers.anthropic.apiKey {value} --json"),
            // Whether the model that it would take has a credential: it has.
            "~/.openclaw models status --json".to_owned(),
        ]
    );
    assert!(!mirror(&home).exists());

    // The CLI played here forgot the port: the CLI is the way from now on.
    let before = calls(&home).len();
    home.rotate(&Login::nth(2));
    let report = sync(&home);
    assert_eq!((&report["sinks"][0]["state"], codes(&report)), (&"current".into(), vec![]), "{report}");
    assert_eq!(calls(&home)[before..], [SET, RELOAD]);
    assert_eq!(home.read("stored"), Login::nth(2).access);
    sync(&home);
    assert_eq!(calls(&home).len(), before + 2, "nothing changed, nothing is done");

    configure(&home, "", "command = [\"touch\", \"restarted\"]");
    assert_eq!(home.run(&["setup", "--undo"]).code, 0);
    let undone = [
        "~/.openclaw config unset models.providers.anthropic.apiKey".to_owned(),
        format!("~/.openclaw secrets store rm --yes {NAME}"),
    ];
    assert_eq!(calls(&home)[before + 2..], undone);
    let ran = home.run(&["setup", "--undo"]);
    assert!(ran.code == 0 && ran.stdout.contains("nothing to do"), "{ran:?}");
    home.finish();
}

#[test]
fn only_a_gateway_that_uses_the_token_it_took_has_followed() {
    let critical = vec![("NOT_CONVERGED".to_owned(), "critical".to_owned())];
    for (answer, left, called) in [
        (result("2", used()), vec![], vec![]),
        (result("2", json!({"ok": true, "reloaded": false})), critical.clone(), vec![]),
        (result("2", json!({"ok": true, "reloaded": true, "warningCount": 1})), critical.clone(), vec![]),
        (result("2", json!({"ok": true, "reloaded": true})), critical.clone(), vec![]),
        (refusal("2", "UNAVAILABLE", "superseded"), critical, vec![]),
        (refusal("2", "INVALID_REQUEST", "unknown method"), vec![], vec![SET, RELOAD]),
    ] {
        let (home, door) = referred(Play { answer: vec![answer.clone()], ..Play::good(used()) });
        let report = sync(&home);
        assert_eq!(codes(&report), left, "{answer:?}: {report}");
        assert_eq!(handed(&door), [Login::nth(1).access], "{answer:?}");
        // A reload by the CLI is asked for over the port first, with the same answer.
        assert_eq!(calls(&home), called, "{answer:?}");
        assert!(!home.path("restarted").exists(), "{answer:?}");
        home.finish();
    }
}

#[test]
fn a_gateway_that_is_down_finds_the_token_when_it_starts() {
    let (home, door) = referred(Play::good(used()));
    drop(door);
    let ran = home.run(&["sync", "--json"]);
    assert_eq!(codes(&ran.json()), [("NOT_CONVERGED".to_owned(), "notice".to_owned())], "{ran:?}");
    assert_eq!((ran.code, calls(&home)), (0, vec![SET.to_owned()]), "{ran:?}");
    assert_eq!(home.read("stored"), Login::nth(1).access);
    home.finish();
}

#[test]
fn a_token_that_no_pass_has_judged_is_not_handed_over() {
    let play = Play { first: vec![refusal("2", "UNAVAILABLE", "later")], ..Play::good(used()) };
    let (home, door) = referred(play);
    sync(&home);
    assert_eq!(handed(&door), [Login::nth(1).access]);
    // Somebody logs out while the change is still owed.
    let file = home.credentials();
    let mut document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    document["claudeAiOauth"]["accessToken"] = Value::Null;
    document["claudeAiOauth"]["refreshToken"] = Value::Null;
    fs::write(&file, document.to_string()).unwrap();
    let report = sync(&home);
    assert_eq!(handed(&door), [Login::nth(1).access], "nothing else, and no blank one: {report}");
    assert!(codes(&report).iter().any(|(code, _)| code == "NOT_CONVERGED"), "{report}");
    home.rotate(&Login::nth(2));
    let report = sync(&home);
    assert_eq!((handed(&door).last().unwrap(), codes(&report)), (&Login::nth(2).access, vec![]), "{report}");
    home.finish();
}

#[test]
fn a_restart_for_another_sink_does_not_forget_the_store() {
    let (home, door) = referred(Play::good(used()));
    home.holds_tokens(".env");
    home.write(".env", "");
    home.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n\
         [[sink]]\nid = \"env\"\nlogin = \"claude\"\nkind = \"env-file\"\npath = \"{}\"\nkey = \"T\"\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"claw\", \"env\"]\ncommand = [\"touch\", \"restarted\"]\n",
        home.path(".env").display()
    ));
    let report = sync(&home);
    assert_eq!(codes(&report), [], "{report}");
    assert_eq!(handed(&door), [Login::nth(1).access]);
    assert!(home.path("restarted").exists());
    home.finish();
}

#[test]
fn an_entry_that_no_gateway_would_be_handed_is_not_said_to_be_current() {
    let (home, door) = referred(Play::good(used()));
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n",
    );
    let report = sync(&home);
    assert_eq!(report["sinks"][0]["code"], "VERSION_UNSUPPORTED", "{report}");
    assert!(door.heard().is_empty() && calls(&home).is_empty());
    home.finish();
}
