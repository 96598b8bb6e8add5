//! What an OpenClaw says of its own health: `models status --json --check`, the form that neither
//! refreshes nor asks a provider (its text form and `--probe` do both).
//! Facts: OpenClaw 2026.2.26 and 2026.9.6, by running.

use serde::Deserialize;
use serde_json::Value;

use super::profiles::Profiles;
use crate::core::agreement::Said;

/// What of the answer is looked at.
#[derive(Debug, Deserialize)]
struct Answer {
    auth: Auth,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Auth {
    missing_providers_in_use: Vec<String>,
    unusable_profiles: Vec<Unusable>,
    oauth: Listed,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Listed {
    profiles: Vec<Profile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    profile_id: String,
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unusable {
    profile_id: String,
    #[serde(default)]
    reason: String,
}

/// A profile as OpenClaw tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// OpenClaw's name of its provider.
    pub provider: String,
    /// `oauth`, `token` or `api_key`.
    pub kind: String,
    /// OpenClaw's word for its state; empty where it says none.
    pub status: String,
    /// Changes with what it holds: its end, and OpenClaw's own label, which has a few characters of
    /// the token. To be compared and never shown.
    pub mark: String,
}

impl Profiles {
    /// Every profile of the default agent, of all providers.
    ///
    /// # Errors
    /// When the CLI cannot be run, fails, or answers something else.
    pub async fn known(&self) -> Result<Vec<Known>, String> {
        let (finished, what) = self.call(&["models", "status", "--json"], true).await?;
        if !finished.succeeded() {
            return Err(format!("{what} ended with {}", finished.status));
        }
        known(finished.stdout.bytes.expose()).ok_or_else(|| format!("{what} answered something else"))
    }

    /// What it says of the agent.
    ///
    /// # Errors
    /// When the CLI cannot be run, or answers something else.
    pub async fn health(&self) -> Result<Said, String> {
        let words = ["models", "status", "--json", "--check", "--agent", &self.agent];
        let (finished, what) = self.call(&words, true).await?;
        let exit = finished.status.code().ok_or_else(|| format!("{what} ended with {}", finished.status))?;
        said(finished.stdout.bytes.expose(), exit)
            .ok_or_else(|| format!("{what} ended with {exit} and no answer"))
    }
}

/// Reads the answer; every text in it is bounded and of one line.
#[must_use]
pub fn said(stdout: &[u8], exit: i32) -> Option<Said> {
    let Answer { auth } = serde_json::from_slice(stdout).ok()?;
    let word = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    Some(Said {
        exit,
        profiles: auth.oauth.profiles.iter().map(|p| (word(&p.profile_id), word(&p.status))).collect(),
        missing: auth.missing_providers_in_use.iter().map(|provider| word(provider)).collect(),
        unusable: auth.unusable_profiles.iter().map(|p| (word(&p.profile_id), word(&p.reason))).collect(),
    })
}

/// The provider of the model that is taken by itself, and whether it has no credential.
#[must_use]
pub fn default_provider(stdout: &[u8]) -> Option<(String, bool)> {
    let answer: Value = serde_json::from_slice(stdout).ok()?;
    let (provider, _) = answer.get("resolvedDefault")?.as_str()?.split_once('/')?;
    let missing = answer.pointer("/auth/missingProvidersInUse").and_then(Value::as_array);
    let is_missing = missing.is_some_and(|names| names.iter().any(|name| name.as_str() == Some(provider)));
    Some((provider.to_owned(), is_missing))
}

/// Reads the profiles of an answer.
#[must_use]
pub fn known(stdout: &[u8]) -> Option<Vec<Known>> {
    let answer: Value = serde_json::from_slice(stdout).ok()?;
    let profiles = answer.pointer("/auth/oauth/profiles")?.as_array()?;
    let providers = answer.pointer("/auth/providers").and_then(Value::as_array).into_iter().flatten();
    let labels: Vec<&str> = providers
        .filter_map(|provider| provider.pointer("/profiles/labels")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let known = profiles.iter().map(|profile| {
        let text = |key| profile.get(key).and_then(Value::as_str).unwrap_or_default();
        let word = |key| text(key).chars().filter(|c| !c.is_control()).take(64).collect::<String>();
        let id = text("profileId");
        let own = labels.iter().find(|label| label.split_once('=').is_some_and(|(name, _)| name == id));
        let end = profile.get("expiresAt").map(Value::to_string).unwrap_or_default();
        Known {
            id: word("profileId"),
            provider: word("provider"),
            kind: word("type"),
            status: word("status"),
            mark: format!("{end} {}", own.copied().unwrap_or_default()),
        }
    });
    Some(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_another_when_its_end_or_its_label_is() {
        let answer = |end: i64, label: &str| {
            let text = format!(
                r#"{{"auth":{{"providers":[{{"provider":"acme","profiles":{{"count":1,"labels":["acme:b=x","acme:a={label}"]}}}}],
                "oauth":{{"profiles":[{{"profileId":"acme:a","provider":"acme","type":"oauth","status":"ok","expiresAt":{end},"remainingMs":7}}]}}}}}}"#
            );
            known(text.as_bytes()).unwrap().remove(0)
        };
        let first = answer(1, "sk-a...b");
        assert_eq!(
            (first.id.as_str(), first.provider.as_str(), first.kind.as_str()),
            ("acme:a", "acme", "oauth")
        );
        assert_eq!(first, answer(1, "sk-a...b"));
        assert!(first != answer(2, "sk-a...b") && first != answer(1, "sk-a...c"));
        for torn in [&b""[..], b"{}", b"[]", br#"{"auth":{"oauth":{"profiles":{}}}}"#] {
            assert_eq!(known(torn), None);
        }
    }

    #[test]
    fn what_matters_of_an_answer_is_read_and_what_is_none_is_refused() {
        let answer = br#"{"defaultModel":"x","auth":{"missingProvidersInUse":["openai"],
            "unusableProfiles":[{"profileId":"anthropic:a","kind":"cooldown","reason":"auth","until":5}],
            "oauth":{"warnAfterMs":86400000,"profiles":[{"profileId":"anthropic:a","status":"expi\nring","label":"l"}]}}}"#;
        let read = said(answer, 2).unwrap();
        assert_eq!(read.profiles, [("anthropic:a".to_owned(), "expiring".to_owned())]);
        assert_eq!((read.exit, read.missing.as_slice()), (2, &["openai".to_owned()][..]));
        assert_eq!(read.unusable, [("anthropic:a".to_owned(), "auth".to_owned())]);
        assert_eq!(said(br#"{"auth":{}}"#, 0), Some(Said::default()));
        for torn in [&b""[..], b"{\"ok\":false,\"error\":{}}", b"[]", b"<html>", br#"{"auth":{"oauth":5}}"#] {
            assert_eq!(said(torn, 1), None, "{torn:?}");
        }
    }
}
