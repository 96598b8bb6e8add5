//! The manual pages say what the program does: their options, commands, exit codes, keys, defaults,
//! codes and message ids are compared with the definitions in the code, and `mandoc` has no
//! complaint. The example configuration loads, and names every key that works today.
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

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/sources.rs"]
mod sources;

use clap::CommandFactory;
use sources::rust_in;
use tokensink::base::code::Code;
use tokensink::base::message_id;
use tokensink::cli::args::Arguments;
use tokensink::config::schema::{ALERT_KINDS, ROOT, SINK_KINDS, Shape, Type};
use tokensink::config::{ConfigDirs, Environment, Loaded, Origin, Shown, load};

const PAGES: [&str; 4] =
    ["tokensink.1", "tokensink.toml.5", "tokensink.service.8", "org.tokensink.Daemon1.5"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    let path = root().join("man").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text between a heading (`.Sh` or `.Ss`) and the next one of its rank or above.
fn section(page: &str, heading: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let at = lines.iter().position(|line| *line == heading);
    let at = at.unwrap_or_else(|| panic!("there is no line {heading:?}"));
    let ends =
        |line: &&str| line.starts_with(".Sh ") || (heading.starts_with(".Ss") && line.starts_with(".Ss "));
    lines[at + 1..].iter().take_while(|line| !ends(line)).map(|line| format!("{line}\n")).collect()
}

/// The items `.It MACRO name` of a section with their texts. Items with several names, as in
/// `.It Ev A , B`, count for each.
fn items(section: &str, macro_name: &str) -> BTreeMap<String, String> {
    let lead = format!(".It {macro_name} ");
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for line in section.lines() {
        if let Some(rest) = line.strip_prefix(&lead) {
            names = rest.split(" , ").map(str::to_owned).collect();
            for name in &names {
                assert!(found.insert(name.clone(), String::new()).is_none(), "{name} is described twice");
            }
        } else {
            for name in &names {
                let text = found.get_mut(name).unwrap();
                text.push_str(line.trim_start_matches('.'));
                text.push(' ');
            }
        }
    }
    found
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// Every visible command as typed, with its long options; a command that only has commands is left out.
fn commands(command: &clap::Command, prefix: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = format!("{prefix}{}", inner.get_name());
        if inner.has_subcommands() {
            commands(inner, &format!("{name} "), found);
            continue;
        }
        let own = inner.get_arguments().filter(|a| !a.is_hide_set() && !a.is_global_set());
        let options = own.filter_map(|a| a.get_long()).filter(|long| *long != "help");
        found.insert(name, options.map(str::to_owned).collect());
    }
}

/// The long options in a text of mdoc: `Fl -name`, also the further ones of one `Fl`.
fn options(mdoc: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in mdoc.lines() {
        let mut in_flags = false;
        for word in line.trim_start_matches('.').split_whitespace() {
            match word {
                "Fl" => in_flags = true,
                "|" | "," | "h" | "V" => {}
                _ => match word.strip_prefix('-').filter(|_| in_flags) {
                    Some(name) => {
                        found.insert(name.to_owned());
                    }
                    None => in_flags = false,
                },
            }
        }
    }
    found
}

#[test]
fn the_manual_describes_every_command_with_exactly_its_options() {
    let mut expected = BTreeMap::new();
    commands(&Arguments::command(), "", &mut expected);
    let text = section(&page("tokensink.1"), ".Sh COMMANDS");

    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(".It Cm ") {
            current = name.to_owned();
            described.insert(current.clone(), BTreeSet::new());
        } else if let Some(option) = line.strip_prefix(".It ") {
            described.entry(current.clone()).or_default().extend(options(option));
        }
    }
    let global = described.remove("").expect("the options of every command come first");
    assert_eq!(global, set(["config", "help", "version"]));
    assert_eq!(described, expected);
}

#[test]
fn the_synopsis_names_every_command_with_exactly_its_options() {
    let mut expected = BTreeMap::new();
    commands(&Arguments::command(), "", &mut expected);
    let text = section(&page("tokensink.1"), ".Sh SYNOPSIS");
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for usage in text.split(".Nm\n").filter(|usage| usage.contains(".Cm ")) {
        let command = usage.lines().find_map(|line| line.strip_prefix(".Cm ")).unwrap();
        let mut own = options(usage);
        own.remove("config");
        named.insert(command.to_owned(), own);
    }
    assert_eq!(named, expected);
}

#[test]
fn no_page_names_an_option_or_command_that_does_not_exist() {
    let mut known = BTreeMap::new();
    commands(&Arguments::command(), "", &mut known);
    let mut long: BTreeSet<String> = known.values().flatten().cloned().collect();
    long.extend(set(["config", "help", "version"]));
    let first_words: BTreeSet<&str> = known.keys().filter_map(|name| name.split(' ').next()).collect();
    for name in PAGES {
        let text = page(name);
        let unknown: Vec<String> = options(&text).difference(&long).cloned().collect();
        assert!(unknown.is_empty(), "{name} names the options {unknown:?}");
        for line in text.lines().filter(|l| l.starts_with("tokensink ") || l.starts_with(".Ql tokensink ")) {
            let word = line.trim_start_matches(".Ql ").split_whitespace().nth(1).unwrap();
            assert!(first_words.contains(word), "{name}: {line}");
        }
    }
}

#[test]
fn the_manual_lists_exactly_the_exit_codes() {
    let text = section(&page("tokensink.1"), ".Sh EXIT STATUS");
    let listed: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix(".It ")).map(str::to_owned).collect();
    // `Exit` is turned into an `ExitCode`, which does not tell its number: this list and the
    // conversion in cli/exit.rs are kept together by hand.
    let source = std::fs::read_to_string(root().join("src/cli/exit.rs")).unwrap();
    let mut expected = set(["0", "1", "2"]);
    expected.extend(
        source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Self::").or(line.trim().strip_prefix("Exit::")))
            .filter_map(|line| line.split_once("=> "))
            .map(|(_, number)| number.trim_end_matches(','))
            .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned),
    );
    assert_eq!(expected.len(), 7, "the codes in cli/exit.rs were found: {expected:?}");
    assert_eq!(listed, expected);
}

#[test]
fn the_manual_explains_every_code_with_what_to_do() {
    let described = items(&section(&page("tokensink.1"), ".Sh FINDINGS"), "Li");
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), set(Code::ALL.iter().map(|c| c.as_str())));
    for (code, text) in described {
        assert!(text.len() > 40, "{code} is explained");
    }
}

#[test]
fn codes_that_nothing_raises_are_marked_and_no_others() {
    let described = items(&section(&page("tokensink.1"), ".Sh FINDINGS"), "Li");
    let source = rust_in(&["src"]);
    for code in Code::ALL {
        let is_raised = source.contains(&format!("Code::{code:?}"));
        let is_marked = described[code.as_str()].contains("Not raised by this version");
        assert_eq!(is_raised, !is_marked, "{code} is raised: {is_raised}");
    }
}

#[test]
fn the_manual_lists_every_message_id_with_its_event_and_so_does_the_catalog() {
    let described = items(&section(&page("tokensink.1"), ".Sh JOURNAL"), "Li");
    assert_eq!(
        described.keys().cloned().collect::<BTreeSet<_>>(),
        set(message_id::ALL.iter().map(|(_, id)| *id))
    );
    let catalog = std::fs::read_to_string(root().join("packaging/catalog/tokensink.catalog")).unwrap();
    for (event, id) in message_id::ALL {
        assert!(described[*id].starts_with(&format!("{event}:")), "{id} is {event}");
        assert!(catalog.contains(&format!("-- {id}\n")), "{event} is in the catalog");
    }
}

/// A constant that nothing uses is an event that nobody sees; an id in a text that is not ours, one nobody finds.
#[test]
fn every_message_id_is_sent_and_no_text_names_another() {
    let program = rust_in(&["src/daemon", "src/cli", "src/alerts", "src/dbus"]);
    let mut texts: Vec<PathBuf> = PAGES.iter().map(|name| root().join("man").join(name)).collect();
    for folder in ["", "docs", "packaging/examples", "packaging/catalog"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        texts.extend(entries.filter(|path| path.is_file() && !path.ends_with("Cargo.lock")));
    }
    for (event, _) in message_id::ALL {
        assert!(program.contains(&format!("message_id::{event}")), "{event} is sent");
    }
    let known = set(message_id::ALL.iter().map(|(_, id)| *id));
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let ids = words.filter(|word| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        let unknown: Vec<&str> = ids.filter(|id| !known.contains(*id)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

#[test]
fn the_other_name_of_the_units_page_leads_to_it() {
    assert_eq!(page("tokensinkd.8"), ".so man8/tokensink.service.8\n");
}

#[test]
fn every_field_of_the_journal_is_named_in_the_manual() {
    let source = std::fs::read_to_string(root().join("src/daemon/journal.rs")).unwrap();
    let text = section(&page("tokensink.1"), ".Sh JOURNAL");
    let fields = source.lines().filter_map(|line| line.trim().split_once(" = ")).map(|(name, _)| name);
    let fields: BTreeSet<&str> =
        fields.filter(|f| f.starts_with("tokensink_") || *f == "took_ms" || *f == "reason").collect();
    assert!(fields.len() >= 8, "fields were found: {fields:?}");
    for field in fields {
        assert!(text.contains(&field.to_uppercase()), "{field}");
    }
}

fn shapes(shape: &'static Shape, found: &mut Vec<&'static Shape>) {
    if !shape.header.is_empty() {
        found.push(shape);
    }
    for (_, kind) in shape.keys {
        if let Type::Table(inner) | Type::Entries(inner) = kind {
            shapes(inner, found);
        }
    }
}

#[test]
fn the_manual_describes_exactly_the_keys_of_every_table() {
    let text = page("tokensink.toml.5");
    let mut tables = Vec::new();
    shapes(&ROOT, &mut tables);
    let headings: BTreeSet<String> = section(&text, ".Sh KEYS")
        .lines()
        .filter_map(|line| line.strip_prefix(".Ss "))
        .map(str::to_owned)
        .collect();
    assert_eq!(headings, set(tables.iter().map(|shape| shape.header)));
    for shape in tables {
        let described = items(&section(&text, &format!(".Ss {}", shape.header)), "Cm");
        let known = set(shape.keys.iter().map(|(key, _)| *key));
        assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), known, "{}", shape.header);
    }
}

#[test]
fn the_manual_describes_every_kind_of_sink_and_alert_with_its_keys() {
    let text = page("tokensink.toml.5");
    let described = items(&section(&text, ".Sh KINDS OF SINKS"), "Cm");
    assert_eq!(
        described.keys().cloned().collect::<BTreeSet<_>>(),
        set(SINK_KINDS.iter().map(|(kind, _)| *kind))
    );
    for (kind, keys) in SINK_KINDS {
        let line = format!("Keys: {}. ", keys.join(", "));
        assert!(described[kind].starts_with(&line), "{kind}: {line}");
    }
    let alert = section(&text, ".Ss [[alert]]");
    for (kind, _) in ALERT_KINDS {
        assert!(alert.contains(kind), "{kind}");
    }
}

fn load_file(path: &Path, home: &str) -> Loaded {
    let nowhere = PathBuf::from("/nonexistent");
    let dirs = ConfigDirs { vendor: nowhere.clone(), system: nowhere.clone(), user: nowhere };
    let environment = Environment { home: PathBuf::from(home), vars: BTreeMap::new() };
    match load(&dirs, Some(path), &environment) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn loaded(text: &str) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    load_file(&path, "/home/alice")
}

#[test]
fn the_manual_states_every_default() {
    let loaded = loaded(
        r#"
        [[login]]
        id = "l"
        provider = "claude"
        [[sink]]
        id = "a"
        login = "l"
        kind = "openclaw"
        [[sink]]
        id = "b"
        login = "l"
        kind = "auth-profiles"
        state_dir = "/other"
        [[sink]]
        id = "c"
        login = "l"
        kind = "oauth-json"
        path = "/c"
        [[sink]]
        id = "d"
        login = "l"
        kind = "command"
        command = ["/bin/true"]
        [[gateway]]
        id = "g"
        sinks = ["a"]
        unit = "g.service"
        "#,
    );
    let text = page("tokensink.toml.5");
    let mut seen = 0;
    for shown in loaded.shown.iter().filter(|shown| shown.origin == Origin::Default) {
        let value = match &shown.value {
            Shown::Text(text) if text.is_empty() => "empty".to_owned(),
            Shown::Text(text) => text.replace("/home/alice", "~"),
            Shown::Number(number) => number.to_string(),
            Shown::Flag(flag) => flag.to_string(),
            Shown::List(list) => list.join(", "),
        };
        let described = items(&section(&text, &format!(".Ss {}", shown.header)), "Cm");
        let entry = &described[shown.key.as_str()];
        let (_, stated) =
            entry.split_once("Default: ").unwrap_or_else(|| panic!("{} {}", shown.header, shown.key));
        assert!(stated.contains(&value), "{} {} = {value}: {stated}", shown.header, shown.key);
        seen += 1;
    }
    assert!(seen >= 15, "{seen} defaults were compared");
}

#[test]
fn the_example_of_the_manual_loads() {
    let text = section(&page("tokensink.toml.5"), ".Sh EXAMPLES");
    let example: String = text
        .lines()
        .skip_while(|line| !line.starts_with(".Bd"))
        .skip(1)
        .take_while(|line| *line != ".Ed")
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(loaded(&example).settings.sinks.len(), 3);
}

#[test]
fn the_examples_of_the_readme_load() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty(), "README.md has an example");
    for block in blocks {
        loaded(block);
    }
}

#[test]
fn the_example_configuration_loads_and_shows_every_key_that_works() {
    let path = root().join("packaging/examples/tokensink.toml");
    let loaded = load_file(&path, "/home/alice");
    assert!(loaded.settings.gateways.len() >= 4);

    // Keys that are written or, behind `# `, shown.
    let example = std::fs::read_to_string(&path).unwrap();
    let shown: BTreeSet<&str> = example
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| !key.contains(' '))
        .collect();
    let mut tables = Vec::new();
    shapes(&ROOT, &mut tables);
    let known: BTreeSet<&str> =
        tables.iter().flat_map(|shape| shape.keys.iter().map(|(key, _)| *key)).collect();
    let unknown: Vec<&&str> = shown.difference(&known).collect();
    assert!(unknown.is_empty(), "there are no keys {unknown:?}");

    let text = page("tokensink.toml.5");
    for shape in tables {
        let whole = section(&text, &format!(".Ss {}", shape.header));
        if whole.starts_with("Without effect in this version") {
            continue;
        }
        let described = items(&whole, "Cm");
        for (key, kind) in shape.keys {
            let works = !described[*key].contains("Without effect in this version");
            if works && !matches!(kind, Type::Table(_)) && shape.header != "[gateway.compose]" {
                assert!(shown.contains(key), "{} {key} is shown", shape.header);
            }
        }
    }
}

#[test]
fn the_manual_pages_are_clean_for_mandoc() {
    for name in PAGES {
        let path = root().join("man").join(name);
        let output = Command::new("mandoc").args(["-T", "lint"]).arg(&path).output();
        let output = output.expect("mandoc is needed to check the manual pages: apt-get install mandoc");
        // Notes of style stay: cross references of pages that are not installed, and the brackets of
        // TOML's tables at the end of headings.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaints: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("STYLE: referenced manual not found"))
            .filter(|line| !line.contains("STYLE: trailing delimiter: Ss ["))
            .collect();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

/// A threat is met by a test that exists, or the table says `none`.
#[test]
fn every_threat_names_a_test_that_exists() {
    let code = rust_in(&["src", "tests"]);
    let page = page("../docs/threat-model.md");
    let table = page.split("## What we do").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 40, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells.len(), 4, "{row}");
        if cells[2].starts_with("none") {
            continue;
        }
        let named: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for name in named {
            let exists = if name.contains('/') {
                let text = std::fs::read_to_string(root().join(name)).unwrap_or_default();
                let is_part_of_one = name.starts_with("tests/") && text.contains("assert");
                is_part_of_one || text.contains("#[test]") || text.contains("::test]")
            } else {
                name.starts_with("make ") || code.contains(&format!("fn {name}()"))
            };
            assert!(exists, "{name}: {row}");
        }
    }
}
