//! What stands in a sink, and which copy is the current one: overwritten, removed, older, newer,
//! another account's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use inotify::EventMask;

use crate::sources::written;
use crate::stage::{Home, Login, STATE, contains};

const SOURCE: &str = ".claude/.credentials.json";

#[test]
fn a_sink_that_is_overwritten_or_removed_is_put_right() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let old: Vec<_> = home.sinks().iter().map(|sink| fs::read(sink).unwrap()).collect();
    home.rotate(&Login::nth(2));
    home.until_sinks_hold(&Login::nth(2));

    let mark = home.mark();
    for (sink, old) in home.sinks().iter().zip(&old) {
        fs::write(sink, old).unwrap();
        home.until_sinks_hold(&Login::nth(2));
    }
    for sink in ["oauth", "env", "secret"] {
        let (_, line) =
            home.until_said(mark, &format!("sink {sink} was overwritten with an older generation"));
        assert!(line.contains("CLOBBERED"), "{line}");
    }
    let mark = home.mark();
    for sink in home.sinks() {
        fs::remove_file(&sink).unwrap();
        home.until_sinks_hold(&Login::nth(2));
    }
    assert!(home.said(mark, "overwritten").is_empty(), "a removed file is no overwritten one");
    daemon.stop();
    home.finish();
}

#[test]
fn a_fight_with_another_writer_is_named_and_not_fought_to_the_end() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let [_, env, secret] = home.sinks();
    let (old, old_env) = (fs::read(&secret).unwrap(), fs::read(&env).unwrap());
    home.rotate(&Login::nth(2));
    home.until_sinks_hold(&Login::nth(2));
    let mark = home.mark();
    for _ in 0..3 {
        fs::write(&secret, &old).unwrap();
        home.until_sinks_hold(&Login::nth(2));
    }
    home.until_said(mark, "SECOND_WRITER secret: ");
    // Once more: now it stays as it is for a while. The other sink is put right after that look.
    fs::write(&secret, &old).unwrap();
    fs::write(&env, old_env).unwrap();
    home.until("the other sink is put right", || contains(&env, &Login::nth(2).access));
    assert_eq!(fs::read(&secret).unwrap(), old);
    let report = home.run(&["status", "--json"]).json();
    let sink = report["sinks"].as_array().unwrap().iter().find(|s| s["id"] == "secret").unwrap();
    assert_eq!((&sink["state"], &sink["code"]), (&"stale".into(), &"SECOND_WRITER".into()));
    let caused = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["code"] == "CLOBBERED" && f["subject"] == "secret");
    assert_eq!(caused.unwrap()["caused_by"], "SECOND_WRITER:secret", "one alert, not two");
    // A new generation is no fight.
    home.rotate(&Login::nth(3));
    home.until_sinks_hold(&Login::nth(3));
    daemon.stop();
    home.finish();
}

#[test]
fn an_older_source_is_not_handed_on() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    for n in 1..=3 {
        home.rotate(&Login::nth(n));
        assert_eq!(home.run(&["sync"]).code, 0);
    }
    let daemon = home.ready();
    let mark = home.mark();
    let before = home.snapshot();
    home.rotate(&Login::nth(2));
    home.until_said(mark, "STALE_SOURCE claude: ");
    for sink in home.sinks() {
        assert_eq!(home.touched(mark, &sink, written()), 0, "{}", sink.display());
        assert_eq!(before[&sink], home.snapshot()[&sink]);
    }
    // A backup from before our time: never seen, over, and ending before what is known.
    home.watch_readers(".claude");
    let again = home.mark();
    home.write(SOURCE, Login::nth(7).ends_in_hours(-30).document());
    home.until("it was looked at", || home.touched(again, &home.credentials(), EventMask::CLOSE_NOWRITE) > 0);
    for sink in home.sinks() {
        assert_eq!(home.touched(mark, &sink, written()), 0, "{}", sink.display());
    }
    assert!(home.said(mark, "is resolved").is_empty());
    home.write(SOURCE, Login::nth(4).document());
    home.until_sinks_hold(&Login::nth(4));
    home.until_said(mark, "STALE_SOURCE claude is resolved");
    daemon.stop();
    home.finish();
}

#[test]
fn another_account_is_not_handed_on_until_somebody_says_so() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1).of("account-one"));
    let daemon = home.ready();
    let mark = home.mark();
    home.rotate(&Login::nth(2).of("account-two"));
    home.until_said(mark, "ACCOUNT_MISMATCH claude: ");
    assert!(home.sinks_hold(&Login::nth(1)));
    for sink in home.sinks() {
        assert_eq!(home.touched(mark, &sink, written()), 0, "{}", sink.display());
    }
    let plain = home.run(&["sync"]);
    assert_eq!(plain.code, 0, "a refusal by policy is recorded, not failed: {plain:?}");
    assert!(plain.stdout.contains("ACCOUNT_MISMATCH") && home.sinks_hold(&Login::nth(1)));

    let accepted = home.run(&["sync", "--accept", "claude"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert!(home.sinks_hold(&Login::nth(2)));
    home.rotate(&Login::nth(3).of("account-two"));
    home.until_sinks_hold(&Login::nth(3));
    home.until("the finding is gone", || {
        home.state()["findings"].as_array().unwrap().iter().all(|f| f["code"] != "ACCOUNT_MISMATCH")
    });
    daemon.stop();
    home.finish();
}

#[test]
fn a_sink_with_a_newer_copy_of_unknown_origin_is_refused_and_an_older_one_is_kept_aside() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    let entry = |login: &Login| {
        serde_json::json!({"anthropic": {"access": login.access, "refresh": login.refresh,
            "expires": login.expires_at, "scopes": ["user:inference"]}})
        .to_string()
    };
    let newer = home.write("sinks/oauth.json", entry(&Login::nth(900)));
    let before = fs::read(&newer).unwrap();
    let daemon = home.ready();
    home.until_said(daemon.from, "STALE_SOURCE oauth: ");
    home.rotate(&Login::nth(2));
    let [oauth, env, secret] = home.sinks();
    home.until("the others follow", || [&env, &secret].iter().all(|s| contains(s, &Login::nth(2).access)));
    assert_eq!(fs::read(&oauth).unwrap(), before);
    assert_eq!(home.touched(daemon.from, &oauth, EventMask::MOVED_TO), 0);

    // The source overtakes it: written, but the only copy of that refresh token is kept.
    home.rotate(&Login::nth(1500));
    home.until_sinks_hold(&Login::nth(1500));
    daemon.stop();
    let kept: Vec<_> = fs::read_dir(home.path(STATE).join("displaced")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(kept[0].path()).unwrap(), before);
    let modes = [home.path(STATE).join("displaced"), kept[0].path()]
        .map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o7777);
    assert_eq!(modes, [0o700, 0o600]);
    home.finish();
}
