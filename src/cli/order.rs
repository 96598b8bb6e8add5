//! `tokensink order`: which profiles of a provider the agents of an OpenClaw have, and in which
//! order they try them. The order for all agents (`auth.order`) is shown and never written.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{OrderCommand, OrderTarget};
use super::exit::Exit;
use super::{load, output};
use crate::core::order::From;
use crate::daemon::order::{AgentOrder, OfSink, OrderError};
use crate::daemon::store::StateDir;
use crate::daemon::world::World;
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

/// The agent of a command that names none, as in OpenClaw.
const MAIN: &str = "main";

/// Why the command ends without having done it.
struct Ended(Exit, String);

impl std::convert::From<OrderError> for Ended {
    fn from(error: OrderError) -> Self {
        let code = error.code.map_or_else(String::new, |code| format!(" [{code}]"));
        Self(Exit::Failed, format!("{}{code}", error.why))
    }
}

/// Runs the command.
#[must_use]
pub fn run(command: &OrderCommand, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    let world = match load::world(surroundings, only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    world.recall(&load::remembered(&StateDir::of(&world.surroundings)).0);
    match output::block_on(carried_out(command, &world)) {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(Ended(exit, why))) => output::failure(why, exit),
        Err(error) => output::failure(error, Exit::Failed),
    }
}

async fn carried_out(command: &OrderCommand, world: &World) -> Result<(), Ended> {
    let (target, ids) = match command {
        OrderCommand::List(target) => return list(target, world).await,
        OrderCommand::Get(target) => return get(target, world).await,
        OrderCommand::Set { target, profiles } => (target, Some(profiles.as_slice())),
        OrderCommand::Clear(target) => (target, None),
    };
    let instance = one_instance(target, world)?;
    let agent = agent_of(target, &instance)?;
    let provider = target.provider.as_deref().unwrap_or_else(|| instance.provider());
    instance.way()?;
    let before = instance.read(&agent, provider).await?;
    for id in ids.into_iter().flatten() {
        if !before.profiles.iter().any(|profile| &profile.id == id) {
            let why = format!("agent {agent} has no profile {id} of {provider}; see `tokensink order list`");
            return Err(Ended(Exit::Usage, why));
        }
    }
    instance.set(&agent, provider, ids).await?;
    if ids
        .is_some_and(|ids| provider == instance.provider() && !ids.iter().any(|id| id == instance.profile()))
    {
        let supplied = instance.profile();
        let why = format!("note: {supplied}, which sink {} supplies, is not in it", instance.sink().id);
        output::failure(why, Exit::Done);
    }
    let after = AgentOrder {
        orders: crate::core::order::Orders { agent: ids.map(<[String]>::to_vec), ..before.orders.clone() },
        ..before
    };
    show(target, &instance, &after);
    Ok(())
}

async fn get(target: &OrderTarget, world: &World) -> Result<(), Ended> {
    let instance = one_instance(target, world)?;
    let agent = agent_of(target, &instance)?;
    let provider = target.provider.as_deref().unwrap_or_else(|| instance.provider());
    show(target, &instance, &instance.read(&agent, provider).await?);
    Ok(())
}

async fn list(target: &OrderTarget, world: &World) -> Result<(), Ended> {
    let mut agents = Vec::new();
    let mut text = String::new();
    for instance in instances(target, world)? {
        let provider = target.provider.as_deref().unwrap_or_else(|| instance.provider());
        let wanted = match &target.agent {
            Some(_) => vec![agent_of(target, &instance)?],
            None => instance.agents(),
        };
        for agent in wanted {
            let known = instance.read(&agent, provider).await?;
            let mut entry = as_json(&instance, &known);
            let profiles = known.profiles.iter().map(|p| json!({"id": p.id, "type": p.kind}));
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("profiles".to_owned(), profiles.collect());
            }
            agents.push(entry);
            render(&mut text, &instance, &known);
        }
    }
    if target.json {
        output::print_json(&json!({"format_version": 1, "generated_at": clock::now(), "agents": agents}));
    } else {
        output::print(&text);
    }
    Ok(())
}

/// The instances that the sinks name, each once.
fn instances<'a>(target: &OrderTarget, world: &'a World) -> Result<Vec<OfSink<'a>>, Ended> {
    let sinks = world.settings.sinks.iter();
    let wanted = sinks.filter(|sink| target.sink.as_ref().is_none_or(|id| sink.id.as_str() == id));
    let found: Vec<OfSink<'_>> = wanted.filter_map(|sink| OfSink::of(world, sink)).collect();
    if found.is_empty() {
        let why = target.sink.as_ref().map_or_else(
            || "no sink of kind openclaw or auth-profiles is configured".to_owned(),
            |id| format!("there is no sink {id} of kind openclaw or auth-profiles"),
        );
        return Err(Ended(if target.sink.is_some() { Exit::Usage } else { Exit::Failed }, why));
    }
    Ok(found)
}

fn one_instance<'a>(target: &OrderTarget, world: &'a World) -> Result<OfSink<'a>, Ended> {
    let mut found = instances(target, world)?;
    let is_ambiguous = || {
        let ids: Vec<&str> = found.iter().map(|instance| instance.sink().id.as_str()).collect();
        Ended(Exit::Usage, format!("several sinks are OpenClaw's ({}); name one with --sink", ids.join(", ")))
    };
    let distinct = |a: &OfSink<'_>, b: &OfSink<'_>| {
        a.state_dir() != b.state_dir() || (target.provider.is_none() && a.provider() != b.provider())
    };
    if found.iter().zip(found.iter().skip(1)).any(|(a, b)| distinct(a, b)) {
        return Err(is_ambiguous());
    }
    found.drain(..).next().ok_or_else(|| Ended(Exit::Failed, "no OpenClaw is configured".to_owned()))
}

fn agent_of(target: &OrderTarget, instance: &OfSink<'_>) -> Result<String, Ended> {
    let agent = target.agent.clone().unwrap_or_else(|| MAIN.to_owned());
    if instance.agents().contains(&agent) {
        return Ok(agent);
    }
    let why = format!("there is no agent {agent}; there are {}", instance.agents().join(", "));
    Err(Ended(Exit::Usage, why))
}

fn as_json(instance: &OfSink<'_>, known: &AgentOrder) -> Value {
    let (from, order) = known.orders.effective();
    json!({
        "sink": instance.sink().id,
        "agent": known.agent,
        "provider": known.provider,
        "agent_order": known.orders.agent,
        "global_order": known.orders.global,
        "order": order,
        "from": from.as_str(),
    })
}

fn show(target: &OrderTarget, instance: &OfSink<'_>, known: &AgentOrder) {
    if target.json {
        let mut value = as_json(instance, known);
        if let Some(entry) = value.as_object_mut() {
            entry.insert("format_version".to_owned(), 1.into());
        }
        output::print_json(&value);
        return;
    }
    let mut text = head(instance, known);
    for id in known.orders.effective().1 {
        let _ = writeln!(text, "  {id}");
    }
    output::print(&text);
}

fn head(instance: &OfSink<'_>, known: &AgentOrder) -> String {
    let (from, _) = known.orders.effective();
    let whose = match from {
        From::Agent => "the agent's own order",
        From::Global => "the order of all agents",
        From::Automatic => "no order, OpenClaw decides",
    };
    format!("{}/{} {}: {whose}\n", instance.sink().id, known.agent, known.provider)
}

/// The profiles in their order, then those that it leaves out.
fn render(text: &mut String, instance: &OfSink<'_>, known: &AgentOrder) {
    text.push_str(&head(instance, known));
    let (from, order) = known.orders.effective();
    for (place, id) in order.iter().enumerate() {
        let kind = known.profiles.iter().find(|p| &p.id == id).map_or("not there", |p| p.kind.as_str());
        let _ = writeln!(text, "  {:>2} {id}  {kind}", place + 1);
    }
    for profile in known.profiles.iter().filter(|p| !order.contains(&p.id)) {
        let left_out = if from == From::Automatic { "" } else { ", not in the order" };
        let _ = writeln!(text, "   - {}  {}{left_out}", profile.id, profile.kind);
    }
}
