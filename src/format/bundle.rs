//! What moves from one host to another, before it is sealed: a JSON document with a version, the time
//! and, for each login, whose it is, how it is laid out and its document. Read as hostile input: it
//! may have been made by anybody who knows this host's recipient.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{FormatError, FormatErrorKind};
use crate::base::id::{LoginId, Provider};
use crate::base::secret::Document;
use crate::base::time::Timestamp;

/// The version that this code writes and reads.
const VERSION: u32 = 1;
/// How many logins a bundle holds at most.
const MOST_LOGINS: usize = 64;

/// One login on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// Its id at the old host.
    pub id: LoginId,
    /// Whose it is.
    pub provider: Provider,
    /// How its document is laid out: `Layout::word`.
    pub layout: String,
    /// The login alone, as its own file would hold it.
    pub document: Document,
}

#[derive(Serialize)]
struct Written<'a> {
    format_version: u32,
    made_at: Timestamp,
    logins: Vec<WrittenLogin<'a>>,
}

#[derive(Serialize)]
struct WrittenLogin<'a> {
    id: &'a LoginId,
    provider: &'a str,
    layout: &'a str,
    document: &'a str,
}

#[derive(Deserialize)]
struct Head {
    format_version: u32,
}

#[derive(Deserialize)]
struct Read {
    logins: Vec<ReadLogin>,
}

#[derive(Deserialize)]
struct ReadLogin {
    id: LoginId,
    provider: String,
    layout: String,
    document: String,
}

/// The bundle of these logins.
///
/// # Errors
/// `NotUtf8` for a login whose document is not text.
pub fn compose(logins: &[Moving], made_at: Timestamp) -> Result<Document, FormatError> {
    let mut written = Vec::with_capacity(logins.len());
    for login in logins {
        written.push(WrittenLogin {
            id: &login.id,
            provider: login.provider.as_str(),
            layout: &login.layout,
            document: super::text_of(login.document.expose())?,
        });
    }
    // Room for every byte escaped: a buffer that moves leaves tokens behind.
    let room = logins.iter().map(|login| login.document.len() * 6 + 512).sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 512));
    let bundle = Written { format_version: VERSION, made_at, logins: written };
    serde_json::to_writer(&mut *bytes, &bundle).map_err(|_| unreadable("it cannot be written"))?;
    Ok(Document::new(std::mem::take(&mut *bytes)))
}

/// Reads a bundle.
///
/// # Errors
/// `Unparseable` for what is none, or names a login twice, an unknown provider, or a later version.
pub fn parse(bytes: &[u8]) -> Result<Vec<Moving>, FormatError> {
    let head: Head = serde_json::from_slice(bytes).map_err(|_| unreadable("it is no bundle of logins"))?;
    if head.format_version != VERSION {
        return Err(unreadable("it was made by another version"));
    }
    let read: Read = serde_json::from_slice(bytes).map_err(|_| unreadable("it is no bundle of logins"))?;
    if read.logins.is_empty() || read.logins.len() > MOST_LOGINS {
        return Err(unreadable("it holds no login, or too many"));
    }
    let mut logins: Vec<Moving> = Vec::with_capacity(read.logins.len());
    for login in read.logins {
        let document = Document::new(login.document.into_bytes());
        let provider = Provider::from_word(&login.provider)
            .ok_or_else(|| unreadable("it names a provider that this version does not know"))?;
        if logins.iter().any(|known| known.id == login.id) {
            return Err(unreadable("it names a login twice"));
        }
        logins.push(Moving { id: login.id, provider, layout: login.layout, document });
    }
    Ok(logins)
}

fn unreadable(why: &str) -> FormatError {
    FormatError::new(FormatErrorKind::Unparseable, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moving(id: &str) -> Moving {
        Moving {
            id: LoginId::try_new(id).unwrap(),
            provider: Provider::Claude,
            layout: "claude".into(),
            document: Document::new(b"{\"claudeAiOauth\":{\"refreshToken\":\"\\u0001\"}}\n".to_vec()),
        }
    }

    #[test]
    fn a_bundle_reads_back_as_what_it_was_made_of() {
        let logins = [moving("a"), moving("b")];
        let bundle = compose(&logins, Timestamp::from_millis(5)).unwrap();
        assert_eq!(parse(bundle.expose()).unwrap(), logins);
        for length in 0..bundle.len() {
            assert!(parse(&bundle.expose()[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_not_a_bundle_is_refused_without_a_word_of_it() {
        let login = r#"{"id":"a","provider":"claude","layout":"claude","document":"canary"}"#;
        let many = vec![login; MOST_LOGINS + 1].join(",");
        for (logins, version) in [
            (login.to_owned(), "2"),
            (format!("{login},{login}"), "1"),
            (String::new(), "1"),
            (many, "1"),
            (login.replace("\"a\"", "\"../canary\""), "1"),
            (login.replace("\"claude\",\"layout\"", "\"canary\",\"layout\""), "1"),
            (login.replace("\"canary\"", "7"), "1"),
        ] {
            let text = format!("{{\"format_version\":{version},\"made_at\":1,\"logins\":[{logins}]}}");
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
