//! Whether a token that somebody was given once may be handed to an OpenClaw at all. Whose it is, nothing
//! beside it says: what OpenClaw takes for Anthropic's must look like one of `claude setup-token`.

use super::model::Render;
use crate::base::credential::Credential;
use crate::base::id::Provider;
use crate::format::static_token;

/// OpenClaw's name of the one provider that has such tokens.
pub const ANTHROPIC: &str = "anthropic";

/// Why the static token of a login is not handed to that sink, if it is not.
#[must_use]
pub fn why_unfit(render: &Render, provider: Provider, credential: &Credential) -> Option<String> {
    let entry = match render {
        Render::AuthProfiles { provider, .. } | Render::OAuthJson { provider, .. } => provider,
        _ => return None,
    };
    if provider != Provider::Static {
        return None;
    }
    if entry != ANTHROPIC {
        return Some(format!("a static token is handed to OpenClaw for {ANTHROPIC} only, not for {entry}"));
    }
    let is_one = static_token::is_setup_token(&credential.access);
    (!is_one).then(|| "the static token is not one of `claude setup-token` (sk-ant-oat01-…)".to_owned())
}
