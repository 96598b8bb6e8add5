//! The few facts that are read from `openclaw.json`: its last writer's version, the agents' own
//! directories, and the modes of its profiles. Never written here. The file may be JSON5-like
//! (comments, trailing commas, bare keys); what cannot be read is the same as not there, because
//! no decision is ever made more permissive by a missing fact.
//! Facts: OpenClaw 2026.2.26 and 2026.9.6.

use jsonc_parser::{JsonObject, JsonValue, ParseOptions, parse_to_value};

use super::text_of;

/// The release that wrote the configuration last (`meta.lastTouchedVersion`).
#[must_use]
pub fn last_touched_version(bytes: &[u8]) -> Option<String> {
    let root = root(bytes)?;
    text(object(&root, "meta")?, "lastTouchedVersion")
}

/// Agent ids with a directory of their own: `agents.list[]` in its order, then `agents.entries{}`
/// sorted by id.
/// Agents without `agentDir` are not listed. Paths are as written (`~` not expanded).
#[must_use]
pub fn agent_dirs(bytes: &[u8]) -> Vec<(String, String)> {
    let Some(root) = root(bytes) else { return Vec::new() };
    let Some(agents) = object(&root, "agents") else { return Vec::new() };
    let list = agents.get_array("list").into_iter().flat_map(|list| list.iter());
    let listed = list.filter_map(|agent| match agent {
        JsonValue::Object(agent) => Some((text(agent, "id")?, text(agent, "agentDir")?)),
        _ => None,
    });
    listed.chain(texts_below(agents, "entries", "agentDir")).collect()
}

/// Profile ids and their modes (`auth.profiles.{id}.mode`), sorted by id.
#[must_use]
pub fn profile_modes(bytes: &[u8]) -> Vec<(String, String)> {
    let root = root(bytes);
    let auth = root.as_ref().and_then(|root| object(root, "auth"));
    auth.map(|auth| texts_below(auth, "profiles", "mode")).unwrap_or_default()
}

fn root(bytes: &[u8]) -> Option<JsonObject<'_>> {
    // The parser has a nesting limit of its own (512).
    match parse_to_value(text_of(bytes).ok()?, &ParseOptions::default()).ok()?? {
        JsonValue::Object(root) => Some(root),
        _ => None,
    }
}

fn object<'a>(parent: &'a JsonObject<'a>, key: &str) -> Option<&'a JsonObject<'a>> {
    parent.get_object(key)
}

fn text(parent: &JsonObject<'_>, key: &str) -> Option<String> {
    parent.get_string(key).map(|text| text.to_string()).filter(|text| !text.trim().is_empty())
}

/// For each object `parent[key][id]`: its id and the text of its `field`.
fn texts_below(parent: &JsonObject<'_>, key: &str, field: &str) -> Vec<(String, String)> {
    let Some(entries) = parent.get_object(key) else { return Vec::new() };
    let found = entries.clone().into_iter().filter_map(|(id, entry)| match entry {
        JsonValue::Object(entry) => text(&entry, field).map(|text| (id.to_string(), text)),
        _ => None,
    });
    let mut found: Vec<_> = found.collect();
    // The parser's map has no order of its own.
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: &[(String, String)]) -> Vec<(&str, &str)> {
        found.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect()
    }

    const CONFIG: &[u8] = br#"{
      // written by hand
      meta: { lastTouchedVersion: '2026.3.13-1', },
      "agents": {
        "list": [ {"id": "work", "agentDir": "~/w"}, {"id": "plain"}, {"agentDir": "~/nobody"}, 7 ],
        "entries": { "zoe": {"agentDir": "/z"}, "amy": {"agentDir": "/a"}, "no": {}, "bad": {"agentDir": 5} },
      },
      "auth": { "profiles": { "b:x": {"provider": "b", "mode": "token"}, "a:x": {"mode": "oauth"}, "c": {"mode": ""} } }
    }"#;

    #[test]
    fn a_configuration_with_comments_and_bare_keys_is_read() {
        assert_eq!(last_touched_version(CONFIG).as_deref(), Some("2026.3.13-1"));
        assert_eq!(pairs(&agent_dirs(CONFIG)), [("work", "~/w"), ("amy", "/a"), ("zoe", "/z")]);
        assert_eq!(pairs(&profile_modes(CONFIG)), [("a:x", "oauth"), ("b:x", "token")]);
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        let odd: [&[u8]; 8] = [
            b"",
            b"null",
            b"[]",
            b"{",
            b"{\"meta\":7,\"agents\":[],\"auth\":{\"profiles\":[]}}",
            b"\xff",
            b"{\"meta\":{\"lastTouchedVersion\":2026}}",
            b"{\"agents\":{\"list\":{}}}",
        ];
        for bytes in odd {
            assert_eq!(last_touched_version(bytes), None);
            assert!(agent_dirs(bytes).is_empty() && profile_modes(bytes).is_empty());
        }
    }
}
