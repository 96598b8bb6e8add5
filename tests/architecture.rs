//! The rules of the tree, proved on its text: layers, forbidden words, sizes, heads, names, who may
//! open a secret, and lists that must agree.
//!
//! Code is looked at without comments and string contents, and without its tests where a rule is
//! about the program only.
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
use std::fs;
use std::path::{Path, PathBuf};

use tokensink::base::code::Code;
use tokensink::base::message_id;

#[path = "architecture/drawing.rs"]
mod drawing;
#[path = "architecture/source.rs"]
mod source;

use source::Source;

/// What a module may use beside itself. `config::settings` is the vocabulary of the adapters: the
/// one module of their own layer that they may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("format", &["base"]),
    ("core", &["base", "format"]),
    ("sys", &["base"]),
    ("systemd", &["base"]),
    ("dbus", &["base", "systemd::bus"]),
    ("oauth", &["base"]),
    ("config", &["base", "format", "core", "sys", "systemd"]),
    ("providers", &["base", "format", "core", "sys", "systemd", "config::settings"]),
    ("sinks", &["base", "format", "core", "sys", "systemd", "config::settings"]),
    ("gateway", &["base", "format", "core", "sys", "systemd", "config::settings"]),
    ("login", &["base", "format", "core", "sys", "systemd", "oauth", "config::settings"]),
    ("refresher", &["base", "format", "core", "sys", "systemd", "oauth", "config::settings"]),
    ("alerts", &["base", "core", "sys", "systemd", "oauth", "config::settings"]),
    (
        "daemon",
        &[
            "base",
            "format",
            "core",
            "sys",
            "systemd",
            "dbus",
            "config",
            "providers",
            "sinks",
            "gateway",
            "refresher",
            "alerts",
        ],
    ),
    (
        "cli",
        &[
            "base",
            "format",
            "core",
            "sys",
            "systemd",
            "config",
            "providers",
            "sinks",
            "gateway",
            "login",
            "alerts",
            "daemon",
        ],
    ),
    ("main", &["cli"]),
];

/// What the pure layers may not name, and neither `use`.
const IMPURE: [&str; 16] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "nix",
    "zbus",
    "reqwest",
    "tracing",
    "getrandom",
    "SystemTime::now",
    "Instant::now",
    "println",
    "eprintln",
];

const CATCH_ALL: [&str; 9] =
    ["utils", "util", "helpers", "helper", "common", "manager", "types", "prelude", "misc"];

/// A file may not be longer, in lines of code.
const HARD_LIMIT: usize = 500;
/// A longer file is named, so that it is not forgotten.
const SOFT_LIMIT: usize = 300;

/// Files outside `base` whose program code opens a secret or a document of secrets, each with its
/// reason.
const MAY_EXPOSE: &[(&str, &str)] = &[
    ("src/alerts/http.rs", "sends the channel's token"),
    ("src/cli/selftest/stage.rs", "compares the stage's own made-up tokens with what the sinks hold"),
    ("src/cli/selftest/standin.rs", "the stand-in CLI writes a made-up login"),
    ("src/cli/setup/ground.rs", "reads the search path that a login shell printed"),
    ("src/core/families.rs", "hands a target's document to its format"),
    ("src/core/plan.rs", "hands a target's document to its format"),
    ("src/core/undo.rs", "compares documents of ours, hands one to its format"),
    ("src/daemon/apply.rs", "hands the gateway's configuration to its reader"),
    ("src/daemon/detect_containers.rs", "reads what an engine listed, and whether a file has a variable"),
    ("src/daemon/fetch.rs", "hands what was read in a container to its format"),
    ("src/daemon/delivery.rs", "a command sink gets the access token on its standard input"),
    ("src/daemon/doctor/consumers.rs", "asks whether an environment file sets a variable"),
    ("src/daemon/model.rs", "reads the gateway's configuration"),
    ("src/daemon/login.rs", "hands the document that a new login is entered in to its format"),
    ("src/daemon/settle.rs", "asks whether a gateway's store is whole"),
    ("src/daemon/export.rs", "hands a source to its format, names a sealed bundle by its HMAC"),
    (
        "src/daemon/import.rs",
        "hands a login and its place to their format, names a sealed bundle by its HMAC",
    ),
    ("src/daemon/order.rs", "hands a store to its format"),
    (
        "src/daemon/seal.rs",
        "systemd-creds gets the access token on its standard input, and says why it failed",
    ),
    ("src/daemon/settle.rs", "asks whether a gateway's store is whole"),
    ("src/daemon/syncers.rs", "reads the scripts and tables of others, which are text"),
    ("src/daemon/store.rs", "reads our own state and key, names a displaced document by its HMAC"),
    ("src/daemon/syncers.rs", "reads what crontab printed, and scripts"),
    ("src/format/auth_profiles.rs", "compares the provider of an entry, which is text"),
    ("src/format/bundle.rs", "writes logins into what will be sealed"),
    ("src/format/claude.rs", "takes account and reason out of the document, which are text"),
    ("src/format/codex.rs", "takes mode, account and client out of the document, which are text"),
    ("src/format/dotenv.rs", "writes the token's line"),
    ("src/format/json_doc.rs", "writes a token as a JSON text"),
    ("src/format/layout.rs", "hands a document of the CLI's own to its format"),
    ("src/format/jwt.rs", "decodes what a token says about itself"),
    ("src/format/mapped.rs", "takes account, scopes and end out of the document, which are text"),
    ("src/format/mod.rs", "compares a new document with the one that is there"),
    ("src/format/oauth_json.rs", "takes the account out of the document, which is text"),
    ("src/format/standing.rs", "compares a token with the variables of a container"),
    ("src/format/static_token.rs", "looks at how a token begins"),
    ("src/format/template.rs", "renders the tokens that a template asks for"),
    ("src/gateway/command.rs", "bounds what a gateway's command printed"),
    ("src/gateway/idle.rs", "looks for one word in what the owner's command printed"),
    ("src/gateway/container.rs", "reads what the container engine answered"),
    ("src/gateway/engine.rs", "reads what the container engine answered"),
    ("src/gateway/view.rs", "reads the token that a file of variables has, and digests from inside"),
    ("src/gateway/models_status.rs", "reads what the gateway's CLI answered"),
    ("src/gateway/openclaw.rs", "hands the gateway's own token to its CLI and reads what that answers"),
    ("src/gateway/openclaw_cli.rs", "hands the gateway's own token to its CLI"),
    ("src/gateway/profiles.rs", "reads ids out of an answer"),
    ("src/gateway/rpc.rs", "hands the gateway its own token, and what is to be kept in its secret store"),
    ("src/login/claude.rs", "hands what the CLI left to its format"),
    ("src/login/codex.rs", "reads what the device endpoint answers"),
    ("src/login/device.rs", "hands what the device endpoint answers to its reader"),
    ("src/login/exchange.rs", "hands the answer to its judge"),
    ("src/login/inlet.rs", "hands a code to the process that waits for it"),
    ("src/login/official.rs", "hands what was pasted to its reader, and types the code"),
    ("src/login/pkce.rs", "hands what was pasted to its reader"),
    ("src/login/setup_token.rs", "hands what was pasted to its reader"),
    ("src/oauth/endpoint.rs", "sends the request's body"),
    ("src/providers/mod.rs", "hands the source's document to its format"),
    ("src/refresher/claude.rs", "hands the source's document to its format"),
    ("src/refresher/cli_run.rs", "hands an official CLI what it takes by its environment only"),
    ("src/refresher/codex.rs", "hands the source's document to its format"),
    ("src/refresher/direct.rs", "hands the answer to its judge and the source's document to its format"),
    ("src/refresher/exchange.rs", "hands what the CLI left to its format, and reads its messages"),
    ("src/refresher/intent.rs", "writes and reads the record of an answer"),
    ("src/refresher/official.rs", "reads the help text of the CLI, and what its app server answered"),
    ("src/sinks/credential.rs", "reads a program, which has no token"),
    ("src/sinks/mod.rs", "parses a template, which has no token yet"),
    ("src/sinks/openclaw/mod.rs", "reads the gateway's configuration and the ids of its entries"),
    ("src/sinks/openclaw/probe.rs", "reads manifests and the gateway's configuration"),
    ("src/sinks/openclaw/units.rs", "reads unit files"),
    ("src/sys/atomic_file/in_place.rs", "the one writer: rewrites a bind-mounted file"),
];

/// The rest of the list above: the system's wrappers, which move bytes and read none.
const SYS_MAY_EXPOSE: [(&str, &str); 6] = [
    ("src/sys/sealed.rs", "hands documents and the key to the age library"),
    ("src/sys/stdio.rs", "writes a sealed bundle to standard output"),
    ("src/sys/atomic_file/mod.rs", "the one writer: writes the temporary file, digests what is there"),
    ("src/sys/atomic_file/reserve.rs", "the one writer: fills the room that was taken for an answer"),
    ("src/sys/secret_line.rs", "cuts the line out of its file"),
    ("src/sys/process.rs", "writes a child's standard input"),
];

/// Tests that may wait for a span of time, each with its reason.
const MAY_SLEEP: [(&str, &str); 9] = [
    (
        "tests/soak.rs",
        "polls for a state of the program, under a deadline; its pace is one rotation a second",
    ),
    ("src/sys/lock/tests.rs", "polls for a state of the other process, under a deadline"),
    ("tests/support/nspawn.rs", "polls for the container to be gone, under a deadline"),
    ("tests/support/provider/wire.rs", "plays a slow server: the pause is the behaviour"),
    ("tests/refresh/hostile.rs", "plays a server that answers in drops: the pause is the behaviour"),
    ("tests/refresh_together.rs", "plays holders of the CLI's locks: their heartbeat is the behaviour"),
    ("tests/support/host.rs", "polls for a state of the program, under a deadline"),
    ("src/sys/process/tests.rs", "polls for a child to be gone, under a deadline"),
    ("src/sys/pty/tests.rs", "polls for a child to be gone, under a deadline"),
];

/// Traces of the place where a file was written: machine paths, mirrors, ways of working.
const FOREIGN: [&str; 15] = [
    concat!("/wo", "rk/"),
    concat!("/root", "/.cargo"),
    concat!("/root", "/.rustup"),
    concat!("/home", "/runner"),
    concat!("crates", ".io"),
    concat!("registry", ".npmjs"),
    concat!("pypi", ".org"),
    concat!("proxy.", "golang"),
    concat!("art", "ifactory"),
    concat!("this ", "session"),
    concat!("previous ", "session"),
    concat!("my ", "worktree"),
    concat!("wip", "-"),
    concat!("sub", "agent"),
    concat!("brief", ".md"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_symlink() {
            } else if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

/// Every Rust file under a folder, by its path from the root of the project.
fn sources(folder: &str) -> BTreeMap<String, Source> {
    let files = files_under(folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files.map(|path| (name_of(&path), Source::read(&fs::read_to_string(&path).unwrap()))).collect()
}

/// The module of the first level that a file belongs to.
fn module_of(file: &str) -> &str {
    let rest = file.strip_prefix("src/").unwrap();
    rest.split('/').next().unwrap().trim_end_matches(".rs")
}

fn fail_with(title: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{title}:\n{}", broken.join("\n"));
}

/// How many times a file can climb before it is at the root of the crate.
fn depth_of(file: &str) -> usize {
    let parts = file.trim_end_matches(".rs").split('/').skip(1);
    parts.filter(|part| *part != "mod").count()
}

#[test]
fn a_file_uses_lower_layers_only() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for (file, source) in sources("src") {
        let own = module_of(&file);
        if own == "lib" {
            continue;
        }
        let Some(allowed) = allowed.get(own) else {
            broken.push(format!("{file}: the layer of {own} is not known"));
            continue;
        };
        let depth = depth_of(&file);
        let climbed = source.climbs().into_iter().filter_map(|(line, count, path, in_tests)| {
            (count >= depth + usize::from(in_tests)).then_some((line, path))
        });
        for (line, path) in source.crate_paths(own == "main").into_iter().chain(climbed) {
            let is_within = |module: &str| path == module || path.starts_with(&format!("{module}::"));
            if !is_within(own) && !allowed.iter().any(|rule| is_within(rule)) {
                broken.push(format!("{file}:{line}: {own} may not use {path}"));
            }
        }
    }
    fail_with("layers", &broken);
}

#[test]
fn every_module_of_the_crate_has_a_layer() {
    let known: BTreeSet<_> = MAY_USE.iter().map(|(module, _)| (*module).to_owned()).collect();
    let lib = Source::read(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    for line in lib.code().lines() {
        if let Some(module) = line.trim().strip_prefix("pub mod ") {
            assert!(known.contains(module.trim_end_matches(';')), "{module} has no layer");
        }
    }
}

#[test]
fn the_pure_layers_name_nothing_that_acts() {
    let mut broken = Vec::new();
    for folder in ["src/base", "src/format", "src/core"] {
        for (file, source) in sources(folder) {
            for (line, word) in source.words(&IMPURE) {
                broken.push(format!("{file}:{line}: {word}"));
            }
        }
    }
    fail_with("pure layers", &broken);
}

/// They are a crate of their own for `make mutants` (tests/mutants), with what they need of others.
#[test]
fn the_pure_layers_need_no_crates_but_those_they_are_built_with_alone() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let script = fs::read_to_string(root().join("tests/mutants/tree.sh")).unwrap();
    let listed = script.lines().find_map(|line| line.strip_prefix("CRATES=")).unwrap().trim_matches('"');
    let files: Vec<Source> =
        ["base", "format", "core"].iter().flat_map(|l| sources(&format!("src/{l}")).into_values()).collect();
    let is_used = |name: &str| {
        let path = format!("{}::", name.replace('-', "_"));
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        files.iter().any(|file| {
            let code = file.code();
            code.match_indices(&path).any(|(at, _)| !code[..at].ends_with(is_part))
        })
    };
    let known = dependencies.lines().filter_map(|line| Some(line.split_once(" = ")?.0));
    let used: BTreeSet<&str> = known.filter(|name| !name.starts_with('#') && is_used(name)).collect();
    assert_eq!(listed.split(' ').collect::<BTreeSet<_>>(), used);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut broken = Vec::new();
    for (file, source) in sources("src").into_iter().chain(sources("tests")) {
        let head = source.head_lines();
        if !(1..=15).contains(&head) {
            broken.push(format!("{file}: {head} lines of //! at the top"));
        }
    }
    fail_with("heads", &broken);
}

#[test]
fn no_file_is_too_long() {
    let mut broken = Vec::new();
    for (file, source) in sources("src").into_iter().filter(|(file, _)| !file.ends_with("/tests.rs")) {
        let lines = source.code_lines();
        if lines > HARD_LIMIT {
            broken.push(format!("{file}: {lines} lines of code"));
        } else if lines > SOFT_LIMIT {
            println!("over {SOFT_LIMIT}: {file}: {lines} lines of code");
        }
    }
    fail_with("sizes", &broken);
}

#[test]
fn no_module_is_a_catch_all() {
    let mut broken = Vec::new();
    for file in sources("src").into_keys().chain(sources("tests").into_keys()) {
        let parts = file.split('/').map(|part| part.trim_end_matches(".rs"));
        broken.extend(parts.filter(|part| CATCH_ALL.contains(part)).map(|_| file.clone()));
    }
    fail_with("catch-all names", &broken);
}

#[test]
fn only_listed_files_open_secrets() {
    let listed: BTreeSet<_> = MAY_EXPOSE.iter().chain(&SYS_MAY_EXPOSE).map(|(file, _)| *file).collect();
    let found: BTreeSet<String> = sources("src")
        .into_iter()
        .filter(|(file, source)| {
            !file.starts_with("src/base/") && !file.ends_with("/tests.rs") && source.opens_secrets()
        })
        .map(|(file, _)| file)
        .collect();
    let unlisted: Vec<_> = found.iter().filter(|f| !listed.contains(f.as_str())).cloned().collect();
    fail_with("open secrets without being listed", &unlisted);
    let idle: Vec<_> = listed.iter().filter(|f| !found.contains(**f)).map(|f| (*f).to_owned()).collect();
    fail_with("listed, but open none", &idle);
}

#[test]
fn no_test_sleeps_for_luck() {
    let listed: BTreeSet<_> = MAY_SLEEP.iter().map(|(file, _)| *file).collect();
    let mut found = BTreeSet::new();
    for (file, source) in sources("src").into_iter().chain(sources("tests")) {
        let is_test = file.starts_with("tests/") || file.ends_with("/tests.rs");
        let text = if is_test { source.code() } else { source.test_code() };
        if text.contains("sleep(") {
            found.insert(file);
        }
    }
    let unlisted: Vec<_> = found.iter().filter(|f| !listed.contains(f.as_str())).cloned().collect();
    fail_with("tests that sleep", &unlisted);
    let idle: Vec<_> = listed.iter().filter(|f| !found.contains(**f)).map(|f| (*f).to_owned()).collect();
    fail_with("listed, but never sleep", &idle);
}

/// Whether a text names `word`; a path counts where it begins, not as the end of a longer one.
fn stands_in(text: &str, word: &str) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || "~.-_*}>".contains(c);
    text.match_indices(word).any(|(at, _)| !(word.starts_with('/') && text[..at].ends_with(is_path)))
}

#[test]
fn nothing_tells_where_it_was_written() {
    let mut broken = Vec::new();
    let folders = ["src", "tests", "units", "packaging", "man", "docs", "benches"];
    let tops = [
        "Cargo.toml",
        "Makefile",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "clippy.toml",
    ];
    // What cargo locks, it locks by the registry's name; nobody writes it, and that of the fuzzer is not kept.
    let files = folders.into_iter().flat_map(files_under).filter(|path| !path.ends_with("Cargo.lock"));
    let files = files.chain(tops.map(|top| root().join(top)));
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let text = text.to_lowercase();
        let found = FOREIGN.iter().filter(|word| stands_in(&text, word));
        broken.extend(found.map(|word| format!("{}: {word}", name_of(&path))));
    }
    fail_with("traces", &broken);
}

#[test]
fn every_message_id_is_explained_in_the_catalog_and_no_other() {
    let catalog = fs::read_to_string(root().join("packaging/catalog/tokensink.catalog")).unwrap();
    let explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let known: Vec<&str> = message_id::ALL.iter().map(|(_, id)| *id).collect();
    assert_eq!(explained, known, "one entry each, in the order of the list");
    let unique: BTreeSet<_> = known.iter().collect();
    assert_eq!(unique.len(), known.len());
    assert!(
        known.iter().all(|id| id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    );
    // The list itself is complete.
    let text = fs::read_to_string(root().join("src/base/message_id.rs")).unwrap();
    assert_eq!(text.matches(": &str = \"").count(), known.len());
}

#[test]
fn codes_are_unique_words_of_capitals() {
    let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        let name = code.as_str();
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{name}");
        assert_eq!(serde_json::to_value(code).unwrap(), name, "printed and stored alike");
    }
}
