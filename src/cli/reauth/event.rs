//! What a re-authentication says, step by step: as text for people, and as one line of JSON for
//! scripts and for a second process. No secret is in any of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::time::Timestamp;
use crate::core::alert::{Message, words};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// No login needs a person.
    NothingNeeded,
    /// What is to be mended.
    Needed {
        /// The login.
        login: String,
        /// What is wrong with it; nothing when it was named although nothing is.
        code: Option<String>,
        /// Since when.
        since: Option<Timestamp>,
        /// One sentence.
        summary: String,
        /// The sinks that hold its token.
        sinks: Vec<String>,
        /// The gateways that read those.
        gateways: Vec<String>,
    },
    /// To be visited.
    Visit {
        /// The login.
        login: String,
        /// Where.
        url: String,
        /// The page shows a code, or ends at an address, that is to be handed over.
        takes_code: bool,
    },
    /// A code to be typed at a page.
    Enter {
        /// The login.
        login: String,
        /// Where.
        url: String,
        /// The same with the code in it.
        complete: Option<String>,
        /// The code; it is of no use to anybody else.
        user_code: String,
        /// How long it lasts, in seconds.
        lasts: u64,
    },
    /// A token is waited for that `claude setup-token` prints.
    Token {
        /// The login.
        login: String,
    },
    /// What was handed over is not the answer; the attempt goes on.
    Unfit {
        /// The login.
        login: String,
        /// Why.
        why: String,
    },
    /// All is well.
    Mended {
        /// The login.
        login: String,
        /// What is well now.
        summary: String,
    },
    /// It is not.
    Failed {
        /// The login.
        login: String,
        /// Which condition failed.
        why: String,
    },
}

impl Event {
    /// The event as a line of JSON, which only grows.
    #[must_use]
    pub fn line(&self) -> String {
        let mut object = Map::from_iter([("format_version".to_owned(), Value::from(1))]);
        if let Ok(Value::Object(event)) = serde_json::to_value(self) {
            object.extend(event);
        }
        Value::Object(object).to_string()
    }

    /// Reads such a line.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Whether it holds until the next of its kind: who comes later has to know it.
    #[must_use]
    pub const fn stands(&self) -> bool {
        matches!(self, Self::Visit { .. } | Self::Enter { .. } | Self::Token { .. })
    }

    /// What goes to the channels of alerts: where to log in.
    #[must_use]
    pub fn message(&self, host: &str) -> Option<Message> {
        match self {
            Self::Visit { login, url, .. } => Some(words::reauth(login, url, None, host)),
            Self::Enter { login, url, complete, user_code, .. } => {
                Some(words::reauth(login, complete.as_ref().unwrap_or(url), Some(user_code), host))
            }
            _ => None,
        }
    }

    /// The event in words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::NothingNeeded => "no login needs a person\n".to_owned(),
            Self::Needed { login, code, since, summary, sinks, gateways } => {
                let code = code.as_ref().map_or(String::new(), |code| format!("  {code}"));
                let since = since.map_or(String::new(), |since| format!(", since {since}"));
                let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                format!(
                    "login    {login}{code}\n         {summary}{since}\n         sinks: {}\n         gateways: {}\n\n",
                    list(sinks),
                    list(gateways)
                )
            }
            Self::Visit { url, takes_code, .. } => {
                let then = if *takes_code {
                    "Then paste here the code that the page shows, or the URL of the page at which it ends."
                } else {
                    "The answer is heard on the machine on which this was begun."
                };
                format!("Visit this URL to log in:\n\n{url}\n\n{then}\n")
            }
            Self::Enter { url, complete, user_code, lasts, .. } => {
                let complete =
                    complete.as_ref().map_or(String::new(), |url| format!("or, with the code in it, {url}\n"));
                format!(
                    "On any device visit\n\n{url}\n{complete}\nand type the code {user_code} there. It lasts for {} min; \
                     never type a code that somebody sent you.\n",
                    lasts / 60
                )
            }
            Self::Token { .. } => {
                "Run `claude setup-token` where there is a browser, and paste here the token that it prints.\n"
                    .to_owned()
            }
            Self::Unfit { why, .. } => format!("That is not the answer: {why}. Try again.\n"),
            Self::Mended { summary, .. } => format!("{summary}\n"),
            Self::Failed { why, .. } => format!("tokensink: {why}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_again_and_begins_with_its_version_and_kind() {
        let events = [
            Event::NothingNeeded,
            Event::Visit {
                login: "claude".into(),
                url: "https://claude.com/a?b=\"c&d=e".into(),
                takes_code: true,
            },
            Event::Failed { login: "claude".into(), why: "line\nbreak".into() },
        ];
        for event in events {
            let line = event.line();
            assert!(line.starts_with("{\"format_version\":1,\"event\":\"") && !line.contains('\n'), "{line}");
            assert_eq!(Event::read(&line), Some(event));
        }
        let grown = "{\"format_version\":1,\"event\":\"token\",\"login\":\"x\",\"more\":1}";
        assert_eq!(Event::read(grown), Some(Event::Token { login: "x".into() }));
        assert_eq!(Event::read("Welcome to Debian"), None);
    }
}
