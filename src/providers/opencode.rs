//! opencode: where its credentials are, and what is in its entry for OpenAI. Facts: opencode 1.18.33,
//! which writes in place, takes no lock and reads the file at every request. Read only.

use std::path::{Path, PathBuf};

use super::Variables;
use crate::format::mapped::{Fields, Pointer};

/// `$XDG_DATA_HOME/opencode/auth.json`, by default below `~/.local/share`.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    super::directory(home, variables, "XDG_DATA_HOME", ".local/share").join("opencode/auth.json")
}

/// The entry `openai`; milliseconds, zero for never.
#[must_use]
pub fn fields() -> Fields {
    Fields {
        refresh_token: Some(Pointer::of(&["openai", "refresh"])),
        expires_at: Some(Pointer::of(&["openai", "expires"])),
        account: Some(Pointer::of(&["openai", "accountId"])),
        ..Fields::with_access_token(Pointer::of(&["openai", "access"]))
    }
}
