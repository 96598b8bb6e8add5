//! Names that people chose in the configuration, validated where they are made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 1 to 64 of a-z, A-Z, 0-9, '.', '_' or '-', not starting with '.' or '-'")
    }
}

impl std::error::Error for InvalidId {}

fn is_valid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! id {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The id of ", $what, ", as the configuration names it.")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Checks and wraps the id of ", $what, ".")]
            ///
            /// # Errors
            /// [`InvalidId`] when the text could not stand in a file name or a journal field.
            pub fn try_new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if is_valid(&text) { Ok(Self(text)) } else { Err(InvalidId) }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(LoginId, "a login");
id!(SinkId, "a sink");
id!(GatewayId, "a gateway");

/// Whose CLI owns a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the provider it names")]
pub enum Provider {
    Claude,
    Codex,
    Gemini,
    Qwen,
    Kimi,
    Opencode,
    Copilot,
    Minimax,
    Static,
    Generic,
}

impl Provider {
    /// Every provider, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Claude,
        Self::Codex,
        Self::Gemini,
        Self::Qwen,
        Self::Kimi,
        Self::Opencode,
        Self::Copilot,
        Self::Minimax,
        Self::Static,
        Self::Generic,
    ];

    /// The word used in the configuration and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Qwen => "qwen",
            Self::Kimi => "kimi",
            Self::Opencode => "opencode",
            Self::Copilot => "copilot",
            Self::Minimax => "minimax",
            Self::Static => "static",
            Self::Generic => "generic",
        }
    }

    /// The provider with that word, if there is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == word)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_leave_a_directory_is_refused() {
        for bad in ["", ".", "..", "-x", "a/b", "a b", "a\n", "é", &"x".repeat(65)] {
            assert_eq!(LoginId::try_new(bad), Err(InvalidId), "{bad:?}");
        }
        assert!(LoginId::try_new("work-2.claude_x").is_ok());
    }

    #[test]
    fn every_provider_is_found_by_its_word() {
        for provider in Provider::ALL {
            assert_eq!(Provider::from_word(provider.as_str()), Some(provider));
        }
        assert_eq!(Provider::from_word("Claude"), None);
    }
}
