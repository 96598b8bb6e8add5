//! Each channel by `tokensink alert test`, against what receives it.

use std::os::unix::fs::PermissionsExt as _;

use crate::npm;
use crate::receiver::{Manner, Receiver};
use crate::stage::{CANARY, Home, Login, contains, tree};

/// A secret of a channel: it may be in its file and at the receiver, and nowhere else.
const TOKEN: &str = "tk_canary5f1e_of_a_channel";
/// A topic is a secret as well.
const TOPIC: &str = "topic-canary5f1e";

/// A home with a login and one channel.
pub fn home(channel: &str) -> Home {
    let home = Home::new();
    home.rotate(&Login::nth(1));
    home.replace("channel.token", format!("{TOKEN}\n"));
    home.holds_tokens("channel.token");
    // The topic stands in it.
    home.holds_tokens(".config/tokensink/tokensink.toml");
    configure(&home, channel);
    home
}

pub fn configure(home: &Home, more: &str) {
    home.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\nlabel = \"at work\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"token\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/sinks/token.json\"\n{more}"
    ));
    home.holds_tokens("sinks/token.json");
}

pub fn ntfy(receiver: &Receiver) -> String {
    format!(
        "[[alert]]\nkind = \"ntfy\"\nurl = \"{}\"\ntoken_file = \"~/channel.token\"\n",
        receiver.url(TOPIC)
    )
}

#[test]
fn ntfy_goes_to_any_server_with_its_token_and_its_answer_is_checked() {
    let receiver = Receiver::start(Manner::Ntfy(Some(TOKEN)));
    let home = home(&ntfy(&receiver));
    let ran = home.run(&["alert", "test"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "ntfy: delivered\n"), "{ran:?}");
    let request = receiver.requests().remove(0);
    assert_eq!(request.header("content-type"), Some("application/json"));
    let published = request.json();
    assert_eq!(published["topic"], TOPIC);
    assert!(published["title"].as_str().unwrap().starts_with("tokensink test on "));
    assert_eq!((published["priority"].as_u64(), &published["tags"][0]), (Some(3), &"bell".into()));

    // Another server, or a hotel's, that says yes to everything.
    receiver.answer(Manner::Says("200 OK", "<html>welcome</html>"));
    let ran = home.run(&["alert", "test"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("the answer is not that of an ntfy server"), "{ran:?}");
    home.finish();
}

#[test]
fn every_refusal_is_told_without_a_secret_and_no_redirect_is_followed() {
    let other = Receiver::start(Manner::Ntfy(None));
    let redirect: &'static str =
        Box::leak(format!("307 Temporary Redirect\r\nLocation: {}", other.url("")).into_boxed_str());
    let receiver = Receiver::start(Manner::Hangs);
    let home = home(&ntfy(&receiver));
    let quoting: &'static str = Box::leak(format!("{TOPIC} {TOKEN} is not welcome").into_boxed_str());
    for (manner, says) in [
        (
            Manner::Says("401 Unauthorized", quoting),
            "answers 401: the channel's token is missing or not accepted",
        ),
        (
            Manner::Says("403 Forbidden", quoting),
            "answers 403: the channel's token is missing or not accepted",
        ),
        (Manner::Says("404 Not Found", quoting), "answers 404"),
        (Manner::Says("429 Too Many Requests\r\nRetry-After: 9", quoting), "answers 429"),
        (Manner::Says("500 Internal Server Error", quoting), "answers 500"),
        (Manner::Says(redirect, ""), "answers 307, a redirect; those are not followed"),
        (Manner::Cuts, "the connection broke off in the answer"),
        (Manner::Hangs, "no answer in time"),
    ] {
        receiver.answer(manner.clone());
        let ran = home.run(&["alert", "test"]);
        assert_eq!(ran.code, 1, "{manner:?}");
        let origin = receiver.url("");
        let expected = format!("ntfy: not delivered: {}: {says}\n", origin.trim_end_matches('/'));
        assert_eq!(ran.stdout, expected, "{manner:?}");
    }
    assert!(other.requests().is_empty(), "nothing followed");
    assert_eq!(receiver.requests().len(), 8, "each was asked once");
    home.finish();
}

#[test]
fn a_webhook_gets_the_documented_document_and_its_token() {
    let receiver = Receiver::start(Manner::Says("204 No Content", ""));
    let url = receiver.url(&format!("hook/{TOPIC}?x=1"));
    let home =
        home(&format!("[[alert]]\nkind = \"webhook\"\nurl = \"{url}\"\ntoken_file = \"~/channel.token\"\n"));
    let ran = home.run(&["alert", "test"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "webhook: delivered\n"), "{ran:?}");
    let request = receiver.requests().remove(0);
    assert_eq!(request.line, format!("POST /hook/{TOPIC}?x=1 HTTP/1.1"));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let document = request.json();
    let keys: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "format_version",
        "event",
        "severity",
        "code",
        "subject",
        "since",
        "summary",
        "breaks",
        "next",
        "title",
        "body",
        "click",
        "host",
        "sent_at",
    ];
    assert_eq!(keys, documented);
    assert_eq!((&document["format_version"], &document["event"]), (&1.into(), &"test".into()));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/tokensink.toml.5")).unwrap();
    for key in documented {
        assert!(page.contains(&format!("\"{key}\":")), "{key} is in the manual");
    }
    home.finish();
}

#[test]
fn a_command_gets_its_arguments_exactly_and_the_document_on_standard_input() {
    let script = "#!/bin/sh\nprintf '%s|' \"$@\" >\"$HOME/arguments\"\ncat >\"$HOME/document\"\nenv >\"$HOME/variables\"\n\
                  [ ! -e \"$HOME/fail\" ]\n";
    let channel = "[[alert]]\nkind = \"command\"\ncommand = [\"~/tell\", \"a b\", \"$HOME\", \"\"]\n";
    let mut home = home(channel);
    home.set("A_SECRET_OF_OURS", "x");
    let path = home.write("tell", script);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let ran = home.run(&["alert", "test"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "command: delivered\n"), "{ran:?}");
    assert_eq!(home.read("arguments"), "a b|$HOME||");
    let document: serde_json::Value = serde_json::from_str(&home.read("document")).unwrap();
    assert_eq!(document["event"], "test");
    let variables = home.read("variables");
    assert!(
        variables.contains("TOKENSINK_EVENT=test") && !variables.contains("A_SECRET_OF_OURS"),
        "{variables}"
    );
    home.write("fail", "");
    let ran = home.run(&["alert", "test"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, "command: not delivered: the command ended with exit status: 1\n")
    );
    std::fs::remove_file(home.path("tell")).unwrap();
    assert!(home.run(&["alert", "test"]).stdout.contains("not found"));
    home.finish();
}

#[test]
fn a_secret_comes_from_the_credentials_of_the_unit() {
    let receiver = Receiver::start(Manner::Ntfy(Some(TOKEN)));
    let channel = format!(
        "[[alert]]\nkind = \"ntfy\"\nurl = \"{}\"\ncredential = \"ntfy-token\"\n",
        receiver.url(TOPIC)
    );
    let mut home = home(&channel);
    let ran = home.run(&["alert", "test"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("there is no credential 'ntfy-token'"), "{ran:?}");
    assert!(receiver.requests().is_empty(), "nothing goes out without its token");

    // Where the manager of a user keeps those of the running unit.
    let kept = "../run/credentials/tokensink.service";
    home.mkdir(kept);
    home.write(&format!("{kept}/ntfy-token"), format!("{TOKEN}\n"));
    assert_eq!(home.run(&["alert", "test"]).code, 0);
    std::fs::remove_dir_all(home.path("../run/credentials")).unwrap();

    home.mkdir("credentials");
    home.write("credentials/ntfy-token", format!("{TOKEN}\n"));
    home.holds_tokens("credentials/ntfy-token");
    home.set("CREDENTIALS_DIRECTORY", home.path("credentials").display().to_string());
    assert_eq!(home.run(&["alert", "test"]).code, 0);
    home.write("credentials/ntfy-token", "two\nlines\n");
    let ran = home.run(&["alert", "test"]);
    assert!(ran.code == 1 && ran.stdout.contains("does not hold the credential in one line"), "{ran:?}");
    home.finish();
}

#[test]
fn the_phone_is_an_extra_by_the_command_that_exists() {
    let home = home(
        "[[alert]]\nkind = \"openclaw\"\ntarget = \"-100123\"\nchannel = \"telegram\"\ncommand = [\"~/claw\", \"--profile\", \"work\"]\n",
    );
    let path = home.write("claw", "#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$HOME/arguments\"\n");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let ran = home.run(&["alert", "test"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "openclaw: delivered\n"), "{ran:?}");
    let arguments = home.read("arguments");
    let expected =
        "--profile\nwork\nmessage\nsend\n--target=-100123\n--channel=telegram\n--message=tokensink test on ";
    assert!(arguments.starts_with(expected), "{arguments}");
    let checked = home.run(&["config", "check"]);
    assert!(
        checked.code == 0 && checked.stderr.contains("openclaw is the only alert channel"),
        "{checked:?}"
    );
    configure(&home, "[[alert]]\nkind = \"openclaw\"\ntarget = \"+1555\"\n[[alert]]\nkind = \"desktop\"\n");
    assert_eq!(home.run(&["config", "check"]).stderr, "");
    home.finish();
}

/// The real CLI with a channel that needs nobody, in a network of its own; it stops before it would send.
fn takes_our_command(release: &str) {
    let home = home(
        "[[alert]]\nkind = \"openclaw\"\ntarget = \"-100123\"\nchannel = \"telegram\"\ncommand = [\"~/claw\"]\n",
    );
    home.mkdir(".openclaw");
    home.write(
        ".openclaw/openclaw.json",
        r#"{"channels": {"telegram": {"enabled": true, "botToken": "123456:made-up"}},
            "plugins": {"entries": {"telegram": {"enabled": true}}}}"#,
    );
    let script = format!(
        "#!/bin/sh\nPATH={}:$PATH\nexport PATH\n[ -e \"$HOME/send\" ] || set -- \"$@\" --dry-run\n\
         unshare --net {}/openclaw \"$@\" >\"$HOME/said\" 2>&1\n",
        npm::node().join("bin").display(),
        npm::openclaw(release).display()
    );
    let path = home.write("claw", script);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let ran = home.run(&["alert", "test"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "openclaw: delivered\n"),
        "{ran:?} {}",
        home.read("said")
    );
    assert!(home.read("said").contains("elegram"), "{}", home.read("said"));
    // From here it reaches nobody: that it did not send is our failure.
    home.write("send", "");
    let ran = home.run(&["alert", "test"]);
    let failed = "openclaw: not delivered: openclaw ended with exit status: 1\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (1, failed), "{ran:?} {}", home.read("said"));
}

#[test]
fn the_real_openclaw_2026_2_26_takes_the_command() {
    takes_our_command("2026.2.26");
}

#[test]
fn the_real_openclaw_2026_9_6_takes_the_command() {
    takes_our_command("2026.9.6");
}

#[test]
fn several_channels_are_tried_each_and_one_that_fails_stops_none() {
    let receiver = Receiver::start(Manner::Says("200 OK", ""));
    let url = receiver.url("x");
    let home = home(&format!(
        "[[alert]]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/x\"\n[[alert]]\nkind = \"webhook\"\nurl = \"{url}\"\n\
         [[alert]]\nkind = \"desktop\"\n[[alert]]\nkind = \"journal\"\n"
    ));
    let ran = home.run(&["alert", "test"]);
    assert_eq!(ran.code, 1);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "webhook: not delivered: http://127.0.0.1:1: no connection",
            "webhook-2: delivered",
            "desktop: not delivered: no notification service answers on the session bus"
        ]
    );
    configure(&home, "");
    let ran = home.run(&["alert", "test"]);
    assert!(ran.code == 1 && ran.stderr.contains("no [[alert]] is configured"), "{ran:?}");
    home.finish();
}

#[test]
fn no_output_shows_a_topic_or_a_token() {
    let receiver = Receiver::start(Manner::Ntfy(Some(TOKEN)));
    let mut channel = ntfy(&receiver);
    channel += &format!("[[alert]]\nkind = \"webhook\"\nurl = \"{}\"\n", receiver.url(TOPIC));
    channel += &format!("[alerts]\nheartbeat_url = \"{}\"\n", receiver.url(TOPIC));
    let home = home(&channel);
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "check"],
        &["alert", "test"],
        &["alert", "list"],
        &["alert", "list", "--json"],
        &["status"],
        &["status", "--json"],
        &["doctor", "--json"],
    ] {
        // `run` looks for the canary in both outputs.
        let ran = home.run(arguments);
        assert!(!ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY), "{arguments:?}");
    }
    let shown = home.run(&["config", "show"]).stdout;
    assert_eq!(shown.matches("/(hidden)").count(), 3, "{shown}");
    for path in tree(&home.path(".local")) {
        assert!(!contains(&path, TOPIC), "{}", path.display());
    }
    home.finish();
}
