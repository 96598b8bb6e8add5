//! Custom documents from a template with named placeholders: `{{access_token}}`, and no logic.
//! An unknown placeholder is an error where the template is read; a placeholder without a value
//! is an error where it is rendered. `{{{{` writes a literal `{{`.

use std::fmt;

use zeroize::Zeroizing;

use super::{FormatError, FormatErrorKind, bounded};
use crate::base::credential::Credential;
use crate::base::secret::{Document, Secret};

/// A template that was read without errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    AccessToken,
    RefreshToken,
    ExpiresAt,
    ExpiresAtSeconds,
    ExpiresAtRfc3339,
    Scopes,
    Login,
    Account,
}

impl Field {
    const ALL: [Self; 8] = [
        Self::AccessToken,
        Self::RefreshToken,
        Self::ExpiresAt,
        Self::ExpiresAtSeconds,
        Self::ExpiresAtRfc3339,
        Self::Scopes,
        Self::Login,
        Self::Account,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
            Self::ExpiresAt => "expires_at",
            Self::ExpiresAtSeconds => "expires_at_seconds",
            Self::ExpiresAtRfc3339 => "expires_at_rfc3339",
            Self::Scopes => "scopes",
            Self::Login => "login",
            Self::Account => "account",
        }
    }

    /// The field's text; `None` when the credential has none.
    fn value(self, credential: &Credential, login_id: &str) -> Option<Zeroizing<String>> {
        let text = match self {
            Self::AccessToken => credential.access.expose().to_owned(),
            Self::RefreshToken => credential.refresh.as_ref()?.expose().to_owned(),
            Self::ExpiresAt => credential.expires_at?.as_millis().to_string(),
            Self::ExpiresAtSeconds => credential.expires_at?.as_millis().div_euclid(1000).to_string(),
            Self::ExpiresAtRfc3339 => credential.expires_at?.to_string(),
            Self::Scopes => credential.scopes.join(" "),
            Self::Login => login_id.to_owned(),
            Self::Account => credential.account.clone()?,
        };
        Some(Zeroizing::new(text)).filter(|text| !text.trim().is_empty())
    }

    /// Whether this may stand in the field's value: what no value has, none that is longer has either.
    fn allows(self, c: char) -> bool {
        match self {
            Self::AccessToken | Self::RefreshToken => !c.is_control() && !c.is_whitespace(),
            Self::ExpiresAt | Self::ExpiresAtSeconds => c.is_ascii_digit() || c == '-',
            Self::ExpiresAtRfc3339 | Self::Scopes | Self::Login | Self::Account => !c.is_control(),
        }
    }

    /// Whether `text`, each character of it allowed, could be this field's value in an earlier rendering.
    fn accepts(self, text: &str) -> bool {
        match self {
            Self::ExpiresAt | Self::ExpiresAtSeconds => {
                text.len() <= LONGEST_NUMBER && text.parse::<i64>().is_ok()
            }
            _ => !text.is_empty(),
        }
    }
}

/// The longest number that is rendered: the smallest `i64`.
const LONGEST_NUMBER: usize = 20;

/// More placeholders than any document has; each is a step of a search for what an earlier rendering holds.
const MOST_FIELDS: usize = 256;

/// Where and why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the placeholder, from 1.
    pub line: usize,
    /// The column of its first brace in characters, from 1.
    pub column: usize,
    /// What is wrong with it; names the placeholder.
    pub what: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.what, self.line, self.column)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] for a placeholder that is unknown or not closed on its line, or one too many.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut fields = 0;
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let (before, at) = rest.split_at(open);
            literal.push_str(before);
            if let Some(after) = at.strip_prefix("{{{{") {
                literal.push_str("{{");
                rest = after;
                continue;
            }
            // Of three braces the outer one is the document's: `{{{access_token}}}`.
            let (brace, at) = if at.starts_with("{{{") { at.split_at(1) } else { ("", at) };
            literal.push_str(brace);
            let (field, after) = placeholder(at).map_err(|what| error_at(text, at, what))?;
            fields += 1;
            if fields > MOST_FIELDS {
                return Err(error_at(text, at, format!("more than {MOST_FIELDS} placeholders")));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Field(field));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// Whether a rendering holds the refresh token.
    #[must_use]
    pub fn uses_refresh_token(&self) -> bool {
        self.parts.contains(&Part::Field(Field::RefreshToken))
    }

    /// Writes the document.
    ///
    /// # Errors
    /// `WouldEmpty` for a placeholder whose value is absent or blank, `Unquotable` for a value
    /// with control characters: a line break could add what the template does not say.
    pub fn render(&self, credential: &Credential, login_id: &str) -> Result<Document, FormatError> {
        let mut texts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            texts.push(match part {
                Part::Literal(text) => Zeroizing::new(text.clone()),
                Part::Field(field) => {
                    let refused = |kind, what| FormatError::new(kind, format!("{} {what}", field.name()));
                    let value = field.value(credential, login_id);
                    let value = value.ok_or_else(|| refused(FormatErrorKind::WouldEmpty, "has no value"))?;
                    if value.contains(char::is_control) {
                        return Err(refused(FormatErrorKind::Unquotable, "holds a control character"));
                    }
                    value
                }
            });
        }
        let mut out = Vec::with_capacity(texts.iter().map(|t| t.len()).sum());
        for text in &texts {
            out.extend_from_slice(text.as_bytes());
        }
        Ok(Document::new(out))
    }

    /// The access token that an earlier rendering of this template holds; `None` when the
    /// document is not such a rendering or the template has no access token.
    #[must_use]
    pub fn held_access(&self, rendered: &[u8]) -> Option<Secret> {
        let text = super::text_of(rendered).ok()?;
        let mut effort = Effort { steps: MATCH_STEPS, bytes: MATCH_BYTES.max(MATCH_PASSES * text.len()) };
        matched(&self.parts, text, None, &mut effort)?.map(|token| Secret::new(token.to_owned()))
    }
}

/// How many places are tried to tell fields from the text between them, before giving up.
const MATCH_STEPS: u32 = 2_000;
/// How often the whole text may be gone through for that, and how much of a short one, in bytes.
const MATCH_PASSES: usize = 64;
const MATCH_BYTES: usize = 64 * 1024;

/// What may still be spent on a match.
struct Effort {
    steps: u32,
    bytes: usize,
}

impl Effort {
    /// `None` when it is used up, from then on.
    fn spend(&mut self, bytes: usize) -> Option<()> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(0);
        left.map(drop)
    }
}

/// Matches `text` against `parts` as a whole; gives the access token, if the parts have one.
/// One field in several places has the same value in each.
fn matched<'a>(
    parts: &[Part],
    text: &'a str,
    token: Option<&'a str>,
    effort: &mut Effort,
) -> Option<Option<&'a str>> {
    let (field, parts) = match parts.split_first() {
        None => return text.is_empty().then_some(token),
        Some((Part::Literal(literal), parts)) => {
            effort.spend(literal.len())?;
            return matched(parts, text.strip_prefix(literal.as_str())?, token, effort);
        }
        Some((Part::Field(field), parts)) => (*field, parts),
    };
    let try_value = |end: usize, effort: &mut Effort| {
        effort.steps = effort.steps.checked_sub(1)?;
        let (value, rest) = text.split_at_checked(end)?;
        let token = if field == Field::AccessToken { Some(value) } else { token };
        if field.accepts(value) { matched(parts, rest, token, effort) } else { None }
    };
    let literal = match parts.first() {
        // Two fields with nothing between them cannot be told apart.
        Some(Part::Field(_)) => return None,
        Some(Part::Literal(literal)) => Some(literal.as_str()),
        None => None,
    };
    if let Some(known) = token.filter(|_| field == Field::AccessToken) {
        effort.spend(known.len())?;
        return if text.starts_with(known) { try_value(known.len(), effort) } else { None };
    }
    let mut seen = 0;
    let ends = literal.into_iter().flat_map(|literal| text.match_indices(literal).map(|(end, _)| end));
    for end in ends.chain(literal.is_none().then_some(text.len())) {
        effort.spend(end - seen)?;
        if !text.get(seen..end)?.chars().all(|c| field.allows(c)) {
            return None;
        }
        seen = end;
        if let Some(found) = try_value(end, effort) {
            return Some(found);
        }
        // What is used up is not searched on.
        effort.spend(1)?;
    }
    effort.spend(text.len() - seen)?;
    None
}

/// The field named by the placeholder with which `at` begins, and the text behind it.
fn placeholder(at: &str) -> Result<(Field, &str), String> {
    let inner = at.strip_prefix("{{").unwrap_or(at);
    // Not the whole line for each placeholder: a template may be one line.
    let closed = inner.split_once("}}").filter(|(name, _)| !name.contains('\n'));
    let Some((name, after)) = closed else {
        let line = inner.lines().next().unwrap_or_default();
        return Err(format!("the placeholder {{{{{} is not closed", bounded(line.trim())));
    };
    let name = name.trim();
    match Field::ALL.into_iter().find(|field| field.name() == name) {
        Some(field) => Ok((field, after)),
        None => Err(format!("unknown placeholder {{{{{}}}}}", bounded(name))),
    }
}

fn error_at(text: &str, at: &str, what: String) -> TemplateError {
    let before = text.get(..text.len() - at.len()).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    TemplateError { line, column, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::credential::Identity;
    use crate::base::time::Timestamp;

    fn credential(access: &str) -> Credential {
        Credential {
            access: Secret::new(access.into()),
            refresh: Some(Secret::new("sk-ant-ort01-r".into())),
            expires_at: Some(Timestamp::from_millis(1_795_199_075_831)),
            login_deadline: None,
            scopes: vec!["a".into(), "b".into()],
            account: Some("acct".into()),
            expiry_in_seconds: false,
            identity: Identity::default(),
        }
    }

    fn round_trip(template: &str, access: &str) -> Option<String> {
        let template = Template::parse(template).unwrap();
        let document = template.render(&credential(access), "claude").unwrap();
        template.held_access(document.expose()).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn an_earlier_rendering_gives_its_token_back() {
        let token = "sk-ant-oat01-x.y";
        for template in [
            "{{access_token}}",
            "{\"t\":\"{{access_token}}\",\"e\":{{expires_at}}}\n",
            "{{login}} {{scopes}} {{access_token}}",
            "{{access_token}}.{{expires_at}}",
            "{{access_token}}\n{{access_token}}\n{{refresh_token}}\n",
        ] {
            assert_eq!(round_trip(template, token).as_deref(), Some(token), "{template}");
        }
    }

    #[test]
    fn a_document_that_is_no_such_rendering_gives_nothing() {
        let template = Template::parse("token={{access_token}}\nuntil={{expires_at}}\n").unwrap();
        for text in [
            "",
            "token=a\n",
            "token=\nuntil=5\n",
            "token=a b\nuntil=5\n",
            "token=a\nuntil=soon\n",
            "token=a\nuntil=5\nmore",
            " token=a\nuntil=5\n",
        ] {
            assert_eq!(template.held_access(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(template.held_access(b"token=\xff\nuntil=5\n"), None);
        assert_eq!(round_trip("{{login}}", "x"), None);
        assert_eq!(round_trip("{{login}}{{access_token}}", "x"), None);
    }

    #[test]
    fn a_hostile_document_is_given_up_not_searched_for_ever() {
        let field = "{{login}}a".repeat(12);
        let template = Template::parse(&format!("{field}{{{{access_token}}}}!")).unwrap();
        assert_eq!(template.held_access("a".repeat(5000).as_bytes()), None);
    }

    #[test]
    fn a_template_has_so_many_placeholders_and_no_more() {
        let of = |count: usize| Template::parse(&"{{login}} ".repeat(count)).map(drop);
        assert_eq!(of(MOST_FIELDS), Ok(()));
        let error = of(MOST_FIELDS + 1).unwrap_err();
        assert_eq!(error.to_string(), "more than 256 placeholders at line 1 column 2561");
    }

    #[test]
    fn only_a_template_that_names_it_uses_the_refresh_token() {
        let uses = |text: &str| Template::parse(text).unwrap().uses_refresh_token();
        assert!(uses("{{ refresh_token }}"));
        assert!(!uses("{{access_token}} {{{{refresh_token}}"));
    }
}
