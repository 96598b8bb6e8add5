//! The refresh tokens in a document of OpenClaw's JSON era, whosever they are: to compare them with
//! others, never to write them. Facts: OpenClaw 2026.2.26 (`auth-profiles.json`, `oauth.json`).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::text_of;
use crate::base::secret::Secret;

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    refresh: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct Store<'a> {
    #[serde(borrow)]
    profiles: Entries<'a>,
}

type Entries<'a> = BTreeMap<String, &'a RawValue>;

/// The refresh tokens of the profiles in a store, by profile id.
#[must_use]
pub fn of_profiles(bytes: &[u8]) -> Vec<(String, Secret)> {
    candidate(bytes)
        .and_then(|text| serde_json::from_str::<Store<'_>>(text).ok())
        .map_or_else(Vec::new, |store| of_entries(&store.profiles))
}

/// The refresh tokens in an `oauth.json`, by provider.
#[must_use]
pub fn of_providers(bytes: &[u8]) -> Vec<(String, Secret)> {
    candidate(bytes)
        .and_then(|text| serde_json::from_str::<Entries<'_>>(text).ok())
        .map_or_else(Vec::new, |entries| of_entries(&entries))
}

/// The text, if there can be a refresh token in it: a store of many profiles rarely has one.
fn candidate(bytes: &[u8]) -> Option<&str> {
    text_of(bytes).ok().filter(|text| text.contains("\"refresh\""))
}

fn of_entries(entries: &Entries<'_>) -> Vec<(String, Secret)> {
    let found = entries.iter().filter_map(|(id, entry)| {
        let refresh = serde_json::from_str::<Entry<'_>>(entry.get()).ok()?.refresh?;
        let refresh = Secret::new(serde_json::from_str::<String>(refresh.get()).ok()?);
        (!refresh.is_blank()).then(|| (id.clone(), refresh))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refresh_token_is_found_and_odd_entries_hide_no_other() {
        let entries = r#"{"a": {"refresh": "r\u0031"}, "b": {"refresh": " "}, "c": {"refresh": 7}, "d": 8, "e": {"refresh": "r2"}, "f": {}}"#;
        let found = of_providers(entries.as_bytes());
        let texts: Vec<_> = found.iter().map(|(id, token)| (id.as_str(), token.expose())).collect();
        assert_eq!(texts, [("a", "r1"), ("e", "r2")]);
        assert_eq!(of_profiles(format!("{{\"profiles\": {entries}}}").as_bytes()), found);
        for odd in ["", "{", "[]", "{\"profiles\": 7, \"refresh\": 1}", "{\"refresh\": \"r\"}"] {
            assert!(
                of_profiles(odd.as_bytes()).is_empty() && of_providers(odd.as_bytes()).is_empty(),
                "{odd}"
            );
        }
    }
}
