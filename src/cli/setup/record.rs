//! What a set-up did, remembered so that exactly that can be taken back. Each entry is made before its
//! step, so that a crash leaves nothing that is not known; an undone step forgets its entry.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::secret::Document;
use crate::daemon::store::StateDir;
use crate::sys::atomic_file::{self, FileState};

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The drop-in that was written.
    pub drop_in: Option<DropIn>,
    /// The unit that was touched.
    pub unit: Option<Unit>,
    /// Lingering was turned on.
    pub linger: bool,
    /// Units of others that were switched off.
    pub replaced: Vec<Unit>,
}

/// A drop-in that was written. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    /// Where.
    pub path: PathBuf,
    /// What was written.
    pub text: String,
}

/// A unit that was touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// It is the system manager's.
    pub system: bool,
    /// It was enabled.
    pub enabled: bool,
    /// It was started.
    pub started: bool,
}

/// A file beside its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Byte for byte as it was written.
    Ours,
    /// Somebody changed it.
    Changed,
    /// It is not there.
    Gone,
}

impl DropIn {
    /// What became of it.
    pub fn kept(&self) -> Kept {
        match atomic_file::observe(&self.path) {
            FileState::Present(file) if file.document == Document::new(self.text.clone().into_bytes()) => {
                Kept::Ours
            }
            FileState::Absent { .. } => Kept::Gone,
            FileState::Present(_) | FileState::Unreadable { .. } => Kept::Changed,
        }
    }
}

impl Unit {
    fn read(value: &Value) -> Option<Self> {
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
        let name = value.get("name")?.as_str()?.to_owned();
        Some(Self { name, system: flag("system"), enabled: flag("enabled"), started: flag("started") })
    }

    fn write(&self) -> Value {
        json!({"name": self.name, "system": self.system, "enabled": self.enabled, "started": self.started})
    }
}

impl Record {
    /// What is remembered; nothing when there is no record.
    ///
    /// # Errors
    /// For a record that is there and cannot be read: taken for none, what it says would be forgotten.
    pub fn load(state: &StateDir) -> Result<Self, String> {
        let path = state.setup();
        let failed = |why: &dyn std::fmt::Display| format!("{}, what was set up here: {why}", path.display());
        // No secret is in it: a plain reading will do.
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(&error)),
            Ok(bytes) => Self::read(&bytes).map_err(|why| failed(&why)),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let text = |at: &str| value.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let flag = |at: &str| value.pointer(at).and_then(Value::as_bool).unwrap_or_default();
        let units = value.get("replaced").and_then(Value::as_array);
        let drop_in = text("/drop_in/path").zip(text("/drop_in/text"));
        Ok(Self {
            drop_in: drop_in.map(|(path, text)| DropIn { path: path.into(), text }),
            unit: value.get("unit").and_then(Unit::read),
            linger: flag("/linger"),
            replaced: units.into_iter().flatten().filter_map(Unit::read).collect(),
        })
    }

    /// Remembers it; an empty record is removed.
    pub fn save(&self, state: &StateDir) -> Result<(), String> {
        let path = state.setup();
        if self.is_empty() {
            return removed(&path);
        }
        state.create().map_err(|error| error.to_string())?;
        let drop_in = self.drop_in.as_ref();
        let record = json!({
            "format_version": 1,
            "drop_in": drop_in.map(|d| json!({"path": d.path.display().to_string(), "text": d.text})),
            "unit": self.unit.as_ref().map(Unit::write),
            "linger": self.linger,
            "replaced": self.replaced.iter().map(Unit::write).collect::<Vec<_>>(),
        });
        let mut bytes = serde_json::to_vec_pretty(&record).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        state.replace(&path, &Document::new(bytes)).map_err(|error| error.to_string())
    }

    /// Nothing that a set-up did is left.
    pub fn is_empty(&self) -> bool {
        let unit = self.unit.as_ref().is_some_and(|unit| unit.enabled || unit.started);
        self.drop_in.is_none() && !unit && !self.linger && self.replaced.is_empty()
    }
}

/// Removes a file that may be gone already.
pub(super) fn removed(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::paths::Surroundings;

    #[test]
    fn a_record_is_read_as_it_was_written_and_an_empty_one_is_no_file() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::of(&Surroundings { home: home.path().to_owned(), variables: [].into() });
        assert_eq!(Record::load(&state), Ok(Record::default()));
        let mut record = Record {
            drop_in: Some(DropIn { path: home.path().join("a b"), text: "x = \"1\"\n".to_owned() }),
            unit: Some(Unit { name: "a.service".to_owned(), system: true, enabled: true, started: false }),
            linger: true,
            replaced: vec![Unit {
                name: "old.timer".to_owned(),
                system: false,
                enabled: true,
                started: false,
            }],
        };
        for _ in 0..2 {
            record.save(&state).unwrap();
            assert_eq!(Record::load(&state).as_ref(), Ok(&record));
            record = Record { unit: None, ..record };
        }
        Record::default().save(&state).unwrap();
        assert!(!state.setup().exists());
        // One that cannot be understood is never taken for none.
        state.replace(&state.setup(), &Document::new(b"{\"drop_in\": ".to_vec())).unwrap();
        assert!(Record::load(&state).is_err());
    }
}
