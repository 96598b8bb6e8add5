//! Views of a login, made of whatever a source holds: the access token as it is, and never the refresh token.

use tokensink::base::credential::SourceReading;
use tokensink::format::Edit;
use tokensink::format::layout::Layout;
use tokensink::format::view::View;

use super::planted::{both, tells_nothing};

/// The input as a source of either CLI, and as what stands where its view will.
pub fn view(bytes: &[u8]) {
    both(bytes, |bytes| {
        for (layout, view) in [(Layout::Claude, View::Claude), (Layout::Codex, View::Codex)] {
            let SourceReading::Ok(login) = layout.parse(bytes) else { continue };
            let made = match view.edit(Some(bytes), &login) {
                // A view is its own view.
                Ok(Edit::Unchanged) => bytes.to_vec(),
                Ok(Edit::Changed(made)) => made.expose().to_vec(),
                Err(error) => {
                    tells_nothing(&error);
                    continue;
                }
            };
            assert_eq!(view.edit(Some(&made), &login), Ok(Edit::Unchanged));
            let held = view.held(&made);
            assert_eq!(held.and_then(|held| held.access).as_ref(), Some(&login.access));
            if let SourceReading::Ok(read) = layout.parse(&made) {
                assert_eq!(read.access, login.access);
                // The end of a token that does not tell it is guessed for those who can renew it.
                assert!(read.expires_at.is_none() || read.expires_at == login.expires_at);
                assert!(read.refresh.is_none(), "it cannot be refreshed from");
            }
            let Some(refresh) = &login.refresh else { continue };
            let refresh = refresh.expose();
            // The same text may be said elsewhere, where it is none.
            let mut plain = vec![login.access.expose()];
            plain.extend(login.identity.id_token.iter().map(|token| token.expose()));
            plain.extend(login.scopes.iter().chain(&login.account).map(String::as_str));
            plain.extend(
                [&login.identity.subscription, &login.identity.rate_limit_tier]
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
            let is_plain = plain.iter().any(|text| text.contains(refresh));
            if refresh.len() >= 24 && !is_plain {
                assert!(!String::from_utf8_lossy(&made).contains(refresh), "no view holds it");
            }
        }
    });
}
