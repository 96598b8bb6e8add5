//! A JSON object as the source text of its members, duplicates included: what an edit left alone is the
//! same text afterwards.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Members;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut found = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            found.push((key, value.get().to_owned()));
        }
        Ok(Members(found))
    }
}

/// Key and source text of every member of the object that `text` is; none for anything else.
pub fn members(text: &str) -> Vec<(String, String)> {
    serde_json::from_str::<Members>(text).map_or_else(|_| Vec::new(), |members| members.0)
}

/// The members without those of these keys.
pub fn without(members: Vec<(String, String)>, keys: &[&str]) -> Vec<(String, String)> {
    members.into_iter().filter(|(key, _)| !keys.contains(&key.as_str())).collect()
}

/// The members of the object that is the member `key`; none where there is no such thing, or two.
pub fn inside(members: &[(String, String)], key: &str) -> Vec<(String, String)> {
    let mut found = members.iter().filter(|(name, _)| name == key);
    match (found.next(), found.next()) {
        (Some((_, text)), None) => self::members(text),
        _ => Vec::new(),
    }
}
