//! `undo`: what passes made is taken back, and nothing else.

use std::fs;

use serde_json::{Value, json};

use crate::stage::{Home, Login, STATE, contains};

const ENV: &str = "# mine\r\nOTHER=1\r\nLAST=x";
const OAUTH: &str = "{ \"openai-codex\": {\"access\": \"sk-other\", \"n\": 1.50} }\n";

fn store() -> String {
    let other = json!({"type": "api_key", "provider": "openai", "key": "sk-other"});
    let store = json!({"version": 1, "profiles": {"openai:default": other}, "order": {}});
    serde_json::to_string_pretty(&store).unwrap() + "\n"
}

/// Four sinks: three in files of others, one in a file of its own; the paths of these files.
fn stage() -> (Home, [std::path::PathBuf; 4]) {
    let home = Home::new();
    let [profiles] = home.openclaw("2026.2.25", &["main"]).try_into().unwrap();
    fs::write(&profiles, store()).unwrap();
    let files = [
        home.holds_tokens("sinks/.env"),
        home.holds_tokens("sinks/oauth.json"),
        profiles,
        home.holds_tokens("sinks/secret.json"),
    ];
    home.write("sinks/.env", ENV);
    home.write("sinks/oauth.json", OAUTH);
    let sink = |id: &str, kind: &str, more: &str| {
        format!("[[sink]]\nid = \"{id}\"\nlogin = \"claude\"\nkind = \"{kind}\"\n{more}\n")
    };
    let text = [
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n".to_owned(),
        sink("env", "env-file", "path = \"~/sinks/.env\"\nkey = \"TOKEN\""),
        sink("oauth", "oauth-json", "path = \"~/sinks/oauth.json\"\nrefresh = true"),
        sink("store", "auth-profiles", ""),
        sink("secret", "secret-file", "path = \"~/sinks/secret.json\""),
    ];
    home.configure(&text.concat());
    (home, files)
}

fn rotate_and_sync(home: &Home, n: u32) {
    home.rotate(&Login::nth(n));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn are_as_before(files: &[std::path::PathBuf; 4]) {
    for (path, before) in files.iter().zip([ENV.to_owned(), OAUTH.to_owned(), store()]) {
        assert_eq!(fs::read_to_string(path).unwrap(), before, "{}", path.display());
    }
    assert!(!files[3].exists());
}

#[test]
fn every_byte_is_as_it_was_before_the_first_pass_however_many_rotations_came_between() {
    for rotations in [1, 3] {
        let (home, files) = stage();
        for n in 1..=rotations {
            rotate_and_sync(&home, n);
        }
        assert!(files.iter().all(|path| contains(path, &Login::nth(rotations).access)));
        let ran = home.run(&["undo"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        are_as_before(&files);
        assert!(ran.stdout.contains("removed   secret") && ran.stdout.contains("restored  env"), "{ran:?}");
        // The source is nobody's to undo; a second time there is nothing left.
        assert!(contains(&home.credentials(), &Login::nth(rotations).access));
        let again = home.run(&["undo"]);
        assert_eq!((again.code, again.stdout.contains("nothing of ours")), (0, true), "{again:?}");
        // And the next pass begins anew, as the first one did.
        assert_eq!(home.run(&["sync"]).code, 0);
        assert!(files.iter().all(|path| contains(path, &Login::nth(rotations).access)));
        home.finish();
    }
}

#[test]
fn a_token_that_was_replaced_is_never_put_back() {
    let (home, files) = stage();
    home.write("sinks/.env", format!("TOKEN={}\n", Login::nth(1).access));
    rotate_and_sync(&home, 2);
    let ran = home.run(&["undo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("kept      env"), "{ran:?}");
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), format!("TOKEN={}\n", Login::nth(2).access));
    assert!(!contains(&home.path(STATE).join("state.json"), "oat01"));
    home.finish();
}

#[test]
fn what_others_wrote_meanwhile_stays_and_a_login_of_theirs_as_well() {
    let (home, files) = stage();
    rotate_and_sync(&home, 1);
    let env = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], format!("FIRST=0\r\n{env}")).unwrap();
    let mut profiles: Value = serde_json::from_slice(&fs::read(&files[2]).unwrap()).unwrap();
    profiles["usageStats"] = json!({"openai:default": {"lastUsed": 7}});
    fs::write(&files[2], serde_json::to_string(&profiles).unwrap()).unwrap();
    // Somebody logged OpenClaw in by hand.
    let theirs = json!({"anthropic": {"access": "sk-theirs"}}).to_string();
    fs::write(&files[1], &theirs).unwrap();
    let ran = home.run(&["undo"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), format!("FIRST=0\r\n{ENV}\r\n"));
    assert_eq!(fs::read_to_string(&files[1]).unwrap(), theirs);
    let left: Value = serde_json::from_slice(&fs::read(&files[2]).unwrap()).unwrap();
    assert!(left["profiles"].get("anthropic:default").is_none(), "{left}");
    assert_eq!(left["usageStats"], profiles["usageStats"]);
    assert!(ran.stdout.contains("kept      oauth"), "{ran:?}");
    home.finish();
}

#[test]
fn nothing_is_taken_back_from_under_a_daemon_that_runs() {
    let (home, files) = stage();
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let ran = home.run(&["undo"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("systemctl --user stop tokensink"), "{ran:?}");
    assert!(files.iter().all(|path| contains(path, &Login::nth(1).access)));
    daemon.stop();
    assert_eq!(home.run(&["undo"]).code, 0);
    are_as_before(&files);
    home.finish();
}

#[test]
fn what_a_command_was_given_is_said_to_be_out_of_reach() {
    let home = Home::new();
    home.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\
         [[sink]]\nid = \"hook\"\nlogin = \"claude\"\nkind = \"command\"\ncommand = [\"true\"]\n",
    );
    rotate_and_sync(&home, 1);
    let ran = home.run(&["undo"]);
    assert!(ran.code == 0 && ran.stdout.contains("kept      hook"), "{ran:?}");
    home.finish();
}

#[test]
fn one_file_that_cannot_be_taken_back_is_said_and_the_others_are() {
    let (home, files) = stage();
    rotate_and_sync(&home, 1);
    fs::write(&files[2], "{\"torn").unwrap();
    let ran = home.run(&["undo"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("store"), "{ran:?}");
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), ENV);
    assert_eq!(fs::read_to_string(&files[2]).unwrap(), "{\"torn");
    home.finish();
}
