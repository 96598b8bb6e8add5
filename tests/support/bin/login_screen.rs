//! A login screen as Claude Code draws it, and as it might: what a test puts in its place as `claude`.
//!
//! `claude auth login` looks into `~/screen` for words that say how; it asks for `code#state`, checks both, and leaves
//! a made-up login in `$CLAUDE_CONFIG_DIR`. Everything that it was given and saw is noted in `~/seen`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a tool of the tests, which fails by panicking"
)]

use std::io::{BufRead, Write};
use std::path::PathBuf;

const STATE: &str = "srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss";

fn main() {
    let home = PathBuf::from(std::env::var_os("HOME").expect("a home"));
    let words = std::fs::read_to_string(home.join("screen")).unwrap_or_default();
    let has = |word: &str| words.split_whitespace().any(|w| w == word);
    let value = |key: &str| words.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    let mut seen = std::fs::OpenOptions::new().create(true).append(true).open(home.join("seen")).unwrap();
    let mut note = |text: String| writeln!(seen, "{text}").unwrap();

    let size = rustix::termios::tcgetwinsize(std::io::stdin()).expect("a terminal");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    note(format!("{} columns={} pid={}", arguments.join(" "), size.ws_col, std::process::id()));
    for (name, value) in std::env::vars() {
        note(format!("{name}={value}"));
    }

    let host = value("host").unwrap_or("claude.com");
    let url = format!(
        "https://{host}/cai/oauth/authorize?code=true&client_id=9d1c250a-e61b&response_type=code&redirect_uri=\
         https%3A%2F%2Fplatform.claude.com%2Foauth%2Fcode%2Fcallback&scope=org%3Acreate_api_key+user%3Aprofile+\
         user%3Ainference&code_challenge=1RHZzIq-iOaIx1eDttzeWGca9zvZbUky6V7PUWkQ0K8&code_challenge_method=S256\
         &state={STATE}"
    );
    if has("flood") {
        for _ in 0..200 {
            print!("\x1b]8;;{}\x1b[1;{}", "a".repeat(20_000), "9".repeat(20_000));
            print!("\x07\x1b\\\x1b[2K\r\n");
        }
    }
    match value("style").unwrap_or("link") {
        "link" => print!("\x1b[?25lVisit: \x1b]8;id=7;{url}\x07\x1b[94m{url}\x1b[39m\x1b]8;;\x07\r\n"),
        "columns" => {
            print!("\x1b[2GBrowser\x1b[10Gdidn't\x1b[17Gopen?\r\n\r\n\x1b[38;5;246m{url}\x1b[39m\r\n\r\n")
        }
        style => {
            let width: usize = style.parse().expect("a style or a width");
            print!("\x1b[1mSign in\x1b[22m\r\n\r\n");
            for part in url.as_bytes().chunks(width) {
                print!("  \x1b[36m│ {}\x1b[0m\r\n", std::str::from_utf8(part).unwrap());
            }
            print!("\r\n");
        }
    }
    if has("leaves-a-child") {
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", "trap '' HUP TERM INT; exec sleep 1000"])
            .spawn();
        note(format!("child={}", child.unwrap().id()));
    }
    if has("stubborn") {
        let stubborn = nix::sys::signal::SigSet::from_iter([
            nix::sys::signal::Signal::SIGTERM,
            nix::sys::signal::Signal::SIGHUP,
            nix::sys::signal::Signal::SIGINT,
        ]);
        stubborn.thread_block().unwrap();
    }
    if !has("no-question") {
        print!("\x1b[2GPaste\x1b[8Gcode\x1b[13Ghere\x1b[18Gif\x1b[21Gprompted > ");
    }
    std::io::stdout().flush().unwrap();

    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        note(format!("typed={line}"));
        let Some((code, state)) = line.split_once('#') else {
            print!("That doesn't look like the full code.\r\nPaste code here if prompted > ");
            std::io::stdout().flush().unwrap();
            continue;
        };
        if code == "ac-refused" || state != STATE {
            print!("\r\nSigning in…\r\n\x1b[31mCouldn't log in: That code wasn't accepted.\x1b[39m\r\n");
            std::io::stdout().flush().unwrap();
            std::process::exit(1);
        }
        break;
    }
    let directory = PathBuf::from(std::env::var_os("CLAUDE_CONFIG_DIR").expect("a directory"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let ends = if has("over") { now - 1000 } else { now + 28_800_000 };
    let scope = if has("narrow") { "user:profile" } else { "user:inference" };
    let account = value("account").unwrap_or("5f0c6f0e-0000-4000-8000-00000000a11c");
    let serial = value("serial").unwrap_or("1");
    if !has("leaves-nothing") {
        let text = format!(
            r#"{{"claudeAiOauth":{{"accessToken":"sk-ant-oat01-CANARY-access-{serial}","refreshToken":"sk-ant-ort01-CANARY-refresh-{serial}","expiresAt":{ends},"refreshTokenExpiresAt":{},"scopes":["{scope}"],"subscriptionType":"max","rateLimitTier":"default_claude_max_5x","accountUuid":"{account}"}}}}"#,
            now + 2_592_000_000
        );
        std::fs::write(directory.join(".credentials.json"), text).unwrap();
    }
    print!("\r\nSigning in…\r\nLogin successful.\r\n");
}
