//! What comes over a connection: token servers, browsers, gateways, callers on the bus, a person's paste.

use std::time::Duration;

use serde_json::Value;
use tokensink::core::authorize::{self, Returned};
use tokensink::core::device::{Granting, Heard, Polls, hear};
use tokensink::core::setup_token as setup;
use tokensink::core::token_answer::{self as answers, Answer};
use tokensink::dbus::calls::{self, Call};
use tokensink::dbus::{NAME, PATH};
use tokensink::gateway::models_status as status;
use tokensink::gateway::rpc::{self, CallError, Frame};
use tokensink::login::callback::{Page, judge};
use tokensink::oauth::endpoint;
use zbus::Message;

use super::planted::{both, hides, is_a_sentence};

const STATE: &str = "srXCDgj9IBldKkak11ZpNtlVViOv44vq";
const STATUSES: [u16; 16] = [0, 200, 204, 302, 400, 401, 403, 404, 407, 408, 418, 429, 451, 500, 503, 999];

/// An answer with any status: a success without a token is never a refusal, and texts are bounded.
pub fn token_answer(bytes: &[u8]) {
    both(bytes, |bytes| {
        for code in STATUSES {
            let header = std::str::from_utf8(bytes).ok();
            for retry_after in [None, Some("7"), header] {
                let answer = answers::judge(code, retry_after, bytes);
                match &answer {
                    Answer::Granted(grant) => {
                        assert!((200..300).contains(&code));
                        let secrets = [&grant.access, &grant.refresh, &grant.id_token];
                        assert!(grant.access.is_some() || grant.refresh.is_some());
                        let scopes: Vec<&str> = grant.scopes.iter().flatten().map(String::as_str).collect();
                        for secret in secrets.into_iter().flatten() {
                            assert!(!secret.is_blank());
                            hides(grant, secret, &scopes);
                        }
                        let longest = Duration::from_secs(400 * 86_400);
                        for span in [grant.expires_in, grant.login_ends_in].into_iter().flatten() {
                            assert!((Duration::from_secs(1)..=longest).contains(&span));
                        }
                    }
                    // Only these make a login dead, and only with a word that says so.
                    Answer::Rejected { error } => {
                        assert!([400, 401, 404].contains(&code) && !error.is_empty());
                        is_a_word(error);
                    }
                    Answer::BadRequest { error } => is_a_word(error),
                    Answer::Throttled { wait } => {
                        assert!((Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(wait));
                    }
                    Answer::Unreadable { .. } => assert!((200..300).contains(&code)),
                    Answer::Blocked { .. } | Answer::ServerFailed { .. } => {
                        assert!(!(200..300).contains(&code))
                    }
                }
            }
        }
    });
    if let Some(text) = answers::description(bytes) {
        is_shown(&text);
    }
    is_shown(&answers::fit_to_show(&String::from_utf8_lossy(bytes)));
}

/// The device grant: what a person is shown steers no terminal, and polls are neither a flood nor endless.
pub fn device(bytes: &[u8]) {
    both(bytes, |bytes| {
        if let Some(granting) = Granting::parse(bytes) {
            let plain = [
                granting.user_code.as_str(),
                &granting.url,
                granting.complete.as_deref().unwrap_or_default(),
            ];
            assert!(plain.iter().all(|text| text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')));
            hides(&granting, &granting.device_code, &plain);
            for url in [Some(&granting.url), granting.complete.as_ref()].into_iter().flatten() {
                assert!(url.starts_with("https://") || url.starts_with("http://"));
                assert!(url.len() <= 2048);
            }
            let mut polls = Polls::new(granting.interval, granting.lasts);
            let (mut elapsed, mut count) = (Duration::ZERO, 0);
            while let Some(pause) = polls.next(elapsed).filter(|_| count < 20) {
                assert!((Duration::from_secs(1)..=Duration::from_secs(60)).contains(&pause));
                elapsed += pause;
                polls.note(if count % 2 == 0 { &Heard::SlowDown } else { &Heard::Silence });
                count += 1;
            }
        }
        for code in STATUSES {
            match hear(code, bytes) {
                Heard::Granted(grant) => assert!((200..300).contains(&code) && grant.access.is_some()),
                Heard::Refused { error, description } => {
                    is_a_word(&error);
                    description.iter().for_each(|text| is_shown(text));
                }
                Heard::Pending | Heard::SlowDown | Heard::Silence => {}
            }
        }
    });
}

/// `Date` and `Age`: any of them is a time or none.
pub fn http_date(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (date, age) = text.split_once('\n').unwrap_or((&text, ""));
    for age in [None, Some(age)] {
        if let Some(time) = endpoint::date_of(date, age) {
            assert!(
                endpoint::date_of(date, None).is_some_and(|plain| plain <= time),
                "a cache makes it later"
            );
            let _ = time.to_string();
        }
    }
}

/// What a person pastes: a code of this attempt, or the reason why not.
pub fn paste(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for text in [text.to_owned(), text.replace("STATE", STATE)] {
        let (pasted, query) = (authorize::from_paste(&text, STATE), authorize::from_query(&text, STATE));
        for returned in [pasted, query] {
            is_of_this_attempt(returned.ok(), &text);
        }
    }
    let url = authorize::url("https://a.example/authorize?x=1#f", &[("state", text), ("b", "c")]);
    let query = url.split_once('?').unwrap().1.split('#').next().unwrap();
    assert!(
        url.bytes().all(|b| b.is_ascii_graphic())
            && query.starts_with("x=1&state=")
            && query.ends_with("&b=c")
    );
}

/// A setup-token: whole, or the reason why not, which quotes nothing.
pub fn setup_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match setup::from_paste(text) {
        Err(why) => assert!(why.to_string().len() < 120),
        Ok(token) => {
            assert!((80..=512).contains(&token.expose().len()));
            assert!(token.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            assert_eq!(setup::from_paste(token.expose()), Ok(token));
        }
    }
}

/// One request to the listener: an answer of this attempt under its own name, or a page that says no.
pub fn callback(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let text = text.replace("STATE", STATE);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let (page, returned) = judge(head, 1455, "/auth/callback", STATE);
    assert_eq!(returned.is_some(), matches!(page, Page::Heard | Page::Refused));
    if returned.is_some() {
        assert!(head.starts_with("GET /auth/callback?") && head.to_ascii_lowercase().contains("\nhost:"));
        is_of_this_attempt(returned, head);
    }
}

/// A frame of a gateway.
pub fn rpc(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Frame::parse(text) {
        Err(error) => is_a_sentence(&error.to_string()),
        Ok(frame) => match rpc::answer_in(frame, "2") {
            Ok(Some(Err(code))) => assert!(code.len() <= 64 && code.bytes().all(|b| b.is_ascii_graphic())),
            Ok(_) | Err(CallError::Unclear(_)) => {}
            Err(other) => panic!("{other}"),
        },
    }
    if let Ok(hello) = serde_json::from_str::<Value>(text) {
        match rpc::is_welcome(&hello, 4, "secrets.reload") {
            Err(error) => is_a_sentence(&error.to_string()),
            Ok(()) => assert!(text.contains("operator.admin") && text.contains("hello-ok")),
        }
    }
}

/// What OpenClaw says of its own health.
pub fn models_status(bytes: &[u8]) {
    let is_word = |text: &str| text.chars().count() <= 64 && !text.contains(char::is_control);
    if let Some(said) = status::said(bytes, 1) {
        assert!(said.missing.iter().all(|name| is_word(name)));
        assert!(said.profiles.iter().chain(&said.unusable).all(|(id, word)| is_word(id) && is_word(word)));
    }
    for known in status::known(bytes).into_iter().flatten() {
        assert!(
            [&known.id, &known.provider, &known.kind, &known.status].into_iter().all(|text| is_word(text))
        );
    }
    let _ = status::default_provider(bytes);
}

/// A call on the bus: path, interface, member and arguments, one in each line.
pub fn dbus(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).replace('\0', "");
    let mut lines = text.splitn(5, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (path, interface, member, kind, argument) = (next(), next(), next(), next(), next());
    let path = if path.is_empty() { PATH } else { path };
    let interface = if interface.is_empty() { NAME } else { interface };
    // What is no name of the bus never comes to us.
    if !is_bus_path(path) || !is_bus_name(interface) || !is_bus_member(member) {
        return;
    }
    let call = Message::method_call(path, member);
    let call = if argument.ends_with('!') { call } else { call.interface(interface) };
    let message = match kind {
        "sb" => call.build(&(argument, true)),
        "ss" => call.build(&(argument, argument.trim_end())),
        "s" => call.build(&argument),
        "as" => call.build(&argument.lines().collect::<Vec<_>>()),
        "u" => call.build(&u32::try_from(argument.len()).unwrap_or_default()),
        _ => call.build(&()),
    };
    let Ok(message) = message else { return };
    match calls::read(&message) {
        Ok(Call::Refresh { login, .. }) => assert!(login.len() <= 4096 && kind == "sb"),
        Ok(Call::Introspect(xml)) => assert!(xml.starts_with('<') && xml.trim_end().ends_with("</node>")),
        Ok(_) => {}
        Err(refusal) => {
            is_a_sentence(refusal.sentence());
            assert!(is_bus_name(refusal.name()));
        }
    }
}

fn is_bus_path(text: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part))
}

fn is_bus_name(text: &str) -> bool {
    text.len() < 256 && text.contains('.') && text.split('.').all(is_bus_member)
}

fn is_bus_member(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..256).contains(&text.len())
        && text.bytes().all(is_plain)
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// A code is visible and bounded and came with our state, or without any; a refusal is fit to be shown.
fn is_of_this_attempt(returned: Option<Returned>, text: &str) {
    match returned {
        Some(Returned::Code(code)) => {
            let code = code.expose();
            assert!((1..=4096).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_graphic()));
            let has_state = form_decoded(text).contains(STATE);
            assert!(has_state || !text.contains("&state="), "{text}");
        }
        Some(Returned::Refused { error, description }) => {
            is_shown(&error);
            description.iter().for_each(|text| is_shown(text));
            assert!(form_decoded(text).contains(STATE));
        }
        None => {}
    }
}

/// Percent signs undone, as far as our state may be written with them.
fn form_decoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.map_or('%', char::from));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out + rest
}

fn is_a_word(error: &str) {
    assert!(error.chars().count() <= 200 && !error.contains(char::is_control), "{error:?}");
}

fn is_shown(text: &str) {
    assert!(text.chars().count() <= 200, "{} characters", text.chars().count());
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(steers), "{text:?}");
}
