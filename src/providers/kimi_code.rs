//! Kimi Code: where its credentials are, and what is in them. Facts: Kimi Code 2.1.0; the older Kimi
//! CLI 1.49.0 keeps the same object in `~/.kimi/credentials/`. Read only: after a refusal the CLI
//! overwrites the file with blanks, which is read as a husk.

use std::path::{Path, PathBuf};

use super::Variables;
use crate::format::mapped::{Fields, Pointer, TimeUnit};

/// `$KIMI_CODE_HOME/credentials/kimi-code.json`, by default below `~/.kimi-code`.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    super::directory(home, variables, "KIMI_CODE_HOME", ".kimi-code").join("credentials/kimi-code.json")
}

/// Seconds, whole (Kimi Code) or with a fraction (Kimi CLI).
#[must_use]
pub fn fields() -> Fields {
    Fields {
        refresh_token: Some(Pointer::of(&["refresh_token"])),
        expires_at: Some(Pointer::of(&["expires_at"])),
        expires_unit: TimeUnit::Seconds,
        scope: Some(Pointer::of(&["scope"])),
        ..Fields::with_access_token(Pointer::of(&["access_token"]))
    }
}
