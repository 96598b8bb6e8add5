//! The claims of a JSON Web Token, for what a token says about itself: its end, its account. The
//! signature is not looked at: who holds the token got it from its issuer, and whoever can forge
//! one in that place could write anything else there too.
//! Source: RFC 7519; the payload is base64url without padding (RFC 7515, section 2).

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::base::secret::Secret;
use crate::base::time::Timestamp;

/// The last second of the year 9999: a later end is not a time that anybody meant.
const LAST_SANE_SECOND: f64 = 253_402_300_799.0;
/// The first moment that an OAuth login can end: the year 2001.
const FIRST_SANE_SECOND: f64 = 1_000_000_000.0;
/// A longer payload is not decoded; the ones of Codex are 1 to 3 KiB.
const MAX_PAYLOAD: usize = 256 * 1024;

/// Padding may be there or not, and what stands in the last unused bits does not matter: we read.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a token says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Value);

impl Claims {
    /// Decodes a token; `None` for an opaque one, which is not three parts with an object in the
    /// middle.
    #[must_use]
    pub fn of(token: &Secret) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return None;
        }
        let bytes = Zeroizing::new(BASE64URL.decode(payload).ok()?);
        let claims: Value = serde_json::from_slice(&bytes).ok()?;
        claims.is_object().then_some(Self(claims))
    }

    /// `exp`; `None` when it is not there or absurd.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let seconds = self.0.get("exp")?.as_f64()?;
        if !(FIRST_SANE_SECOND..=LAST_SANE_SECOND).contains(&seconds) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked: a time before the year 10000")]
        let millis = (seconds * 1000.0) as i64;
        Some(Timestamp::from_millis(millis))
    }

    /// The text of a claim; `None` when it is blank.
    #[must_use]
    pub fn text(&self, claim: &str) -> Option<&str> {
        let text = self.0.get(claim)?.as_str()?;
        (!text.trim().is_empty() && !text.contains(char::is_control)).then_some(text)
    }

    /// The text of a claim inside an object that is a claim itself; `None` when it is blank.
    #[must_use]
    pub fn text_in(&self, object: &str, claim: &str) -> Option<&str> {
        let text = self.0.get(object)?.get(claim)?.as_str()?;
        (!text.trim().is_empty() && !text.contains(char::is_control)).then_some(text)
    }

    /// A claim that is a list of words: an array of texts, or one text with spaces between them.
    #[must_use]
    pub fn words(&self, claim: &str) -> Vec<String> {
        match self.0.get(claim) {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;

    fn claims(token: &str) -> Option<Claims> {
        Claims::of(&Secret::new(token.to_owned()))
    }

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    fn end(exp: &str) -> Option<i64> {
        claims(&token(&format!("{{\"exp\":{exp}}}")))?.expires_at().map(Timestamp::as_millis)
    }

    #[test]
    fn the_end_is_in_seconds() {
        assert_eq!(end("1795199075"), Some(1_795_199_075_000));
        assert_eq!(end("1795199075.5"), Some(1_795_199_075_500));
        assert_eq!(end("1.795e9"), Some(1_795_000_000_000));
    }

    #[test]
    fn an_absurd_end_is_none() {
        for exp in ["0", "-1", "1795199075831", "1e300", "\"1795199075\"", "null", "{}", "[1795199075]"] {
            assert_eq!(end(exp), None, "{exp}");
        }
        assert_eq!(claims(&token("{}")).unwrap().expires_at(), None);
    }

    #[test]
    fn the_alphabet_is_the_one_for_urls() {
        // `~~~` and `???` encode to characters in which the alphabets differ.
        let payload = r#"{"exp":1795199075,"s":"~~~???"}"#;
        let ours = URL_SAFE_NO_PAD.encode(payload);
        assert!(ours.contains(['_', '-']), "{ours}");
        assert!(claims(&token(payload)).is_some());
        assert_eq!(claims(&format!("e30.{}.x", STANDARD_NO_PAD.encode(payload))), None);
        assert!(claims(&format!("e30.{}.x", URL_SAFE.encode("{\"a\":1}"))).is_some(), "padding is let pass");
    }

    #[test]
    fn what_is_no_such_token_is_opaque() {
        let whole = URL_SAFE_NO_PAD.encode("{}");
        for opaque in [
            String::new(),
            "opaque".into(),
            "a.b".into(),
            "..".into(),
            format!("a.{whole}"),
            format!("a.{whole}.c.d"),
            format!("a.{}.c", URL_SAFE_NO_PAD.encode("[]")),
            format!("a.{}.c", URL_SAFE_NO_PAD.encode("not json")),
            "a.!!!.c".into(),
            format!("a.{}.c", "A".repeat(MAX_PAYLOAD + 4)),
            token(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))),
        ] {
            assert_eq!(claims(&opaque), None, "{:.40}", opaque);
        }
    }

    #[test]
    fn claims_of_another_type_are_not_there() {
        let claims =
            claims(&token(r#"{"a":{"t":"text","n":5,"b":" ","l":"x\ny"},"w":["p",1,"q"],"s":"p q"}"#))
                .unwrap();
        assert_eq!(claims.text_in("a", "t"), Some("text"));
        for (object, claim) in [("a", "n"), ("a", "b"), ("a", "l"), ("a", "x"), ("w", "t"), ("x", "t")] {
            assert_eq!(claims.text_in(object, claim), None, "{object}.{claim}");
        }
        assert_eq!(
            (claims.words("w"), claims.words("s")),
            (vec!["p".into(), "q".into()], vec!["p".into(), "q".into()])
        );
        assert!(claims.words("a").is_empty() && claims.words("x").is_empty());
    }
}
