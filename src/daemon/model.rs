//! The default model of an OpenClaw that was set up here: one whose configuration names none, and whose
//! own choice has no credential, could not make a turn. What is set is recorded before it is, so that it
//! can be taken back, and only it. OpenClaw 2026.9.6 names a model by itself when the key of a provider is
//! set: that came with our set-up and goes with it.

use std::path::Path;
use std::time::Duration;

use crate::base::id::GatewayId;
use crate::core::memory::Failure;
use crate::core::windows;
use crate::daemon::pass::{self, PassError};
use crate::daemon::store::StateDir;
use crate::format::openclaw_config;
use crate::format::release::Release;
use crate::gateway::openclaw::{self, Instance};
use crate::sinks::openclaw::probe::read;

/// How long to wait for a pass before recording.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

/// The instances that are going to be set up and name no default model yet.
#[must_use]
pub fn without_one(instances: &[Instance]) -> Vec<Instance> {
    let names_none = |instance: &&Instance| instance.set_up.is_some() && !names_model(instance);
    instances.iter().filter(names_none).cloned().collect()
}

fn names_model(instance: &Instance) -> bool {
    read(&instance.config_path)
        .is_none_or(|config| openclaw_config::may_have(config.expose(), openclaw::PRIMARY_MODEL_KEY))
}

/// Sets the default model of the instances that were set up just now and named none before, where they
/// need one. A failure takes nothing from what was set up, and is said only.
pub async fn complete(state: &StateDir, gateway: &GatewayId, instances: &[Instance]) {
    for instance in instances {
        if let Err(why) = complete_one(state, gateway, instance).await {
            tracing::warn!(%gateway, "the default model was not set: {why}");
        }
    }
}

async fn complete_one(state: &StateDir, gateway: &GatewayId, instance: &Instance) -> Result<(), String> {
    let came_along = read(&instance.config_path).and_then(|c| openclaw_config::default_model(c.expose()));
    if let Some((model, _)) = came_along {
        let noted = note(state, gateway, &instance.config_path, Some(&model)).await;
        return noted.map_err(|e| e.to_string());
    }
    let release = instance.release.as_deref().and_then(Release::parse);
    let Some(model) = release.as_ref().and_then(windows::default_model) else { return Ok(()) };
    let lacks = |failure: Failure| failure.summary;
    if names_model(instance) || !openclaw::lacks_model(gateway, instance).await.map_err(lacks)? {
        return Ok(());
    }
    note(state, gateway, &instance.config_path, Some(model)).await.map_err(|e| e.to_string())?;
    let set = openclaw::set_model(gateway, instance, model).await;
    set.map_err(|failure| failure.summary)?;
    tracing::info!(%gateway, "default model {model} set: none was configured");
    Ok(())
}

/// Takes the default model back that was set here, if it still is that one. Returns it.
///
/// # Errors
/// A sentence when OpenClaw's own CLI does not do it or our state cannot be used.
pub async fn take_back(
    state: &StateDir,
    gateway: &GatewayId,
    instance: &Instance,
) -> Result<Option<String>, String> {
    let memory = state.load().map_err(|e| e.to_string())?;
    let key = instance.config_path.display().to_string();
    let set = memory.gateways.get(gateway).and_then(|known| known.models.get(&key).cloned());
    let Some(model) = set else { return Ok(None) };
    let now = read(&instance.config_path).and_then(|c| openclaw_config::default_model(c.expose()));
    let taken = now.filter(|(primary, _)| *primary == model);
    if let Some((_, is_alone)) = &taken {
        openclaw::unset_model(gateway, instance, *is_alone).await.map_err(|failure| failure.summary)?;
    }
    note(state, gateway, &instance.config_path, None).await.map_err(|e| e.to_string())?;
    Ok(taken.map(|(primary, _)| primary))
}

async fn note(
    state: &StateDir,
    gateway: &GatewayId,
    config: &Path,
    model: Option<&str>,
) -> Result<(), PassError> {
    let _lock = pass::hold_pass(state, RECORD_DEADLINE).await?;
    let mut memory = state.load()?;
    let models = &mut memory.gateways.entry(gateway.clone()).or_default().models;
    let key = config.display().to_string();
    match model {
        Some(model) => models.insert(key, model.to_owned()),
        None => models.remove(&key),
    };
    state.save(&mut memory)?;
    Ok(())
}
