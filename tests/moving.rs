//! `tokensink export` and `import`: a login that goes from one home to another, as the real program against the stand-in,
//! killed at every point, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::{Value, json};
use support::claude::in_seconds;
use support::codex;
use support::host::{Cli, FAMILY, Host, document, until};
use support::kills::assert_tidy;
use support::looks::tree;
use support::moves::{New, export, exported};
use support::on_terminal::{OnTerminal, holding};
use support::provider::Pair;
use support::run::{Ran, run};
use tokensink::base::id::{LoginId, Provider};
use tokensink::base::secret::Document;
use tokensink::base::time::Timestamp;
use tokensink::format::bundle::{self, Moving};
use tokensink::sys::sealed;

#[track_caller]
fn assert_refused(ran: &Ran, word: &str) {
    assert!(ran.code == Some(1) && ran.stderr.contains(word), "{word}: {ran}");
}

fn codes(ran: &Ran) -> Vec<String> {
    let status: Value = serde_json::from_str(ran.ok()).unwrap();
    let findings = status["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| format!("{} {}", f["severity"].as_str().unwrap(), f["code"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_moved_login_lives_at_the_new_host_and_the_old_one_sends_nothing() {
    let old = Host::new();
    let new = New::of(&old, Cli::Claude);
    let before = old.read();
    let bundle = exported(&old, &new.recipient());

    // What is left is the same file without the refresh token and its deadline.
    let mut left: Value = serde_json::from_str(&before).unwrap();
    left["claudeAiOauth"]["refreshToken"] = json!("");
    left["claudeAiOauth"].as_object_mut().unwrap().remove("refreshTokenExpiresAt");
    assert_eq!(serde_json::from_str::<Value>(&old.read()).unwrap(), left);
    for file in tree(&old.home).into_iter().filter(|path| path.is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(&old.pair.refresh), "{} holds what went", file.display());
    }

    // Neither by the daemon's own timer nor by a person, nor when somebody puts a backup back.
    let said = old.refresh(&[]);
    assert_eq!(said.code, Some(1), "{said}");
    let said = old.refresh(&["--force"]);
    assert!(said.code == Some(1) && said.detail.contains("moved to another host"), "{said}");
    let status = run(&mut old.command(&["status", "--json"]), b"");
    assert!(codes(&status).is_empty() || codes(&status) == ["notice MOVED"], "{status}");
    run(&mut old.command(&["sync"]), b"").ok();
    let status = run(&mut old.command(&["status", "--json"]), b"");
    assert_eq!(codes(&status), ["notice MOVED"], "{status}");
    old.write(&before);
    let said = old.refresh(&["--force"]);
    assert!(said.code == Some(1) && said.detail.contains("moved to another host"), "{said}");
    let daemon = old.start_daemon();
    until("the daemon made a pass", 30, || daemon.log().contains("MOVED"));
    daemon.stop();
    assert_eq!(old.requests(), 0, "the old host sends nothing");

    let ran = new.import(&bundle);
    ran.ok();
    old.assert_no_token_in(&ran.both());
    let login = &serde_json::from_str::<Value>(&new.read()).unwrap()["claudeAiOauth"];
    let went = &serde_json::from_str::<Value>(&before).unwrap()["claudeAiOauth"];
    for key in ["accessToken", "refreshToken", "expiresAt", "refreshTokenExpiresAt", "scopes", "accountUuid"]
    {
        assert_eq!(login[key], went[key], "{key}");
    }
    assert!(!new.read().contains("mcpOAuth"), "logins of the old host's own stay there");
    let mode = std::fs::metadata(new.home.join(".claude/.credentials.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refreshed = new.run(&["refresh"], b"");
    assert!(refreshed.ok().contains("rotated"), "{refreshed}");
    assert_eq!((old.requests(), old.provider.ledger().grants(), old.provider.ledger().refused()), (1, 1, 0));
    assert!(new.read().contains(&old.live().refresh));

    // Once is enough, and what was replaced does not come back by another bundle either.
    let files = new.files();
    assert_refused(&new.import(&bundle), "STALE_SOURCE: this bundle was imported here before");
    let older = exported(&old, &new.recipient());
    assert_refused(&new.import(&older), "STALE_SOURCE: login claude: this generation was replaced here");
    assert_eq!(new.files(), files);
}

#[test]
fn a_login_comes_back_as_well() {
    let old = Host::expiring(7200);
    let new = New::of(&old, Cli::Claude);
    let bundle = exported(&old, &new.recipient());
    new.import(&bundle).ok();
    let recipient = run(&mut old.command(&["import", "--key"]), b"").ok().to_owned();
    let file = new.home.join("bundle");
    let mut command = new.command(&["export", "--yes", "--to", &recipient, "claude"]);
    let status = command.stdout(std::fs::File::create(&file).unwrap()).status().unwrap();
    assert!(status.success());
    run(&mut old.command(&["import"]), &std::fs::read(file).unwrap()).ok();
    let said = old.refresh(&["--force"]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
    assert!(!new.read().contains(&old.pair.refresh));
}

#[test]
fn a_host_without_a_configuration_gets_the_login_and_its_entry() {
    for cli in [Cli::Claude, Cli::Codex] {
        let old = Host::with(cli, 200_000);
        let new = New::bare();
        let bundle = exported(&old, &new.recipient());
        new.import(&bundle).ok();
        let status = new.run(&["status", "--simple"], b"");
        assert_eq!(status.ok(), "OK", "{status}");
        assert!(
            new.home.join(format!(".config/tokensink/tokensink.d/60-login-{}.toml", cli.name())).exists()
        );
        let left = old.read();
        assert!(
            !left.contains(&old.pair.refresh) && left.contains(&old.pair.access),
            "an access token stays"
        );
        assert!(cli != Cli::Codex || left.contains("chatgptAuthTokens"), "a lease");
    }
}

#[test]
fn a_login_of_our_own_store_moves_to_the_other_store() {
    let old = Host::with(Cli::Codex, 200_000);
    let own = old.state_dir().join("logins/codex.json");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    let held =
        json!({"access": old.pair.access, "refresh": old.pair.refresh, "expires": in_seconds(200_000)});
    std::fs::write(&own, held.to_string()).unwrap();
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o600)).unwrap();
    let config = format!("[[login]]\nid = \"codex\"\nprovider = \"codex\"\npath = {}\n", json!(own));
    std::fs::write(old.home.join(".config/tokensink/tokensink.toml"), config).unwrap();
    let new = New::bare();
    let bundle = exported(&old, &new.recipient());
    new.import(&bundle).ok();
    let stored = std::fs::read(new.home.join(".local/state/tokensink/logins/codex.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), held);
    let left: Value = serde_json::from_slice(&std::fs::read(own).unwrap()).unwrap();
    assert_eq!((&left["access"], &left["refresh"]), (&held["access"], &json!("")));
}

#[test]
fn several_logins_go_in_one_bundle_and_one_of_a_described_provider_too() {
    let old = Host::expiring(200_000);
    let described = old.provider.seed("described");
    let held = json!({"access": described.access, "refresh": described.refresh, "expires": in_seconds(7200)});
    let entry = format!(
        "[[login]]\nid = \"acme\"\nprovider = \"generic\"\n[login.refresh]\ntoken_url = \"{0}\"\nclient_id = \"acme\"\n\
         [login.authorize]\nurl = \"http://127.0.0.1:9/authorize\"\n",
        old.token_url()
    );
    old.configure(&old.token_url(), &entry);
    let own = old.state_dir().join("logins/acme.json");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, held.to_string()).unwrap();
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o600)).unwrap();
    let new = New::of(&old, Cli::Claude);
    let config = new.home.join(".config/tokensink/tokensink.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}{entry}")).unwrap();

    let output =
        old.command(&["export", "--yes", "--to", &new.recipient(), "claude", "acme"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for left in [old.read(), std::fs::read_to_string(&own).unwrap()] {
        assert!(!left.contains("ort01"), "{left}");
    }
    new.import(&output.stdout).ok();
    assert!(new.read().contains(&old.pair.refresh));
    let stored = std::fs::read(new.home.join(".local/state/tokensink/logins/acme.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), held);
    for id in ["claude", "acme"] {
        let said = run(&mut new.command(&["refresh", "--force", id]), b"");
        assert_eq!(said.code, Some(0), "{said}");
        let said = run(&mut old.command(&["refresh", "--force", id]), b"");
        assert_eq!(said.code, Some(1), "{said}");
    }
    assert_eq!(old.requests(), 2);
}

/// A person is asked, on a terminal, while the bundle goes into a file.
#[test]
fn only_a_yes_lets_a_login_go() {
    let old = Host::expiring(7200);
    let before = old.read();
    let recipient = New::bare().recipient();
    let bundle = old.home.join("bundle");
    let answered = |answer: &str| {
        let ours = old.command(&["export", "--to", &recipient]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "\"$@\" >bundle", "sh"]).arg(ours.get_program()).args(ours.get_args());
        command.env_clear().current_dir(&old.home);
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        holding(async {
            let mut terminal = OnTerminal::start(&command);
            terminal.until("claude will be refreshed by the new host alone").await;
            terminal.type_in(answer).await;
            terminal.until("<ended").await;
            terminal.until("<ways>").await;
        });
        std::fs::metadata(&bundle).unwrap().len()
    };
    for no in ["n\n", "\n", "nonsense\n", "\u{4}"] {
        assert_eq!((answered(no), old.read()), (0, before.clone()), "{no:?}");
    }
    assert!(answered("y\n") > 0 && !old.read().contains(&old.pair.refresh));
}

#[test]
fn what_was_not_made_for_this_host_or_is_not_whole_changes_nothing() {
    let old = Host::expiring(7200);
    let new = New::of(&old, Cli::Claude);
    let recipient = new.recipient();
    let before = old.read();
    let other = exported(&old, &New::bare().recipient());
    old.write(&before);
    let bundle = exported(&old, &recipient);
    old.write(&before);
    let mut changed = bundle.clone();
    *changed.last_mut().unwrap() ^= 1;
    let sealed =
        |text: &[u8]| sealed::seal(&Document::new(text.to_vec()), &recipient).unwrap().expose().to_vec();
    let moving = |id: &str, provider, layout: &str, document: &str| Moving {
        id: LoginId::try_new(id).unwrap(),
        provider,
        layout: layout.into(),
        document: Document::new(document.as_bytes().to_vec()),
    };
    let of = |logins: &[Moving]| sealed(bundle::compose(logins, Timestamp::from_millis(1)).unwrap().expose());
    let codex = codex::document(&Pair::codex("b", 86_400));
    // The first one makes our state directory.
    assert_refused(&new.import(b""), "no bundle");
    let files = new.files();
    for (bundle, word) in [
        (other, "made for another key"),
        (bundle[..bundle.len() - 1].to_vec(), "cut or changed"),
        (bundle[..bundle.len() / 2].to_vec(), "cut or changed"),
        (changed, "cut or changed"),
        (Vec::new(), "no bundle"),
        (vec![b'x'; 2 * 1024 * 1024], "too long"),
        (before.clone().into_bytes(), "no bundle"),
        (sealed(b"{}"), "no bundle of logins"),
        (sealed(b"{\"format_version\":2,\"logins\":[]}"), "another version"),
        (sealed(&[b'['; 100_000]), "no bundle of logins"),
        (of(&[moving("claude", Provider::Claude, "claude", "{\"torn")]), "no usable login"),
        (of(&[moving("claude", Provider::Claude, "codex", &before)]), "another form"),
        (of(&[moving("claude", Provider::Codex, "codex", &codex)]), "not of codex"),
        (of(&[moving("g", Provider::Generic, "described", &before)]), "another form"),
        (of(&[moving("m", Provider::Gemini, "described", &before)]), "login m"),
        // One that could be taken beside one that cannot.
        (
            of(&[
                moving("claude", Provider::Claude, "claude", &before),
                moving("codex", Provider::Codex, "codex", "{}"),
            ]),
            "login codex",
        ),
    ] {
        let ran = new.import(&bundle);
        assert_refused(&ran, word);
        old.assert_no_token_in(&ran.both());
        assert_eq!(new.files(), files, "{word}");
    }
    assert_refused(&New::bare().import(&bundle), "import --key");
    new.import(&bundle).ok();
}

#[test]
fn another_login_at_the_new_host_stays() {
    let old = Host::expiring(7200);
    let own = "0b5c9a52-7d6e-4f1b-9a53-2f1f6c1d7e90";
    let mut named: Value = serde_json::from_str(&old.read()).unwrap();
    named["claudeAiOauth"]["accountUuid"] = json!(own);
    old.write(&named.to_string());
    let bundle_for = |new: &New| {
        let before = old.read();
        let bundle = exported(&old, &new.recipient());
        old.write(&before);
        bundle
    };
    let there = |account: &str, seconds| {
        let text = document(&Pair::invent("b"), in_seconds(seconds));
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["claudeAiOauth"]["accountUuid"] = json!(account);
        value.to_string()
    };
    for (account, seconds, word) in
        [("another", 60, "ACCOUNT_MISMATCH"), ("", 60, "ACCOUNT_MISMATCH"), (own, 28_800, "STALE_SOURCE")]
    {
        let new = New::of(&old, Cli::Claude);
        let held = there(account, seconds);
        std::fs::write(new.home.join(".claude/.credentials.json"), &held).unwrap();
        assert_refused(&new.import(&bundle_for(&new)), word);
        assert_eq!(new.read(), held, "{word}");
    }
    // The same account's older one gives way, and is kept aside.
    let new = New::of(&old, Cli::Claude);
    std::fs::write(new.home.join(".claude/.credentials.json"), there(own, 60)).unwrap();
    new.import(&bundle_for(&new)).ok();
    assert!(new.read().contains(&old.pair.refresh));
    assert_eq!(std::fs::read_dir(new.home.join(".local/state/tokensink/displaced")).unwrap().count(), 1);
}

#[test]
fn an_export_that_is_refused_changes_nothing() {
    let old = Host::expiring(7200);
    let before = old.read();
    let recipient = New::bare().recipient();
    let refused = |arguments: &[&str], code, word: &str| {
        let ran = run(&mut old.command(arguments), b"");
        assert!(ran.code == Some(code) && ran.stderr.contains(word), "{word}: {ran}");
        assert!(ran.stdout.is_empty(), "{ran}");
        assert_eq!(old.read(), before);
    };
    refused(&["export", "--to", &recipient, "claude"], 1, "not confirmed");
    refused(&["export", "--yes", "--to", "age1nobody", "claude"], 1, "not a recipient");
    refused(&["export", "--yes", "--to", &recipient, "nobody"], 64, "no login nobody");
    let config = old.home.join(".config/tokensink/tokensink.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let another = "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n";
    std::fs::write(&config, format!("{text}{another}")).unwrap();
    refused(&["export", "--yes", "--to", &recipient], 64, "name the logins that go (claude, codex)");
    // The one that is not there keeps the other one here.
    refused(&["export", "--yes", "--to", &recipient, "claude", "codex"], 1, "codex");
    std::fs::write(&config, &text).unwrap();
    // A full disk takes half of the bundle.
    let mut command = old.command(&["export", "--yes", "--to", &recipient, "claude"]);
    let output = command.stdout(std::fs::File::create("/dev/full").unwrap()).output().unwrap();
    assert_eq!((output.status.code(), old.read()), (Some(1), before.clone()));
    assert_eq!(std::fs::read_dir(old.state_dir().join("exports")).unwrap().count(), 0);
    // A sink that has the refresh token would be a second refresher here.
    let sink =
        "[[sink]]\nid = \"legacy\"\nlogin = \"claude\"\nkind = \"oauth-json\"\npath = \"~/oauth.json\"\n";
    std::fs::write(&config, format!("{text}{sink}")).unwrap();
    refused(&["export", "--yes", "--to", &recipient, "claude"], 1, "DUPLICATE_FAMILY");
    std::fs::write(&config, text).unwrap();
    let said = old.refresh(&["--force"]);
    assert_eq!((said.code, said.outcome.as_str()), (Some(0), "rotated"), "{said}");
}

#[test]
fn an_export_that_is_killed_anywhere_leaves_the_login_in_one_place_at_least() {
    let mut deaths = 0;
    for point in [
        "export-kept",
        "export-given",
        "export-recorded",
        "export-disarmed",
        "stage-created",
        "stage-synced",
        "before-rename",
        "after-rename",
    ] {
        for time in 1.. {
            let old = Host::new();
            let new = New::of(&old, Cli::Claude);
            let recipient = new.recipient();
            let (output, given) = export(&old, &recipient, &format!("{point}:{time}"));
            if output.status.signal() != Some(9) {
                assert!(output.status.success(), "{point}:{time}");
                break;
            }
            deaths += 1;
            for lock in old.locks().iter().filter(|lock| lock.exists()) {
                std::fs::remove_dir(lock).unwrap();
            }
            if !old.read().contains(&old.pair.refresh) {
                new.import(&given).ok();
            } else {
                // What is recorded as gone is not spent; else the login is as it was.
                let again = exported(&old, &recipient);
                new.import(&again).ok();
            }
            assert!(!old.read().contains(&old.pair.refresh), "{point}:{time}");
            assert_eq!(old.refresh(&["--force"]).code, Some(1), "{point}:{time}");
            assert_eq!(old.requests(), 0, "{point}:{time}");
            run(&mut old.command(&["sync"]), b"").ok();
            assert_tidy(&old.home, &(point, time));
            assert!(new.run(&["refresh"], b"").ok().contains("rotated"), "{point}:{time}");
            assert_eq!((old.provider.ledger().grants(), old.provider.ledger().refused()), (1, 0));
        }
    }
    assert!(deaths >= 12, "{deaths}");
}

#[test]
fn an_import_that_is_killed_anywhere_is_completed_by_the_next() {
    let mut deaths = 0;
    for point in ["import-stored", "stage-synced", "before-rename", "after-rename"] {
        for time in 1.. {
            let old = Host::new();
            let new = New::of(&old, Cli::Claude);
            let bundle = exported(&old, &new.recipient());
            let mut command = new.command(&["import"]);
            let ran = run(command.env("TOKENSINK_FAILPOINT", format!("{point}:{time}")), &bundle);
            if ran.code.is_some() {
                ran.ok();
                break;
            }
            deaths += 1;
            for lock in [".claude/.oauth_refresh.lock", ".claude.lock", ".claude/.storage-write.lock"] {
                let _ = std::fs::remove_dir(new.home.join(lock));
            }
            let again = new.import(&bundle);
            let is_done = again.code == Some(1) && again.stderr.contains("imported here before");
            assert!(is_done || again.code == Some(0), "{point}:{time}: {again}");
            assert!(new.run(&["refresh"], b"").ok().contains("rotated"), "{point}:{time}");
            assert_eq!((old.provider.ledger().grants(), old.provider.ledger().refused()), (1, 0));
            assert!(new.read().contains(&old.provider.ledger().live(FAMILY).refresh));
        }
    }
    assert!(deaths >= 5, "{deaths}");
}
