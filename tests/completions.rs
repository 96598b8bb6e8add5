//! The completion scripts are those of the command line, and the shells complete by them.
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

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use clap_complete::Shell;
use tokensink::cli::args::Arguments;

const SCRIPTS: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "bash", "tokensink.bash"),
    (Shell::Zsh, "zsh", "_tokensink"),
    (Shell::Fish, "fish", "tokensink.fish"),
];

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions").join(name)
}

/// clap wants names for ever.
fn lasting(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// The command line without what only the program itself types.
fn visible(command: &clap::Command) -> clap::Command {
    let mut shown = clap::Command::new(lasting(command.get_name()));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(lasting(version));
    }
    shown = shown.args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned());
    shown.subcommands(command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(visible))
}

fn shown_by(shell: &str, arguments: &[&str]) -> String {
    // fish keeps a directory of its own there.
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(shell).args(arguments).env("HOME", home.path()).output().unwrap();
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_scripts_are_made_of_the_command_line_and_the_program_prints_them() {
    for (shell, word, name) in SCRIPTS {
        let mut made = Vec::new();
        clap_complete::generate(shell, &mut visible(&Arguments::command()), "tokensink", &mut made);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(script(name), &made).unwrap();
            continue;
        }
        let committed = std::fs::read(script(name)).unwrap();
        assert!(committed == made, "{name} is not what the command line says; UPDATE_GOLDEN=1 writes it");
        let printed =
            Command::new(env!("CARGO_BIN_EXE_tokensink")).args(["completions", word]).output().unwrap();
        assert!(printed.status.success() && printed.stdout == committed, "{word}");
        assert!(!String::from_utf8(made).unwrap().contains("selftest-"), "{word}: a hidden command");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let complete = |line: &str| {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let text = format!(
            ". {}; COMP_WORDS=({}); COMP_CWORD={}; _tokensink tokensink '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script("tokensink.bash").display(),
            words.join(" "),
            words.len() - 1,
            line.rsplit(' ').next().unwrap(),
            line.rsplit(' ').nth(1).unwrap(),
        );
        shown_by("bash", &["--norc", "-c", &text])
    };
    let commands = complete("tokensink s");
    for word in ["setup", "status", "sync", "selftest"] {
        assert!(commands.lines().any(|line| line == word), "{word}: {commands}");
    }
    assert!(complete("tokensink status --p").contains("--probe"));
    assert!(complete("tokensink order l").contains("list"));
}

#[test]
fn fish_completes_commands_and_options() {
    let complete = |line: &str| {
        let text = format!("source {}; complete -C '{line}'", script("tokensink.fish").display());
        shown_by("fish", &["--no-config", "-c", &text])
    };
    assert!(complete("tokensink st").starts_with("status\t"));
    assert!(complete("tokensink refresh --via ").contains("direct\t"));
}

#[test]
fn zsh_takes_the_script() {
    let text = format!(
        "autoload -Uz compinit && compinit -D -u && source {} && whence -w _tokensink",
        script("_tokensink").display()
    );
    assert!(shown_by("zsh", &["-f", "-c", &text]).contains("_tokensink: function"));
}
