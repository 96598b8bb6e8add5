//! JSON as text, for [`super::json_doc`]: strict validation that keeps nothing, the members of one
//! object as slices of its text, and single values. Must not quote contents in errors.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{FormatError, FormatErrorKind};

/// Checks that `text` is one strict JSON value of bounded nesting.
///
/// # Errors
/// `Unparseable` with the position.
pub(super) fn validate(text: &str) -> Result<(), FormatError> {
    serde_json::from_str::<Valid>(text).map(|_| ()).map_err(|e| invalid(&e))
}

/// Equal in meaning: numbers by value, not by spelling.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || whole(&x.to_string()).is_some_and(|n| Some(n) == whole(&y.to_string()))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

/// Where `part`, a slice of `whole`, begins in it.
pub(super) fn offset_in(whole: &str, part: &str) -> Option<usize> {
    part.as_ptr().addr().checked_sub(whole.as_ptr().addr()).filter(|o| *o <= whole.len())
}

/// The text that a JSON string spells; `None` for anything else.
pub(super) fn decoded(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// The JSON string that spells `text`.
pub(super) fn encoded(text: &str) -> Zeroizing<String> {
    // Six bytes (\u0000) is the longest spelling of one: the buffer never grows.
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 6 + 2));
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok(), "a vector takes everything");
    Zeroizing::new(std::str::from_utf8(&out).unwrap_or_default().to_owned())
}

/// A JSON number as 64 bits, when it is whole in any spelling.
pub(super) fn whole(raw: &str) -> Option<i64> {
    raw.parse::<i64>().ok().or_else(|| {
        let number: f64 = raw.parse().ok()?;
        // Up to 2^53 every whole number is exact; no time in milliseconds is beyond.
        let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53, checked above")]
        exact.then_some(number as i64)
    })
}

fn invalid(error: &serde_json::Error) -> FormatError {
    // The library's own text may quote values; its position does not.
    let what = if error.is_eof() { "ends inside a value" } else { "not strict JSON" };
    let detail = format!("{what} at line {} column {}", error.line(), error.column());
    FormatError::new(FormatErrorKind::Unparseable, detail)
}

/// Accepts any JSON value and keeps nothing. Unlike `IgnoredAny` it goes through the parser's
/// nesting limit and validates every string.
struct Valid;

impl<'de> Deserialize<'de> for Valid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Valid {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_key::<Self>()?.is_some() {
            members.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// The members of one object, values as slices of its text.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_in_every_spelling() {
        let cases =
            [("5", 5), ("-0", 0), ("1.795e12", 1_795_000_000_000), ("1795199075831.0", 1_795_199_075_831)];
        for (raw, number) in cases {
            assert_eq!(whole(raw), Some(number), "{raw}");
        }
        assert_eq!(whole("9223372036854775807"), Some(i64::MAX));
        for raw in ["0.5", "1e300", "9223372036854775808", "1e-3"] {
            assert_eq!(whole(raw), None, "{raw}");
        }
    }

    #[test]
    fn only_strict_json_of_bounded_nesting_is_valid() {
        assert!(validate("{\"a\":[1,-2.5e3,true,null,\"\\u00e9\"],\"a\":{}}\r\n").is_ok());
        for text in ["{'a':1}", "{a:1}", "[1,]", "/**/1", "01", "+1", "NaN", "\"\t\"", "{} {}", "\"\\ud800\""]
        {
            assert!(validate(text).is_err(), "{text}");
        }
        assert!(validate(&format!("{}{}", "[".repeat(120), "]".repeat(120))).is_ok());
        assert!(validate(&format!("{}{}", "[".repeat(129), "]".repeat(129))).is_err());
    }
}
