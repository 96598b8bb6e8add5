//! `setup` where no service manager is in the game: what it finds, shows and writes, that it writes
//! nothing it was not told to, and that it takes back exactly what it did. With one: `tests/system/setup.rs`.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use serde_json::json;

use super::openclaw;
use crate::on_terminal::{OnTerminal, holding};
use crate::stage::{Home, Login};

const DROP_IN: &str = ".config/tokensink/tokensink.d/50-setup.toml";
const RECORD: &str = ".local/state/tokensink/setup.json";

fn furnished() -> Home {
    let home = Home::new();
    home.rotate(&Login::nth(1));
    home.openclaw("2026.2.9", &["main"]);
    home
}

#[test]
fn a_look_shows_everything_and_touches_nothing() {
    let home = furnished();
    let before = home.snapshot();
    let dry = home.run(&["setup", "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    for shown in [
        "login     claude: ",
        "sink      openclaw: OpenClaw in ",
        "50-setup.toml",
        "kind = \"openclaw\"",
        "no unit ",
    ] {
        assert!(dry.stdout.contains(shown), "{shown}: {dry:?}");
    }
    assert_eq!(home.snapshot(), before);
    home.finish();
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_changed_and_that_is_a_failure() {
    let home = furnished();
    let before = home.snapshot();
    for arguments in [&["setup"][..], &["setup", "--manage"], &["setup", "--linger"]] {
        let ran = home.run(arguments);
        assert!(
            ran.code == 1 && ran.stderr.contains("nothing was changed; `tokensink setup --yes`"),
            "{ran:?}"
        );
        assert!(ran.stdout.contains("kind = \"openclaw\""), "the plan is shown: {ran:?}");
    }
    assert_eq!(home.snapshot(), before);
    home.finish();
}

#[test]
fn twice_is_once_and_taking_it_back_twice_is_once() {
    let home = furnished();
    let ran = home.run(&["setup", "--yes"]);
    assert!(ran.code == 0 && ran.stdout.contains("tokensink daemon\n"), "{ran:?}");
    assert!(ran.stdout.contains("left      OpenClaw's own configuration"), "{ran:?}");
    let (drop_in, record) = (home.read(DROP_IN), home.read(RECORD));
    let mode = |name: &str| home.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(DROP_IN), mode(RECORD)), (0o644, 0o600));
    let before = home.snapshot();
    let again = home.run(&["setup", "--yes"]);
    assert!(again.code == 0 && again.stdout.contains("already configured"), "{again:?}");
    assert_eq!(home.run(&["setup"]).code, 0, "nothing is left to be asked");
    assert_eq!(home.snapshot(), before);
    assert!(record.contains(&serde_json::Value::from(drop_in).to_string()));

    assert!(home.run(&["setup", "--undo"]).stdout.contains("removed "));
    assert_eq!((home.read(DROP_IN), home.read(RECORD)), (String::new(), String::new()));
    let again = home.run(&["setup", "--undo"]);
    assert!(again.code == 0 && again.stdout.contains("nothing to do"), "{again:?}");
    home.finish();
}

#[test]
fn what_a_person_made_of_it_or_wrote_before_stays_theirs() {
    let home = furnished();
    home.run(&["setup", "--yes"]);
    let mine = home.read(DROP_IN) + "# mine\n";
    home.write(DROP_IN, &mine);
    let ran = home.run(&["setup", "--undo"]);
    assert!(ran.code == 0 && ran.stdout.contains("it was changed since, and is yours"), "{ran:?}");
    assert_eq!(home.read(DROP_IN), mine);

    std::fs::remove_file(home.path(DROP_IN)).unwrap();
    let own = "[[login]]\nid = \"mine\"\nprovider = \"claude\"\n";
    home.configure(own);
    let ran = home.run(&["setup", "--yes", "--manage"]);
    assert!(ran.code == 0 && ran.stdout.contains("already configured in"), "{ran:?}");
    assert_eq!(
        (home.read(".config/tokensink/tokensink.toml"), home.read(DROP_IN)),
        (own.to_owned(), String::new())
    );
    home.configure("[[login]]\nid = \"mine\"\nprovider = \"nobody\"\n");
    assert_eq!(home.run(&["setup", "--yes"]).code, 1, "what cannot be read is not set up over");
    home.finish();
}

#[test]
fn the_logins_of_all_clis_are_found_and_what_only_looks_like_one_is_not() {
    let mut home = Home::new();
    home.set("CODEX_HOME", home.path("elsewhere").display().to_string());
    home.mkdir("elsewhere");
    home.write("elsewhere/auth.json", json!({"OPENAI_API_KEY": "sk-made-up"}).to_string());
    home.mkdir(".gemini");
    let gemini = json!({"access_token": "ya29.made-up", "refresh_token": "1//made-up", "expiry_date": 4_000_000_000_000_u64});
    home.write(".gemini/oauth_creds.json", gemini.to_string());
    home.mkdir(".qwen");
    home.write(".qwen/oauth_creds.json", "{}");
    assert_eq!(home.run(&["setup", "--yes"]).code, 0);
    let written = home.read(DROP_IN);
    let ids: Vec<&str> = written.lines().filter_map(|line| line.strip_prefix("provider = ")).collect();
    assert_eq!(ids, ["\"codex\"", "\"gemini\""], "{written}");
    // A unit does not have that variable.
    let pinned = format!("path = \"{}\"", home.path("elsewhere/auth.json").display());
    assert!(written.contains(&pinned) && written.matches("path = ").count() == 1, "{written}");
    assert_eq!(home.run(&["config", "check"]).code, 0);
    home.finish();
}

#[test]
fn nothing_is_written_into_the_home_of_somebody_else() {
    let home = furnished();
    let before = home.snapshot();
    // A number without an account, and with no home of its own to go to.
    let mut command = home.command(&["setup", "--yes"]);
    command.uid(64_201).gid(64_201).current_dir("/");
    std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = home.end_of(command);
    std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(ran.code == 1 && ran.stderr.contains("which is not yours"), "{ran:?}");
    let paths = |snapshot: std::collections::BTreeMap<std::path::PathBuf, _>| {
        snapshot.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(paths(home.snapshot()), paths(before));
    home.finish();
}

#[test]
fn what_openclaw_was_told_is_taken_back_before_the_drop_in_that_says_so() {
    let home = openclaw::world("2026.9.6", "");
    std::fs::remove_file(home.path(".config/tokensink/tokensink.toml")).unwrap();
    home.mkdir(".config/systemd/user");
    let exec =
        format!("[Service]\nExecStart=/bin/sh {} gateway\n", home.path("package/openclaw.mjs").display());
    home.write(".config/systemd/user/openclaw-gateway.service", exec);
    let mirror = home.holds_tokens(".local/state/tokensink/mirrors/openclaw.json");
    let ran = home.run(&["setup", "--yes", "--manage"]);
    assert!(ran.code == 0 && home.read(DROP_IN).contains("manage = true"), "{ran:?}");
    let report = openclaw::sync(&home);
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    let told = home.read(".openclaw/openclaw.json");
    assert!(
        mirror.exists() && told.contains("mirrors/openclaw.json"),
        "{told}\n{report}\n{:?}",
        openclaw::calls(&home)
    );

    let ran = home.run(&["setup", "--undo"]);
    assert!(ran.code == 0 && ran.stdout.contains("does not refer to"), "{ran:?}");
    assert_eq!(home.read(".openclaw/openclaw.json"), "{}\n");
    assert!(!mirror.exists() && home.read(DROP_IN).is_empty(), "{ran:?}");
    home.finish();
}

#[test]
fn a_file_that_no_unit_reads_is_not_set_up_on() {
    let home = furnished();
    let file = home.write("other.toml", "").display().to_string();
    let ran = home.run(&["setup", "--yes", "--config", &file]);
    assert!(ran.code == 64 && ran.stderr.contains("no unit reads"), "{ran:?}");
    home.finish();
}

#[test]
fn a_person_is_asked_for_each_risky_step_by_itself() {
    for (manage, goes_on) in [("y\n", "y\n"), ("\n", "yes\n"), ("y\n", "\n")] {
        let home = furnished();
        let (code, shown) = holding(async {
            let mut terminal = OnTerminal::start(&home.command(&["setup"]));
            terminal.until("takes both back)? [y/N]").await;
            terminal.type_in(manage).await;
            terminal.until("Do this? [y/N]").await;
            terminal.type_in(goes_on).await;
            terminal.end().await
        });
        let written = home.read(DROP_IN);
        if goes_on == "\n" {
            assert!(code == 1 && written.is_empty() && shown.contains("nothing was changed"), "{shown}");
        } else {
            assert_eq!((code, written.contains("manage = true")), (0, manage == "y\n"), "{shown}\n{written}");
        }
        home.finish();
    }
}
