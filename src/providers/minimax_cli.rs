//! MiniMax's mmx: where its credentials are, and what is in them. Facts: mmx-cli 1.0.27, which takes no
//! lock. Read only.

use std::path::{Path, PathBuf};

use super::Variables;
use crate::format::mapped::{Fields, Pointer, TimeUnit};

/// `$MMX_CONFIG_DIR/config.json`, by default below `~/.mmx`.
#[must_use]
pub fn credentials_path(home: &Path, variables: &Variables) -> PathBuf {
    super::directory(home, variables, "MMX_CONFIG_DIR", ".mmx").join("config.json")
}

/// The object `oauth`; its end is an ISO 8601 text.
#[must_use]
pub fn fields() -> Fields {
    Fields {
        refresh_token: Some(Pointer::of(&["oauth", "refresh_token"])),
        expires_at: Some(Pointer::of(&["oauth", "expires_at"])),
        expires_unit: TimeUnit::Rfc3339,
        account: Some(Pointer::of(&["oauth", "account"])),
        ..Fields::with_access_token(Pointer::of(&["oauth", "access_token"]))
    }
}
