//! Golden folders and properties of the foreign formats.
//!
//! `format/<format>/<case>/` holds `before.*` (none: a new file), `change.json`, and one of
//! `after.*`, `unchanged` or `error` (the kind of the refusal). A case needs no Rust.
//! For `template` the template itself is `before`, and `after` its rendering.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokensink::base::credential::{Credential, Identity, Renewed};
use tokensink::base::secret::Secret;
use tokensink::base::time::Timestamp;
use tokensink::format::auth_profiles::{self, EntryForm};
use tokensink::format::layout::Store;
use tokensink::format::template::Template;
use tokensink::format::{Edit, codex, dotenv, oauth_json, secret_file};

#[path = "format/properties.rs"]
mod properties;

/// A case's outcome: the edit, or the word that its `error` file must hold.
type Outcome = Result<Edit, String>;

fn text<'a>(change: &'a Value, key: &str) -> &'a str {
    change[key].as_str().unwrap_or_else(|| panic!("change.json has a text {key}"))
}

fn credential(change: &Value) -> Credential {
    let it = &change["credential"];
    let secret = |key: &str| it[key].as_str().map(|text| Secret::new(text.to_owned()));
    Credential {
        access: secret("access").expect("change.json has an access token"),
        refresh: secret("refresh"),
        expires_at: it["expires_at"].as_i64().map(Timestamp::from_millis),
        login_deadline: None,
        scopes: it["scopes"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect(),
        account: it["account"].as_str().map(str::to_owned),
        expiry_in_seconds: false,
        identity: Identity::default(),
    }
}

fn applied(format: &str, before: Option<&[u8]>, change: &Value) -> Outcome {
    let kind = |result: Result<Edit, tokensink::format::FormatError>| {
        result.map_err(|error| error.kind.as_str().to_owned())
    };
    match format {
        "oauth_json" => {
            let with_refresh = change["with_refresh"].as_bool().unwrap();
            kind(oauth_json::edit(before, text(change, "provider"), &credential(change), with_refresh))
        }
        "auth_profiles" => {
            let form = match text(change, "form") {
                "token" => EntryForm::Token,
                "oauth" => EntryForm::OAuth { with_refresh: false },
                "oauth-refresh" => EntryForm::OAuth { with_refresh: true },
                other => panic!("unknown form {other}"),
            };
            let (id, provider) = (text(change, "profile"), text(change, "provider"));
            kind(auth_profiles::edit(before, id, provider, &credential(change), form))
        }
        "codex" => {
            let before = before.expect("a refresh stores over a login");
            let secret = |key: &str| change[key].as_str().map(|text| Secret::new(text.to_owned()));
            let renewed = Renewed {
                access: secret("access"),
                refresh: secret("refresh"),
                id_token: secret("id_token"),
                granted_at: change["granted_at"].as_i64().map(Timestamp::from_millis),
                ..Renewed::default()
            };
            kind(codex::store(before, &secret("spent").unwrap(), &renewed).map(|stored| match stored {
                Store::Patched(document) => Edit::between(Some(before), document),
                Store::Superseded => Edit::Unchanged,
            }))
        }
        "dotenv" => {
            let value = Secret::new(text(change, "value").to_owned());
            kind(dotenv::edit(before, text(change, "key"), &value))
        }
        "secret_file" => kind(secret_file::edit(before, &credential(change))),
        "template" => {
            let source = std::str::from_utf8(before.expect("a template is `before`")).unwrap();
            let template = Template::parse(source).map_err(|error| error.to_string())?;
            kind(template.render(&credential(change), text(change, "login")).map(Edit::Changed))
        }
        other => panic!("no format is called {other}"),
    }
}

fn file(case: &Path, stem: &str) -> Option<Vec<u8>> {
    let names = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
    let path = names.into_iter().find(|path| path.file_stem().is_some_and(|s| s == stem))?;
    Some(fs::read(path).unwrap())
}

fn check(format: &str, case: &Path) -> Result<(), String> {
    let before = file(case, "before");
    let change: Value = serde_json::from_slice(&file(case, "change").ok_or("no change.json")?)
        .map_err(|error| format!("change.json: {error}"))?;
    let (after, unchanged) = (file(case, "after"), file(case, "unchanged").is_some());
    let error = file(case, "error").map(|text| String::from_utf8(text).unwrap().trim().to_owned());
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();

    match applied(format, before.as_deref(), &change) {
        Err(found) => match error {
            Some(wanted) if wanted == found => Ok(()),
            wanted => Err(format!("refused with {found}, expected {wanted:?}")),
        },
        Ok(Edit::Unchanged) if unchanged => Ok(()),
        Ok(Edit::Unchanged) => Err("unchanged".into()),
        Ok(Edit::Changed(document)) => {
            let wanted = after.ok_or("changed, but there is no after")?;
            if document.expose() != wanted {
                let found = shown(document.expose());
                return Err(format!("\n  wanted {}\n  found  {found}", shown(&wanted)));
            }
            // Planning twice plans nothing.
            if format != "template" && applied(format, Some(&wanted), &change) != Ok(Edit::Unchanged) {
                return Err("a second edit changed something".into());
            }
            Ok(())
        }
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_golden_folder_is_reproduced_byte_for_byte() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format");
    let mut failures = Vec::new();
    for format in subfolders(&root) {
        let cases = subfolders(&format);
        let name = format.file_name().unwrap().to_str().unwrap();
        assert!(cases.len() >= 6, "{name} has only {} cases", cases.len());
        for case in cases {
            if let Err(why) = check(name, &case) {
                failures.push(format!("{name}/{}: {why}", case.file_name().unwrap().display()));
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
