//! A gateway that is called over its loopback port: the exchange, what its answers mean, and that
//! every answer which is not plainly one leads to the CLI.

use serde_json::{Value, json};
use tokio_websockets::Message;

use crate::claw_door::{ClawDoor, Play, TOKEN, event, hello, refusal, result};
use crate::openclaw::{RELOAD, calls, codes, mirror, sync, world};
use crate::stage::{Home, Login};

/// An OpenClaw that refers to our file and listens at that port.
fn listening(home: &Home, port: u16) {
    let config = json!({
        "gateway": {"port": port, "bind": "loopback", "auth": {"mode": "token", "token": TOKEN}},
        "secrets": {"providers": {"any": {"source": "file", "path": mirror(home), "mode": "json"}}},
        "models": {"providers": {"anthropic":
            {"apiKey": {"source": "file", "provider": "any", "id": "/anthropic/accessToken"}}}},
    });
    home.write(".openclaw/openclaw.json", config.to_string());
}

fn reloaded() -> Value {
    json!({"ok": true, "warningCount": 0})
}

#[test]
fn a_rotation_is_one_call_over_loopback_and_no_run_of_the_cli() {
    let home = world("2026.9.6", "");
    let door = ClawDoor::open(Play::good(reloaded()));
    listening(&home, door.port);
    let report = sync(&home);
    assert_eq!((&report["sinks"][0]["state"], codes(&report)), (&"current".into(), vec![]), "{report}");
    assert_eq!(
        door.heard(),
        [
            json!({"type": "req", "id": "1", "method": "connect", "params": {
                "minProtocol": 4, "maxProtocol": 4,
                "client": {"id": "gateway-client", "version": env!("CARGO_PKG_VERSION"), "platform": "linux",
                    "mode": "backend"},
                "role": "operator", "scopes": ["operator.admin"], "caps": [], "auth": {"token": TOKEN},
            }}),
            json!({"type": "req", "id": "2", "method": "secrets.reload", "params": {}}),
        ]
    );
    home.rotate(&Login::nth(2));
    sync(&home);
    assert_eq!(door.methods(), ["connect", "secrets.reload", "connect", "secrets.reload"]);
    assert!(calls(&home).is_empty() && !home.path("restarted").exists());
    home.finish();
}

#[test]
fn what_a_gateway_answers_over_loopback_means_what_it_means_from_the_cli() {
    let critical = ("NOT_CONVERGED".to_owned(), "critical".to_owned());
    for (answer, is_left) in [
        (result("2", json!({"ok": true, "warningCount": 2})), true),
        (result("2", json!({"ok": true})), true),
        (result("2", json!({"ok": false, "warningCount": 0})), true),
        (refusal("2", "UNAVAILABLE", "secrets.reload failed"), true),
        (result("2", reloaded()), false),
    ] {
        let home = world("2026.9.6", "");
        let door = ClawDoor::open(Play { answer: vec![answer.clone()], ..Play::good(reloaded()) });
        listening(&home, door.port);
        let report = sync(&home);
        let expected = if is_left { vec![critical.clone()] } else { vec![] };
        assert_eq!(codes(&report), expected, "{answer:?}: {report}");
        assert!(calls(&home).is_empty() && !home.path("restarted").exists(), "{answer:?}");
        home.finish();
    }
    // Nobody listens: the gateway is down, which is no failure and needs no CLI to be known.
    let home = world("2026.9.6", "");
    let port = ClawDoor::open(Play::good(reloaded())).port;
    listening(&home, port);
    let ran = home.run(&["sync", "--json"]);
    assert_eq!(codes(&ran.json()), [("NOT_CONVERGED".to_owned(), "notice".to_owned())], "{ran:?}");
    assert!(ran.code == 0 && calls(&home).is_empty(), "{ran:?}");
    home.finish();
}

#[test]
fn whatever_is_not_plainly_an_answer_leads_to_the_cli() {
    let good = || Play::good(reloaded());
    let greeting = |change: fn(&mut Value)| {
        let mut hello = hello();
        change(&mut hello);
        Play { hello: vec![result("1", hello)], ..good() }
    };
    let raw = |raw: &[u8]| Play { raw: Some(raw.to_vec()), ..good() };
    let opening = |message| Play { opening: vec![message], ..good() };
    let answer = |message| Play { answer: vec![message], ..good() };
    let flood = event("agent", json!("x".repeat(512 * 1024)));
    // Before the challenge, or to a stranger, the gateway's token is not sent.
    let secretive = [
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>hello</html>"),
        raw(b"HTTP/1.1 301 Moved\r\nlocation: ws://192.0.2.1/\r\n\r\n"),
        raw(b""),
        raw(b"\0\x01\x02"),
        raw(&[b"HTTP/1.1 101 Go\r\n".to_vec(), b"x: y\r\n".repeat(2_000_000)].concat()),
        opening(Message::text("<html>")),
        opening(Message::text("[]")),
        opening(Message::binary(vec![0_u8; 16])),
        opening(event("health", json!({}))),
        opening(result("1", hello())),
        opening(Message::text("x".repeat(2 * 1024 * 1024))),
        Play { is_foreign: true, ..good() },
    ];
    let refused = |code| Play { hello: vec![refusal("1", code, "no")], ..good() };
    let informed = [
        refused("NOT_PAIRED"),
        refused("INVALID_REQUEST"),
        greeting(|hello| hello["protocol"] = json!(5)),
        greeting(|hello| hello["auth"]["scopes"] = json!([])),
        greeting(|hello| hello["auth"] = Value::Null),
        greeting(|hello| hello["features"]["methods"] = json!(["health"])),
        greeting(|hello| hello["type"] = json!("hello")),
        Play { hello: vec![result("2", hello())], ..good() },
        Play { hello: vec![flood.clone(); 20], ..good() },
        answer(result("3", reloaded())),
        answer(Message::text("{\"type\":\"res\",\"id\":\"2\",\"ok\":tr")),
        answer(Message::text("{\"type\":\"req\",\"id\":\"2\",\"method\":\"connect\",\"params\":{}}")),
        answer(Message::text("[".repeat(100_000))),
        answer(refusal("2", "INVALID_REQUEST", "unknown method: secrets.reload")),
        answer(refusal("2", "FORBIDDEN", "missing scope: operator.admin")),
        answer(Message::close(None, "")),
        Play { answer: vec![flood; 20], ..good() },
    ];
    let all = secretive.iter().map(|play| (play, false)).chain(informed.iter().map(|play| (play, true)));
    for (nth, (play, is_told)) in all.enumerate() {
        let home = world("2026.9.6", "");
        let door = ClawDoor::open(play.clone());
        listening(&home, door.port);
        let report = sync(&home);
        assert_eq!(codes(&report), [], "case {nth}: {report}");
        assert_eq!(calls(&home), [RELOAD], "case {nth}");
        let heard = Value::from(door.heard()).to_string();
        assert_eq!(heard.contains(TOKEN), is_told, "case {nth}: {heard}");
        home.finish();
    }
}

#[test]
fn a_release_or_a_configuration_that_is_not_plainly_open_is_not_called() {
    for (release, change) in [
        ("2026.3.13", None),
        ("2026.9.7", None),
        ("2026.9.6", Some(("/gateway/bind", json!("lan")))),
        ("2026.9.6", Some(("/gateway/auth/mode", json!("password")))),
        (
            "2026.9.6",
            Some(("/gateway/auth/token", json!({"source": "env", "provider": "default", "id": "X"}))),
        ),
    ] {
        let home = world(release, "");
        let door = ClawDoor::open(Play::good(reloaded()));
        listening(&home, door.port);
        if let Some((place, value)) = &change {
            let file = home.path(".openclaw/openclaw.json");
            let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            *config.pointer_mut(place).unwrap() = value.clone();
            home.write(".openclaw/openclaw.json", config.to_string());
        }
        sync(&home);
        assert!(door.heard().is_empty(), "{release} {change:?}");
        assert_eq!(calls(&home), [RELOAD], "{release} {change:?}");
        home.finish();
    }
}
