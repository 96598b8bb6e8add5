//! `tokensink setup`: detect, show, write. It writes one new drop-in and nothing else, and only
//! where there is no configuration yet.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::args::SetupArguments;
use super::exit::Exit;
use super::{load, output};
use crate::base::secret::Document;
use crate::config::settings::{GatewayKind, Settings, SinkKind, UnitScope};
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::daemon::{apply, detect, login, undo};
use crate::sys::atomic_file::{self, Expected, Policy};
use crate::sys::paths::Surroundings;

/// The file that is written, in our configuration directory.
const DROP_IN: &str = "tokensink.d/50-setup.toml";

/// What a person is asked before OpenClaw's own configuration may be changed.
const MANAGE: &str = "OpenClaw from 2026.4 on takes a token only by its own configuration.\n\
    May tokensink make that refer to a file of its own, and name a default model where there is none\n\
    that could be used (`tokensink setup --undo` takes both back)? [y/N] ";

/// Runs the command.
#[must_use]
pub fn run(arguments: &SetupArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    if arguments.undo {
        return undo(surroundings, only);
    }
    match load::configuration(&surroundings, only) {
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
        // What `login` entered is no configuration by a person, and stands beside this one.
        Ok(loaded) if loaded.files.iter().any(|file| !login::is_entry(file)) => {
            let files: Vec<String> = loaded.files.iter().map(|f| f.display().to_string()).collect();
            output::print(&format!("already configured in {}; nothing to do\n", files.join(", ")));
            return Exit::Done;
        }
        Ok(_) => {}
    }
    let mut settings = detect::settings(&surroundings);
    let is_asked = !(arguments.yes || arguments.dry_run || arguments.manage);
    let may_manage = arguments.manage || (is_asked && has_openclaw(&settings) && is_confirmed(MANAGE));
    for sink in &mut settings.sinks {
        if let SinkKind::OpenClaw { manage, .. } = &mut sink.kind {
            *manage = may_manage;
        }
    }
    let file = surroundings.config_dir().join(DROP_IN);
    let text = render(&settings);
    let world = World::new(settings, surroundings);
    output::print(&format!("{}\n{}:\n\n{text}\n", found(&world), file.display()));
    if arguments.dry_run || !(arguments.yes || is_confirmed("Write this file? [y/N] ")) {
        output::print("nothing was written; `tokensink setup --yes` writes it\n");
        return Exit::Done;
    }
    if let Err(why) = write(&file, text) {
        return output::failure(why, Exit::Failed);
    }
    output::print(
        "written. Next:\n  tokensink sync --dry-run                     what the first pass would do\n  \
         systemctl --user enable --now tokensink      start it, now and at every login\n  \
         loginctl enable-linger                       keep it running while you are logged out\n",
    );
    Exit::Done
}

/// Makes every OpenClaw that refers to what we supply forget it, and removes our file.
fn undo(surroundings: Surroundings, only: Option<&Path>) -> Exit {
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let managed =
        world.settings.sinks.iter().find(|s| matches!(s.kind, SinkKind::OpenClaw { manage: true, .. }));
    if let Some(sink) = managed {
        let why =
            format!("sink {} has manage = true and would be set up again; make that false first", sink.id);
        return output::failure(why, Exit::Failed);
    }
    let state = StateDir::of(&world.surroundings);
    world.recall(&load::remembered(&state).0);
    let references = apply::references(&world);
    if references.is_empty() {
        output::print("no OpenClaw refers to anything of ours; nothing to do\n");
        return Exit::Done;
    }
    let undone = output::block_on(async {
        for (gateway, instance, reference) in &references {
            for line in undo::reference(&state, gateway, instance, reference).await? {
                output::print(&format!("{line}\n"));
            }
        }
        Ok::<_, String>(())
    });
    match undone {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(why)) => output::failure(why, Exit::Failed),
        Err(error) => output::failure(error, Exit::Failed),
    }
}

/// What was found, one line each.
fn found(world: &World) -> String {
    let mut text = String::new();
    for source in &world.sources {
        let state = if source.path.exists() { "found" } else { "not there yet" };
        let _ = writeln!(text, "login {}: {} ({state})", source.login, source.path.display());
    }
    for sink in &world.settings.sinks {
        if let SinkKind::OpenClaw { state_dir, .. } = &sink.kind {
            let _ = writeln!(text, "sink {}: OpenClaw in {}", sink.id, state_dir.display());
        }
    }
    if world.settings.sinks.is_empty() {
        text.push_str("no OpenClaw state directory was found: add your own [[sink]] entries\n");
    }
    for gateway in &world.settings.gateways {
        if let GatewayKind::Unit { unit, .. } = &gateway.kind {
            let _ = writeln!(text, "gateway {}: user unit {unit}", gateway.id);
        }
    }
    text
}

/// The settings as the configuration would say them.
fn render(settings: &Settings) -> String {
    let mut text =
        String::from("# Written by `tokensink setup`. Yours to change: it is not written again.\n");
    for login in &settings.logins {
        let _ = writeln!(text, "\n[[login]]\nid = \"{}\"\nprovider = \"{}\"", login.id, login.provider);
    }
    for sink in &settings.sinks {
        let _ = writeln!(
            text,
            "\n[[sink]]\nid = \"{}\"\nlogin = \"{}\"\nkind = \"{}\"",
            sink.id,
            sink.login,
            sink.kind.as_str()
        );
        if let SinkKind::OpenClaw { state_dir, manage, .. } = &sink.kind {
            let _ = writeln!(text, "state_dir = {}", quoted(&state_dir.display().to_string()));
            if *manage {
                text.push_str("manage = true\n");
            }
        }
    }
    for gateway in &settings.gateways {
        let sinks: Vec<String> = gateway.sinks.iter().map(|s| format!("\"{s}\"")).collect();
        let _ = writeln!(text, "\n[[gateway]]\nid = \"{}\"\nsinks = [{}]", gateway.id, sinks.join(", "));
        if let GatewayKind::Unit { unit, scope } = &gateway.kind {
            let scope = if *scope == UnitScope::User { "user" } else { "system" };
            let _ = writeln!(text, "unit = {}\nscope = \"{scope}\"", quoted(unit));
            text.push_str(
                "# A 401 in its journal, as OpenClaw 2026.9.6 writes it, is a reason to look again:\n",
            );
            text.push_str("# unauthorized = \"response provider=anthropic .*status=401\"\n");
        }
    }
    text
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn has_openclaw(settings: &Settings) -> bool {
    settings.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::OpenClaw { .. }))
}

fn is_confirmed(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    output::print(question);
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

fn write(file: &Path, text: String) -> Result<(), String> {
    if let Some(directory) = file.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    let policy = Policy { mode: Some(0o644), ..Policy::default() };
    atomic_file::replace(file, &Document::new(text.into_bytes()), Expected::Absent, policy)
        .map_err(|e| e.to_string())
}
