//! The token that `claude setup-token` prints, as a person pastes it. Facts: Claude Code 2.1.329 asks
//! for a year (`expires_in` 31536000) and prints the token alone on a line, which a narrow window
//! breaks, and a line to export it by. OpenClaw 2026.9.6 takes none of fewer than 80 characters.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::base::secret::Secret;

/// How long such a token works, from the day it was made.
pub const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// What it begins with.
const PREFIX: &str = "sk-ant-oat01-";
/// A shorter one has lost its end.
const SHORTEST: usize = 80;
/// A longer one is several things.
const LONGEST: usize = 512;

/// Why a text is no setup-token. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    /// Nothing was given.
    Empty,
    /// It is another kind of secret, named here.
    Other(&'static str),
    /// It does not begin as a setup-token does.
    Shape,
    /// It has a character that no token has.
    Character,
    /// It is cut off.
    TooShort,
    /// There is more than one token.
    TooLong,
}

impl std::fmt::Display for NoToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("no token was given on standard input"),
            Self::Other(what) => {
                write!(f, "that is {what}, not a setup-token; `claude setup-token` prints one")
            }
            Self::Shape => write!(f, "a setup-token begins with {PREFIX}"),
            Self::Character => f.write_str("the text has characters that no setup-token has"),
            Self::TooShort => write!(f, "the token is cut off: it has fewer than {SHORTEST} characters"),
            Self::TooLong => f.write_str("the text is too long for one setup-token"),
        }
    }
}

/// Reads what was pasted: the token, in one piece or broken over lines, perhaps with the words around
/// it that set a variable.
///
/// # Errors
/// See [`NoToken`].
pub fn from_paste(text: &str) -> Result<Secret, NoToken> {
    let mut joined = Zeroizing::new(String::with_capacity(text.len()));
    joined.extend(text.split_whitespace());
    let bare = joined.strip_prefix("export").unwrap_or(&joined);
    let bare = bare.strip_prefix("CLAUDE_CODE_OAUTH_TOKEN=").unwrap_or(&joined);
    let bare = bare.trim_matches(['"', '\'', '`']);
    if bare.is_empty() {
        return Err(NoToken::Empty);
    }
    if !bare.starts_with(PREFIX) {
        return Err(if bare.starts_with("sk-ant-ort") {
            NoToken::Other("a refresh token")
        } else if bare.starts_with("sk-ant-api") {
            NoToken::Other("an API key")
        } else if bare.starts_with("https://") {
            NoToken::Other("an address")
        } else if bare.contains('#') {
            NoToken::Other("a code for a login")
        } else {
            NoToken::Shape
        });
    }
    if !bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err(NoToken::Character);
    }
    if bare.len() < SHORTEST {
        return Err(NoToken::TooShort);
    }
    if bare.len() > LONGEST || bare.matches(PREFIX).count() > 1 {
        return Err(NoToken::TooLong);
    }
    Ok(Secret::new(bare.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> String {
        format!("{PREFIX}{}AA", "made-up_0".repeat(10))
    }

    #[test]
    fn every_way_to_paste_a_token_is_understood() {
        let token = token();
        for text in [
            token.clone(),
            format!("  {token}\r\n\n"),
            format!("{}\n  {}\r\n{}", &token[..40], &token[40..80], &token[80..]),
            format!("export CLAUDE_CODE_OAUTH_TOKEN={token}\n"),
            format!("CLAUDE_CODE_OAUTH_TOKEN=\"{token}\""),
            format!("'{token}'"),
        ] {
            assert_eq!(from_paste(&text).unwrap().expose(), token, "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_named_and_never_quoted() {
        let token = token();
        for (text, why) in [
            (String::new(), NoToken::Empty),
            (" \r\n\t".into(), NoToken::Empty),
            (token.replace("oat01", "ort01"), NoToken::Other("a refresh token")),
            (token.replace("oat01", "api03"), NoToken::Other("an API key")),
            ("https://claude.com/cai/oauth/authorize".into(), NoToken::Other("an address")),
            ("abc#def".into(), NoToken::Other("a code for a login")),
            ("canary".into(), NoToken::Shape),
            (format!("{token}\0"), NoToken::Character),
            (format!("{token};rm"), NoToken::Character),
            (format!("{token}é"), NoToken::Character),
            (token[..60].into(), NoToken::TooShort),
            (format!("{token}{token}"), NoToken::TooLong),
            (format!("{token}{}", "a".repeat(600)), NoToken::TooLong),
        ] {
            let error = from_paste(&text).unwrap_err();
            assert_eq!(error, why, "{text:?}");
            assert!(!error.to_string().contains("made-up") && !error.to_string().contains("canary"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics_and_what_is_taken_is_a_token(text in "\\PC*") {
            let text = format!("{PREFIX}{text}");
            if let Ok(secret) = from_paste(&text) {
                prop_assert!(secret.expose().starts_with(PREFIX));
                prop_assert!(secret.expose().bytes().all(|b| b.is_ascii_graphic()));
            }
        }

        #[test]
        fn where_a_paste_is_broken_does_not_matter(cuts in proptest::collection::vec(0_usize..100, 0..8)) {
            let token = token();
            let mut text = token.clone();
            for cut in cuts {
                text.insert(cut.min(token.len()), '\n');
            }
            let read = from_paste(&text).unwrap();
            prop_assert_eq!(read.expose(), token.as_str());
        }
    }
}
