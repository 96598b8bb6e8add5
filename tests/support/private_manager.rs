//! A private `systemd --user` with its own runtime directory and bus, for tests that want the
//! real thing without a booted system. Every instance is independent of every other.
//!
//! It runs in its own mount namespace (an empty `/run/systemd`, so that systemd thinks the host
//! was booted by it) and in its own control group. A pid namespace would be no help: systemd drops
//! clients whose pid it cannot see. A small shell outside that group waits on our pipe; when the
//! pipe closes, by [`Drop`] or because the test process died, it kills the group and removes it.
//! Seen to work with systemd 252 on hybrid control groups; needs root. There is no journald.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokensink::systemd::bus::BusAddresses;

const SYSTEMD: &str = "/lib/systemd/systemd";

/// What must be there, and the Debian package that has it.
const TOOLS: [(&str, &str); 8] = [
    (SYSTEMD, "systemd"),
    ("/bin/systemctl", "systemd"),
    ("/usr/bin/dbus-daemon", "dbus-daemon"),
    ("/usr/lib/systemd/user/dbus.socket", "dbus-user-session"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/bin/mount", "mount"),
    ("/bin/sh", "dash"),
];

/// $1: the directory of the instance, $2: the name of its control group.
const SUPERVISOR: &str = r#"
set -u
groups=
for root in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e "$root/cgroup.procs" ] || continue
    mkdir "$root/$2" || exit 1
    groups="$groups $root/$2"
done
exec 3<&0
GROUPS_TO_JOIN="$groups" unshare --mount $ISOLATION --propagation private sh -c '
    set -e
    [ -z "$ISOLATION" ] || ip link set lo up
    for group in $GROUPS_TO_JOIN; do echo $$ >"$group/cgroup.procs"; done
    mkdir -p /run/systemd
    mount -t tmpfs tmpfs /run/systemd
    mkdir /run/systemd/system
    exec env -i PATH="$PATH" LANG=C.UTF-8 HOME="$1/home" XDG_RUNTIME_DIR="$1/run" \
        XDG_CONFIG_HOME="$1/home/.config" XDG_STATE_HOME="$1/home/.local/state" \
        DBUS_SESSION_BUS_ADDRESS="unix:path=$1/run/bus" NOTIFY_SOCKET="$1/ready" \
        SYSTEMD_GENERATOR_PATH= SYSTEMD_ENVIRONMENT_GENERATOR_PATH= SYSTEMD_LOG_TARGET=console \
        "$SYSTEMD" --user
' sh "$1" </dev/null >"$1/log" 2>&1 3<&- &
echo $!
exec >&-
read -r _ <&3
for group in $groups; do
    [ -e "$group/cgroup.kill" ] && echo 1 >"$group/cgroup.kill"
    # A hierarchy without cgroup.kill: until nothing is left that could fork.
    while pids=$(find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null) && [ -n "$pids" ]; do
        kill -9 $pids 2>/dev/null
    done
done
wait
for group in $groups; do find "$group" -depth -type d -exec rmdir {} +; done
# Also when there is nobody left to drop the temporary directory.
rm -rf "$1"
"#;

/// A running private manager; ends, with everything it started, when dropped.
pub struct PrivateManager {
    supervisor: Child,
    pid: u32,
    dir: tempfile::TempDir,
}

impl PrivateManager {
    /// Starts one and returns when it is ready and its bus socket listens.
    ///
    /// Panics with the reason when a tool is missing, we are not root, or it does not come up.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// One in a network namespace with nothing but loopback, as everything is that it starts.
    pub fn isolated() -> Self {
        Self::start_with("--net")
    }

    fn start_with(isolation: &str) -> Self {
        for (tool, package) in TOOLS {
            assert!(Path::new(tool).exists(), "this test needs {tool} (Debian package {package})");
        }
        assert!(nix::unistd::geteuid().is_root(), "this test needs root, for a mount namespace of its own");

        let dir = tempfile::Builder::new().prefix("tokensink-manager-").tempdir().unwrap();
        for name in ["run", "home/.config/systemd/user"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.path().join(name)).unwrap();
        }
        let ready = UnixDatagram::bind(dir.path().join("ready")).unwrap();
        ready.set_read_timeout(Some(Duration::from_secs(60))).unwrap();

        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = format!("tokensink-test-{}-{number}", std::process::id());
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(dir.path())
            .arg(&group)
            .env("SYSTEMD", SYSTEMD)
            .env("ISOLATION", isolation)
            // What ends a test and its group must leave somebody to clean up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().expect("the supervisor could not make a control group");
        let manager = Self { supervisor, pid, dir };

        // systemd itself is a Type=notify service: it says when it is ready.
        let mut buffer = [0; 4096];
        loop {
            match ready.recv(&mut buffer) {
                Ok(length) if buffer[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1") => break,
                Ok(_) => {}
                Err(error) => panic!("systemd --user did not come up: {error}\n{}", manager.log()),
            }
        }
        manager
    }

    /// The ways to it, as a user's environment would give them.
    pub fn addresses(&self) -> BusAddresses {
        BusAddresses {
            session: Some(format!("unix:path={}", self.runtime_dir().join("bus").display())),
            runtime_dir: Some(self.runtime_dir()),
            system: None,
        }
    }

    /// `$XDG_RUNTIME_DIR`.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// `$HOME` of everything it starts.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The process id of the manager.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The environment of a program that belongs to this manager's user. `NOTIFY_SOCKET` is not
    /// among it: a unit gets its own from the manager.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let home = self.home();
        vec![
            ("HOME", home.clone()),
            ("XDG_RUNTIME_DIR", self.runtime_dir()),
            ("XDG_CONFIG_HOME", home.join(".config")),
            ("XDG_STATE_HOME", home.join(".local/state")),
            (
                "DBUS_SESSION_BUS_ADDRESS",
                PathBuf::from(format!("unix:path={}", self.runtime_dir().join("bus").display())),
            ),
        ]
    }

    /// Writes a unit file. The manager sees it after [`daemon_reload`](Self::daemon_reload), or
    /// when it has never heard of the unit before.
    pub fn write_unit(&self, name: &str, text: &str) {
        fs::write(self.home().join(".config/systemd/user").join(name), text).unwrap();
    }

    /// Makes the manager read its unit files again.
    pub fn daemon_reload(&self) {
        self.systemctl_ok(&["daemon-reload"]);
    }

    /// A program inside the manager's mount and network namespaces, with [`environment`](Self::environment)
    /// and nothing else in its environment but a search path.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .arg(format!("--target={}", self.pid))
            .args(["--mount", "--net", "--"])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8")
            .envs(self.environment())
            .stdin(Stdio::null());
        command
    }

    /// Runs `systemctl --user` (over the manager's private socket, so also without a bus).
    pub fn systemctl(&self, args: &[&str]) -> Output {
        self.command("systemctl").arg("--user").args(args).output().unwrap()
    }

    /// The same, panicking unless it succeeded; returns what it printed.
    pub fn systemctl_ok(&self, args: &[&str]) -> String {
        let output = self.systemctl(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "systemctl --user {args:?}: {error}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Ends the message bus and its socket; the manager lives on.
    pub fn stop_bus(&self) {
        self.systemctl_ok(&["stop", "dbus.socket", "dbus.service"]);
    }

    /// Lets the message bus be started again.
    pub fn start_bus(&self) {
        self.systemctl_ok(&["start", "dbus.socket", "dbus.service"]);
    }

    /// What the manager wrote to its standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Writes an executable script into the home directory and returns its path.
    pub fn write_script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }
}

impl Drop for PrivateManager {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        if let Err(error) = self.supervisor.wait() {
            eprintln!("the supervisor of a private manager is lost: {error}");
        }
    }
}
