//! Qwen Code: where its credentials are, and what is in them. Facts: Qwen Code 0.24.4. Read only: a
//! refresh that loses a race makes the CLI delete the file.

use std::path::{Path, PathBuf};

use super::Variables;
use crate::format::mapped::{Fields, Pointer};

/// `~/.qwen/oauth_creds.json`.
#[must_use]
pub fn credentials_path(home: &Path, _: &Variables) -> PathBuf {
    home.join(".qwen/oauth_creds.json")
}

/// Milliseconds.
#[must_use]
pub fn fields() -> Fields {
    Fields {
        refresh_token: Some(Pointer::of(&["refresh_token"])),
        expires_at: Some(Pointer::of(&["expiry_date"])),
        ..Fields::with_access_token(Pointer::of(&["access_token"]))
    }
}
