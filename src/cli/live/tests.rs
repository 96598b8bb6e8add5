//! What the live view shows, line by line.

use super::*;
use crate::base::code::{Code, Severity};
use crate::core::report::{DaemonReport, FindingReport, GatewayReport, RefreshReport, SinkReport};
use crate::core::verdict::Check;

const HOUR: i64 = 3_600_000;
const NOW: Timestamp = Timestamp::from_millis(2_000_000_000_000);

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + hours * HOUR)
}

fn login(id: &str, state: &'static str, ends: i64, seen: Option<i64>, deadline: Option<i64>) -> LoginReport {
    LoginReport {
        id: id.to_owned(),
        provider: "claude",
        kind: "rotating",
        account: (id == "work").then(|| "at work\u{1b}[31m".to_owned()),
        account_id: None,
        state,
        renewing: false,
        access_expires_at: Some(at(ends)),
        access_seen_at: seen.map(at),
        login_deadline: deadline.map(at),
        refreshable: true,
        fingerprint: None,
        rotations: 0,
        path: "/home/ann/.claude/.credentials.json".to_owned(),
        refresh: RefreshReport {
            mode: "auto",
            owner: Some("cli"),
            last_at: None,
            last_outcome: None,
            next_at: (state == "ok").then(|| at(ends - 1)),
            blocked: None,
            counts: Default::default(),
        },
    }
}

fn report() -> Report {
    let sink = |id: &str, state| SinkReport {
        id: id.to_owned(),
        login: "claude".to_owned(),
        kind: "env-file",
        agent: None,
        path: String::new(),
        state,
        code: None,
        written_at: None,
        writes: 0,
    };
    Report {
        format_version: 1,
        generated_at: NOW,
        overall: "login_needed",
        daemon: DaemonReport { running: true, pid: Some(7), since: Some(at(-50)) },
        logins: vec![
            login("claude", "ok", 6, Some(-2), Some(15 * 24)),
            login("work", "login_needed", -1, None, Some(-1)),
        ],
        sinks: vec![sink("env", "current"), sink("copy", "stale")],
        gateways: vec![GatewayReport {
            id: "openclaw".to_owned(),
            kind: "unit",
            version: Some("2026.9.6".to_owned()),
            applied: true,
            due_at: None,
            busy_since: None,
            last_action: "reload",
            last_at: None,
            ready: None,
            counts: Default::default(),
        }],
        findings: vec![FindingReport {
            code: Code::LoginNeeded,
            severity: Severity::Critical,
            subject: "work".to_owned(),
            since: at(-1),
            summary: "the login has ended".to_owned(),
            caused_by: None,
            next: "tokensink reauth work".to_owned(),
        }],
        check: Check::Expired,
        check_access: Check::Expired,
        simple: "LOGIN_NEEDED",
    }
}

#[test]
fn what_is_left_is_a_bar_and_what_is_wrong_is_told_in_full() {
    let shown = draw(&report(), 60, false);
    let wanted = "\
tokensink  daemon runs for 2d 2h  2033-05-18T03:33:20Z

claude  ok
  access   ███████████████░░░░░ 6h 0m left, renewed in 5h 0m
  login    ██████████░░░░░░░░░░ 15d 0h left

work (at work[31m)  login_needed
  access   ░░░░░░░░░░░░░░░░░░░░ over
  login    ░░░░░░░░░░░░░░░░░░░░ over

sinks     1 of 2 current
  copy  stale
gateway   openclaw 2026.9.6  up to date

critical LOGIN_NEEDED work
  the login has ended
  next: tokensink reauth work
";
    assert_eq!(shown, wanted);
}

#[test]
fn no_line_is_wider_than_the_screen_and_a_label_brings_no_colour_of_its_own() {
    for width in [0, 1, 7, 20, 33, 500] {
        let plain = draw(&report(), width, false);
        assert!(plain.lines().all(|line| line.chars().count() <= width), "{width}\n{plain}");
        assert!(!plain.contains('\u{1b}'));
        let coloured = draw(&report(), width, true);
        let mut stripped = coloured.replace("\u{1b}[0m", "");
        for colour in ["31", "32", "33", "2"] {
            stripped = stripped.replace(&format!("\u{1b}[{colour}m"), "");
        }
        assert_eq!(stripped, plain, "colour changes nothing else");
    }
    let shown = screen(&draw(&report(), 60, false), 4);
    assert_eq!(shown.matches("\r\n").count(), 3, "no more lines than rows: {shown}");
}
