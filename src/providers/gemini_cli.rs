//! Gemini CLI: where its credentials are, and what is in them. Facts: Gemini CLI 0.61.0. It writes in
//! place and takes no lock; with `GEMINI_FORCE_ENCRYPTED_FILE_STORAGE` there is no such file.
//! Read only: its vendor closes accounts that other programs refresh.

use std::path::{Path, PathBuf};

use super::Variables;
use crate::format::mapped::{Fields, Pointer};

/// `~/.gemini/oauth_creds.json`, the home being `$GEMINI_CLI_HOME` where that is set.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    super::directory(home, variables, "GEMINI_CLI_HOME", "").join(".gemini/oauth_creds.json")
}

/// Milliseconds; the scopes are one text.
#[must_use]
pub fn fields() -> Fields {
    Fields {
        refresh_token: Some(Pointer::of(&["refresh_token"])),
        id_token: Some(Pointer::of(&["id_token"])),
        expires_at: Some(Pointer::of(&["expiry_date"])),
        scope: Some(Pointer::of(&["scope"])),
        ..Fields::with_access_token(Pointer::of(&["access_token"]))
    }
}
