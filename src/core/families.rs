//! One refresh token in two stores: whoever refreshes at one of them logs the other out. What our own
//! configuration asks for is a notice, what somebody copied is a warning. Tokens are compared by
//! their keyed fingerprints.

use std::collections::BTreeMap;

use super::memory::Memory;
use super::model::{Desired, DesiredSink, Observed, ObservedTarget, Render, SupplyForm, TargetContent};
use crate::base::code::{Code, Finding, Severity};
use crate::base::credential::SourceReading;
use crate::base::fingerprint::{Fingerprint, FingerprintKey};
use crate::base::id::LoginId;
use crate::base::secret::Secret;
use crate::format::auth_profiles::EntryForm;
use crate::format::refreshes;

/// A store that holds a refresh token.
struct Holder {
    subject: String,
    /// For people: which entry of which file.
    place: String,
    token: Fingerprint,
    is_source: bool,
}

impl Holder {
    fn finding(&self, what: &str) -> Finding {
        let summary =
            format!("{} holds {what}: whoever refreshes at one of them logs the other out", self.place);
        Finding::new(Code::DuplicateFamily, Severity::Warning, &self.subject, summary)
    }
}

/// Every family that lives in two places.
#[must_use]
pub fn findings(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    key: &FingerprintKey,
) -> Vec<Finding> {
    let mut found = intended(desired, observed);
    let mut first: BTreeMap<Fingerprint, Holder> = BTreeMap::new();
    for holder in holders(desired, observed, key) {
        let former = |holder: &Holder| {
            let mut logins = memory.logins.iter();
            logins.find(|(_, login)| login.knows_refresh(&holder.token)).map(|(login, _)| login)
        };
        if let Some(other) = first.get(&holder.token) {
            found.push(holder.finding(&format!("the refresh token of {} too", other.place)));
            continue;
        }
        // The source has gone on from it; who sends it now may end the whole family.
        if let Some(login) = former(&holder).filter(|_| !holder.is_source) {
            found.push(holder.finding(&format!("a former refresh token of login {login}")));
        }
        first.insert(holder.token.clone(), holder);
    }
    found
}

/// Everything beside the source that holds that refresh token of a login, or is handed it; for people.
#[must_use]
pub fn copies(
    desired: &Desired,
    observed: &Observed,
    key: &FingerprintKey,
    (login, token): (&LoginId, &Fingerprint),
) -> Vec<String> {
    let handed = desired.sinks.iter().filter(|sink| &sink.login == login && is_handed(sink, observed));
    let mut found: Vec<String> = handed.map(|sink| format!("sink {}", sink.id)).collect();
    for target in &observed.targets {
        let Some(sink) = desired.sink(&target.id.sink) else { continue };
        let copies = held(sink, target).into_iter().filter(|(_, held)| &key.fingerprint(held) == token);
        found.extend(copies.map(|(entry, _)| format!("{entry} in {}", target.path)));
    }
    found
}

/// Every store that holds a refresh token, unless our configuration put it there; sources first.
fn holders(desired: &Desired, observed: &Observed, key: &FingerprintKey) -> Vec<Holder> {
    let sources = observed.sources.iter().filter_map(|source| match &source.reading {
        SourceReading::Ok(credential) => Some(Holder {
            subject: source.login.to_string(),
            place: source.path.clone(),
            token: key.fingerprint(credential.refresh.as_ref()?),
            is_source: true,
        }),
        _ => None,
    });
    let mut holders: Vec<Holder> = sources.collect();
    for target in &observed.targets {
        let Some(sink) = desired.sink(&target.id.sink) else { continue };
        let held = held(sink, target).into_iter().filter(|(entry, _)| !is_intended(sink, target, entry));
        holders.extend(held.map(|(entry, refresh)| Holder {
            subject: target.id.to_string(),
            place: format!("{entry} in {}", target.path),
            token: key.fingerprint(&refresh),
            is_source: false,
        }));
    }
    // Whose copy is called the second one does not hang on the order of the configuration.
    holders.sort_by(|a, b| (!a.is_source, &a.subject, &a.place).cmp(&(!b.is_source, &b.subject, &b.place)));
    holders
}

/// The refresh tokens in a target's document, ours and others'.
fn held(sink: &DesiredSink, target: &ObservedTarget) -> Vec<(String, Secret)> {
    let document = match &target.content {
        TargetContent::Present(document) => document,
        // What is not written by us is used by its owner all the same.
        _ => match &target.beside {
            Some(document) => document,
            None => return Vec::new(),
        },
    };
    match &sink.render {
        Render::AuthProfiles { .. } if target.form != Some(SupplyForm::Mirror) => {
            refreshes::of_profiles(document.expose())
        }
        Render::OAuthJson { .. } => refreshes::of_providers(document.expose()),
        _ => Vec::new(),
    }
}

/// Whether the configuration hands the refresh token over to that entry.
fn is_intended(sink: &DesiredSink, target: &ObservedTarget, entry: &str) -> bool {
    match &sink.render {
        Render::OAuthJson { provider, refresh } => *refresh && provider == entry,
        Render::AuthProfiles { profile, .. } => profile == entry && hands_over(target),
        _ => false,
    }
}

fn hands_over(target: &ObservedTarget) -> bool {
    target.form == Some(SupplyForm::Entry(EntryForm::OAuth { with_refresh: true }))
}

fn is_handed(sink: &DesiredSink, observed: &Observed) -> bool {
    let mut targets = observed.targets.iter().filter(|t| t.id.sink == sink.id);
    match &sink.render {
        Render::OAuthJson { refresh, .. } => *refresh,
        Render::AuthProfiles { .. } => targets.any(hands_over),
        Render::Template => targets.any(|t| t.template.as_ref().is_some_and(|t| t.uses_refresh_token())),
        Render::EnvFile { .. } | Render::SecretFile | Render::View(_) | Render::Command | Render::Sealed => {
            false
        }
    }
}

/// Sinks that are handed the refresh token.
fn intended(desired: &Desired, observed: &Observed) -> Vec<Finding> {
    let handed = desired.sinks.iter().filter(|sink| is_handed(sink, observed)).map(|sink| {
        let summary = format!(
            "sink {} holds the refresh token of login {} too: whoever refreshes there logs the other out",
            sink.id, sink.login
        );
        Finding::new(Code::DuplicateFamily, Severity::Notice, sink.id.as_str(), summary)
    });
    handed.collect()
}
