//! `tokensink setup`: detect, show, ask, write, enable, prove. It writes one new drop-in and never a
//! file of a person's; what it did is on record, and `--undo` takes exactly that back.
//!
//! `plan` decides and does no I/O; `ground` looks; `carry_out` acts; `proof` judges what came of it.

mod carry_out;
mod drop_in;
mod ground;
mod plan;
mod proof;
pub mod record;
mod tell;
mod undo;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use self::carry_out::{Old, Work};
use self::ground::Ground;
use self::plan::{Facts, Plan, Runner, Step};
use self::record::Record;
use super::args::SetupArguments;
use super::exit::Exit;
use super::{load, output, status};
use crate::config::settings::{Settings, SinkKind};
use crate::core::report::Report;
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::daemon::{detect, detect_containers, login, syncers};
use crate::sys::paths::Surroundings;

/// What a person is asked before OpenClaw's own configuration may be changed.
const MANAGE: &str = "OpenClaw from 2026.4 on takes a token only by its own configuration.\n\
    May tokensink make that refer to a file of its own, and name a default model where there is none\n\
    that could be used (`tokensink setup --undo` takes both back)? [y/N] ";
/// What a person is asked before their manager outlives their sessions.
const LINGER: &str = "Your service manager would run from boot and outlive your sessions, with everything\n\
    that you have enabled in it. Turn lingering on? [y/N] ";

/// What a person is asked before their own solution is switched off.
const REPLACE: &str = "What is named above does the same work. Once the daemon runs: switch it off?\n\
    (`tokensink setup --undo` switches its units on again.) [y/N] ";

/// Runs the command.
#[must_use]
pub fn run(arguments: &SetupArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    let ground = match Ground::of(surroundings) {
        Ok(ground) => ground,
        Err(why) => return output::failure(format_args!("{why}; nothing was changed"), Exit::Failed),
    };
    if arguments.undo {
        return undo::run(&ground, only);
    }
    if only.is_some() {
        let why = "--config names a file that no unit reads; `setup` writes where it does";
        return output::failure(why, Exit::Usage);
    }
    match output::block_on(set_up(arguments, &ground)) {
        Ok(exit) => exit,
        Err(error) => output::failure(error, Exit::Failed),
    }
}

async fn set_up(arguments: &SetupArguments, ground: &Ground) -> Exit {
    let loaded = match load::configuration(&ground.surroundings, None) {
        Ok(loaded) => loaded,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    let managers = ground.managers().await;
    // What `login` entered is no configuration by a person, and stands beside this one.
    let configured: Vec<PathBuf> = loaded.files.into_iter().filter(|file| !login::is_entry(file)).collect();
    let is_new = configured.is_empty();
    let mut settings = if is_new { detect::settings(&ground.surroundings) } else { loaded.settings };
    if is_new {
        for why in detect_containers::complete(&mut settings, &ground.surroundings).await {
            output::print(&format!("not asked about containers: {why}\n"));
        }
    }
    let syncers = syncers::found(&ground.surroundings, &settings).await;
    if is_new {
        syncers::take_over(&mut settings, &syncers);
        drop_in::pin(&mut settings, |provider, is_here| ground.place(&managers, provider, is_here));
    }
    manage(&mut settings, arguments.manage && is_new);
    let world = World::new(settings.clone(), ground.surroundings.clone());
    let has_anything = !settings.sinks.is_empty() || world.sources.iter().any(|source| source.path.exists());
    let facts = ground.facts(&managers, configured, has_anything, !syncers.is_empty()).await;
    let plan = plan::plan(&facts);
    let file = facts.config_dir.join(drop_in::NAME);

    let providers = settings.logins.iter().map(|login| login.provider).collect();
    let clis = ground.clis(&managers, &providers).await;
    output::print(&tell::found(&facts, &world, &clis, &syncers));
    if !is_new {
        let files: Vec<String> = facts.configured.iter().map(|f| f.display().to_string()).collect();
        output::print(&format!("  config    already configured in {}; left as it is\n", files.join(", ")));
    }
    if let Some(why) = &plan.refused {
        return output::failure(format_args!("{why}; nothing was changed"), Exit::Failed);
    }
    output::print(&tell::planned(&facts, &plan, &file, &drop_in::render(&settings), &syncers));
    if arguments.dry_run {
        output::print("\nnothing was changed\n");
        return Exit::Done;
    }
    let state = StateDir::of(&ground.surroundings);
    let Some(agreed) = agreed(arguments, &facts, &plan, &settings) else {
        let why = "nothing was changed; `tokensink setup --yes` does not ask";
        return output::failure(why, Exit::Failed);
    };
    manage(&mut settings, agreed.manage && is_new);
    let text = drop_in::render(&settings);
    let record = match Record::load(&state) {
        Ok(record) => record,
        Err(why) => return output::failure(format_args!("{why}; nothing was changed"), Exit::Failed),
    };
    output::print("\n");
    let mut work = Work {
        ground,
        facts: &facts,
        plan: &plan,
        managers,
        state: &state,
        record,
        may_linger: agreed.linger,
    };
    let done = work.carry_out(&file, &text).await;
    let has_record = !work.record.is_empty();
    if is_new && !agreed.manage && has_openclaw(&settings) {
        output::print(
            "left      OpenClaw's own configuration: later releases need `manage = true` in the drop-in, or --manage\n",
        );
    }
    if !is_new && arguments.manage {
        output::print(
            "left      OpenClaw's own configuration: set `manage = true` in the [[sink]] that is there\n",
        );
    }
    let undone = done.err().unwrap_or_default();
    let (mut exit, report) = proved(ground, &plan, &state, has_record, undone.is_empty()).await;
    for why in &undone {
        exit = output::failure(why, Exit::Failed);
    }
    // Nobody goes without: what did this work before goes when ours is seen to do it.
    if plan.steps.contains(&Step::Replace) {
        let report = report.filter(|report| report.daemon.running && undone.is_empty());
        let old = Old { syncers: &syncers, settings: &settings, report: report.as_ref() };
        if let Err(why) = work.replace(&old, agreed.replace).await {
            exit = output::failure(why, Exit::Failed);
        }
    }
    let has_record = !work.record.is_empty();
    if exit == Exit::Failed && has_record {
        output::print("what was done stays; `tokensink setup --undo` takes it back\n");
    }
    exit
}

/// What a person, or the command line, agreed to.
struct Agreed {
    manage: bool,
    linger: bool,
    replace: bool,
}

/// Asks for every risky step by itself, and for the rest at once. `None`: nothing is to be done.
fn agreed(arguments: &SetupArguments, facts: &Facts, plan: &Plan, settings: &Settings) -> Option<Agreed> {
    let steps = |wanted: Step| plan.steps.contains(&wanted);
    let is_about_linger = plan.steps.iter().all(|step| matches!(step, Step::Linger | Step::Replace));
    let asks = !arguments.yes && std::io::stdin().is_terminal();
    let manage =
        arguments.manage || (asks && steps(Step::Write) && has_openclaw(settings) && is_confirmed(MANAGE));
    let linger = arguments.linger || (asks && steps(Step::Linger) && is_confirmed(LINGER));
    let replace = arguments.replace || (asks && steps(Step::Replace) && is_confirmed(REPLACE));
    // The one step that may be left was agreed to, or not, already; a look at the rest changes nothing.
    let is_settled = plan.steps.is_empty() || (is_about_linger && facts.manages);
    let goes_on = arguments.yes || is_settled || (asks && is_confirmed("Do this? [y/N] "));
    goes_on.then_some(Agreed { manage, linger, replace })
}

/// How it went, and what to expect. Without a unit of ours there is nothing to prove.
async fn proved(
    ground: &Ground,
    plan: &Plan,
    state: &StateDir,
    has_record: bool,
    is_done: bool,
) -> (Exit, Option<Report>) {
    if let Runner::Foreground(why) = &plan.runner {
        output::print(&format!(
            "no unit   {why}. Whatever runs programs for you has to run\n  tokensink daemon\n\
             in the foreground; `tokensink sync` makes one pass now\n"
        ));
        return (Exit::Done, None);
    }
    if !is_done && !load::daemon(state).running {
        return (Exit::Failed, None);
    }
    let world = match load::world(ground.surroundings.clone(), None) {
        Ok((world, _)) => world,
        Err(errors) => return (output::failure(load::lines(&errors), Exit::Failed), None),
    };
    let report = proof::settled(&world, state).await;
    output::print(&format!("\n{}", status::full(&report)));
    output::print(&tell::expect(&report, &plan.runner, has_record));
    let open = proof::open(&report);
    for why in &open {
        output::failure(why, Exit::Failed);
    }
    (if open.is_empty() { Exit::Done } else { Exit::Failed }, Some(report))
}

fn manage(settings: &mut Settings, may: bool) {
    for sink in &mut settings.sinks {
        if let SinkKind::OpenClaw { manage, .. } = &mut sink.kind {
            *manage = may;
        }
    }
}

fn has_openclaw(settings: &Settings) -> bool {
    settings.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::OpenClaw { .. }))
}

fn is_confirmed(question: &str) -> bool {
    output::print(question);
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}
