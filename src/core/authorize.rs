//! The authorization code grant with PKCE, as far as it is thinking: verifier, challenge and state
//! from given random bytes, the URL that a person visits, and what comes back, by the browser or by
//! hand. Sources: RFC 6749 (section 4.1), RFC 7636 (S256), RFC 8252 (loopback redirects).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest as _;

use super::token_answer;
use crate::base::secret::Secret;

/// How many random bytes an attempt takes: 64 for the verifier, 32 for the state, as Codex 0.169.0
/// takes them.
pub const RANDOM: usize = 96;
/// A code that is longer is none.
const LONGEST_CODE: usize = 4096;
/// A text that is longer is not looked at.
const LONGEST_TEXT: usize = 16 * 1024;

/// What one attempt to log in is known by.
#[derive(Debug)]
pub struct Attempt {
    /// Proves at the token endpoint that the code was asked for here.
    pub verifier: Secret,
    /// Its digest, for the URL.
    pub challenge: String,
    /// Comes back with the code, or the code is not ours.
    pub state: String,
}

impl Attempt {
    /// An attempt from random bytes, which are to be used once.
    #[must_use]
    pub fn from_random(random: &[u8; RANDOM]) -> Self {
        let (verifier, state) = random.split_at(64);
        let verifier = URL_SAFE_NO_PAD.encode(verifier);
        let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier.as_bytes()));
        Self { verifier: Secret::new(verifier), challenge, state: URL_SAFE_NO_PAD.encode(state) }
    }
}

/// The URL with these parameters behind whatever it has already.
#[must_use]
pub fn url(base: &str, parameters: &[(&str, &str)]) -> String {
    let (base, fragment) = base.split_once('#').map_or((base, None), |(base, rest)| (base, Some(rest)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let joint = match base.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{base}{joint}{query}{fragment}")
}

/// What the authorization server sent back for this attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Returned {
    /// A code, good for one exchange.
    Code(Secret),
    /// It, or the person, said no. Both texts are made fit to be shown.
    Refused {
        /// The error word.
        error: String,
        /// The sentence beside it.
        description: Option<String>,
    },
}

/// Why a text is not the answer to this attempt. The attempt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// There is no code in it.
    NoCode,
    /// It belongs to another attempt, or does not say to which.
    WrongState,
    /// It says two things at once.
    Ambiguous,
    /// It is far too long.
    TooLong,
}

impl Unfit {
    /// The reason, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCode => "there is no code in it",
            Self::WrongState => "it does not belong to this login: its state is another one, or missing",
            Self::Ambiguous => "it has two codes or two states",
            Self::TooLong => "it is far too long",
        }
    }
}

/// Reads the query of a redirect, as in `code=…&state=…`.
///
/// # Errors
/// Why it is not the answer to the attempt with that state.
pub fn from_query(query: &str, state: &str) -> Result<Returned, Unfit> {
    if query.len() > LONGEST_TEXT {
        return Err(Unfit::TooLong);
    }
    let one = |name: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Unfit::Ambiguous),
            (value, None) => Ok(value.map(|(_, value)| value.into_owned())),
        }
    };
    let (code, error, returned) = (one("code")?, one("error")?, one("state")?);
    if returned.as_deref() != Some(state) {
        return Err(if code.is_none() && error.is_none() { Unfit::NoCode } else { Unfit::WrongState });
    }
    if let Some(error) = error {
        let description = one("error_description")?.map(|text| token_answer::fit_to_show(&text));
        return Ok(Returned::Refused { error: token_answer::fit_to_show(&error), description });
    }
    code.and_then(usable).map(Returned::Code).ok_or(Unfit::NoCode)
}

/// Reads what a person pasted: the whole URL at which the browser ended, its query, `code#state`, or
/// the bare code. A bare code has no state; that it belongs to this attempt is proven by the
/// verifier alone.
///
/// # Errors
/// Why it is not the answer to the attempt with that state.
pub fn from_paste(text: &str, state: &str) -> Result<Returned, Unfit> {
    if text.len() > LONGEST_TEXT {
        return Err(Unfit::TooLong);
    }
    let text = text.trim().trim_matches(['"', '\'', '<', '>', '`']);
    if let Some((_, query)) = text.split_once('?') {
        return from_query(query.split('#').next().unwrap_or_default(), state);
    }
    // A part of a query is one too, also where its beginning is missing: no code has such a thing in it.
    let names = ["code=", "error=", "state="];
    if names.iter().any(|name| text.starts_with(name) || text.contains(&format!("&{name}"))) {
        return from_query(text.split('#').next().unwrap_or_default(), state);
    }
    if text.contains("://") {
        return Err(Unfit::NoCode);
    }
    let code = match text.split_once('#') {
        Some((code, returned)) if returned == state => code,
        Some(_) => return Err(Unfit::WrongState),
        None => text,
    };
    usable(code.to_owned()).map(Returned::Code).ok_or(Unfit::NoCode)
}

/// A code as one may look: visible characters, not endless.
fn usable(code: String) -> Option<Secret> {
    let is_usable = (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_graphic());
    is_usable.then(|| Secret::new(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> Result<Returned, Unfit> {
        Ok(Returned::Code(Secret::new(text.into())))
    }

    #[test]
    fn the_challenge_is_the_one_of_rfc_7636() {
        // Appendix B, with its verifier in the place of ours.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier.as_bytes()));
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let attempt = Attempt::from_random(&std::array::from_fn(|at| at as u8));
        assert_eq!((attempt.verifier.expose().len(), attempt.state.len()), (86, 43));
        assert_eq!(
            attempt.challenge,
            URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(attempt.verifier.expose().as_bytes()))
        );
        assert!(!format!("{attempt:?}").contains(attempt.verifier.expose()));
    }

    #[test]
    fn parameters_follow_whatever_the_url_has() {
        let one = [("a b", "c&d=e")];
        assert_eq!(url("https://x/y", &one), "https://x/y?a+b=c%26d%3De");
        assert_eq!(url("https://x/y?z=1", &one), "https://x/y?z=1&a+b=c%26d%3De");
        assert_eq!(url("https://x/y?", &one), "https://x/y?a+b=c%26d%3De");
        assert_eq!(url("https://x/y#f", &one), "https://x/y?a+b=c%26d%3De#f");
    }

    #[test]
    fn every_way_to_paste_a_code_is_understood() {
        for text in [
            "http://127.0.0.1:1455/auth/callback?code=ac_1&scope=openid+email&state=s1",
            " <http://localhost:1455/auth/callback?state=s1&code=ac_1#top>\n",
            "/auth/callback?code=ac_1&state=s1",
            "?code=ac_1&state=s1",
            "code=ac_1&state=s1",
            "ac_1#s1",
            "ac_1",
            "\"ac_1\"",
        ] {
            assert_eq!(from_paste(text, "s1"), code("ac_1"), "{text}");
        }
        assert_eq!(from_paste("?code=a%2Fb%2Bc&state=s1", "s1"), code("a/b+c"));
    }

    #[test]
    fn what_is_not_the_answer_says_why() {
        for (text, why) in [
            ("", Unfit::NoCode),
            ("http://127.0.0.1:1455/auth/callback", Unfit::NoCode),
            ("http://127.0.0.1:1455/auth/callback?state=s1", Unfit::NoCode),
            ("?code=&state=s1", Unfit::NoCode),
            ("?code=a%0Ab&state=s1", Unfit::NoCode),
            ("two words", Unfit::NoCode),
            ("ac_1&state=s2", Unfit::NoCode),
            ("?code=ac_1", Unfit::WrongState),
            ("?code=ac_1&state=s2", Unfit::WrongState),
            ("ac_1#s2", Unfit::WrongState),
            ("?error=access_denied", Unfit::WrongState),
            ("?code=a&code=b&state=s1", Unfit::Ambiguous),
            ("?code=a&state=s1&state=s2", Unfit::Ambiguous),
        ] {
            assert_eq!(from_paste(text, "s1"), Err(why), "{text}");
        }
        assert_eq!(from_paste(&"x".repeat(LONGEST_TEXT + 1), "s1"), Err(Unfit::TooLong));
        assert_eq!(from_query(&"x".repeat(LONGEST_TEXT + 1), "s1"), Err(Unfit::TooLong));
        assert_eq!(from_paste(&"x".repeat(LONGEST_CODE + 1), "s1"), Err(Unfit::NoCode));
    }

    #[test]
    fn a_refusal_is_made_fit_to_be_shown() {
        let query = "error=access_denied&error_description=No%1B%5B31m+way%0Aout&state=s1";
        let Ok(Returned::Refused { error, description }) = from_query(query, "s1") else { panic!("refused") };
        assert_eq!((error.as_str(), description.as_deref()), ("access_denied", Some("No [31m way out")));
        let long = format!("error={0}&error_description={0}&state=s1", "é".repeat(1000));
        let Ok(Returned::Refused { error, description }) = from_query(&long, "s1") else { panic!("refused") };
        assert!(error.chars().count() <= 200 && description.unwrap().chars().count() <= 200);
    }

    proptest! {
        #[test]
        fn a_code_comes_back_out_of_every_way_to_return_it(
            code_text in "[!-~]{1,80}", state in "[A-Za-z0-9_-]{1,60}", more in "[ -~]{0,40}"
        ) {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("scope", &more).append_pair("code", &code_text).append_pair("state", &state).finish();
            prop_assert_eq!(from_query(&query, &state), code(&code_text));
            prop_assert_eq!(from_paste(&format!("http://localhost:1455/cb?{query}"), &state), code(&code_text));
            let other = format!("{state}x");
            prop_assert_eq!(from_query(&query, &other), Err(Unfit::WrongState));
        }

        #[test]
        fn no_text_makes_the_readers_panic_or_pass_on_control_characters(text in any::<String>(), state in "[a-z]{0,4}") {
            for read in [from_query(&text, &state), from_paste(&text, &state)] {
                match read {
                    Ok(Returned::Code(code)) => {
                        prop_assert!(code.expose().bytes().all(|b| b.is_ascii_graphic()));
                    }
                    Ok(Returned::Refused { error, description }) => {
                        prop_assert!(!error.chars().chain(description.unwrap_or_default().chars()).any(char::is_control));
                    }
                    Err(_) => {}
                }
            }
        }
    }
}
