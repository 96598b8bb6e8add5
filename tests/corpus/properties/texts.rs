//! What is written for people: terminals, configurations, names of releases.

use std::collections::BTreeMap;
use std::path::Path;

use tokensink::config::error::CODES;
use tokensink::config::fragment::{self, Table};
use tokensink::config::section::Gaps;
use tokensink::config::settings::Settings;
use tokensink::config::{ConfigError, Environment, Loaded, merge, render_shown, schema, validate};
use tokensink::format::release::Release as Name;
use tokensink::format::terminal::Transcript;

use super::planted::{both, is_a_sentence};

const HOSTS: [&str; 2] = ["claude.com", "claude.ai"];

/// A login screen in any pieces: the same address, and only one at which a person may say yes.
pub fn terminal(bytes: &[u8]) {
    let (mut whole, mut pieces) = (Transcript::default(), Transcript::default());
    whole.feed(bytes);
    bytes.chunks(7).for_each(|piece| pieces.feed(piece));
    let found = whole.authorize_address(&HOSTS);
    assert_eq!(found, pieces.authorize_address(&HOSTS));
    if let Some(address) = found {
        let text = address.as_str();
        let rest = text.strip_prefix("https://").unwrap();
        let host = rest.split(['/', '?', '#']).next().unwrap();
        assert!(HOSTS.contains(&host), "{text}");
        assert!(
            text.len() < 8 * 1024 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'"')
        );
        assert!(address.parameter("state").is_some_and(|state| !state.is_empty()));
    }
    for transcript in [&whole, &pieces] {
        let words = transcript.last_words("");
        assert!(words.chars().count() <= 200 && !words.contains(char::is_control), "{words:?}");
        let _ = transcript.shows("paste code here");
        assert!(format!("{transcript:?}").len() < 40);
    }
    assert_eq!(whole.last_words("typed"), pieces.last_words("typed"));
}

/// A file of ours: settings, or faults with a place and a stable code that quote no value; and what
/// `config show` prints loads as the same.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    both(text.as_bytes(), |bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        match load(text) {
            Err(errors) => {
                assert!(!errors.is_empty());
                let lines = u32::try_from(text.split('\n').count()).unwrap();
                for error in &errors {
                    assert!(CODES.contains(&error.code), "{}", error.code);
                    assert!(error.line <= lines, "{} of {lines}", error.line);
                    is_a_sentence(&error.message);
                    assert!(!error.to_string().contains(char::is_control), "{error}");
                }
            }
            Ok((loaded, _)) => {
                let shown = render_shown(&loaded);
                if !shown.contains("(hidden)") {
                    let again = load(&shown).map(|(again, _)| again.settings);
                    assert_eq!(again.as_ref(), Ok(&loaded.settings), "{shown}");
                }
            }
        }
    });
}

/// As `config::load` does with one file.
fn load(text: &str) -> Result<(Loaded, Table), Vec<ConfigError>> {
    let vars = BTreeMap::from([("A".to_owned(), "/a".to_owned())]);
    let env = Environment { home: "/home/ann".into(), vars };
    let mut errors = Vec::new();
    let mut root = Table::new();
    let mut table = fragment::parse(Path::new("/x.toml"), text)?;
    let entries = schema::check(&mut table, &mut errors);
    merge::merge(&mut root, table);
    let (settings, shown): (Settings, _) =
        validate::validate(&root, &env, Gaps { keys: false, entries }, &mut errors);
    if errors.is_empty() { Ok((Loaded { settings, files: Vec::new(), shown }, root)) } else { Err(errors) }
}

/// Names of releases, one in each line: a name is read as it is written, and their order is one.
pub fn release(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let releases: Vec<Name> = text.lines().take(8).filter_map(Name::parse).collect();
    for one in &releases {
        assert_eq!(Name::parse(&one.to_string()).as_ref(), Some(one));
        for other in &releases {
            assert_eq!(one.cmp(other), other.cmp(one).reverse());
            assert_eq!(one == other, one.cmp(other).is_eq());
            assert!(releases.iter().all(|third| !(one <= other && other <= third) || one <= third));
        }
    }
}
