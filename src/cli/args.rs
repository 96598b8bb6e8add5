//! The one definition of the command line; man pages and completions are tested against it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps the OAuth logins of AI CLIs alive and every consumer of them supplied.
#[derive(Debug, Parser)]
#[command(name = "tokensink", version, about, disable_help_subcommand = true)]
pub struct Arguments {
    /// Use this configuration file alone
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch, sync and restart, in the foreground; what the unit runs
    Daemon,
    /// Make one pass
    Sync(SyncArguments),
    /// Show the state of logins, sinks, gateways, and what is wrong
    Status(StatusArguments),
    /// Refresh a login now, through the same path as the daemon
    Refresh(RefreshArguments),
    /// Show what happened to each login, from our own record
    History(HistoryArguments),
    /// Seal logins for another host, on standard output, and let go of them here
    Export(ExportArguments),
    /// Take over the logins of a bundle on standard input
    Import {
        /// Print the recipient for which the old host has to seal them
        #[arg(long)]
        key: bool,
    },
    /// Check everything that is known to go wrong; changes nothing
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Ask each token endpoint for an answer as well, and for its time; no login is used
        #[arg(long)]
        network: bool,
    },
    /// Log in: a first login, or a new one over the old
    Login(LoginArguments),
    /// Log in again where that is needed, and see that everybody follows
    Reauth(ReauthArguments),
    /// Show or set in which order OpenClaw tries the profiles of a provider
    #[command(subcommand)]
    Order(OrderCommand),
    /// Detect what is there, show what is to be done, and do it
    Setup(SetupArguments),
    /// Take back the files and entries that passes made; never puts a token back
    Undo,
    /// Try the alert channels, or show who was told of what
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Validate or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Run the whole chain on this host, in a temporary home with stand-ins
    Selftest {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The stand-in alert channel of `selftest`
    #[command(hide = true)]
    SelftestAlert {
        /// Where it notes what it is told
        told: PathBuf,
    },
    /// The stand-in gateway of `selftest`
    #[command(hide = true)]
    SelftestGateway {
        /// The sink it reads
        token: PathBuf,
        /// Where it notes what it read
        seen: PathBuf,
        /// Note it and end
        #[arg(long)]
        once: bool,
    },
}

/// The shells that there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// `~/.local/share/bash-completion/completions/tokensink`
    Bash,
    /// `_tokensink` in a directory of `$fpath`
    Zsh,
    /// `~/.config/fish/completions/tokensink.fish`
    Fish,
}

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub struct SyncArguments {
    /// Print the plan and touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Accept what the source of LOGIN holds now, another account or an older generation
    #[arg(long, value_name = "LOGIN", conflicts_with = "dry_run")]
    pub accept: Option<String>,
}

/// Arguments of `setup`.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Do everything that is safe, without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show what would be done and touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Let the service manager run without a session, without asking
    #[arg(long)]
    pub linger: bool,
    /// Switch off the scripts, timers and units that did this before, without asking
    #[arg(long)]
    pub replace: bool,
    /// Let the daemon set up OpenClaw's own configuration, without asking
    #[arg(long)]
    pub manage: bool,
    /// Take back what a set-up did, also in OpenClaw's own configuration
    #[arg(long, conflicts_with_all = ["yes", "dry_run", "linger", "manage", "replace"])]
    pub undo: bool,
}

/// Who refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// The provider's own CLI
    Cli,
    /// A request of our own
    Direct,
}

/// Arguments of `refresh`.
#[derive(Debug, Args)]
pub struct RefreshArguments {
    /// Only this login
    #[arg(value_name = "LOGIN")]
    pub login: Option<String>,
    /// Override the configured mode
    #[arg(long, value_name = "WAY")]
    pub via: Option<Via>,
    /// Refresh although it is not due, or although the last token may have been spent
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub struct LoginArguments {
    /// Whose login: codex, generic, …
    #[arg(value_name = "PROVIDER")]
    pub provider: String,
    /// The id of the login; default: the only one of that provider, else the provider's name
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Take a setup-token from standard input
    #[arg(long, conflicts_with_all = ["device", "no_browser"])]
    pub setup_token: bool,
    /// By a code that is typed on another device
    #[arg(long, conflicts_with = "no_browser")]
    pub device: bool,
    /// Print the URL and open no browser
    #[arg(long)]
    pub no_browser: bool,
    /// Store it also over the login of another account
    #[arg(long)]
    pub replace_account: bool,
    /// Hand over to OpenClaw, for a provider of its own
    #[arg(long, conflicts_with_all = ["id", "setup_token", "device", "no_browser", "replace_account"])]
    pub openclaw: bool,
    /// How long to wait for the person, in seconds
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 900)]
    pub patience: u64,
}

/// Arguments of `reauth`.
#[derive(Debug, Args)]
pub struct ReauthArguments {
    /// The login; default: the one that needs it most
    #[arg(value_name = "LOGIN")]
    pub login: Option<String>,
    /// Read the code from standard input, for the attempt that waits for it
    #[arg(long, value_name = "-", conflicts_with = "again")]
    pub code: Option<String>,
    /// Open no browser
    #[arg(long)]
    pub no_browser: bool,
    /// By a URL and what is pasted, also where a code for another device would be shorter
    #[arg(long)]
    pub paste: bool,
    /// End the attempt that waits, and begin anew
    #[arg(long)]
    pub again: bool,
    /// Store it also over the login of another account
    #[arg(long)]
    pub replace_account: bool,
    /// Print each step as a line of JSON; no browser is opened
    #[arg(long)]
    pub json: bool,
    /// How long to wait for the person, in seconds
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 900)]
    pub patience: u64,
    /// How long to wait until everybody uses the new login, in seconds
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 180)]
    pub within: u64,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The new host: what `import --key` prints there
    #[arg(long, value_name = "RECIPIENT")]
    pub to: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Which logins; default: the only one that there is
    #[arg(value_name = "LOGIN")]
    pub logins: Vec<String>,
}

/// What `--check` judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckKind {
    /// The login as a whole
    Login,
    /// The access token alone
    Access,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Everything, for people (the default)
    #[arg(long, group = "form")]
    pub full: bool,
    /// One word
    #[arg(long, group = "form")]
    pub simple: bool,
    /// JSON, format version 1
    #[arg(long, group = "form")]
    pub json: bool,
    /// Metrics in Prometheus' text format
    #[arg(long, group = "form")]
    pub prometheus: bool,
    /// Exit 0 ok, 1 expired or missing, 2 expiring
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "login")]
    pub check: Option<CheckKind>,
    /// Keep showing it
    #[arg(long, conflicts_with_all = ["simple", "json", "prometheus", "check"])]
    pub watch: bool,
    /// Ask OpenClaw's own health check as well
    #[arg(long, conflicts_with_all = ["simple", "json", "prometheus", "watch"])]
    pub probe: bool,
    /// Only these logins
    #[arg(value_name = "LOGIN")]
    pub logins: Vec<String>,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// Only from TIME on: 2h, 3d, today, yesterday, 2026-11-20, or a time as in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print JSON, format version 1
    #[arg(long, conflicts_with = "svg")]
    pub json: bool,
    /// Draw a timeline into FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Only these logins
    #[arg(value_name = "LOGIN")]
    pub logins: Vec<String>,
}

/// Commands on the order of profiles.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    /// List the profiles of every agent in the order that holds
    List(OrderTarget),
    /// Show the order of one agent
    Get(OrderTarget),
    /// Set the order of one agent
    Set {
        /// Whose
        #[command(flatten)]
        target: OrderTarget,
        /// Profile ids, the first one is tried first
        #[arg(value_name = "PROFILE", required = true)]
        profiles: Vec<String>,
    },
    /// Remove the order of one agent
    Clear(OrderTarget),
}

/// Whose order.
#[derive(Debug, Args)]
pub struct OrderTarget {
    /// The agent; default: main, for a list all
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// OpenClaw's name of the provider; default: that of the sink's profile
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// The sink that names the OpenClaw
    #[arg(long, value_name = "SINK")]
    pub sink: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Commands on alerts.
#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// Send a test through every channel
    Test,
    /// List what is open, who was told, and when it is told again
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Commands on the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Validate it and report every error
    Check,
    /// Print the merged configuration and where each value came from
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
