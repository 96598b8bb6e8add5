//! Re-authentication from a dead login to consumers that work: by the terminal, by a second process, and beside a
//! daemon. Claude's screen is one that is played; the servers are the stand-in. Needs root (networks of their own).
//!
//! What the script before ours got wrong, and where it is shown not to be so here:
//! - "successful" with nothing stored anywhere, or because something old was there: `the_same_token_again_…`
//! - the unit of another name is restarted, the gateway never: `a_dead_login_…`, `a_condition_that_…`
//! - an exit status read as a text, so that "expiring" never matched: `a_dead_login_…` reads findings
//! - no terminal for the CLI, no URL, no look at the account, the old login lost on failure: `a_second_process_…`,
//!   `another_account_…`, `whatever_ends_it_…`
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

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::alone::alone;
use support::claude::in_seconds;
use support::host::until;
use support::login_bench::{Login, LoginBench};
use support::looks::contains;
use support::on_terminal::{OnTerminal, holding};
use support::provider::ACCOUNT;
use support::run::{Ran, run};
use support::screen;

const CODE: &str = "ac-good#srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss";

/// A home whose Claude login was blanked, with a sink and a gateway that follows it.
fn broken(words: &str) -> LoginBench {
    let bench = screen::bench(words);
    screen::break_login(&bench);
    bench
}

fn reauth(bench: &LoginBench, arguments: &[&str]) -> Login {
    bench.start(&mut bench.command(&[&["reauth"][..], arguments].concat()))
}

fn hands_over(bench: &LoginBench, code: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["reauth", "--code", "-"][..], arguments].concat();
    run(&mut bench.command(&arguments), format!("{code}\n").as_bytes())
}

fn socket(bench: &LoginBench, login: &str) -> PathBuf {
    bench.home.with_file_name("runtime").join(format!("tokensink/reauth-{login}.sock"))
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Not even where every directory on the way, and the socket, stand open: the kernel says who comes.
fn nobody_else_gets_in(socket: &Path) {
    let modes: Vec<(&Path, u32)> =
        socket.ancestors().take(4).map(|path| (path, mode(path.to_owned()))).collect();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    modes.iter().for_each(|(path, _)| set(path, if *path == socket { 0o666 } else { 0o755 }));
    let visit = "use Socket; $SIG{PIPE} = 'IGNORE'; socket(S, PF_UNIX, SOCK_STREAM, 0);
        connect(S, sockaddr_un($ARGV[0])) or die $!; syswrite(S, \"leave\\n\"); print 'heard ', <S>";
    let mut stranger = Command::new("perl");
    stranger.args(["-e", visit]).arg(socket).uid(64_201).gid(64_201);
    assert_eq!(run(&mut stranger, b"").ok(), "heard", "connected, told nothing, and not listened to");
    modes.iter().rev().for_each(|(path, mode)| set(path, *mode));
}

#[track_caller]
fn mended(bench: &LoginBench, ran: &Ran) {
    assert!(ran.code == Some(0) && ran.both().contains("login claude is mended"), "{ran}");
    assert!(!ran.both().contains("CANARY") && !ran.both().contains("ac-good"), "{ran}");
    assert!(contains(&bench.home.join("copy.json"), "CANARY-access"), "the sink has it");
    assert!(bench.home.join("followed").exists(), "the gateway was made to follow");
    assert!(!socket(bench, "claude").exists());
}

#[test]
fn a_dead_login_is_shown_with_what_it_breaks_and_is_mended_when_everybody_follows() {
    let bench = broken("style=80");
    let mut attempt = reauth(&bench, &["--no-browser"]);
    attempt.wait_for("Then paste here");
    let said = attempt.said();
    for word in ["login    claude  HUSK", "since 20", "sinks: copy", "gateways: claw", "https://claude.com/"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    attempt.type_line("ac-good#another");
    attempt.wait_for("does not belong to this login");
    attempt.type_line(CODE);
    mended(&bench, &attempt.end());
    let again = bench.run(&["reauth"]);
    assert_eq!(again.ok(), "no login needs a person");
    let json = bench.run(&["reauth", "--json"]);
    assert_eq!(json.ok(), "{\"format_version\":1,\"event\":\"nothing_needed\"}");
}

#[test]
fn a_second_process_hands_over_the_code_and_hears_how_it_ended() {
    let bench = broken("");
    let channel = bench.home.join(".config/tokensink/tokensink.d/alert.toml");
    fs::create_dir_all(channel.parent().unwrap()).unwrap();
    let told = bench.home.join("told");
    let text = format!(
        "[[alert]]\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >{}.new; mv {0}.new {0}\"]\n",
        told.display()
    );
    fs::write(channel, text).unwrap();
    let mut attempt = reauth(&bench, &["--json"]);
    // The window in which it was begun is gone: a phone has closed it.
    attempt.close_input();
    attempt.wait_for("\"event\":\"visit\"");
    kill(Pid::from_raw(attempt.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    let line = attempt.said().lines().find(|line| line.contains("\"visit\"")).unwrap().to_owned();
    let visit: Value = serde_json::from_str(&line).unwrap();
    assert!(visit["url"].as_str().unwrap().starts_with("https://claude.com/") && visit["takes_code"] == true);
    // Where to log in goes to the channels of alerts too.
    until("the channel has it", 20, || told.exists());
    let sent: Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    assert_eq!(
        (&sent["event"], &sent["subject"], &sent["click"]),
        (&"reauth".into(), &"claude".into(), &visit["url"])
    );
    assert_eq!(
        (mode(socket(&bench, "claude")), mode(socket(&bench, "x").parent().unwrap().into())),
        (0o600, 0o700)
    );
    nobody_else_gets_in(&socket(&bench, "claude"));

    let unfit = hands_over(&bench, "ac-good#another", &[]);
    assert!(unfit.code == Some(1) && unfit.stdout.contains("does not belong to this login"), "{unfit}");
    assert_eq!(hands_over(&bench, "", &["claude"]).code, Some(1));
    assert!(!attempt.is_over(), "it goes on");
    let ran = hands_over(&bench, CODE, &[]);
    mended(&bench, &ran);
    mended(&bench, &attempt.end());
    // Nobody waits any more, and nothing is wrong.
    assert_eq!(hands_over(&bench, CODE, &[]).ok(), "no login needs a person");
}

#[test]
fn who_comes_later_joins_the_attempt_that_waits_unless_it_is_to_begin_anew() {
    let bench = broken("");
    let mut first = reauth(&bench, &["--no-browser", "claude"]);
    first.wait_for("Then paste here");
    let mut second = reauth(&bench, &["claude"]);
    second.wait_for("Then paste here");
    assert_eq!(screen::noted(&bench, "pid").len(), 1, "one screen");
    // The person breaks off the second; the first waits on.
    kill(Pid::from_raw(second.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    second.end();
    assert!(!first.is_over());
    let mut third = reauth(&bench, &["--again", "--no-browser"]);
    let ran = first.end();
    assert!(
        ran.code == Some(1) && ran.stdout.contains("takes the place of this one; nothing was changed"),
        "{ran}"
    );
    third.wait_for("Then paste here");
    assert_eq!(screen::noted(&bench, "pid").len(), 2);
    let mut fourth = reauth(&bench, &["--json"]);
    fourth.wait_for("\"event\":\"visit\"");
    fourth.type_line(CODE);
    mended(&bench, &fourth.end());
    mended(&bench, &third.end());
    screen::nothing_is_left(&bench);
}

#[test]
fn whatever_ends_it_before_leaves_the_old_login_as_it_was() {
    let bench = broken("");
    let file = bench.home.join(".claude/.credentials.json");
    let old = fs::read(&file).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut attempt = reauth(&bench, &["--no-browser"]);
        attempt.wait_for("Then paste here");
        kill(Pid::from_raw(attempt.id().try_into().unwrap()), signal).unwrap();
        let ran = attempt.end();
        assert!(ran.code == Some(1) && ran.stdout.contains("stopped; nothing was changed"), "{ran}");
    }
    let ran = reauth(&bench, &["--no-browser", "--patience", "1"]).end();
    assert!(
        ran.code == Some(1) && ran.stdout.contains("nobody came back in time; nothing was changed"),
        "{ran}"
    );
    let refused = hands_over(&bench, &CODE.replace("good", "refused"), &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("That code wasn't accepted"), "{refused}");
    // A code that nobody waits for belongs to no attempt.
    let stale = hands_over(&bench, "ac-good#another", &[]);
    assert!(stale.code == Some(1) && stale.both().contains("does not belong to this login"), "{stale}");
    assert!(stale.stderr.contains("standard input ended before a code was given"), "{stale}");
    assert_eq!(fs::read(&file).unwrap(), old);
    assert!(!socket(&bench, "claude").exists() && !bench.home.join("copy.json").exists());
    screen::nothing_is_left(&bench);
    // A code is never an argument, and is not repeated.
    let ran = run(&mut bench.command(&["reauth", "--code", CODE]), b"");
    assert!(ran.code == Some(64) && !ran.both().contains("ac-good"), "{ran}");
    let ran = run(&mut bench.command(&["reauth", "nobody"]), b"");
    assert!(ran.code == Some(64) && ran.stderr.contains("there is no login nobody"), "{ran}");
}

#[test]
fn another_account_replaces_nothing_unless_it_is_wanted() {
    let bench = broken("account=someone-else");
    let file = bench.home.join(".claude/.credentials.json");
    let old = screen::document("sk-ant-oat01-old", "sk-ant-ort01-old", in_seconds(-3600), ACCOUNT);
    fs::write(&file, &old).unwrap();
    let ran = hands_over(&bench, CODE, &["claude"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("ACCOUNT_MISMATCH"), "{ran}");
    assert!(ran.stderr.contains("nothing was changed"), "{ran}");
    assert_eq!(fs::read_to_string(&file).unwrap(), old);
    assert!(!contains(&bench.home.join("copy.json"), "CANARY"));
    let ran = hands_over(&bench, CODE, &["claude", "--replace-account"]);
    mended(&bench, &ran);
}

#[test]
fn a_condition_that_does_not_hold_is_named_and_the_new_login_is_there() {
    // A sink without its directory, and a gateway that cannot be made to follow.
    let bench = broken("");
    bench.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n\
         [[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n\
         [[sink]]\nid = \"lost\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/no/such/directory/copy.json\"\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"copy\"]\ncommand = [\"/bin/false\"]\n",
    );
    let ran = hands_over(&bench, CODE, &["--within", "3"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    for word in ["the new login is stored, but", "sink lost is missing", "gateway claw does not use it yet"] {
        assert!(ran.stderr.contains(word), "{word}: {ran}");
    }
    assert!(!ran.stderr.contains("login claude is"), "{ran}");
    assert!(contains(&bench.home.join(".claude/.credentials.json"), "CANARY-access"));
    assert!(contains(&bench.home.join("copy.json"), "CANARY-access"));
}

#[test]
fn the_same_token_again_is_no_new_login() {
    let bench = LoginBench::new();
    let token = format!("sk-ant-oat01-{}AA", "made_up-".repeat(10));
    let given = |arguments: &[&str], token: &str| {
        let ran = run(&mut bench.command(arguments), format!("{token}\n").as_bytes());
        assert!(!ran.both().contains("made_up"), "{ran}");
        ran
    };
    assert_eq!(given(&["login", "claude", "--setup-token"], &token).code, Some(0));
    let again = given(&["reauth", "--code", "-", "claude-token", "--within", "2"], &token);
    assert!(again.code == Some(1) && again.stderr.contains("is the same as before"), "{again}");
    // The shortest way to another one is a paste, here by a second process.
    let mut attempt = reauth(&bench, &["claude-token"]);
    attempt.wait_for("Run `claude setup-token`");
    let other = token.replace("AA", "BB");
    let ran = given(&["reauth", "--code", "-"], &other);
    assert!(ran.code == Some(0) && ran.stdout.contains("login claude-token is mended"), "{ran}");
    assert_eq!(attempt.end().code, Some(0));
    assert_eq!(bench.stored("claude-token")["token"], other.as_str());
}

#[test]
fn codex_is_asked_by_a_code_for_another_device_and_by_a_paste_where_there_is_none() {
    alone("codex_is_asked_by_a_code_for_another_device_and_by_a_paste_where_there_is_none", || {
        let bench = LoginBench::new();
        bench.configure(
            "[[login]]\nid = \"codex\"\nprovider = \"codex\"\npath = \"~/.local/state/tokensink/logins/codex.json\"\n\
             [[sink]]\nid = \"copy\"\nlogin = \"codex\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n",
        );
        fs::create_dir_all(bench.home.join(".local/state/tokensink/logins")).unwrap();
        bench.provider.set(|s| s.device = vec!["authorization_pending".into()]);
        let ran = reauth(&bench, &["--json"]).end();
        assert_eq!(ran.code, Some(0), "{ran}");
        let line = ran.stdout.lines().find(|line| line.contains("\"enter\"")).unwrap();
        let enter: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&enter["user_code"], &enter["url"]),
            (&"WDJB-MJHT".into(), &"https://auth.openai.com/codex/device".into())
        );
        assert!(contains(&bench.home.join("copy.json"), &bench.live().access));

        bench.provider.set(|s| s.device = vec!["off".into()]);
        for arguments in [&["codex", "--no-browser"][..], &["codex", "--no-browser", "--paste"]] {
            let mut attempt = reauth(&bench, arguments);
            attempt.close_input();
            let back = bench.sent_to(&attempt.url());
            let ran = hands_over(&bench, &back, &[]);
            assert!(ran.code == Some(0) && ran.stdout.contains("login codex is mended"), "{ran}");
            assert_eq!(attempt.end().code, Some(0));
            assert!(contains(&bench.home.join("copy.json"), &bench.live().access));
        }
        let asked = bench.provider.ledger().requests.iter().filter(|r| r.path.contains("usercode")).count();
        assert_eq!(asked, 2, "--paste asks for none");
    });
}

#[test]
fn a_running_daemon_does_the_following_and_is_waited_for() {
    let bench = broken("");
    let mut daemon = bench.start(&mut bench.command(&["daemon"]));
    daemon.wait_for("is ready");
    daemon.wait_for("HUSK");
    let ran = hands_over(&bench, CODE, &[]);
    mended(&bench, &ran);
    daemon.wait_for("HUSK claude is resolved");
    let followed = fs::read_to_string(bench.home.join("followed")).unwrap();
    assert_eq!(followed.lines().count(), 1, "once, by whoever was first: {followed}");
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    until("the daemon ends", 20, || daemon.is_over());
}

/// Says what is written to its pipe.
const JOURNALCTL: &str = "#!/bin/sh\nexec 3<> ~/journal\nwhile read -r line <&3; do echo \"$line\"; done\n";

#[test]
fn a_token_that_is_refused_before_its_end_is_refreshed_once_and_everybody_follows() {
    let bench = LoginBench::new();
    bench.hold_codex_login();
    bench.configure(&format!(
        "[[login]]\nid = \"codex\"\nprovider = \"codex\"\n\
         [[sink]]\nid = \"copy\"\nlogin = \"codex\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"copy\"]\nunauthorized = \"CONTAINER_NAME=claw\"\nmin_interval = \"0s\"\n\
         command = [\"/bin/sh\", \"-c\", \"echo again >> {}/followed\"]\n",
        bench.home.display()
    ));
    let bin = bench.home.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("journalctl"), JOURNALCTL).unwrap();
    fs::set_permissions(bin.join("journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    nix::unistd::mkfifo(&bench.home.join("journal"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = bench.command(&["daemon"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let mut daemon = bench.start(&mut command);
    daemon.wait_for("gateway claw done");
    let refused = || {
        let pipe = fs::OpenOptions::new().read(true).write(true).open(bench.home.join("journal"));
        pipe.unwrap().write_all(b"401\n").unwrap();
    };
    until("its login is refreshed", 60, || {
        refused();
        bench.provider.ledger().grants() == 1
    });
    daemon.wait_for("its login is refreshed, once");
    daemon.wait_for("login codex refreshed: rotated");
    let new = bench.provider.ledger().live("held").access.clone();
    until("everybody follows", 30, || {
        refused();
        contains(&bench.home.join("copy.json"), &new)
            && fs::read_to_string(bench.home.join("followed")).unwrap().lines().count() == 2
    });
    assert_eq!(bench.provider.ledger().grants(), 1);
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    until("the daemon ends", 20, || daemon.is_over());
    bench.assert_no_secret_in(&daemon.said());
}

#[test]
fn a_login_of_another_program_is_handed_over_to_it_and_judged_by_what_it_leaves() {
    const KIMI: &str = "#!/bin/sh\n[ \"$*\" = login ] || exit 9\nread -r word\ncase $word in\n\
        good) printf '{\"access_token\":\"%s\",\"refresh_token\":\"r2\",\"expires_at\":4102444800}' new-kimi-token \
        > ~/.kimi-code/credentials/kimi-code.json ;;\ngone) rm ~/.kimi-code/credentials/kimi-code.json ;;\nesac\n";
    holding(async {
        let bench = LoginBench::new();
        bench.configure(
            "[[login]]\nid = \"kimi\"\nprovider = \"kimi\"\n[login.refresh]\nmode = \"off\"\n\
             [[sink]]\nid = \"copy\"\nlogin = \"kimi\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n",
        );
        let file = bench.home.join(".kimi-code/credentials/kimi-code.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let old = "{\"access_token\":\"old\",\"refresh_token\":\"r1\",\"expires_at\":4102444000}";
        fs::write(&file, old).unwrap();
        let ran = bench.run(&["reauth", "kimi"]);
        assert!(
            ran.code == Some(1)
                && ran.stderr.contains("kimi is not on the search path; it makes this login: kimi login"),
            "{ran}"
        );
        let bin = bench.home.join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("kimi"), KIMI).unwrap();
        fs::set_permissions(bin.join("kimi"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = bench.command(&["reauth", "kimi", "--within", "2"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let piped = run(&mut command, b"");
        assert!(
            piped.code == Some(1)
                && piped.stderr.contains("made on a terminal, by its own program: kimi login"),
            "{piped}"
        );
        for (word, code, said) in [
            ("nothing", 1, "is the same as before"),
            ("gone", 1, "it left no login; the old one is as it was"),
            ("good", 0, "login kimi is mended"),
        ] {
            let mut terminal = OnTerminal::start(&command);
            terminal.until("sinks: copy").await;
            terminal.type_in(&format!("{word}\r")).await;
            let (ended, shown) = terminal.end().await;
            assert!(ended == code && shown.contains(said), "{word}: {ended} {shown}");
            if code == 1 {
                assert_eq!(fs::read_to_string(&file).unwrap(), old, "{word}");
            }
        }
        assert!(contains(&bench.home.join("copy.json"), "new-kimi-token"));
    });
}
