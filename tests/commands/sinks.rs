//! The other kinds of sinks: environment and secret files, templates, commands.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use crate::stage::{Home, Login, contains};

const LOGIN: &str = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n";

pub fn sink(kind: &str, more: &str) -> String {
    format!("{LOGIN}[[sink]]\nid = \"sink\"\nlogin = \"claude\"\nkind = \"{kind}\"\n{more}")
}

fn mode(home: &Home, name: &str) -> u32 {
    fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn new_files_are_closed_and_existing_ones_keep_owner_and_mode() {
    for (kind, more, old) in [
        ("env-file", "path = \"~/sinks/x\"\nkey = \"TOKEN\"\n", "A=1\n"),
        ("secret-file", "path = \"~/sinks/x\"\n", "{\"access_token\":\"old\"}\n"),
        ("oauth-json", "path = \"~/sinks/x\"\nrefresh = false\n", "{}"),
        ("claude-credentials", "path = \"~/sinks/x\"\n", "{}"),
    ] {
        let home = Home::new();
        home.holds_tokens("sinks/x");
        home.configure(&sink(kind, more));
        home.rotate(&Login::nth(1));
        assert_eq!(home.run(&["sync"]).code, 0);
        assert_eq!(mode(&home, "sinks/x"), 0o600, "{kind}");
        assert!(!contains(&home.path("sinks/x"), "ort01"), "{kind}: no refresh token");

        for (n, wanted, is_wide) in [(2, 0o640, false), (3, 0o400, false), (4, 0o644, true), (5, 0o660, true)]
        {
            let path = home.write("sinks/x", old);
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
            std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap();
            home.rotate(&Login::nth(n));
            let ran = home.run(&["sync"]);
            assert_eq!(ran.code, 0, "{kind}: {ran:?}");
            assert!(contains(&path, &Login::nth(n).access), "{kind} {ran:?}");
            let stat = fs::metadata(&path).unwrap();
            assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (wanted, 4711, 4712), "{kind}");
            assert_eq!(ran.stdout.contains("MODE_TOO_WIDE sink"), is_wide, "{kind} {wanted:o}: {ran:?}");
        }
        home.finish();
    }
}

#[test]
fn one_key_of_an_environment_file_is_changed_and_nothing_else() {
    let home = Home::new();
    home.holds_tokens("sinks/x");
    home.configure(&sink("env-file", "path = \"~/sinks/x\"\nkey = \"TOKEN\"\n"));
    home.rotate(&Login::nth(1));
    let text = |value: &str| {
        format!(
            "# a comment\r\nexport TOKEN='{value}' # of mine\r\nTOKEN_2=x\r\n\r\nB=\"multi\r\nTOKEN=no\r\n\""
        )
    };
    home.write("sinks/x", text("old"));
    assert_eq!(home.run(&["sync"]).code, 0);
    assert_eq!(home.read("sinks/x"), text(&Login::nth(1).access));
    // A source that lost its login never empties it.
    home.write(".claude/.credentials.json", crate::stage::husk());
    assert_eq!(home.run(&["sync"]).code, 0);
    assert_eq!(home.read("sinks/x"), text(&Login::nth(1).access));
    home.finish();
}

#[test]
fn a_link_keeps_pointing() {
    let home = Home::new();
    home.mkdir("elsewhere");
    home.holds_tokens("elsewhere/real");
    home.write("elsewhere/real", "A=1\n");
    std::os::unix::fs::symlink("../elsewhere/real", home.path("sinks/x")).unwrap();
    home.configure(&sink("env-file", "path = \"~/sinks/x\"\nkey = \"TOKEN\"\n"));
    home.rotate(&Login::nth(1));
    assert_eq!(home.run(&["sync"]).code, 0);
    assert!(home.path("sinks/x").is_symlink());
    assert!(contains(&home.path("elsewhere/real"), &Login::nth(1).access));
    home.finish();
}

#[test]
fn a_template_is_filled_and_its_errors_name_the_placeholder() {
    let home = Home::new();
    home.holds_tokens("sinks/x");
    home.configure(&sink("template", "path = \"~/sinks/x\"\nsource = \"~/x.template\"\nmode = \"0640\"\n"));
    home.rotate(&Login::nth(1));
    home.write("x.template", "login {{login}} until {{expires_at_seconds}}\ntoken: {{acess_token}}\n");
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("acess_token")
            && ran.stdout.contains("line 2")
            && ran.stdout.contains("x.template"),
        "{ran:?}"
    );
    assert!(!home.path("sinks/x").exists());

    home.write("x.template", "login {{login}} until {{expires_at_seconds}}\ntoken: {{access_token}}\n");
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let login = Login::nth(1);
    let wanted = format!("login claude until {}\ntoken: {}\n", login.expires_at / 1000, login.access);
    assert_eq!((home.read("sinks/x"), mode(&home, "sinks/x")), (wanted, 0o640));
    // A broken template does not touch what is there.
    home.write("x.template", "{{nothing}}");
    home.rotate(&Login::nth(2));
    assert_eq!(home.run(&["sync"]).code, 1);
    assert!(contains(&home.path("sinks/x"), &login.access));
    home.finish();
}

#[test]
fn a_template_is_rendered_again_when_it_changes() {
    let home = Home::new();
    home.holds_tokens("sinks/x");
    home.configure(&sink("template", "path = \"~/sinks/x\"\nsource = \"~/x.template\"\n"));
    home.write("x.template", "a {{access_token}}");
    home.rotate(&Login::nth(1));
    let daemon = home.ready(); // and at rest
    home.write("x.template", "b {{access_token}}");
    home.until("the new template is used", || home.read("sinks/x") == format!("b {}", Login::nth(1).access));
    daemon.stop();
    home.finish();
}

#[test]
fn a_command_reads_the_credential_without_refresh_token_and_within_its_limits() {
    let home = Home::new();
    for name in ["read.json", "again.json"] {
        home.holds_tokens(name);
    }
    let script = home.write("sink.sh", "cat >\"$HOME/read.json\"\nenv >\"$HOME/environment\"\ntr '\\0' '\\n' <\"/proc/$$/cmdline\" >\"$HOME/cmdline\"\n");
    let with = |script: &std::path::Path, more: &str| {
        sink("command", &format!("command = [\"/bin/sh\", {script:?}, \"argument\"]\n{more}"))
    };
    home.configure(&with(&script, ""));
    home.rotate(&Login::nth(1));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let read: serde_json::Value = serde_json::from_str(&home.read("read.json")).unwrap();
    assert_eq!(
        (&read["format_version"], &read["login"], &read["sink"]),
        (&1.into(), &"claude".into(), &"sink".into())
    );
    assert_eq!(
        (&read["access_token"], &read["expires_at"]),
        (&Login::nth(1).access.into(), &Login::nth(1).expires_at.into())
    );
    assert!(!home.read("read.json").contains("ort01"));
    let environment = home.read("environment");
    for name in ["TOKENSINK_LOGIN=claude", "TOKENSINK_SINK=sink", "TOKENSINK_GENERATION="] {
        assert!(environment.contains(name), "{environment}");
    }
    assert!(home.read("cmdline").contains("argument"));
    fs::remove_file(home.path("read.json")).unwrap();
    let again = home.run(&["sync"]);
    assert!(again.stdout.starts_with("nothing to do"), "once for each generation: {again:?}");
    assert!(!home.path("read.json").exists());

    // Late, and with a child that would hold the pipe open.
    let late = home.write("late.sh", "sleep 600 & echo $! >\"$HOME/child\"\nsleep 600\n");
    home.configure(&with(&late, "timeout = \"1s\"\n"));
    home.rotate(&Login::nth(2));
    let begun = std::time::Instant::now();
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("longer than 1 s") && begun.elapsed().as_secs() < 20, "{ran:?}");
    let child = home.read("child").trim().to_owned();
    let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "its whole group has ended: {state}");

    // Far too much output, some of it secret, and a failure in the end.
    let loud = home.write("loud.sh", "tee -a \"$HOME/again.json\"\nhead -c 20000000 /dev/zero | tr '\\0' 'x'\necho secret >&2\ncat \"$HOME/again.json\" >&2\nexit 3\n");
    home.configure(&with(&loud, ""));
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("exit status: 3") && ran.stdout.len() < 4096 && !ran.stdout.contains("secret\n"),
        "{}",
        ran.stdout.len()
    );
    home.finish();
}

#[test]
fn a_failing_command_is_tried_again_without_haste_and_told_once() {
    let home = Home::new();
    let script = home.write("sink.sh", "echo run >>\"$HOME/runs\"\n[ -e \"$HOME/cure\" ]\n");
    let command = sink("command", &format!("command = [\"/bin/sh\", {script:?}]\n"));
    home.configure(&format!("[daemon]\npoll = \"1s\"\n{command}"));
    home.rotate(&Login::nth(1));
    let daemon = home.ready();
    let (first, _) = home.until_said(daemon.from, "SINK_FAILED sink: ");
    // A window that is measured, long enough for a hot loop to show.
    home.until("five seconds have passed", || first.elapsed() >= Duration::from_secs(5));
    assert_eq!(home.read("runs").lines().count(), 1, "runs of a failing command in five seconds");
    home.write("cure", "");
    let (cured, _) = home.until_said(daemon.from, "SINK_FAILED sink is resolved");
    assert!(cured - first >= Duration::from_secs(9), "{:?}", cured - first);
    assert_eq!(home.said(daemon.from, "SINK_FAILED sink: ").len(), 1);

    // Another generation does not wait for the failures of the one before.
    fs::remove_file(home.path("cure")).unwrap();
    let mark = home.mark();
    home.rotate(&Login::nth(2));
    let (again, _) = home.until_said(mark, "SINK_FAILED sink: ");
    home.write("cure", "");
    home.rotate(&Login::nth(3));
    let (cured, _) = home.until_said(mark, "SINK_FAILED sink is resolved");
    assert!(cured - again < Duration::from_secs(9), "{:?}", cured - again);
    daemon.stop();
    assert_eq!(home.read("runs").lines().count(), 4);
    home.finish();
}

#[test]
fn a_gateway_follows_a_command_once_and_only_when_it_has_taken_the_token() {
    let home = Home::new();
    for name in ["taken.json", "read"] {
        home.holds_tokens(name);
    }
    let script = home.write("sink.sh", "[ -e \"$HOME/cure\" ] && cat >\"$HOME/taken.json\"\n");
    let gateway =
        home.write("gateway.sh", "grep -o 'sk-ant-oat01[^\"]*' \"$HOME/taken.json\" >>\"$HOME/read\"\n");
    let command = sink("command", &format!("command = [\"/bin/sh\", {script:?}]\n"));
    home.configure(&format!(
        "{command}[[gateway]]\nid = \"gateway\"\nsinks = [\"sink\"]\ncommand = [\"/bin/sh\", {gateway:?}]\n\
         min_interval = \"1s\"\n"
    ));
    home.rotate(&Login::nth(1));
    for _ in 0..2 {
        assert_eq!(home.run(&["sync"]).code, 1);
        assert!(!home.path("read").exists(), "there is nothing new to read");
    }
    home.write("cure", "");
    let ran = home.run(&["sync"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.read("read").lines().collect::<Vec<_>>(), [&Login::nth(1).access]);
    let daemon = home.ready();
    home.rotate(&Login::nth(2));
    home.until("the gateway follows", || home.read("read").contains(&Login::nth(2).access));
    assert_eq!(home.read("read").lines().count(), 2);
    daemon.stop();
    home.finish();
}

/// A stand-in for `systemd-creds`: another ciphertext each time, and a note of its arguments.
pub const ENCRYPT: &str = "#!/bin/sh\necho \"$@\" >>\"$HOME/arguments\"\n[ ! -e \"$HOME/broken\" ] || { cat >&2; exit 1; }\n\
    [ ! -e \"$HOME/no-key\" ] || { echo 'No key there.' >&2; exit 1; }\n\
    wc -l <\"$HOME/arguments\"\nprintf %s \"$(cat)\" | sha256sum\n";

pub fn with_systemd_creds(home: &mut Home, script: &str) {
    home.mkdir("bin");
    let program = home.write("bin/systemd-creds", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let bin = home.path("bin");
    home.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
}

pub fn arguments(home: &Home) -> Vec<String> {
    home.read("arguments").lines().map(str::to_owned).collect()
}

#[test]
fn an_encrypted_credential_is_made_once_for_each_generation_and_anew_when_it_is_not_ours() {
    let mut home = Home::new();
    with_systemd_creds(&mut home, ENCRYPT);
    home.configure(&sink("systemd-creds", "path = \"~/sinks/token.cred\"\nname = \"token\"\n"));
    home.rotate(&Login::nth(1));
    let ran = home.run(&["sync"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "delivered sink\n"), "{ran:?}");
    assert_eq!(arguments(&home), ["encrypt --name=token - -"]);
    let first = home.read("sinks/token.cred");
    assert_eq!(mode(&home, "sinks/token.cred"), 0o600);
    let again = home.run(&["sync"]);
    assert!(again.stdout.starts_with("nothing to do"), "{again:?}");

    // Removed, overwritten, rotated.
    fs::remove_file(home.path("sinks/token.cred")).unwrap();
    assert_eq!(home.run(&["sync"]).code, 0);
    let second = home.read("sinks/token.cred");
    home.write("sinks/token.cred", &first);
    let ran = home.run(&["sync"]);
    assert!(ran.stdout.contains("CLOBBERED sink"), "{ran:?}");
    let third = home.read("sinks/token.cred");
    home.rotate(&Login::nth(2));
    assert_eq!(home.run(&["sync"]).code, 0);
    let fourth = home.read("sinks/token.cred");
    let hash = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert!(hash(&first) == hash(&second) && hash(&first) == hash(&third) && hash(&first) != hash(&fourth));
    assert!(first != second && second != third, "made anew");
    let report = home.run(&["status", "--json"]).json();
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    home.finish();
}

#[test]
fn a_failure_to_encrypt_is_told_without_the_token_and_leaves_what_is_there() {
    let mut home = Home::new();
    with_systemd_creds(&mut home, ENCRYPT);
    home.write("sinks/token.cred", "of somebody's");
    home.configure(&sink("systemd-creds", "path = \"~/sinks/token.cred\"\nname = \"token\"\n"));
    home.rotate(&Login::nth(1));
    for (mark, told) in [("no-key", "exit status: 1: No key there."), ("broken", "exit status: 1\n")] {
        home.write(mark, "");
        let ran = home.run(&["sync"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stdout.contains(told) && ran.stdout.contains("SINK_FAILED sink"), "{ran:?}");
        assert_eq!(home.read("sinks/token.cred"), "of somebody's");
    }
    fs::remove_file(home.path("no-key")).unwrap();
    fs::remove_file(home.path("broken")).unwrap();
    assert_eq!(home.run(&["sync"]).code, 0);
    let kept: Vec<_> =
        fs::read_dir(home.path(crate::stage::STATE).join("displaced")).unwrap().flatten().collect();
    assert_eq!(fs::read_to_string(kept[0].path()).unwrap(), "of somebody's");
    fs::remove_file(home.path("bin/systemd-creds")).unwrap();
    home.set("PATH", "/nowhere");
    home.rotate(&Login::nth(2));
    let ran = home.run(&["sync"]);
    assert!(ran.code == 1 && ran.stdout.contains("systemd-creds is not on the PATH"), "{ran:?}");
    home.finish();
}

#[test]
fn an_ordinary_user_has_a_credential_of_their_own_from_systemd_256_on() {
    for (version, is_refused) in [(252, true), (255, true), (256, false), (257, false)] {
        let mut home = Home::of_ordinary_user();
        with_systemd_creds(&mut home, &format!("{ENCRYPT}# libsystemd-shared-{version}.so\n"));
        home.configure(&sink("systemd-creds", "path = \"~/sinks/token.cred\"\nname = \"token\"\n"));
        home.rotate(&Login::nth(1));
        home.hand_over();
        let ran = home.run(&["sync"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        if is_refused {
            assert!(
                ran.stdout.contains(&format!("VERSION_UNSUPPORTED sink: systemd {version} is installed")),
                "{ran:?}"
            );
            assert!(!home.path("arguments").exists() && !home.path("sinks/token.cred").exists());
        } else {
            assert_eq!(arguments(&home), ["encrypt --user --name=token - -"], "{ran:?}");
        }
        home.finish();
    }
}
