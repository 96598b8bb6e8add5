//! The widgets of the phone, run as they are, by dash, against a real sshd on the loopback and stand-ins for the
//! programs of Termux:API, which note what they are called with. Needs root, openssh and shellcheck.
//!
//! What the scripts before ours got wrong, and where it is shown not to be so here:
//! - a status matched as a text, broken by any banner or a second line; no time-out: `one_tap_…`, `what_keeps_…`
//! - the page of API keys opened for a login: `the_whole_way_…` opens the address of the CLI's own login
//! - a path of one host in every command: `what_keeps_…` (the program is a setting, and its absence is said)
//! - a script that does not exist is called, and what the host printed is shown: `the_sync_widget_…`
//! - a command with `$HOME` of the phone in a toast: no toast has a command but the name of a widget
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
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::claude::in_seconds;
use support::host::until;
use support::login_bench::LoginBench;
use support::looks::contains;
use support::provider::ACCOUNT;
use support::run::{Ran, run};
use support::screen;

const CODE: &str = "ac-good#srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss";
/// What the host's shell and sshd print before anything else.
const NOISE: &str = "Welcome! EXPIRED sk-ant-oat01-CANARY-banner {\"event\":\"mended\"}";
/// The stand-ins for Termux:API: each notes its name, its arguments and its standard input.
const STAND_INS: [(&str, &str); 6] = [
    ("termux-toast", "say \"$(cat)\""),
    ("termux-vibrate", "say"),
    ("termux-open-url", "say"),
    ("termux-dialog", "say; cat \"$PHONE/dialog\""),
    ("termux-clipboard-get", "say; cat \"$PHONE/clipboard\""),
    ("termux-clipboard-set", "say; cat > \"$PHONE/clipboard\""),
];

/// A host with sshd, and a phone.
struct Stage {
    host: LoginBench,
    dir: tempfile::TempDir,
    port: u16,
    sshd: Child,
}

impl Stage {
    fn new(host: LoginBench) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for key in ["host_key", "phone_key"] {
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]), b"").ok();
        }
        fs::create_dir_all("/run/sshd").unwrap();
        fs::write(host.home.join(".bashrc"), format!("echo '{NOISE}'; echo '{NOISE}' >&2\n")).unwrap();
        fs::write(at("banner"), NOISE).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let runtime = host.home.with_file_name("runtime");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nBanner {}\nPidFile none\n\
             UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n\
             SetEnv HOME={} XDG_RUNTIME_DIR={} HTTPS_PROXY={} SSL_CERT_FILE={}\n",
            at("host_key"),
            at("phone_key.pub"),
            at("banner"),
            host.home.display(),
            runtime.display(),
            host.provider.url(),
            host.provider.ca_pem().display(),
        );
        fs::write(at("sshd_config"), config).unwrap();
        let mut sshd = Command::new("/usr/sbin/sshd");
        let log = fs::File::create(at("sshd.log")).unwrap();
        let sshd = sshd.args(["-D", "-e", "-f", &at("sshd_config")]).stdin(Stdio::null()).stderr(log).spawn();
        let key = fs::read_to_string(at("host_key.pub")).unwrap();
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {key}")).unwrap();
        let stage = Self { host, dir, port, sshd: sshd.unwrap() };
        until("sshd listens", 20, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        stage.dress();
        stage
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The phone's programs and settings.
    fn dress(&self) {
        fs::create_dir_all(self.at("bin")).unwrap();
        fs::create_dir_all(self.at("home/.config")).unwrap();
        let put = |name: &str, body: &str| {
            let text = format!(
                "#!/bin/dash\nsay() {{ printf '%s %s %s\\n' \"${{0##*/}}\" \"$arguments\" \"$1\" >> \"$PHONE/notes\"; }}\n\
                 arguments=$*\n{body}\n"
            );
            fs::write(self.at("bin").join(name), text).unwrap();
            fs::set_permissions(self.at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        for (name, body) in STAND_INS {
            put(name, body);
        }
        // What others on the phone can see of it.
        put("ssh", "say; exec /usr/bin/ssh -F none \"$@\"");
        self.settings("");
        self.dialog(&format!("{{\n  \"code\": -1,\n  \"text\": \"{CODE}\"\n}}\n"));
        fs::write(self.at("clipboard"), "").unwrap();
    }

    fn settings(&self, more: &str) {
        let text = format!(
            "# the host\nhost=root@127.0.0.1\nport={}\nidentity={}\nknown_hosts={}\ncommand={}\n{more}",
            self.port,
            self.at("phone_key").display(),
            self.at("known_hosts").display(),
            env!("CARGO_BIN_EXE_tokensink"),
        );
        fs::write(self.at("home/.config/tokensink-phone"), text).unwrap();
    }

    fn dialog(&self, answer: &str) {
        fs::write(self.at("dialog"), answer).unwrap();
    }

    /// Taps a widget; what it said, with how it ended.
    fn tap(&self, widget: &str, environment: &[(&str, &str)]) -> (Ran, String) {
        let _ = fs::remove_file(self.at("notes"));
        let mut command = Command::new("/usr/bin/dash");
        command
            .arg(widgets().join(widget))
            .env_clear()
            .env("HOME", self.at("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.at("bin").display()))
            .env("TMPDIR", self.dir.path())
            .env("PHONE", self.dir.path())
            .env("TOKENSINK_PHONE_PATIENCE", "60")
            .envs(environment.iter().copied());
        let ran = run(&mut command, b"");
        let notes = fs::read_to_string(self.at("notes")).unwrap_or_default();
        for text in [&ran.both(), &notes] {
            assert!(!text.contains("CANARY") && !text.contains("ac-good"), "{text}");
        }
        // Nothing is left on the phone, and nothing of the host's noise was believed.
        let left: Vec<_> = fs::read_dir(self.dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("tmp.")), "{left:?}");
        (ran, notes)
    }

    /// The toasts of that tap.
    #[track_caller]
    fn toasts(&self, widget: &str, environment: &[(&str, &str)], code: i32) -> Vec<String> {
        let (ran, notes) = self.tap(widget, environment);
        assert_eq!(
            ran.code,
            Some(code),
            "{ran}\n{notes}\n{}",
            fs::read_to_string(self.at("sshd.log")).unwrap()
        );
        assert_eq!(ran.both(), "", "it says everything by toasts");
        let toasts = notes.lines().filter_map(|line| line.strip_prefix("termux-toast "));
        toasts.map(|toast| toast.trim().to_owned()).collect()
    }

    fn hold(&self, access: &str, refresh: &str, expires_in: i64) {
        let file = self.host.home.join(".claude/.credentials.json");
        fs::write(&file, screen::document(access, refresh, in_seconds(expires_in), ACCOUNT)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn widgets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/termux")
}

fn broken() -> Stage {
    let bench = screen::bench("style=80");
    screen::break_login(&bench);
    Stage::new(bench)
}

#[test]
fn the_widgets_are_clean_for_dash_and_shellcheck() {
    let scripts = fs::read_dir(widgets()).unwrap().map(|entry| entry.unwrap().path());
    let scripts: Vec<PathBuf> = scripts.filter(|path| path.extension().is_none_or(|e| e == "sh")).collect();
    assert_eq!(scripts.len(), 4);
    for script in &scripts {
        run(Command::new("dash").arg("-n").arg(script), b"").ok();
        let is_widget = script.extension().is_none();
        let mode = fs::metadata(script).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if is_widget { 0o755 } else { 0o644 }, "{}", script.display());
    }
    let mut check = Command::new("shellcheck");
    check.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-x", "-s", "sh"]).args(&scripts);
    run(&mut check, b"").ok();
}

#[test]
fn one_tap_says_how_the_logins_are_whatever_the_host_prints_beside_it() {
    let stage = broken();
    stage.hold("sk-ant-oat01-live", "sk-ant-ort01-live", 3600);
    assert_eq!(stage.toasts("tokensink-status", &[], 0), ["tokensink: OK"]);
    // It ends within a day, and nothing renews it.
    stage.hold("sk-ant-oat01-live", "", 3600);
    let toasts = stage.toasts("tokensink-status", &[], 0);
    assert_eq!(toasts, ["tokensink: a login ends within a day: tokensink-reauth"]);
    assert_eq!(screen::seen(&stage.host), "", "no login was begun");
    stage.hold("sk-ant-oat01-over", "", -3600);
    let (ran, notes) = stage.tap("tokensink-status", &[]);
    assert_eq!(ran.code, Some(0), "{ran}\n{notes}");
    assert!(notes.contains("tokensink: EXPIRED, opening the login page"), "{notes}");
    assert!(notes.contains("termux-open-url https://claude.com/cai/oauth/authorize?code=true&"), "{notes}");
    assert!(notes.contains("then paste its code into tokensink-reauth"), "{notes}");

    // The host waits on, although the phone has hung up: the other widget goes to the same attempt.
    let (ran, notes) = stage.tap("tokensink-reauth", &[]);
    assert_eq!(ran.code, Some(0), "{ran}\n{notes}");
    assert!(notes.contains("tokensink: login claude works again"), "{notes}");
    assert_eq!(screen::noted(&stage.host, "pid").len(), 1, "one attempt");
    assert_eq!(stage.toasts("tokensink-status", &[], 0), ["tokensink: OK"]);
}

#[test]
fn the_whole_way_from_a_dead_login_to_a_sink_that_has_the_new_one() {
    let stage = broken();
    let (ran, notes) = stage.tap("tokensink-reauth", &[]);
    assert_eq!(ran.code, Some(0), "{ran}\n{notes}");
    let steps = [
        "termux-open-url https://claude.com/",
        "termux-dialog text -t code for claude",
        "login claude works again",
    ];
    let places: Vec<usize> =
        steps.iter().map(|step| notes.find(step).unwrap_or_else(|| panic!("{step}: {notes}"))).collect();
    assert!(places.is_sorted(), "{notes}");
    assert!(contains(&stage.host.home.join(".claude/.credentials.json"), "CANARY-access"));
    assert!(contains(&stage.host.home.join("copy.json"), "CANARY-access"));
    assert!(stage.host.home.join("followed").exists());
    screen::nothing_is_left(&stage.host);
    // Another tap finds nothing to do.
    assert_eq!(stage.toasts("tokensink-reauth", &[], 0), ["tokensink: OK, no login needs you"]);
}

#[test]
fn the_dialog_may_be_left_empty_cancelled_or_filled_wrongly() {
    let stage = broken();
    let cancelled = "{\n  \"code\": -2,\n  \"text\": \"\"\n}\n";
    stage.dialog(cancelled);
    let toasts = stage.toasts("tokensink-reauth", &[], 1);
    assert_eq!(toasts, ["tokensink: not finished: the login of claude waits on root@127.0.0.1 for a while"]);
    // Something else three times: each time it says why, and nothing is lost.
    stage.dialog("{\n  \"code\": -1,\n  \"text\": \"ac-other#elsewhere\"\n}\n");
    let (ran, notes) = stage.tap("tokensink-reauth", &[]);
    assert_eq!(ran.code, Some(1), "{ran}\n{notes}");
    assert!(notes.contains("-t try again (2): it does not belong to this login"), "{notes}");
    // Left empty: what is in the clipboard.
    stage.dialog("{\n  \"code\": -1,\n  \"text\": \"\"\n}\n");
    fs::write(stage.at("clipboard"), CODE).unwrap();
    let (ran, notes) = stage.tap("tokensink-reauth", &[]);
    assert_eq!(ran.code, Some(0), "{ran}\n{notes}");
    assert_eq!(screen::noted(&stage.host, "pid").len(), 1, "it was one attempt all the time");
}

#[test]
fn what_keeps_the_phone_from_the_host_is_said_by_name() {
    let stage = broken();
    let complaints = |environment: &[(&str, &str)], said: &str| {
        for widget in ["tokensink-status", "tokensink-reauth", "tokensink-sync"] {
            let toasts = stage.toasts(widget, environment, 1);
            assert!(toasts.len() == 1 && toasts[0].contains(said), "{widget}: {toasts:?}");
        }
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    complaints(&[("TOKENSINK_PHONE_PORT", &free)], "root@127.0.0.1 cannot be reached");
    fs::write(stage.at("empty"), "").unwrap();
    let empty = stage.at("empty").display().to_string();
    complaints(&[("TOKENSINK_PHONE_KNOWN_HOSTS", &empty)], "the host key of root@127.0.0.1 is not known");
    complaints(
        &[("TOKENSINK_PHONE_COMMAND", "no-such-tokensink")],
        "tokensink is not found on root@127.0.0.1",
    );
    let slow = [("TOKENSINK_PHONE_COMMAND", "sleep 20; true"), ("TOKENSINK_PHONE_PATIENCE", "1")];
    complaints(&slow, "root@127.0.0.1 does not answer in time");
    complaints(&[("TOKENSINK_PHONE_HOST", "-oProxyCommand=true")], "is none");
    complaints(&[("TOKENSINK_PHONE_LOGIN", "a; id")], "is none");
    // A program that says nothing that can be read.
    let odd = [("TOKENSINK_PHONE_COMMAND", "printf sk-ant-oat01-CAN%s ARY; false")];
    let toasts = stage.toasts("tokensink-status", &odd, 1);
    assert!(toasts[0].contains("gives no answer that can be read (exit code 1)"), "{toasts:?}");
    assert_eq!(screen::seen(&stage.host), "", "no login was begun");
}

#[test]
fn the_sync_widget_syncs_and_says_what_that_did_and_nothing_else() {
    let stage = broken();
    stage.hold("sk-ant-oat01-CANARY-live", "sk-ant-ort01-CANARY-live", 3600);
    assert_eq!(stage.toasts("tokensink-sync", &[], 0), ["tokensink: 1 written, 1 gateways followed"]);
    assert!(contains(&stage.host.home.join("copy.json"), "CANARY-live"));
    assert_eq!(stage.toasts("tokensink-sync", &[], 0), ["tokensink: nothing to do"]);
    stage.host.configure(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"lost\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/no/such/directory/copy.json\"\n",
    );
    let toasts = stage.toasts("tokensink-sync", &[], 1);
    assert_eq!(toasts, ["tokensink: the sync failed (exit code 1): MISSING"]);
}
