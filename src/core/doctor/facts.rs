//! What the shell found of this host, as plain data for the checks of `doctor`. An absent value means that
//! it could not be seen; nothing is concluded from that.

use std::collections::BTreeSet;

use crate::base::id::Provider;

/// Everything that is judged.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The configured logins.
    pub logins: Vec<LoginFacts>,
    /// The files of sources and sinks, and our own directories.
    pub places: Vec<PlaceFacts>,
    /// The gateways that are units.
    pub consumers: Vec<Consumer>,
    /// The names of the variables in the environment of this very command.
    pub shell: BTreeSet<String>,
    /// Units of which one instance has two.
    pub twins: Vec<Twins>,
    /// Others that copy or refresh this user's logins.
    pub syncers: Vec<SyncerFacts>,
    /// Programs of this user that are daemons of ours: the one that holds the lock first.
    pub daemons: Vec<DaemonFacts>,
    /// The service manager and our own unit in it.
    pub manager: Manager,
    /// The user may run services while logged out; `None` where there is no such notion.
    pub lingers: Option<bool>,
    /// The user's name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// How much of the inotify limits is used.
    pub inotify: Option<InotifyFacts>,
    /// Gateways whose log is to be heard.
    pub logs: Vec<LogFacts>,
    /// OpenClaw instances that no sink is configured for.
    pub strays: Vec<Stray>,
    /// What the network said; `None` unless it was asked for.
    pub network: Option<NetworkFacts>,
}

/// Something else that copies or refreshes a login of this user.
#[derive(Debug, Clone)]
pub struct SyncerFacts {
    /// What starts it, in words.
    pub by: String,
    /// It is a unit: its name.
    pub unit: Option<String>,
    /// What it does, in words.
    pub does: &'static str,
    /// Its script.
    pub script: Option<String>,
    /// The command that switches it off.
    pub remedy: String,
}

/// One login.
#[derive(Debug, Clone)]
pub struct LoginFacts {
    /// Its id.
    pub id: String,
    /// Whose CLI owns it.
    pub provider: Provider,
    /// The source as this command finds it.
    pub path: String,
    /// The source as the daemon finds it, where its environment could be seen.
    pub daemons_path: Option<String>,
    /// It is renewed by running its CLI, or would be where there is one.
    pub is_driven: bool,
    /// The official CLI.
    pub cli: Option<CliFacts>,
}

/// An official CLI, as a shell and as the daemon find it.
#[derive(Debug, Clone)]
pub struct CliFacts {
    /// Its name.
    pub name: &'static str,
    /// Where this command's search path finds it.
    pub here: Option<String>,
    /// Where the daemon finds it; `None` in the second place: nowhere.
    pub by_daemon: Option<Option<String>>,
}

/// What a file is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceOf {
    /// The source of that login.
    Source(String),
    /// A target of that sink.
    Sink(String),
    /// A directory of our own, or a file in it that others may read.
    Own,
}

/// A file of a source or sink, or something of our own.
#[derive(Debug, Clone)]
pub struct PlaceFacts {
    /// What it is to us.
    pub of: PlaceOf,
    /// Its configured path.
    pub path: String,
    /// The mount that it is on; `None` where the kernel's list does not say.
    pub mount: Option<MountFacts>,
    /// The file itself, or our own directory; `None` when there is nothing.
    pub file: Option<OwnerFacts>,
    /// The directory that holds it, links resolved.
    pub directory: Option<OwnerFacts>,
    /// Where it leads, when it is a link.
    pub link: Option<LinkFacts>,
    /// Where it led when it was last seen to be a link.
    pub led_to: Option<String>,
    /// The file system, when inotify does not tell of changes that others make there.
    pub blind: Option<&'static str>,
    /// It is one of ours that holds secrets, or a directory of such.
    pub is_private: bool,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFacts {
    /// What it says.
    pub target: String,
    /// There is nothing.
    pub dangles: bool,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFacts {
    /// Where it is.
    pub point: String,
    /// The type of file system.
    pub kind: String,
    /// Nothing can be written there.
    pub is_read_only: bool,
    /// The file itself is the mount point.
    pub is_file: bool,
}

/// Whose a file or directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerFacts {
    /// The owner.
    pub uid: u32,
    /// Permission bits.
    pub mode: u32,
    /// We may write it.
    pub is_writable: bool,
}

/// Where a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line `Environment=` of the unit, in one of these files.
    Unit(Vec<String>),
    /// A file that the unit, or the gateway itself, reads.
    File(String),
    /// The service manager gives it to every unit.
    Manager,
    /// It is in the environment of the process, and nothing says how it got there.
    Process(u32),
    /// That container was created with it, by its image, its Compose file, an env file or a command line.
    Container(String),
}

/// How a gateway reads a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// OpenClaw's configuration refers to it: the environment comes first (seen with 2026.9.6).
    Reference,
    /// The claude CLI, run by the gateway, reads the source itself.
    Native,
    /// One variable of an environment file.
    Variable {
        /// The variable.
        key: String,
        /// The file.
        path: String,
    },
    /// A view in Claude Code's format.
    ClaudeFile,
    /// A view in Codex's format.
    CodexFile,
    /// In another way, which no variable is known to hide: profiles come before the environment.
    Otherwise,
}

/// A gateway that is a unit.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// The gateway.
    pub gateway: String,
    /// Its unit, or `container NAME`.
    pub unit: String,
    /// Commands for that unit begin like this: `systemctl --user`.
    pub systemctl: &'static str,
    /// Variables with a value, by name, each with every place where it was seen.
    pub variables: Vec<(String, Vec<Origin>)>,
    /// How it reads each of its sinks.
    pub reads: Vec<(String, Provider, Reads)>,
    /// The user that it runs as, when it runs.
    pub uid: Option<u32>,
    /// The sinks' files that only their owner may read, with that owner.
    pub private: Vec<(String, u32)>,
    /// What it is expected to read and where it looks instead.
    pub leads: Vec<Lead>,
}

/// A place that the configuration names, and the one that a process goes to by its own environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The sink or the login that it is about.
    pub what: String,
    /// As configured here.
    pub wanted: String,
    /// By the environment of the process.
    pub found: String,
    /// The variables that decide.
    pub variables: String,
}

/// Two units that run one instance.
#[derive(Debug, Clone)]
pub struct Twins {
    /// What both run.
    pub what: String,
    /// The units with their managers.
    pub units: Vec<TwinFacts>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwinFacts {
    /// The unit.
    pub unit: String,
    /// `user` or `system`.
    pub scope: &'static str,
    /// It runs.
    pub is_active: bool,
    /// It is started at boot or login.
    pub is_enabled: bool,
}

/// A daemon of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonFacts {
    /// Its process.
    pub pid: u32,
    /// The program it runs.
    pub program: String,
    /// That file was replaced or removed since.
    pub is_replaced: bool,
    /// The version it says it is.
    pub version: Option<String>,
    /// It holds this user's lock.
    pub is_ours: bool,
}

/// The user's service manager.
#[derive(Debug, Clone, Default)]
pub struct Manager {
    /// Why it cannot be asked; `None`: it can.
    pub unreachable: Option<String>,
    /// Our own unit in it.
    pub unit: Option<UnitState>,
    /// This version.
    pub version: &'static str,
    /// The host was started by systemd.
    pub is_booted: bool,
}

/// The state of our own unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// There is such a unit.
    pub is_loaded: bool,
    /// `enabled`, `disabled`, …; empty when there is no file.
    pub file_state: String,
    /// It runs.
    pub is_active: bool,
    /// Its state in systemd's word.
    pub active: String,
}

/// How much of the inotify limits is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InotifyFacts {
    /// Instances of this user, and how many there may be.
    pub instances: (u64, u64),
    /// Watches of this user, and how many there may be.
    pub watches: (u64, u64),
}

/// A log that is to be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFacts {
    /// The gateway.
    pub gateway: String,
    /// Why it cannot be read; `None`: it can.
    pub unreadable: Option<String>,
}

/// An OpenClaw instance that no sink is configured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its state directory.
    pub state_dir: String,
    /// Its release, where it is known.
    pub release: Option<String>,
    /// It keeps credentials in a database.
    pub has_database: bool,
    /// JSON stores that hold profiles.
    pub stores: Vec<String>,
}

/// What the network said.
#[derive(Debug, Clone, Default)]
pub struct NetworkFacts {
    /// The token endpoints.
    pub servers: Vec<ServerFacts>,
    /// Variables of the way to the network that are set here.
    pub ways_here: Vec<String>,
    /// Those of them that the daemon has not, or has with another value, and those that only it has;
    /// `None` when its environment cannot be seen.
    pub ways_differ: Option<Vec<String>>,
    /// The host's clock is kept right by a time server; `None` when nobody can be asked.
    pub is_synchronized: Option<bool>,
}

/// A token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its host.
    pub host: String,
    /// The logins that are renewed there.
    pub logins: Vec<String>,
    /// How far our clock is ahead of its own in milliseconds, where it said; or why there was no answer.
    pub answer: Result<Option<i64>, Unreached>,
}

/// Why a server could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// It shows a certificate of an authority that is not trusted here.
    UntrustedIssuer,
    /// Its certificate is not good for another reason.
    Certificate(String),
    /// No connection.
    NoConnection(String),
}
