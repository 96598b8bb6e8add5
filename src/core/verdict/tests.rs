//! Every row of the table of verdicts, and its boundaries to the millisecond.

use super::*;
use crate::base::credential::Identity;
use crate::base::secret::Secret;

const WARN: Duration = Duration::from_secs(24 * 3600);
const NOW: Timestamp = Timestamp::from_millis(1_795_176_000_000);
const HOUR: i64 = 3_600_000;

/// Far beyond the warning time.
const FAR: Option<i64> = Some(48 * HOUR);

#[derive(Clone, Copy)]
struct Login {
    /// Milliseconds from now.
    access_ends: Option<i64>,
    refresh: bool,
    /// Milliseconds from now.
    deadline: Option<i64>,
    refused: bool,
}

/// A live access token, a refresh token, nothing known of a deadline.
const LIVE: Login = Login { access_ends: Some(HOUR), refresh: true, deadline: None, refused: false };
const STATIC: Login = Login { refresh: false, ..LIVE };

fn at(from_now: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + from_now)
}

fn verdict(login: Login) -> Verdict {
    let credential = Credential {
        access: Secret::new("sk-ant-oat01-made-up".into()),
        refresh: login.refresh.then(|| Secret::new("sk-ant-ort01-made-up".into())),
        expires_at: login.access_ends.map(at),
        login_deadline: login.deadline.map(at),
        scopes: Vec::new(),
        account: None,
        expiry_in_seconds: false,
        identity: Identity::default(),
    };
    judge(&SourceReading::Ok(credential), login.refused, WARN, NOW)
}

/// State, `--simple`, `--check`, `--check=access`.
type Row = (&'static str, &'static str, u8, u8);

fn row(verdict: Verdict) -> Row {
    let Verdict { state, check, check_access, .. } = verdict;
    (state.as_str(), state.simple(), check.exit_code(), check_access.exit_code())
}

#[test]
fn a_live_refreshable_login_is_ok_however_soon_its_access_token_ends() {
    for deadline in [None, FAR] {
        assert_eq!(row(verdict(Login { deadline, ..LIVE })), ("ok", "OK", 0, 2));
        assert_eq!(row(verdict(Login { deadline, access_ends: FAR, ..LIVE })), ("ok", "OK", 0, 0));
        assert_eq!(row(verdict(Login { deadline, access_ends: None, ..LIVE })), ("ok", "OK", 0, 0));
        assert!(!verdict(Login { deadline, ..LIVE }).renewing);
    }
}

#[test]
fn a_near_deadline_is_expiring_although_the_login_can_be_refreshed() {
    let near = Login { deadline: Some(HOUR), access_ends: FAR, ..LIVE };
    assert_eq!(row(verdict(near)), ("expiring", "EXPIRING", 2, 0));
    let over = Login { access_ends: Some(-HOUR), ..near };
    assert_eq!(row(verdict(over)), ("expiring", "EXPIRING", 2, 1));
}

#[test]
fn an_access_token_that_is_over_is_renewing_while_the_login_can_be_refreshed() {
    for deadline in [None, FAR] {
        let over = verdict(Login { access_ends: Some(-HOUR), deadline, ..LIVE });
        assert_eq!(row(over), ("ok", "OK", 0, 1));
        assert!(over.renewing);
    }
}

#[test]
fn a_login_that_cannot_be_refreshed_lives_as_long_as_its_access_token() {
    assert_eq!(row(verdict(STATIC)), ("expiring", "EXPIRING", 2, 2));
    assert_eq!(row(verdict(Login { access_ends: FAR, ..STATIC })), ("ok", "OK", 0, 0));
    assert_eq!(row(verdict(Login { access_ends: None, ..STATIC })), ("ok", "OK", 0, 0));
    let over = verdict(Login { access_ends: Some(-HOUR), ..STATIC });
    assert_eq!(row(over), ("expired", "EXPIRED", 1, 1));
    assert!(!over.renewing);
}

#[test]
fn a_refused_or_ended_login_needs_a_person_and_is_down_when_its_access_token_ends() {
    let refused = Login { refused: true, ..LIVE };
    let ended = Login { deadline: Some(-HOUR), ..LIVE };
    for login in [refused, ended, Login { refused: true, ..ended }] {
        assert_eq!(row(verdict(login)), ("login_needed", "LOGIN_NEEDED", 2, 2));
        assert_eq!(row(verdict(Login { access_ends: FAR, ..login })), ("login_needed", "LOGIN_NEEDED", 2, 0));
        let over = verdict(Login { access_ends: Some(-HOUR), ..login });
        assert_eq!(row(over), ("login_needed", "LOGIN_NEEDED", 1, 1));
        assert!(!over.renewing);
    }
}

#[test]
fn what_holds_no_login_is_1_in_every_check() {
    let of = |reading| row(judge(&reading, false, WARN, NOW));
    let reason = || "torn".to_owned();
    assert_eq!(of(SourceReading::Husk { login_ended: None }), ("husk", "LOGIN_NEEDED", 1, 1));
    assert_eq!(of(SourceReading::Missing), ("missing", "MISSING", 1, 1));
    assert_eq!(of(SourceReading::Partial { field: "scopes" }), ("unreadable", "MISSING", 1, 1));
    assert_eq!(of(SourceReading::Unparseable { reason: reason() }), ("unreadable", "MISSING", 1, 1));
    assert_eq!(of(SourceReading::Unreadable { reason: reason() }), ("unreadable", "MISSING", 1, 1));
}

#[test]
fn a_token_is_over_at_its_very_millisecond() {
    let live = |ends| row(verdict(Login { access_ends: Some(ends), ..STATIC })).0;
    assert_eq!((live(1), live(0), live(-1)), ("expiring", "expired", "expired"));
    let renewing = |ends| verdict(Login { access_ends: Some(ends), ..LIVE }).renewing;
    assert_eq!((renewing(1), renewing(0)), (false, true));
    let ended = |ends| row(verdict(Login { deadline: Some(ends), ..LIVE })).0;
    assert_eq!((ended(1), ended(0)), ("expiring", "login_needed"));
}

#[test]
fn the_warning_begins_at_its_very_millisecond() {
    let warn = i64::try_from(WARN.as_millis()).unwrap();
    let token = |ends| row(verdict(Login { access_ends: Some(ends), ..STATIC }));
    assert_eq!(token(warn + 1), ("ok", "OK", 0, 0));
    assert_eq!(token(warn), ("expiring", "EXPIRING", 2, 2));
    let deadline = |ends| row(verdict(Login { deadline: Some(ends), ..LIVE })).0;
    assert_eq!((deadline(warn + 1), deadline(warn)), ("ok", "expiring"));
}

#[test]
fn of_several_logins_the_worst_counts_and_1_is_worse_than_2() {
    use Check::{Expired, Expiring, Ok};
    for check in [Ok, Expiring, Expired] {
        assert_eq!((check.worse(Expired), Expired.worse(check)), (Expired, Expired));
        assert_eq!((check.worse(Ok), Ok.worse(check)), (check, check));
    }
    assert_eq!(Expiring.worse(Expiring), Expiring);
}
