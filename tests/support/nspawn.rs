//! A private Debian, booted by its own systemd in about half a second, with a lingering user `alice`.
//!
//! The root is made once by debootstrap (seen with 1.0.128, systemd 252) and every instance is an overlay on it.
//! Mounts live in a mount namespace and processes in a process namespace of the instance, so that the death of
//! the test, however sudden, ends everything; directories left by a killed run are removed by the next start.
//! Needs root. `--register=no` and own control groups stand in for machined where systemd is not PID 1.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cache;
use super::run::{Ran, run};

/// The ordinary user of every instance; uid 1000, home `/home/alice`, lingering.
pub const USER: &str = "alice";

const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,ca-certificates,procps,rpm";
const USER_ENVIRONMENT: [&str; 8] = [
    "HOME=/home/alice",
    "USER=alice",
    "LOGNAME=alice",
    "PATH=/usr/local/bin:/usr/bin:/bin",
    "LANG=C.UTF-8",
    "TERM=dumb",
    "XDG_RUNTIME_DIR=/run/user/1000",
    "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus",
];
/// Arguments: lower directory, instance directory, name, "own" where /run/systemd must be made up, then cgroup
/// directories, "--" and further arguments of systemd-nspawn.
const BOOT: &str = r#"
set -eu
lower=$1 dir=$2 name=$3 own=$4; shift 4
if [ "$own" = own ]; then
    mkdir -p /run/systemd
    mount -t tmpfs tmpfs /run/systemd
    mkdir /run/systemd/system
fi
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
if ! mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"; then
    cp -a --reflink=auto "$lower/." "$dir/root"
    cp -a "$dir/upper/." "$dir/root"
fi
exec systemd-nspawn --quiet --register=no --machine="$name" --directory="$dir/root" --boot \
    --console=passive --private-network --notify-ready=yes --link-journal=no "$@"
"#;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// How an instance is to be started.
#[derive(Debug, Default)]
pub struct Options {
    /// Host directories that appear read-only inside, as (host, inside).
    pub read_only: Vec<(PathBuf, String)>,
}

/// A running instance; dropping it ends it and removes its files.
#[derive(Debug)]
pub struct BootedDebian {
    dir: PathBuf,
    cgroups: Vec<PathBuf>,
    /// Held as long as the instance lives: a directory whose lock is free is a leftover.
    _lock: File,
    machine: Child,
    leader: i32,
    ticks: Receiver<()>,
    follower: Option<u32>,
    /// From the start of systemd-nspawn to a `running` system and user manager.
    pub boot_time: Duration,
}

impl BootedDebian {
    /// Boots a fresh instance of that release and waits for `alice`'s user manager.
    pub fn start(release: &str) -> Self {
        Self::start_with(release, &Options::default())
    }

    /// The same, with options.
    pub fn start_with(release: &str, options: &Options) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "a booted Debian needs root; `make test-unit` does without"
        );
        let lower = base(release);
        // Between the creation of a directory and its lock nobody may take it for a leftover.
        let gate = File::create(cache::dir().join("instances.lock")).expect("the gate can be created");
        gate.lock().expect("the gate can be taken");
        sweep();
        let name = format!("tokensink-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = instances().join(&name);
        for part in ["upper/etc", "work", "root"] {
            std::fs::create_dir_all(dir.join(part)).expect("the instance directory can be created");
        }
        let lock = File::create(dir.join("lock")).expect("the lock file can be created");
        lock.lock().expect("the lock can be taken");
        drop(gate);
        std::fs::write(dir.join("upper/etc/machine-id"), format!("{}\n", random_id())).expect("writable");
        std::fs::write(dir.join("upper/etc/hostname"), "sandbox\n").expect("writable");

        let manager_of_its_own = !host_runs_systemd();
        let cgroups = if manager_of_its_own { private_cgroups(&name) } else { Vec::new() };
        let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a short name");
        let notices = UnixDatagram::bind_addr(&address).expect("an abstract socket can be bound");
        notices.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]);
        command.args(["--mount-proc", "sh", "-c", BOOT, "boot"]).arg(&lower).arg(&dir).arg(&name);
        command.arg(if manager_of_its_own { "own" } else { "host" }).args(&cgroups).arg("--");
        if manager_of_its_own {
            command.arg("--keep-unit");
        }
        for (host, inside) in &options.read_only {
            command.arg(format!("--bind-ro={}:{inside}", host.display()));
        }
        // systemd 256 and later refuse to start on the old control group layout.
        if release != "bookworm" {
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        }
        let console = File::create(dir.join("console")).expect("the console file can be created");
        let began = Instant::now();
        command.env("NOTIFY_SOCKET", format!("@{name}")).stdin(Stdio::null());
        command.stdout(console.try_clone().expect("a file handle can be doubled")).stderr(console);
        let machine = spawn_from_a_lasting_thread(command);
        let (_, nothing) = channel();
        let mut booted = Self {
            dir,
            cgroups,
            _lock: lock,
            machine,
            leader: 0,
            ticks: nothing,
            follower: None,
            boot_time: Duration::ZERO,
        };
        booted.wait_for_ready(&notices);
        booted.exec_root("systemctl is-system-running --wait").ok();
        booted.exec_user("systemctl --user is-system-running --wait").ok();
        booted.boot_time = began.elapsed();
        booted.follow("journalctl --follow --lines=0 --output=cat");
        booted
    }

    fn wait_for_ready(&mut self, notices: &UnixDatagram) {
        let mut buffer = [0; 4096];
        loop {
            let Ok(length) = notices.recv(&mut buffer) else {
                let console = std::fs::read_to_string(self.dir.join("console")).unwrap_or_default();
                panic!("the instance did not become ready; its console says:\n{console}");
            };
            let notice = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if self.leader == 0 && notice.contains("X_NSPAWN_LEADER_PID=") {
                // The number it names is of its own process namespace.
                self.leader = self.only_child(self.nspawn().unsigned_abs());
            }
            if notice.lines().any(|line| line == "READY=1") {
                return;
            }
        }
    }

    fn nspawn(&self) -> i32 {
        self.only_child(self.machine.id())
    }

    fn only_child(&self, parent: u32) -> i32 {
        children_of(parent)
            .first()
            .copied()
            .unwrap_or_else(|| panic!("{parent} has no child; see {}", self.dir.join("console").display()))
    }

    /// The instance's file system as seen from outside. Absolute links inside it lead out of it.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader))
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader.to_string(), "-a", "env", "-i", "--chdir=/"]);
        command
    }

    /// A shell script as root inside, to be run.
    pub fn root_command(&self, script: &str) -> Command {
        let mut command = self.enter();
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]);
        command.args(["sh", "-c", script]);
        command
    }

    fn user_command(&self, script: &str) -> Command {
        let mut command = self.enter();
        command.args(USER_ENVIRONMENT).args(["/usr/sbin/runuser", "-u", USER, "--", "sh", "-c"]);
        command.arg(format!("cd && {{ {script}\n}}"));
        command
    }

    /// Runs a shell script as root inside.
    pub fn exec_root(&self, script: &str) -> Ran {
        run(&mut self.root_command(script), b"")
    }

    /// Runs a shell script as `alice`, in her home, with her bus and runtime directory.
    pub fn exec_user(&self, script: &str) -> Ran {
        self.exec_user_with(script, b"")
    }

    /// The same, with that standard input.
    pub fn exec_user_with(&self, script: &str, input: &[u8]) -> Ran {
        run(&mut self.user_command(script), input)
    }

    /// Starts a shell script as `alice` with piped input and output.
    pub fn spawn_user(&self, script: &str) -> Child {
        self.user_command(&format!("exec {script}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nsenter is there")
    }

    /// Copies a host file to an absolute path inside, owned by root.
    pub fn copy_in(&self, host: &Path, inside: &str, mode: u32) {
        let target = self.root().join(inside.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().expect("an absolute path")).expect("creatable");
        std::fs::copy(host, &target)
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", host.display()));
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode)).expect("ours");
    }

    /// Writes a file as `alice`, creating its directory; truncates and writes in place where it exists.
    pub fn write_user(&self, path: &str, text: &str) {
        let script = format!("umask 077; mkdir -p \"$(dirname {path})\" && cat > {path}");
        self.exec_user_with(&script, text.as_bytes()).ok();
    }

    /// The contents of a file as `alice` reads it; `None` when there is none.
    pub fn read_user(&self, path: &str) -> Option<String> {
        let ran = self.exec_user(&format!("cat {path}"));
        (ran.code == Some(0)).then_some(ran.stdout)
    }

    /// From now on every line that the command, run inside as root, prints is a tick.
    fn follow(&mut self, script: &str) {
        let mut child = self
            .root_command(&format!("exec {script}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter is there");
        self.follower = Some(child.id());
        let (sender, receiver) = channel();
        self.ticks = receiver;
        std::thread::spawn(move || {
            let lines = BufReader::new(child.stdout.take().expect("piped")).split(b'\n');
            for _ in lines.map_while(Result::ok) {
                if sender.send(()).is_err() {
                    break;
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        });
    }

    /// Asks again on every new line of the journal, and at least every 100 ms, until the answer is yes.
    #[track_caller]
    pub fn wait_until(&self, what: &str, deadline: Duration, mut yes: impl FnMut() -> bool) {
        let began = Instant::now();
        while !yes() {
            if began.elapsed() > deadline {
                let journal = self.exec_root("journalctl --no-pager --lines=40").stdout;
                panic!("waited {deadline:?} in vain: {what}\n--- journal\n{journal}");
            }
            match self.ticks.recv_timeout(Duration::from_millis(100)) {
                Ok(()) => while self.ticks.try_recv().is_ok() {},
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the instance ended while waiting: {what}"),
            }
        }
    }

    /// Shuts the instance down in order and says how long that took.
    pub fn poweroff(mut self) -> Duration {
        let began = Instant::now();
        // Not a child of the instance's first process, which would wait 10 s to hear of its end.
        for pid in self.follower.take().map(children_of).into_iter().flatten() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        while self.ticks.recv_timeout(Duration::from_secs(5)).is_ok() {}
        self.exec_root("systemctl poweroff");
        while matches!(self.machine.try_wait(), Ok(None)) {
            assert!(began.elapsed() < Duration::from_secs(60), "the instance did not power off within 60 s");
            // systemd's last act stops every process before it ends them; an nsenter stops with its child, and
            // then never reaps it, for which the instance would wait.
            let me = std::process::id();
            for stopped in children_of(me).into_iter().filter(|pid| is_stopped(*pid)) {
                let _ = kill(Pid::from_raw(stopped), Signal::SIGCONT);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        began.elapsed()
    }
}

impl Drop for BootedDebian {
    fn drop(&mut self) {
        // The first process of the instance's process namespace: the kernel ends the rest before it is reaped.
        if matches!(self.machine.try_wait(), Ok(None)) {
            match children_of(self.machine.id()).first() {
                Some(pid) => drop(kill(Pid::from_raw(*pid), Signal::SIGKILL)),
                None => drop(self.machine.kill()),
            }
            let _ = self.machine.wait();
        }
        if std::thread::panicking() {
            let console = std::fs::read_to_string(self.dir.join("console")).unwrap_or_default();
            eprintln!("--- console\n{console}");
        }
        remove_instance(&self.dir, &self.cgroups);
    }
}

/// The kernel sends the parent-death signal when the *thread* that spawned ends, and a test's thread may.
fn spawn_from_a_lasting_thread(command: Command) -> Child {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, todo) = channel::<Job>();
        std::thread::spawn(move || {
            todo.iter().for_each(|(mut command, done)| drop(done.send(command.spawn())))
        });
        Mutex::new(jobs)
    });
    let (done, spawned) = channel();
    spawner.lock().expect("nobody panics here").send((command, done)).expect("the thread lasts");
    spawned.recv().expect("the thread lasts").expect("setpriv and unshare are there")
}

/// The children of every thread of a process.
fn children_of(parent: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    texts
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// The root every instance of a release is an overlay on.
fn base(release: &str) -> PathBuf {
    cache::once(&format!("debian-{release}-3"), |root| {
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", &format!("--include={PACKAGES}"), release]).arg(root);
        // Proxies come by the environment; without a mirror of the machine's own, debootstrap has a default.
        let mirror = host_mirror();
        // A release that debootstrap has not heard of yet is made like any other of the last years.
        if Path::new("/usr/share/debootstrap/scripts").join(release).exists() {
            command.args(mirror);
        } else {
            command.arg(mirror.as_deref().unwrap_or("http://deb.debian.org/debian")).arg("sid");
        }
        run(&mut command, b"").ok();
        let script = "set -e; useradd -m -u 1000 -s /bin/bash alice; mkdir -p /var/lib/systemd/linger \
             /var/log/journal; touch /var/lib/systemd/linger/alice; rm -rf /var/cache/apt /var/lib/apt/lists \
             /etc/apt/sources.list /etc/resolv.conf";
        run(Command::new("chroot").arg(root).args(["sh", "-c", script]), b"").ok();
    })
}

/// The archive this machine itself uses: the first apt source whose suite is the machine's own release.
pub fn host_mirror() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?.trim_matches('"');
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(
        std::fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    files
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .find_map(|text| mirror_in(&text, suite))
}

fn mirror_in(text: &str, suite: &str) -> Option<String> {
    let line_form = text.lines().find_map(|line| {
        let line = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = if line.starts_with('[') { line.split_once(']')?.1 } else { line };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        (words.next() == Some(suite)).then(|| uri.to_owned())
    });
    line_form.or_else(|| {
        text.split("\n\n").find_map(|paragraph| {
            let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
            field("Suites:")?.split_whitespace().any(|word| word == suite).then_some(())?;
            field("URIs:")?.split_whitespace().next().map(str::to_owned)
        })
    })
}

fn instances() -> PathBuf {
    cache::dir().join("instances")
}

/// Removes what killed runs left: directories whose lock nobody holds.
fn sweep() {
    for entry in std::fs::read_dir(instances()).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let cgroups: Vec<_> = cgroup_mounts().into_iter().map(|mount| mount.join(&name)).collect();
            remove_instance(&entry.path(), &cgroups);
        }
    }
}

fn remove_instance(dir: &Path, cgroups: &[PathBuf]) {
    let _ = std::fs::remove_dir_all(dir);
    for cgroup in cgroups {
        remove_cgroup(cgroup);
    }
}

fn remove_cgroup(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(cgroup);
}

fn host_runs_systemd() -> bool {
    std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim() == "systemd")
}

fn cgroup_mounts() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // A process can enter a cpuset group only after that was configured; systemd does not use it there.
    fields
        .filter(|f| {
            f.len() > 3 && matches!(f[2], "cgroup" | "cgroup2") && !f[3].split(',').any(|o| o == "cpuset")
        })
        .map(|f| PathBuf::from(f[1]))
        .collect()
}

/// A control group of its own in every hierarchy, or two instances would manage the same one.
fn private_cgroups(name: &str) -> Vec<PathBuf> {
    let groups: Vec<_> = cgroup_mounts().into_iter().map(|mount| mount.join(name)).collect();
    for group in &groups {
        std::fs::create_dir_all(group)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", group.display()));
    }
    groups
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
