//! Logins that only their own program makes: it is run on the person's terminal, or its command is
//! named. It writes where the login is, so that a copy of what was there is kept, and put back if the
//! program leaves no login behind.
//! Facts, by their help texts: Kimi Code 2.1.0, opencode 1.18.33, Copilot CLI 1.0.102, mmx-cli 1.0.27; Qwen
//! Code 0.24.4, whose `qwen auth` is removed; Gemini CLI 0.61.0 asks at its start.

use std::collections::BTreeMap;

use crate::base::id::Provider;
use crate::cli::stops::Stops;
use crate::daemon::login::Place;
use crate::daemon::store::StateDir;
use crate::login::{Failed, hand_over};
use crate::sys::paths::Surroundings;
use crate::sys::pty::PtySpec;
use crate::sys::search;
use crate::sys::tty::WindowSize;

/// A program with its arguments, and what a person does in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnLogin {
    argv: &'static [&'static str],
    /// What is to be done once it runs; empty where it asks by itself.
    then: &'static str,
}

/// How the program of a provider logs in; `None` where we do.
pub(super) const fn of(provider: Provider) -> Option<OwnLogin> {
    Some(match provider {
        Provider::Gemini => OwnLogin { argv: &["gemini"], then: "it asks by itself; leave it with /quit" },
        Provider::Qwen => OwnLogin { argv: &["qwen"], then: "type /auth, then leave it with /quit" },
        Provider::Kimi => OwnLogin { argv: &["kimi", "login"], then: "" },
        Provider::Opencode => OwnLogin { argv: &["opencode", "auth", "login"], then: "" },
        Provider::Copilot => OwnLogin { argv: &["copilot", "login"], then: "" },
        Provider::Minimax => OwnLogin { argv: &["mmx", "auth", "login"], then: "" },
        _ => return None,
    })
}

/// Runs it. That it ended well proves nothing; the caller looks at what it left.
///
/// # Errors
/// When it cannot be run here, naming what is to be run; or when it left no login.
pub(super) async fn run(
    own: OwnLogin,
    place: &Place,
    surroundings: &Surroundings,
    state: &StateDir,
    stops: &mut Stops,
) -> Result<(), String> {
    let line = own.argv.join(" ");
    let then = if own.then.is_empty() { String::new() } else { format!(" ({})", own.then) };
    let (name, arguments) = own.argv.split_first().ok_or_else(String::new)?;
    let program = search::find_on(surroundings.search_path(), name)
        .ok_or_else(|| format!("{name} is not on the search path; it makes this login: {line}{then}"))?;
    // The person's own program, in the person's own surroundings.
    let environment: BTreeMap<String, String> = surroundings.variables.clone();
    let mut argv = vec![program.display().to_string()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    // The size is replaced by that of the person's window.
    let command = PtySpec { argv, env: environment, cwd: None, size: WindowSize { rows: 24, columns: 80 } };
    let before = place.kept(state)?;
    if !own.then.is_empty() {
        crate::cli::output::print(&format!("{line}{then}\n"));
    }
    let ran = tokio::select! {
        ran = hand_over::run(&command) => ran,
        () = stops.come() => Err(Failed::System("stopped".to_owned())),
    };
    let back = place.put_back_if_gone(before);
    match ran {
        Ok(status) if status.success() => back,
        Ok(status) => back.and(Err(format!("{line} ended with {status}"))),
        Err(Failed::NoTerminal) => {
            Err(format!("this login is made on a terminal, by its own program: {line}{then}"))
        }
        Err(why) => back.and(Err(why.to_string())),
    }
}
