//! Facts of places: the files of sources and sinks, our own directories, stores of OpenClaw.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::config::settings::SinkKind;
use crate::core::doctor::facts::{LinkFacts, MountFacts, OwnerFacts, PlaceFacts, PlaceOf, Stray};
use crate::daemon::detect;
use crate::daemon::look::Look;
use crate::daemon::store::StateDir;
use crate::daemon::world::{Observation, World};
use crate::sinks::openclaw::probe;
use crate::sys::mounts::{self, Mount};
use crate::sys::watch::{self, FsKind};

/// Each file of a source or sink, and each of our own directories.
pub fn places(world: &World, state: &StateDir, look: &Look) -> Vec<PlaceFacts> {
    let mounts = mounts::list().unwrap_or_default();
    let mut places: Vec<PlaceFacts> = files(world, &look.seen)
        .into_iter()
        .map(|(of, path)| {
            let led_to = look.memory.links.led_to(&path.display().to_string()).map(str::to_owned);
            PlaceFacts { led_to, ..place(of, &path, &mounts) }
        })
        .collect();
    let own = state.directories().into_iter().filter(|directory| directory.is_dir());
    let own = own.flat_map(|directory| std::iter::once(directory.clone()).chain(open_files(&directory)));
    places.extend(own.map(|path| place(PlaceOf::Own, &path, &mounts)));
    places
}

/// The files in a directory of ours that are not for their owner alone.
fn open_files(directory: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_open =
        |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o077 != 0);
    listed.map(|entry| entry.path()).filter(is_open).collect()
}

/// The files of sources and sinks that are files, and not our own.
fn files(world: &World, seen: &Observation) -> Vec<(PlaceOf, PathBuf)> {
    let sources = world.sources.iter().map(|s| (PlaceOf::Source(s.login.to_string()), s.path.clone()));
    let sinks = seen.places.iter().filter(|(_, place)| !place.is_mirror);
    let sinks = sinks.map(|(id, place)| (PlaceOf::Sink(id.to_string()), place.path.clone()));
    sources.chain(sinks).filter(|(_, path)| path.is_absolute()).collect()
}

/// Each file with where it leads, if it is a link.
#[must_use]
pub fn links(world: &World, seen: &Observation) -> Vec<(String, Option<String>)> {
    let links = files(world, seen).into_iter().filter_map(|(_, path)| {
        // What is not there is neither a link nor a file of its own.
        let is_link = path.symlink_metadata().ok()?.is_symlink();
        let to = is_link.then(|| std::fs::read_link(&path).ok()).flatten();
        Some((path.display().to_string(), to.map(|to| to.display().to_string())))
    });
    links.collect()
}

fn place(of: PlaceOf, path: &Path, mounts: &[Mount]) -> PlaceFacts {
    let link = std::fs::read_link(path).ok();
    let link = link.map(|to| LinkFacts { target: to.display().to_string(), dangles: !path.exists() });
    let resolved = std::fs::canonicalize(path).ok().or_else(|| {
        let parent = std::fs::canonicalize(path.parent()?).ok()?;
        Some(parent.join(path.file_name()?))
    });
    let resolved = resolved.unwrap_or_else(|| path.to_owned());
    let mount = mounts::of(mounts, &resolved).map(|mount| MountFacts {
        point: mount.point.display().to_string(),
        kind: mount.kind.clone(),
        is_read_only: mount.is_read_only,
        is_file: mount.point == resolved && resolved.is_file(),
    });
    PlaceFacts {
        is_private: of == PlaceOf::Own,
        of,
        path: path.display().to_string(),
        mount,
        file: owner(&resolved),
        directory: resolved.parent().and_then(owner),
        link,
        led_to: None,
        blind: match watch::kind_of(&resolved) {
            FsKind::NoInotify { name } => Some(name),
            FsKind::Local => None,
        },
    }
}

fn owner(path: &Path) -> Option<OwnerFacts> {
    let meta = std::fs::metadata(path).ok()?;
    let is_writable = access(path, AccessFlags::W_OK).is_ok();
    Some(OwnerFacts { uid: meta.uid(), mode: meta.mode() & 0o7777, is_writable })
}

/// The OpenClaw instances of this home that no sink is for.
pub fn strays(world: &World) -> Vec<Stray> {
    let state_dir = |kind: &SinkKind| match kind {
        SinkKind::OpenClaw { state_dir, .. } | SinkKind::AuthProfiles { state_dir, .. } => {
            Some(state_dir.clone())
        }
        _ => None,
    };
    let known: Vec<PathBuf> = world.settings.sinks.iter().filter_map(|sink| state_dir(&sink.kind)).collect();
    let found = detect::settings(&world.surroundings).sinks.into_iter();
    let found = found.filter_map(|sink| Some((state_dir(&sink.kind)?, sink.id)));
    let strays = found.filter(|(directory, _)| !known.contains(directory)).map(|(directory, id)| {
        let instance = probe::probe(&directory, &world.around(&id));
        let stores = instance.agents.iter().map(|(agent, _)| instance.store(&directory, agent));
        let stores = stores.chain([directory.join("credentials/oauth.json")]).filter(|store| store.is_file());
        Stray {
            state_dir: directory.display().to_string(),
            release: instance.release.as_ref().map(ToString::to_string),
            has_database: instance.has_database || instance.has_schema,
            stores: stores.map(|store| store.display().to_string()).collect(),
        }
    });
    strays.collect()
}
