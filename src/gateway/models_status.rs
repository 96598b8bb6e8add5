//! What an OpenClaw says of its own health: `models status --json --check`, the form that neither
//! refreshes nor asks a provider (its text form and `--probe` do both).
//! Facts: OpenClaw 2026.2.26 and 2026.9.6, by running.

use serde::Deserialize;

use super::profiles::Cli;
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

impl Cli {
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
fn said(stdout: &[u8], exit: i32) -> Option<Said> {
    let Answer { auth } = serde_json::from_slice(stdout).ok()?;
    let word = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    Some(Said {
        exit,
        profiles: auth.oauth.profiles.iter().map(|p| (word(&p.profile_id), word(&p.status))).collect(),
        missing: auth.missing_providers_in_use.iter().map(|provider| word(provider)).collect(),
        unusable: auth.unusable_profiles.iter().map(|p| (word(&p.profile_id), word(&p.reason))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
