//! The few facts that are read from `openclaw.json`: its last writer's version, the agents' own
//! directories, its profiles and their order, where a provider's key comes from, how its gateway listens. Never written here. The file may be JSON5-like
//! (comments, trailing commas, bare keys); what cannot be read is the same as not there, because
//! no decision is ever made more permissive by a missing fact.
//! Facts: OpenClaw 2026.2.26 and 2026.9.6.

use std::ffi::OsStr;
use std::path::Path;

use jsonc_parser::{JsonObject, JsonValue, ParseOptions, parse_to_value};

use super::text_of;
use crate::base::secret::Secret;

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

/// A profile that the configuration names (`auth.profiles`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Its id.
    pub id: String,
    /// Its mode (`oauth`, `token`, `api_key`); empty when none is noted.
    pub mode: String,
}

/// The profiles of `provider` that the configuration names, sorted by id.
#[must_use]
pub fn configured_profiles(bytes: &[u8], provider: &str) -> Vec<Configured> {
    let root = root(bytes);
    let profiles = root.as_ref().and_then(|root| object(object(root, "auth")?, "profiles"));
    let Some(profiles) = profiles else { return Vec::new() };
    let of_provider = profiles.clone().into_iter().filter_map(|(id, profile)| match profile {
        JsonValue::Object(profile) if text(&profile, "provider")? == provider => {
            Some(Configured { id: id.to_string(), mode: text(&profile, "mode").unwrap_or_default() })
        }
        _ => None,
    });
    let mut found: Vec<Configured> = of_provider.collect();
    // The parser's map has no order of its own.
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

/// The order of a provider's profiles for all agents (`auth.order`); `None` where there is none.
#[must_use]
pub fn global_order(bytes: &[u8], provider: &str) -> Option<Vec<String>> {
    let root = root(bytes)?;
    let listed = object(object(&root, "auth")?, "order")?.get_array(provider)?;
    let ids = listed.iter().filter_map(|id| match id {
        JsonValue::String(id) => Some(id.to_string()),
        _ => None,
    });
    Some(ids.collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
}

/// Where a provider's key comes from (`models.providers.{provider}.apiKey`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// From the profiles of the store: the configuration says nothing.
    Absent,
    /// From a JSON file.
    File {
        /// The file, as written (`~` not expanded).
        path: String,
        /// The place in it, a JSON pointer.
        pointer: String,
    },
    /// From an entry of its own secret store.
    Entry {
        /// The name of the entry.
        name: String,
    },
    /// From elsewhere, or the configuration is not understood.
    Other,
}

/// Where the key of `provider` comes from.
#[must_use]
pub fn api_key(bytes: &[u8], provider: &str) -> ApiKey {
    let Some(root) = root(bytes) else { return ApiKey::Other };
    api_key_in(&root, provider).unwrap_or(ApiKey::Other)
}

fn api_key_in(root: &JsonObject<'_>, provider: &str) -> Option<ApiKey> {
    // What is included from other files is not seen here.
    if root.get("$include").is_some() {
        return None;
    }
    let mut at = root;
    for key in ["models", "providers", provider] {
        at = match at.get(key) {
            None => return Some(ApiKey::Absent),
            Some(JsonValue::Object(inner)) if inner.get("$include").is_none() => inner,
            Some(_) => return None,
        };
    }
    let reference = match at.get("apiKey") {
        None => return Some(ApiKey::Absent),
        Some(JsonValue::Object(reference)) => reference,
        Some(_) => return None,
    };
    let alias = text(reference, "provider")?;
    if text(reference, "source")? == "store" {
        return (alias == "default").then_some(ApiKey::Entry { name: text(reference, "id")? });
    }
    let path =
        json_file_in(root, &alias).filter(|_| text(reference, "source").is_some_and(|s| s == "file"))?;
    Some(ApiKey::File { path, pointer: text(reference, "id")? })
}

/// The file that `alias`, a source of secrets (`secrets.providers`), reads as JSON.
#[must_use]
pub fn json_file(bytes: &[u8], alias: &str) -> Option<String> {
    json_file_in(&root(bytes)?, alias)
}

fn json_file_in(root: &JsonObject<'_>, alias: &str) -> Option<String> {
    let source = object(object(object(root, "secrets")?, "providers")?, alias)?;
    let is_json = text(source, "source")? == "file" && text(source, "mode").is_none_or(|mode| mode == "json");
    text(source, "path").filter(|_| is_json)
}

/// Whether a secret is taken from the source `alias` anywhere, or may be: also where the configuration is not
/// understood or includes others.
#[must_use]
pub fn may_take_from(bytes: &[u8], alias: &str) -> bool {
    let Some(root) = root(bytes) else { return true };
    let mut rest = vec![JsonValue::Object(root)];
    while let Some(value) = rest.pop() {
        match value {
            JsonValue::Object(object) => {
                let is_reference = text(&object, "provider").is_some_and(|provider| provider == alias)
                    && object.get("source").is_some();
                if is_reference || object.get("$include").is_some() {
                    return true;
                }
                rest.extend(object.into_iter().map(|(_, value)| value));
            }
            JsonValue::Array(list) => rest.extend(list),
            _ => {}
        }
    }
    false
}

/// Whether a configuration speaks of a file, by its name and that of its directory. Whoever does may read it
/// in a way that is not known here.
#[must_use]
pub fn mentions(bytes: &[u8], path: &Path) -> bool {
    let end = || Some([path.parent()?.file_name()?, path.file_name()?].join(OsStr::new("/")));
    end().is_none_or(|end| bytes.windows(end.len()).any(|bytes| bytes == end.as_encoded_bytes()))
}

/// The default model (`agents.defaults.model.primary`), and whether it stands alone there.
#[must_use]
pub fn default_model(bytes: &[u8]) -> Option<(String, bool)> {
    let root = root(bytes)?;
    let model = object(object(object(&root, "agents")?, "defaults")?, "model")?;
    Some((text(model, "primary")?, model.len() == 1))
}

/// Whether something is set at `key`, names with a dot between them, or may be: also where the
/// configuration is not understood.
#[must_use]
pub fn may_have(bytes: &[u8], key: &str) -> bool {
    let Some(root) = root(bytes) else { return true };
    let mut at = &root;
    for name in key.split('.') {
        at = match at.get(name) {
            _ if at.get("$include").is_some() => return true,
            None => return false,
            Some(JsonValue::Object(inner)) => inner,
            Some(_) => return true,
        };
    }
    true
}

/// Where a gateway listens and what it asks of a caller, as far as its configuration says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listener {
    /// Its port.
    pub port: Option<u16>,
    /// Its own token.
    pub token: Option<Secret>,
}

/// How the gateway listens; `None` unless it is a local one on loopback without TLS whose callers
/// are known by a token, and all that is said is said plainly (no reference, no variable, no include).
#[must_use]
pub fn listener(bytes: &[u8]) -> Option<Listener> {
    let root = root(bytes)?;
    if root.get("$include").is_some() {
        return None;
    }
    let gateway = match root.get("gateway") {
        None => return Some(Listener::default()),
        Some(JsonValue::Object(gateway)) if gateway.get("$include").is_none() => gateway,
        Some(_) => return None,
    };
    let says = |key: &str, usual: &str| match gateway.get(key) {
        None => true,
        Some(JsonValue::String(said)) => said == usual,
        Some(_) => false,
    };
    let is_plain = match gateway.get("tls") {
        None => true,
        Some(JsonValue::Object(tls)) => tls.get_boolean("enabled") == Some(false),
        Some(_) => false,
    };
    let port = match gateway.get("port") {
        None => None,
        Some(JsonValue::Number(port)) => Some(port.parse().ok().filter(|port| *port != 0)?),
        Some(_) => return None,
    };
    let token = match gateway.get("auth") {
        None => None,
        Some(JsonValue::Object(auth)) if auth.get_string("mode").is_none_or(|mode| mode == "token") => {
            match auth.get("token") {
                None => None,
                Some(JsonValue::String(token)) if !token.contains("${") => {
                    Some(Secret::new(token.to_string())).filter(|token| !token.is_blank())
                }
                Some(_) => return None,
            }
        }
        Some(_) => return None,
    };
    (is_plain && says("mode", "local") && says("bind", "loopback")).then_some(Listener { port, token })
}

/// Whether a model of `provider` runs in the provider's own CLI, which uses that CLI's own login
/// (`agentRuntime.id` of a model or of the provider; runtimes of whole agents are ignored by
/// OpenClaw 2026.9.6).
#[must_use]
pub fn runs_in_cli(bytes: &[u8], provider: &str, runtime: &str) -> bool {
    let Some(root) = root(bytes) else { return false };
    let is_pinned = |entry: &JsonObject<'_>| {
        object(entry, "agentRuntime").and_then(|r| text(r, "id")).is_some_and(|id| id == runtime)
    };
    let of_provider = object(&root, "models").and_then(|m| object(m, "providers")?.get_object(provider));
    if of_provider.is_some_and(|p| is_pinned(p) || entries(p, "models").iter().any(|(_, m)| is_pinned(m))) {
        return true;
    }
    let Some(agents) = object(&root, "agents") else { return false };
    let prefix = format!("{provider}/");
    let pins = |agent: &JsonObject<'_>| {
        entries(agent, "models").iter().any(|(id, model)| id.starts_with(&prefix) && is_pinned(model))
    };
    let mut listed = entries(agents, "entries").into_iter().chain(entries(agents, "list"));
    object(agents, "defaults").is_some_and(pins) || listed.any(|(_, agent)| pins(&agent))
}

/// The objects in `parent[key]`, an object (with their keys) or a list (without).
fn entries<'a>(parent: &JsonObject<'a>, key: &str) -> Vec<(String, JsonObject<'a>)> {
    let all: Vec<(String, JsonValue<'a>)> = match parent.get(key) {
        Some(JsonValue::Object(map)) => {
            map.clone().into_iter().map(|(id, value)| (id.to_string(), value)).collect()
        }
        Some(JsonValue::Array(list)) => list.iter().map(|value| (String::new(), value.clone())).collect(),
        _ => Vec::new(),
    };
    let objects = all.into_iter().filter_map(|(id, value)| match value {
        JsonValue::Object(object) => Some((id, object)),
        _ => None,
    });
    objects.collect()
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
      "auth": { "profiles": { "b:y": {"provider": "b", "mode": "token"}, "b:x": {"provider": "b"}, "a:x": {"mode": "oauth"}, "c": 7 },
                "order": { "b": ["b:y", 7, "b:x"], "c": [], "d": 7 } }
    }"#;

    #[test]
    fn a_configuration_with_comments_and_bare_keys_is_read() {
        assert_eq!(last_touched_version(CONFIG).as_deref(), Some("2026.3.13-1"));
        assert_eq!(pairs(&agent_dirs(CONFIG)), [("work", "~/w"), ("amy", "/a"), ("zoe", "/z")]);
        let of = |id: &str, mode: &str| Configured { id: id.into(), mode: mode.into() };
        assert_eq!(configured_profiles(CONFIG, "b"), [of("b:x", ""), of("b:y", "token")]);
        assert_eq!(global_order(CONFIG, "b").unwrap(), ["b:y", "b:x"]);
        assert!(["a", "c", "d"].iter().all(|provider| global_order(CONFIG, provider).is_none()));
    }

    #[test]
    fn the_key_of_a_provider_comes_from_where_the_configuration_says() {
        let config = |key: &str| {
            format!(
                r#"{{"models": {{"providers": {{"anthropic": {{"baseUrl": "x"{key}}}}}}},
                "secrets": {{"providers": {{"ours": {{"source": "file", "path": "/m.json", "mode": "json"}},
                "plain": {{"source": "file", "path": "/t", "mode": "singleValue"}}}}}}}}"#
            )
        };
        let of = |key: &str| api_key(config(key).as_bytes(), "anthropic");
        let reference =
            |alias: &str| format!(r#","apiKey":{{"source":"file","provider":"{alias}","id":"/a"}}"#);
        assert_eq!(of(""), ApiKey::Absent);
        assert_eq!(api_key(b"{}", "anthropic"), ApiKey::Absent);
        assert_eq!(of(&reference("ours")), ApiKey::File { path: "/m.json".into(), pointer: "/a".into() });
        let entry =
            |alias: &str| format!(r#","apiKey":{{"source":"store","provider":"{alias}","id":"NAME"}}"#);
        assert_eq!(of(&entry("default")), ApiKey::Entry { name: "NAME".into() });
        for other in [
            &entry("ours"),
            r#","apiKey":"sk""#,
            &reference("plain"),
            &reference("gone"),
            r#","$include":"b.json""#,
        ] {
            assert_eq!(of(other), ApiKey::Other, "{other}");
        }
        // What cannot be read, or may be said elsewhere, is never taken for nothing.
        for odd in ["", "{", "[]", r#"{"$include":"x"}"#, r#"{"models":{"$include":"x"}}"#, r#"{"models":7}"#]
        {
            assert_eq!(api_key(odd.as_bytes(), "anthropic"), ApiKey::Other, "{odd}");
        }
    }

    #[test]
    fn who_takes_a_secret_from_a_source_is_seen_wherever_that_is_said() {
        let source =
            r#""secrets": {"providers": {"ours": {"source": "file", "path": "/s/mirrors/claw.json"}}}"#;
        let reference = r#"{"source": "file", "provider": "ours", "id": "/a"}"#;
        let config = |more: &str| format!("{{{source}{more}}}");
        for (more, expected) in [
            (String::new(), false),
            (format!(r#","models": {{"providers": {{"proxy": {{"apiKey": {reference}}}}}}}"#), true),
            (format!(r#","channels": {{"all": [1, {{"token": {reference}}}]}}"#), true),
            (r#","auth": {"profiles": {"a": {"provider": "ours"}}}"#.to_owned(), false),
            (r#","models": {"$include": "x"}"#.to_owned(), true),
        ] {
            let config = config(&more);
            assert_eq!(may_take_from(config.as_bytes(), "ours"), expected, "{config}");
            assert!(may_take_from(config.as_bytes(), "others") == more.contains("$include"), "{config}");
            assert!(mentions(config.as_bytes(), Path::new("/elsewhere/mirrors/claw.json")), "{config}");
            assert!(!mentions(config.as_bytes(), Path::new("/s/mirrors/paw.json")), "{config}");
        }
        assert!(may_take_from(b"{", "ours") && mentions(b"", Path::new("/")));
        assert_eq!(json_file(config("").as_bytes(), "ours").as_deref(), Some("/s/mirrors/claw.json"));
        assert_eq!(json_file(config("").as_bytes(), "others"), None);
    }

    #[test]
    fn a_default_model_is_named_wherever_it_may_be() {
        let config = br#"{"agents": {"defaults": {"model": {"primary": "a/b", "fallbacks": []}}}}"#;
        assert_eq!(default_model(config), Some(("a/b".to_owned(), false)));
        let alone = br#"{"agents": {"defaults": {"model": {"primary": "a/b"}}}}"#;
        assert_eq!(default_model(alone), Some(("a/b".to_owned(), true)));
        let names_model = |bytes: &[u8]| may_have(bytes, "agents.defaults.model.primary");
        assert!(names_model(config) && names_model(alone));
        for none in ["{}", r#"{"agents": {"defaults": {}}}"#, r#"{"agents": {"defaults": {"model": {}}}}"#] {
            assert!(!names_model(none.as_bytes()), "{none}");
        }
        for odd in [
            "",
            "7",
            r#"{"$include": "x"}"#,
            r#"{"$include": "x", "agents": {}}"#,
            r#"{"agents": {"defaults": {"model": {"$include": "x"}}}}"#,
            r#"{"agents": 7}"#,
            r#"{"agents": {"defaults": {"model": "a/b"}}}"#,
        ] {
            assert!(names_model(odd.as_bytes()) && default_model(odd.as_bytes()).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_gateway_is_called_only_where_everything_is_said_plainly() {
        let said = |gateway: &str| listener(format!("{{gateway: {gateway}}}").as_bytes());
        let token = Some(Secret::new("made-up".into()));
        let plain =
            r#"{"mode":"local","port":18789,"bind":"loopback","auth":{"mode":"token","token":"made-up"}}"#;
        assert_eq!(said(plain), Some(Listener { port: Some(18_789), token: token.clone() }));
        assert_eq!(said(r#"{"auth":{"token":"made-up"}}"#), Some(Listener { port: None, token }));
        assert_eq!(said("{}"), Some(Listener::default()));
        assert_eq!(listener(b"{}"), Some(Listener::default()));
        for unclear in [
            r#"{"bind":"lan"}"#,
            r#"{"bind":7}"#,
            r#"{"mode":"remote"}"#,
            r#"{"tls":{"enabled":true}}"#,
            r#"{"tls":{}}"#,
            r#"{"port":0}"#,
            r#"{"port":70000}"#,
            r#"{"port":"18789"}"#,
            r#"{"auth":{"mode":"password"}}"#,
            r#"{"auth":{"token":{"source":"env","id":"X"}}}"#,
            r#"{"auth":{"token":"${OPENCLAW_GATEWAY_TOKEN}"}}"#,
            r#"{"auth":"token"}"#,
            r#"{"$include":"gateway.json"}"#,
            "[]",
        ] {
            assert_eq!(said(unclear), None, "{unclear}");
        }
        assert_eq!(listener(b"{"), None);
        assert_eq!(listener(br#"{"$include":"x"}"#), None);
    }

    #[test]
    fn a_model_that_runs_in_the_cli_is_seen_wherever_that_is_said() {
        let pin = r#"{"agentRuntime": {"id": "claude-cli"}}"#;
        for config in [
            format!(r#"{{"models": {{"providers": {{"anthropic": {pin}}}}}}}"#),
            format!(r#"{{"models": {{"providers": {{"anthropic": {{"models": [{pin}]}}}}}}}}"#),
            format!(r#"{{"agents": {{"defaults": {{"models": {{"anthropic/claude-opus-5": {pin}}}}}}}}}"#),
            format!(r#"{{"agents": {{"entries": {{"work": {{"models": {{"anthropic/*": {pin}}}}}}}}}}}"#),
        ] {
            assert!(runs_in_cli(config.as_bytes(), "anthropic", "claude-cli"), "{config}");
            assert!(!runs_in_cli(config.as_bytes(), "anthropic", "codex"), "{config}");
            assert!(!runs_in_cli(config.as_bytes(), "openai", "claude-cli"), "{config}");
        }
        // A runtime of whole agents is ignored by OpenClaw.
        let whole = format!(r#"{{"agents": {{"defaults": {pin}}}}}"#);
        assert!(!runs_in_cli(whole.as_bytes(), "anthropic", "claude-cli"));
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        let odd: [&[u8]; 8] = [
            b"",
            b"null",
            b"[]",
            b"{",
            b"{\"meta\":7,\"agents\":[],\"auth\":{\"profiles\":[],\"order\":[]}}",
            b"\xff",
            b"{\"meta\":{\"lastTouchedVersion\":2026}}",
            b"{\"agents\":{\"list\":{}}}",
        ];
        for bytes in odd {
            assert_eq!(last_touched_version(bytes), None);
            assert!(agent_dirs(bytes).is_empty() && configured_profiles(bytes, "a").is_empty());
            assert_eq!(global_order(bytes, "a"), None);
        }
    }
}
