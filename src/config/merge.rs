//! Stage two: which files count, and how they become one tree.
//!
//! Order: vendor, system, user; in each `tokensink.toml`, then `tokensink.d/*.toml` by name. Every
//! `tokensink.toml` counts; of drop-ins with the same name the one in the latest directory does, and
//! it takes its place there. A link to `/dev/null` masks files of its name in earlier directories,
//! also `tokensink.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, UNREADABLE};
use super::fragment::{Node, Table, Value, io_message, is_null_device};
use super::schema::{ROOT, Shape, Type};

/// The directories of the configuration, later ones winning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDirs {
    /// `/usr/lib/tokensink`.
    pub vendor: PathBuf,
    /// `/etc/tokensink`.
    pub system: PathBuf,
    /// `$XDG_CONFIG_HOME/tokensink`.
    pub user: PathBuf,
}

/// The files that count, in the order they are merged; empty when there are none.
///
/// A directory that does not exist counts as empty. Drop-ins that begin with a dot are left alone,
/// as editors and package managers leave such files behind.
///
/// # Errors
/// Every directory that cannot be read, and every link to nothing.
pub fn discover(dirs: &ConfigDirs) -> Result<Vec<PathBuf>, Vec<ConfigError>> {
    let (files, errors) = survey(dirs);
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}

/// As [`discover`], with the files that were found in spite of errors.
pub(super) fn survey(dirs: &ConfigDirs) -> (Vec<PathBuf>, Vec<ConfigError>) {
    let mut errors = Vec::new();
    let mut mains: Vec<(usize, PathBuf)> = Vec::new();
    let mut dropins: BTreeMap<std::ffi::OsString, Option<(usize, PathBuf)>> = BTreeMap::new();
    for (rank, dir) in [&dirs.vendor, &dirs.system, &dirs.user].into_iter().enumerate() {
        let main = dir.join("tokensink.toml");
        match presence(&main) {
            Ok(Presence::Absent) => {}
            Ok(Presence::Mask) => mains.clear(),
            Ok(Presence::File) => mains.push((rank, main)),
            Err(error) => errors.push(error),
        }
        let names = list(&dir.join("tokensink.d")).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        for path in names {
            let Some(name) = path.file_name() else { continue };
            match presence(&path) {
                Ok(Presence::Absent) => {}
                Ok(Presence::Mask) => {
                    dropins.insert(name.to_owned(), None);
                }
                Ok(Presence::File) => {
                    dropins.insert(name.to_owned(), Some((rank, path)));
                }
                Err(error) => errors.push(error),
            }
        }
    }
    let mut files = mains;
    files.extend(dropins.into_values().flatten());
    // Stable: within a directory the main file stays first and the drop-ins stay sorted.
    files.sort_by_key(|(rank, _)| *rank);
    (files.into_iter().map(|(_, path)| path).collect(), errors)
}

enum Presence {
    Absent,
    Mask,
    File,
}

fn presence(path: &Path) -> Result<Presence, ConfigError> {
    let fail = |error: &io::Error| ConfigError::of_file(path, UNREADABLE, io_message(error));
    match fs::symlink_metadata(path) {
        Err(error) if is_absence(&error) => return Ok(Presence::Absent),
        Err(error) => return Err(fail(&error)),
        Ok(_) => {}
    }
    match fs::metadata(path) {
        Ok(meta) if is_null_device(&meta) => Ok(Presence::Mask),
        Ok(_) => Ok(Presence::File),
        Err(error) => Err(fail(&error)),
    }
}

fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let fail = |error: &io::Error| ConfigError::of_file(dir, UNREADABLE, io_message(error));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(fail(&error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fail(&error))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Merges a later file into what came before: key by key, entries with an id by that id, entries
/// without one appended, every other list replaced.
pub fn merge(base: &mut Table, later: Table) {
    merge_table(base, later, Some(&ROOT));
}

fn merge_table(base: &mut Table, later: Table, shape: Option<&Shape>) {
    for (key, node) in later {
        let wanted = shape.and_then(|shape| shape.keys.iter().find(|(name, _)| *name == key));
        let Some(old) = base.get_mut(&key) else {
            base.insert(key, node);
            continue;
        };
        match (&mut old.value, node.value) {
            (Value::Table(old), Value::Table(new)) => {
                let inner = match wanted {
                    Some((_, Type::Table(shape))) => Some(*shape),
                    _ => None,
                };
                merge_table(old, new, inner);
            }
            (Value::List(old), Value::List(new)) if matches!(wanted, Some((_, Type::Entries(_)))) => {
                if let Some((_, Type::Entries(shape))) = wanted {
                    merge_entries(old, new, shape);
                }
            }
            // A broken value is reported already and must not hide a good one.
            (_, Value::Broken) => {}
            (_, value) => *old = Node { place: node.place, value },
        }
    }
}

fn merge_entries(old: &mut Vec<Node>, new: Vec<Node>, shape: &Shape) {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    if shape.has_id {
        let ids = old.iter().enumerate().filter_map(|(at, node)| Some((id_of(node)?.to_owned(), at)));
        places.extend(ids);
    }
    for node in new {
        // Within one file ids are unique by now, so the places need no update.
        let at = id_of(&node).and_then(|id| places.get(id)).copied();
        match (at.and_then(|at| old.get_mut(at)), node) {
            (Some(Node { value: Value::Table(base), .. }), Node { value: Value::Table(later), .. }) => {
                merge_table(base, later, Some(shape));
            }
            (_, node) => old.push(node),
        }
    }
}

/// The `id` of an entry, unchecked.
#[must_use]
pub fn id_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Table(table) => match table.get("id") {
            Some(Node { value: Value::Text(id), .. }) => Some(id),
            _ => None,
        },
        _ => None,
    }
}
