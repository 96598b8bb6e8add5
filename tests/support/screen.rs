//! A home whose `claude` is the login screen that is played.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::host::until;
use super::login_bench::LoginBench;
use super::remote::built;

/// A home with a login screen as its `claude`, which does as the words say.
pub fn bench(words: &str) -> LoginBench {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| built(&["--example", "login-screen"]));
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_tokensink"));
    let bench = with_program(&beside.with_file_name("examples/login-screen"));
    say(&bench, words);
    bench
}

/// Tells the screen how to be.
pub fn say(bench: &LoginBench, words: &str) {
    fs::write(bench.home.join("screen"), words).unwrap();
}

/// A home with that program as its `claude`.
pub fn with_program(program: &Path) -> LoginBench {
    let bench = LoginBench::new();
    fs::create_dir_all(bench.home.join(".local/bin")).unwrap();
    fs::create_dir(bench.home.join(".claude")).unwrap();
    symlink(program, bench.home.join(".local/bin/claude")).unwrap();
    bench
}

/// A login as Claude Code keeps it.
pub fn document(access: &str, refresh: &str, expires_at: i64, account: &str) -> String {
    serde_json::json!({"claudeAiOauth": {"accessToken": access, "refreshToken": refresh, "expiresAt": expires_at,
        "scopes": ["user:inference"], "accountUuid": account}})
    .to_string()
}

/// The login was blanked by its CLI; one sink holds its token, and one gateway notes each time it follows.
pub fn break_login(bench: &LoginBench) {
    let file = bench.home.join(".claude/.credentials.json");
    fs::write(&file, document("", "", 0, "")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    bench.configure(&format!(
        "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
         [[sink]]\nid = \"copy\"\nlogin = \"claude\"\nkind = \"secret-file\"\npath = \"~/copy.json\"\n\
         [[gateway]]\nid = \"claw\"\nsinks = [\"copy\"]\n\
         command = [\"/bin/sh\", \"-c\", \"echo again >> {}/followed\"]\n",
        bench.home.display()
    ));
}

/// What the screen was given and saw.
pub fn seen(bench: &LoginBench) -> String {
    fs::read_to_string(bench.home.join("seen")).unwrap_or_default()
}

/// The process numbers that the screen noted under that name.
pub fn noted(bench: &LoginBench, name: &str) -> Vec<String> {
    let seen = seen(bench);
    let words = seen.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    words.map(str::to_owned).collect()
}

/// Nothing of any attempt is left: no process, no scratch directory.
#[track_caller]
pub fn nothing_is_left(bench: &LoginBench) {
    for pid in [noted(bench, "pid"), noted(bench, "child")].concat() {
        until("its processes are gone", 10, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
        });
    }
    let attempts = bench.home.join(".local/state/tokensink/attempts");
    let left = fs::read_dir(attempts).into_iter().flatten().flatten().map(|entry| entry.path());
    let left: Vec<PathBuf> = left.filter(|path| path.is_dir()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}
