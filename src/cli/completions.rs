//! `tokensink completions`: prints what the packages install. The scripts are made from the definition of
//! the command line by a test (clap_complete), so that the generator is no part of the program.

use super::args::Shell;
use super::exit::Exit;
use super::output;

/// Runs the command.
#[must_use]
pub fn run(shell: Shell) -> Exit {
    output::print(match shell {
        Shell::Bash => include_str!("../../packaging/completions/tokensink.bash"),
        Shell::Zsh => include_str!("../../packaging/completions/_tokensink"),
        Shell::Fish => include_str!("../../packaging/completions/tokensink.fish"),
    });
    Exit::Done
}
