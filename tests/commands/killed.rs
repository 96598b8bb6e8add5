//! The program killed before every single call that others can see the effect of, where another program does a part of
//! the work: OpenClaw's CLI while an instance that tokensink manages is set up and that is taken back, and
//! `systemd-creds`. Needs strace.

use crate::openclaw::{RELOAD, calls, codes, configure, mirror, sync, world};
use crate::sinks::{ENCRYPT, arguments, sink, with_systemd_creds};
use crate::stage::{Home, Login, contains};
use crate::support::kills::everywhere;
use crate::support::strace::{Operation, Run};

const CONFIG: &str = ".openclaw/openclaw.json";
const GATEWAY: &str = "command = [\"touch\", \"restarted\"]";

fn taken_back(home: &Home, what: &Operation) {
    let ran = home.run(&["setup", "--undo"]);
    assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
    assert_eq!(home.read(CONFIG), "{}\n", "{what:?}: {ran:?}");
    assert!(!mirror(home).exists(), "{what:?}");
    std::fs::remove_file(home.root().join("strace.log")).unwrap();
    assert_eq!(home.run(&["sync"]).code, 0, "{what:?}");
    home.finish();
}

#[test]
fn an_instance_whose_set_up_dies_anywhere_is_completed_by_the_next_pass_and_taken_back_whole() {
    everywhere(
        "manage = true",
        25,
        1,
        || world("2026.9.6", "manage = true"),
        |home| Run::of(home.command(&["sync"]), home.root()),
        |home, what| {
            let before = calls(home).len();
            let (has_reference, has_token) = (home.read(CONFIG).contains("apiKey"), mirror(home).exists());
            assert!(has_token || !has_reference, "{what:?}: it refers to a file that is not there");
            let report = sync(home);
            assert_eq!(
                (&report["sinks"][0]["state"], codes(&report)),
                (&"current".into(), vec![]),
                "{what:?}: {report:#}"
            );
            assert!(contains(&mirror(home), &Login::nth(1).access), "{what:?}");
            assert!(calls(home)[before..].iter().filter(|call| *call == RELOAD).count() <= 2, "{what:?}");
            home.rotate(&Login::nth(2));
            assert_eq!(codes(&sync(home)), vec![], "{what:?}");
            assert!(contains(&mirror(home), &Login::nth(2).access), "{what:?}");
            assert_eq!(calls(home).last().map(String::as_str), Some(RELOAD), "{what:?}");
            assert!(!home.path("restarted").exists(), "{what:?}: a reload is enough");
            configure(home, "", GATEWAY);
            taken_back(home, what);
            match (has_token, has_reference) {
                (_, true) => "set up then",
                (true, false) => "the file alone then",
                (false, false) => "nothing then",
            }
            .to_owned()
        },
    );
    let set_up = || {
        let home = world("2026.9.6", "manage = true");
        sync(&home);
        configure(&home, "", GATEWAY);
        home
    };
    everywhere(
        // What its own CLI takes back is no call of ours.
        "manage = true, taken back",
        1,
        1,
        set_up,
        |home| Run::of(home.command(&["setup", "--undo"]), home.root()),
        |home, what| {
            let has_reference = home.read(CONFIG).contains("apiKey");
            assert!(mirror(home).exists() || !has_reference, "{what:?}: it refers to a file that is gone");
            taken_back(home, what);
            if has_reference { "set up then" } else { "the reference is gone then" }.to_owned()
        },
    );
}

#[test]
fn an_encrypted_credential_whose_making_dies_anywhere_is_the_old_or_the_new_one_and_made_by_the_next_pass() {
    const CREDENTIAL: &str = "sinks/token.cred";
    let prepare = || {
        let mut home = Home::new();
        with_systemd_creds(&mut home, ENCRYPT);
        let gateway = "[[gateway]]\nid = \"reader\"\nsinks = [\"sink\"]\nmin_interval = \"1s\"\napply = \"restart\"\n\
                       command = [\"/bin/sh\", \"-c\", \"tail -n 1 sinks/token.cred >>read\"]\n";
        let sealed = sink("systemd-creds", "path = \"~/sinks/token.cred\"\nname = \"token\"\n");
        home.configure(&sealed);
        home.rotate(&Login::nth(1));
        assert_eq!(home.run(&["sync"]).code, 0);
        home.configure(&(sealed + gateway));
        home.rotate(&Login::nth(2));
        home
    };
    // The second line is a hash of what is sealed.
    let sealed = |home: &Home| home.read(CREDENTIAL).lines().nth(1).unwrap_or_default().to_owned();
    let done = prepare();
    let old = sealed(&done);
    assert_eq!(done.run(&["sync"]).code, 0);
    let new = sealed(&done);
    assert_ne!(old, new);
    everywhere(
        "systemd-creds",
        25,
        1,
        prepare,
        |home| Run::of(home.command(&["sync"]), home.root()),
        |home, what| {
            let then = sealed(home);
            assert!(then == old || then == new, "{what:?}: {then:?}");
            let ran = home.run(&["sync", "--json"]);
            assert_eq!(ran.code, 0, "{what:?}: {ran:?}");
            assert_eq!((sealed(home), codes(&ran.json())), (new.clone(), vec![]), "{what:?}: {ran:?}");
            let read = home.read("read");
            assert!((1..=2).contains(&read.lines().count()), "{what:?}: {read:?}");
            assert!(read.lines().all(|line| line == new), "{what:?}: {read:?}");
            let made = arguments(home).len();
            assert_eq!(home.run(&["sync"]).code, 0);
            assert_eq!(arguments(home).len(), made, "{what:?}: made once more");
            std::fs::remove_file(home.root().join("strace.log")).unwrap();
            home.finish();
            let times = if made > 2 { "sealed twice" } else { "sealed once" };
            format!("{} then, {times}", if then == new { "the new one" } else { "the old one" })
        },
    );
}
