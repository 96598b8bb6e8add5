//! What the user types. Text for people is made here and nowhere else; exit codes are decided in
//! `exit`.

pub mod alert;
pub mod args;
mod asking;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod exit;
pub mod export;
pub mod history;
pub mod import;
pub mod live;
mod load;
pub mod login;
pub mod openclaw_login;
pub mod opinion;
pub mod order;
pub mod output;
pub mod reauth;
pub mod refresh;
mod reload;
pub mod selftest;
pub mod setup;
pub mod status;
pub mod stops;
pub mod sync;
pub mod undo;

use clap::Parser;

use self::args::{Arguments, Command, ConfigCommand};
use self::exit::Exit;
use crate::daemon::run::{self, DaemonError, Start};
use crate::sys::log;
use crate::sys::paths::Surroundings;

/// Parses the arguments and runs the command.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // clap's own usage exit is 2, which `status --check` gives another meaning.
        Err(error) => {
            let is_usage = error.use_stderr();
            let _ = error.print();
            return if is_usage { Exit::Usage } else { Exit::Done };
        }
    };
    let surroundings = match Surroundings::read() {
        Ok(surroundings) => surroundings,
        Err(why) => return output::failure(why, Exit::Failed),
    };
    let only = arguments.config;
    output::exit_of(match arguments.command {
        Command::Daemon => daemon(surroundings, only),
        Command::Sync(arguments) => sync::run(&arguments, surroundings, only.as_deref()),
        Command::Status(arguments) => status::run(&arguments, surroundings, only.as_deref()),
        Command::Refresh(arguments) => refresh::run(&arguments, surroundings, only.as_deref()),
        Command::History(arguments) => history::run(&arguments, &surroundings),
        Command::Export(arguments) => export::run(&arguments, surroundings, only.as_deref()),
        Command::Import { key: true } => import::key(&surroundings),
        Command::Import { key: false } => import::run(surroundings, only.as_deref()),
        Command::Doctor { json, network } => doctor::run(surroundings, only.as_deref(), json, network),
        Command::Login(arguments) if arguments.openclaw => openclaw_login::run(&arguments, &surroundings),
        Command::Login(arguments) => login::run(&arguments, surroundings, only.as_deref()),
        Command::Reauth(arguments) => reauth::run(&arguments, surroundings, only.as_deref()),
        Command::Order(command) => order::run(&command, surroundings, only.as_deref()),
        Command::Setup(arguments) => setup::run(&arguments, surroundings, only.as_deref()),
        Command::Undo => undo::run(surroundings, only.as_deref()),
        Command::Alert(command) => alert::run(&command, surroundings, only.as_deref()),
        Command::Config(ConfigCommand::Check) => config::check(&surroundings, only.as_deref()),
        Command::Config(ConfigCommand::Show { json }) => config::show(&surroundings, only.as_deref(), json),
        Command::Completions { shell } => completions::run(shell),
        Command::Selftest { json } => selftest::run(&surroundings, json),
        Command::SelftestAlert { told } => selftest::alert(&told),
        Command::SelftestGateway { token, seen, once } => selftest::gateway(&token, &seen, once),
    })
}

fn daemon(surroundings: Surroundings, only: Option<std::path::PathBuf>) -> Exit {
    log::init(&surroundings, tracing::Level::INFO);
    let dirs = load::dirs(&surroundings);
    let start = Start { surroundings, dirs, only, version: env!("CARGO_PKG_VERSION") };
    let error = match output::block_on(run::run(start)) {
        Ok(Ok(())) => return Exit::Done,
        Ok(Err(error)) => error,
        Err(error) => DaemonError::System("runtime", error),
    };
    tracing::error!("{error}");
    match error {
        DaemonError::Config(_) | DaemonError::NoConfig => Exit::Config,
        DaemonError::AlreadyRunning(_) => Exit::Failed,
        DaemonError::Store(_) | DaemonError::Lock(_) => Exit::Permission,
        DaemonError::System(..) | DaemonError::Watch(_) => Exit::Internal,
    }
}
