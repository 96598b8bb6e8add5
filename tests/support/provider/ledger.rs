//! What the stand-in knows of every token family, and every request it saw.
//!
//! Judging is pure: the server asks under one lock, so a grant and its entry are one step.

use serde::{Deserialize, Serialize};

use super::openai::is_refresh_token;

/// An access token and the refresh token beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// `sk-ant-oat01-…`, or a JWT.
    pub access: String,
    /// `sk-ant-ort01-…`, or `rt_…`.
    pub refresh: String,
}

impl Pair {
    /// An invented pair, never issued before; `family` is readable in both tokens.
    pub fn invent(family: &str) -> Self {
        let token = |kind: &str| {
            let mut bytes = [0; 40];
            getrandom::fill(&mut bytes).expect("the system has random numbers");
            let tail: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sk-ant-{kind}-{family}-{tail}AA")
        };
        Self { access: token("oat01"), refresh: token("ort01") }
    }

    /// Parts of both tokens that must not be seen anywhere but in credential files.
    pub fn canaries(&self) -> [String; 4] {
        let half = |token: &str, second: bool| {
            let tail = &token[token.len() - 82..token.len() - 2];
            if second { tail[40..].to_owned() } else { tail[..40].to_owned() }
        };
        [
            half(&self.access, false),
            half(&self.access, true),
            half(&self.refresh, false),
            half(&self.refresh, true),
        ]
    }
}

/// One login as the server sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Family {
    /// Its name in the test.
    pub name: String,
    /// The pair that works.
    pub live: Pair,
    /// Refresh tokens that were traded in, oldest first.
    pub spent: Vec<String>,
    /// Nothing of it works any more.
    pub revoked: bool,
}

/// What became of a request to the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The family's tokens were replaced by these.
    Rotated { family: String, pair: Pair },
    /// A new access token; the refresh token stays.
    Kept { family: String, pair: Pair },
    /// A token that had been spent before: `invalid_grant`.
    Reused { family: String },
    /// A token never issued here, or of a revoked family: `invalid_grant`.
    Unknown,
    /// Not judged: a switch stood before it.
    NotJudged,
}

impl Verdict {
    /// The pair that was granted.
    pub fn granted(&self) -> Option<&Pair> {
        match self {
            Self::Rotated { pair, .. } | Self::Kept { pair, .. } => Some(pair),
            Self::Reused { .. } | Self::Unknown | Self::NotJudged => None,
        }
    }
}

/// One request, in the order of arrival.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// When it had been read, Unix milliseconds.
    pub at_ms: u64,
    /// The host of the CONNECT or Host header.
    pub host: String,
    /// `POST`
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// For the token endpoint.
    pub verdict: Option<Verdict>,
    /// The status of the answer; `None` while, or because, there was none.
    pub answered: Option<u16>,
}

impl Request {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A field of the body, which is JSON or form-encoded.
    pub fn field(&self, name: &str) -> Option<String> {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&self.body) {
            return value.get(name).and_then(|field| field.as_str()).map(str::to_owned);
        }
        let pair = self.body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_decoded(pair))
    }

    /// Whether it went to the token endpoint.
    pub fn is_token_request(&self) -> bool {
        self.method == "POST" && self.path.split('?').next().is_some_and(|p| p.ends_with("/oauth/token"))
    }
}

pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A code that was given at the authorization page, and what it was given for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// `ac_…`
    pub code: String,
    /// Who asked.
    pub client: String,
    /// Where it was sent to.
    pub redirect: String,
    /// Of the verifier, S256.
    pub challenge: String,
    /// It was traded, or is too old.
    pub is_over: bool,
}

/// All families and all requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The codes, oldest first.
    #[serde(default)]
    pub codes: Vec<Code>,
    /// The families, in the order they were made known.
    pub families: Vec<Family>,
    /// Every request that was read completely.
    pub requests: Vec<Request>,
}

impl Ledger {
    /// The pair of that family that works; panics when there is no such family.
    #[track_caller]
    pub fn live(&self, family: &str) -> &Pair {
        &self.family(family).live
    }

    /// The refresh tokens of that family that were traded in, oldest first.
    #[track_caller]
    pub fn spent(&self, family: &str) -> &[String] {
        &self.family(family).spent
    }

    #[track_caller]
    fn family(&self, name: &str) -> &Family {
        self.families.iter().find(|family| family.name == name).expect("a family of that name")
    }

    /// The requests to the token endpoint.
    pub fn token_requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.is_token_request())
    }

    /// How many of them were granted.
    pub fn grants(&self) -> usize {
        self.verdicts().filter(|verdict| verdict.granted().is_some()).count()
    }

    /// How many were answered with `invalid_grant`: each is a login somebody lost.
    pub fn refused(&self) -> usize {
        self.verdicts().filter(|verdict| matches!(verdict, Verdict::Reused { .. } | Verdict::Unknown)).count()
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.token_requests().filter_map(|request| request.verdict.as_ref())
    }

    /// Makes a family known, or replaces the live pair of a known one as a new login would.
    pub fn adopt(&mut self, name: &str, pair: Pair) {
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => {
                let old = std::mem::replace(&mut family.live, pair);
                family.spent.push(old.refresh);
                family.revoked = false;
            }
            None => {
                self.families.push(Family {
                    name: name.to_owned(),
                    live: pair,
                    spent: Vec::new(),
                    revoked: false,
                });
            }
        }
    }

    /// Trades a refresh token in, for an access token of that lifetime in seconds where it shows one.
    pub fn trade(&mut self, refresh: &str, rotate: bool, reuse_revokes: bool, lifetime: u64) -> Verdict {
        for family in &mut self.families {
            if family.live.refresh == refresh && !family.revoked {
                let mut pair = if is_refresh_token(refresh) {
                    Pair::codex(&family.name, i64::try_from(lifetime).expect("sane"))
                } else {
                    Pair::invent(&family.name)
                };
                let name = family.name.clone();
                if !rotate {
                    pair.refresh.clone_from(&family.live.refresh);
                    family.live = pair.clone();
                    return Verdict::Kept { family: name, pair };
                }
                let old = std::mem::replace(&mut family.live, pair.clone());
                family.spent.push(old.refresh);
                return Verdict::Rotated { family: name, pair };
            }
            if family.spent.iter().any(|spent| spent == refresh) {
                family.revoked |= reuse_revokes;
                return Verdict::Reused { family: family.name.clone() };
            }
        }
        Verdict::Unknown
    }

    /// Whether the API takes that access token.
    pub fn accepts(&self, access: &str) -> bool {
        self.families.iter().any(|family| !family.revoked && family.live.access == access)
    }

    /// Ends the family a token belongs to.
    pub fn revoke(&mut self, token: &str) {
        for family in &mut self.families {
            family.revoked |= family.live.access == token || family.live.refresh == token;
        }
    }
}
