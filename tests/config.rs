//! Golden cases of the configuration: `tests/config/<case>/{vendor,system,user}/…`.
//!
//! A case needs no Rust. It is copied to a temporary directory, whose name is cut from what is
//! compared. `x.devnull` becomes a link `x` to `/dev/null`, `x.dangling` a link to nothing; `env`
//! holds variables, `only` the file of `--config`. The outcome is `expected.txt` (what `config show`
//! prints) or `errors.txt`; where `settings.txt` exists, the settings are compared as well.
//! `UPDATE_GOLDEN=1 cargo test --test config` rewrites these files; read the diff before committing.
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

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tokensink::config::error::CODES;
use tokensink::config::{ConfigDirs, ConfigError, Environment, Loaded, load, render_shown};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if let Some(name) = name.strip_suffix(".devnull") {
            symlink("/dev/null", to.join(name)).unwrap();
        } else if let Some(name) = name.strip_suffix(".dangling") {
            symlink("nowhere", to.join(name)).unwrap();
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn dirs(root: &Path) -> ConfigDirs {
    ConfigDirs { vendor: root.join("vendor"), system: root.join("system"), user: root.join("user") }
}

fn environment(case: &Path) -> Environment {
    let text = fs::read_to_string(case.join("env")).unwrap_or_default();
    let vars = text.lines().filter_map(|line| line.split_once('='));
    Environment {
        home: PathBuf::from("/home/ann"),
        vars: vars.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn run(case: &Path, root: &Path) -> Result<Loaded, Vec<ConfigError>> {
    copy(case, root);
    let only = fs::read_to_string(case.join("only")).ok().map(|name| root.join(name.trim()));
    load(&dirs(root), only.as_deref(), &environment(case))
}

fn compare(golden: &Path, found: &str) -> bool {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, found).unwrap();
        return true;
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    if expected != found {
        println!("--- {}\n{expected}\n+++ found\n{found}", golden.display());
    }
    expected == found
}

#[test]
fn every_case_ends_as_its_files_say() {
    let mut failed = Vec::new();
    let mut codes = BTreeSet::new();
    for case in cases() {
        let root = tempfile::tempdir().unwrap();
        let cut = |text: String| text.replace(root.path().to_str().unwrap(), "");
        let good = match run(&case, root.path()) {
            Ok(loaded) => {
                assert!(!case.join("errors.txt").exists(), "{} loads", case.display());
                let settings = case.join("settings.txt");
                compare(&case.join("expected.txt"), &cut(render_shown(&loaded)))
                    & (!settings.exists() || compare(&settings, &format!("{:#?}\n", loaded.settings)))
            }
            Err(errors) => {
                assert!(!case.join("expected.txt").exists(), "{}: {errors:#?}", case.display());
                assert!(errors.is_sorted(), "{}", case.display());
                codes.extend(errors.iter().map(|error| error.code));
                let lines: String =
                    errors.iter().map(|error| format!("{error} [{}]\n", error.code)).collect();
                compare(&case.join("errors.txt"), &cut(lines))
            }
        };
        if !good {
            failed.push(case);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(codes, CODES.into_iter().collect(), "every code has a case, and only listed codes are used");
}

#[test]
fn what_config_show_prints_loads_as_the_same_settings() {
    for case in cases() {
        let root = tempfile::tempdir().unwrap();
        let Ok(loaded) = run(&case, root.path()) else { continue };
        let text = render_shown(&loaded);
        if text.contains("(hidden)") {
            continue;
        }
        let file = root.path().join("shown.toml");
        fs::write(&file, text).unwrap();
        let again = load(&dirs(root.path()), Some(&file), &environment(&case)).unwrap();
        assert_eq!(again.settings, loaded.settings, "{}", case.display());
    }
}

#[test]
fn no_file_at_all_is_told_from_an_empty_file() {
    let root = tempfile::tempdir().unwrap();
    let env = Environment::default();
    assert!(load(&dirs(root.path()), None, &env).unwrap().files.is_empty());
    fs::create_dir(root.path().join("user")).unwrap();
    fs::write(root.path().join("user/tokensink.toml"), "").unwrap();
    assert_eq!(load(&dirs(root.path()), None, &env).unwrap().files.len(), 1);
    let null = load(&dirs(root.path()), Some(Path::new("/dev/null")), &env).unwrap();
    assert_eq!(null.files, [PathBuf::from("/dev/null")]);
}

/// The single error that a file is refused with.
fn refusal(file: &Path) -> ConfigError {
    let dirs = dirs(Path::new("/nonexistent"));
    let mut errors = load(&dirs, Some(file), &Environment::default()).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn files_that_cannot_be_read_are_errors_and_not_panics() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("x.toml");
    fs::write(&file, b"[daemon]\n# \xff\n").unwrap();
    let error = refusal(&file);
    assert_eq!((error.code, error.line), ("UNREADABLE", 2));

    fs::write(&file, "#".repeat(1 << 20)).unwrap();
    assert!(load(&dirs(root.path()), Some(&file), &Environment::default()).is_ok());
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(refusal(&file).message.contains("1 MiB"));

    assert!(refusal(root.path()).message.contains("directory"));
    assert!(refusal(Path::new("/dev/zero")).message.contains("regular"));

    let pipe = root.path().join("pipe.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(refusal(&pipe).message.contains("regular"));

    fs::create_dir(root.path().join("user")).unwrap();
    fs::write(root.path().join("user/tokensink.d"), "").unwrap();
    let errors = load(&dirs(root.path()), None, &Environment::default()).unwrap_err();
    assert!(errors[0].file.ends_with("user/tokensink.d") && errors[0].code == "UNREADABLE");
}

#[test]
fn a_file_without_permission_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("x.toml");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&file).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    assert!(refusal(&file).message.contains("may not be read"));
}

#[test]
fn messages_quote_no_values() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("x.toml");
    let secret = "sk-ant-oat01-pasted-by-mistake";
    let text = format!(
        "[daemon]\npoll = \"{secret}\"\n[[login]]\nid = \"a\"\nprovider = \"{secret}\"\npath = \"{secret}\"\n\
         [login.refresh]\nmode = \"{secret}\"\ntoken_url = \"{secret}\"\ncontainer = \"{secret} x\"\n\
         [[alert]]\nkind = \"{secret}\"\n[[gateway]]\nid = \"g\"\nsinks = [\"{secret} x\"]\nunit = \"{secret}\"\n"
    );
    fs::write(&file, text).unwrap();
    for error in load(&dirs(root.path()), Some(&file), &Environment::default()).unwrap_err() {
        assert!(!error.to_string().contains("pasted"), "{error}");
    }
    fs::write(&file, format!("[daemon]\npoll = \"{secret}\npoll = {secret}\n")).unwrap();
    for error in load(&dirs(root.path()), Some(&file), &Environment::default()).unwrap_err() {
        assert!(!error.to_string().contains("pasted"), "{error}");
    }
}

fn line() -> impl Strategy<Value = String> {
    let header = prop::sample::select(vec![
        "[daemon]",
        "[status]",
        "[[login]]",
        "[login.refresh]",
        "[[sink]]",
        "[[gateway]]",
        "[gateway.compose]",
        "[[alert]]",
        "[alerts]",
        "[login]",
        "[sink]",
        "[[login.refresh]]",
        "[a.b]",
    ]);
    let key = prop::sample::select(vec![
        "id",
        "provider",
        "path",
        "label",
        "refresh",
        "mode",
        "margin",
        "every",
        "command",
        "way",
        "container",
        "env",
        "token_url",
        "grants_per_day",
        "login",
        "kind",
        "state_dir",
        "agents",
        "profile",
        "manage",
        "form",
        "key",
        "name",
        "source",
        "owner",
        "timeout",
        "sinks",
        "unit",
        "scope",
        "compose",
        "probe",
        "idle",
        "unauthorized",
        "url",
        "credential",
        "token_file",
        "login_deadline",
        "poll",
        "env.A",
        "\"\"",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "\"\"",
            "\"a\"",
            "\"b\"",
            "\"claude\"",
            "\"codex\"",
            "\"openclaw\"",
            "\"template\"",
            "\"command\"",
            "\"env-file\"",
            "\"auto\"",
            "\"60s\"",
            "\"~/x\"",
            "\"$A/x\"",
            "\"${\"",
            "\"$\"",
            "\"~\"",
            "\"0640\"",
            "\"all\"",
            "[]",
            "[\"a\"]",
            "[[]]",
            "[{}]",
            "{}",
            "{ a = 1 }",
            "{ dir = \"/a\", service = \"b\" }",
            "true",
            "0",
            "-1",
            "99999999999999999999",
            "1e3",
            "nan",
            "1979-05-27",
            "\"ntfy\"",
            "\"a.service\"",
            "\"https://a.example/\"",
            "\"é\\u0000\"",
            "",
        ])
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    prop_oneof![
        1 => header.prop_map(str::to_owned),
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.toml");
        fs::write(&file, bytes).unwrap();
        let _ = load(&dirs(root.path()), Some(&file), &Environment::default());
    }

    #[test]
    fn arbitrary_configurations_never_panic(
        first in prop::collection::vec(line(), 0..30),
        second in prop::collection::vec(line(), 0..30),
    ) {
        let root = tempfile::tempdir().unwrap();
        for (dir, lines) in [("system", first), ("user", second)] {
            fs::create_dir(root.path().join(dir)).unwrap();
            fs::write(root.path().join(dir).join("tokensink.toml"), lines.join("\n")).unwrap();
        }
        let env = Environment { home: PathBuf::from("/home/ann"), ..Environment::default() };
        if let Err(errors) = load(&dirs(root.path()), None, &env) {
            prop_assert!(errors.is_sorted());
            prop_assert!(errors.iter().all(|error| error.file.starts_with(root.path()) && !error.message.is_empty()));
        }
    }
}
