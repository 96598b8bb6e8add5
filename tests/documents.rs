//! What README and `docs/` say of the program and of the tree is so: links lead somewhere, named files and tests exist,
//! commands are ones that the program understands, and the rules for alerts fire for what they name.
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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/sources.rs"]
mod sources;

use clap::Parser as _;
use sources::rust_in;
use tokensink::base::id::Provider;
use tokensink::cli::args::Arguments;
use tokensink::config::{ConfigDirs, Environment, load};
use tokensink::core::schedule::Way;
use tokensink::daemon::refresh;
use tokensink::providers::cli_name;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of the tree: path and text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    for folder in ["", "docs", "docs/formats", "packaging/termux"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        let files = entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "md"));
        found.extend(files.map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())));
    }
    assert!(found.len() >= 10, "documents were found");
    found
}

#[test]
fn every_link_inside_the_documentation_leads_to_a_file() {
    let mut broken = Vec::new();
    for (file, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            if !target.contains("://") && !path.is_empty() && !file.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_source_file_that_the_documentation_names_exists() {
    let mut missing = Vec::new();
    for name in ["architecture.md", "threat-model.md", "sandbox.md"] {
        let text = std::fs::read_to_string(root().join("docs").join(name)).unwrap();
        // Between backticks, and whole paths only: `src/…` and `units/…`.
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = quoted.starts_with("src/") || quoted.starts_with("units/");
            if is_path && !root().join(quoted).exists() {
                missing.push(format!("{name}: {quoted}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn no_document_has_a_place_that_is_still_to_be_filled() {
    for (file, text) in documents() {
        let marks =
            text.split('@').filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase()));
        assert_eq!(marks.count(), 0, "{}", file.display());
    }
}

/// Rows without a test, or with one that does not exist, are promises.
#[test]
fn every_bug_and_trap_of_before_has_a_test_that_exists() {
    let code = rust_in(&["src", "tests"]);
    let table = std::fs::read_to_string(root().join("docs/incidents.md")).unwrap();
    let rows: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| B") && !line.starts_with("| Bug")).collect();
    let traps: Vec<&str> = table.lines().filter(|line| line.starts_with("| C")).collect();
    assert_eq!((rows.len(), traps.len()), (36, 12));
    let numbered = (1..).zip(rows).map(|(number, row)| (format!("| B{number} |"), row));
    let traps = (1..).zip(traps).map(|(number, row)| (format!("| C{number} |"), row));
    for (number, row) in numbered.chain(traps) {
        assert!(row.starts_with(&number), "{row}");
        let tests: Vec<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            assert!(is_test(&code, test), "{test}: {row}");
        }
    }
}

/// A test function, or a case of the configuration's or the plan's.
fn is_test(code: &str, name: &str) -> bool {
    let is_case = |folder: &str| root().join(folder).join(name).is_dir();
    code.contains(&format!("fn {name}(")) || is_case("tests/config") || is_case("tests/plan")
}

#[test]
fn every_test_that_the_proof_names_exists() {
    let (text, code) =
        (std::fs::read_to_string(root().join("docs/proof.md")).unwrap(), rust_in(&["src", "tests"]));
    // Words between backticks that could be nothing but the sentence of a test.
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3 && !word.contains(['/', ' ']))
        .collect();
    assert!(named.len() > 80, "{} tests are named", named.len());
    let missing: Vec<_> = named.into_iter().filter(|name| !is_test(&code, name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Command lines of a document: those of its blocks for a shell or a console, and those between backticks.
fn command_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut block = None;
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_none() { Some(language.to_owned()) } else { None };
        } else if let Some(language) = &block {
            let typed = match language.as_str() {
                "sh" => Some(line.trim_start()),
                "console" => line.strip_prefix("$ "),
                _ => None,
            };
            lines.extend(typed.map(str::to_owned));
        } else {
            lines.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let ours = |line: String| {
        let line = line.strip_prefix("sudo ").map_or(line.clone(), str::to_owned);
        let end = line.find(['#', '|', '<', '>', ';', '&']).unwrap_or(line.len());
        line[..end].trim().strip_prefix("tokensink ").map(str::to_owned)
    };
    lines.into_iter().filter_map(ours).collect()
}

#[test]
fn every_command_of_the_documents_is_one_that_the_program_understands() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (file, text) in documents() {
        for line in command_lines(&text) {
            // "…" stands for what the reader knows, a bare option group for the options named around it.
            let words =
                line.split_whitespace().map(|word| word.trim_end_matches('…')).filter(|w| !w.is_empty());
            count += 1;
            if let Err(error) = Arguments::try_parse_from(["tokensink"].into_iter().chain(words)) {
                use clap::error::ErrorKind::{
                    DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
                    MissingRequiredArgument, MissingSubcommand,
                };
                // The name of a command in running text, without what it wants.
                let is_name = matches!(
                    error.kind(),
                    DisplayHelp
                        | DisplayHelpOnMissingArgumentOrSubcommand
                        | DisplayVersion
                        | MissingRequiredArgument
                        | MissingSubcommand
                );
                if !is_name {
                    wrong.push(format!("{}: tokensink {line}: {:?}", file.display(), error.kind()));
                }
            }
        }
    }
    assert!(count > 60, "{count} commands were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Who is refreshed from here: what the table says, and what the program decides where nobody configured anything.
#[test]
fn the_table_of_who_is_refreshed_from_here_is_what_the_program_does() {
    let text = std::fs::read_to_string(root().join("docs/providers.md")).unwrap();
    let section = text.split("## Who refreshes").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `") && !line.starts_with("| `provider`"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert_eq!(rows.len(), Provider::ALL.len());
    for provider in Provider::ALL {
        let name = provider.as_str();
        let row = rows.iter().find(|row| row[1] == name).unwrap_or_else(|| panic!("{name} has a row"));
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("tokensink.toml");
        let more = match provider {
            Provider::Generic => {
                "path = \"~/x\"\n[login.fields]\naccess_token = \"/a\"\n[login.refresh]\ntoken_url = \"https://x.test/\"\nclient_id = \"x\"\n"
            }
            Provider::Static => "path = \"~/x\"\n",
            _ => "",
        };
        std::fs::write(&file, format!("[[login]]\nid = \"x\"\nprovider = \"{name}\"\n{more}")).unwrap();
        let nowhere = PathBuf::from("/nonexistent");
        let dirs = ConfigDirs { vendor: nowhere.clone(), system: nowhere.clone(), user: nowhere };
        let environment = Environment { home: home.path().to_owned(), vars: BTreeMap::new() };
        let loaded =
            load(&dirs, Some(&file), &environment).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let login = &loaded.settings.logins[0];
        let cli = cli_name(provider).map(PathBuf::from);
        let with_cli = refresh::way(login, None, cli.as_ref(), None);
        let without = refresh::way(login, None, None, None);
        assert_eq!(
            with_cli.is_ok() && without.is_ok(),
            !row[2].starts_with("no"),
            "{name}: {with_cli:?}, {without:?}"
        );
        assert_eq!(with_cli.is_ok(), without.is_ok(), "{name}: {with_cli:?}, {without:?}");
        assert_eq!(with_cli == Ok(Way::Cli), row[2].contains("by its"), "{name}: {with_cli:?}");
    }
}

#[test]
fn every_make_target_of_the_documents_exists() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let mut wrong = Vec::new();
    for (file, text) in documents() {
        for target in text
            .split("make ")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next())
        {
            let is_code =
                text.contains(&format!("`make {target}")) || text.contains(&format!("\nmake {target}"));
            if is_code && !target.is_empty() && !makefile.contains(&format!("\n{target}:")) {
                wrong.push(format!("{}: make {target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rules_for_prometheus_fire_for_what_they_name_and_for_nothing_else() {
    for (what, file) in
        [("check", "packaging/examples/tokensink.rules.yml"), ("test", "tests/rules/cases.yml")]
    {
        let output = Command::new("promtool")
            .args([what, "rules"])
            .arg(root().join(file))
            .output()
            .expect("this test needs promtool (Debian package prometheus)");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
    }
}
