//! Who carries a rotation to the sinks: the floor, the shell loops that people write, and incron with the same script.
//!
//! The loops follow the published description of such a set-up (inotifywait on the directory,
//! fields mapped by jq, the environment file edited by sed, each result moved into place), with
//! fewer processes than usual: the source is read by one jq. They sync nothing.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::home::{Home, PATIENCE};
use crate::private_manager::PrivateManager;

/// The work of one rotation, in a shell. $1 source, $2 oauth.json, $3 .env, $4 secret file.
const SYNC: &str = r#"
set -u
source_file=$1 oauth=$2 env=$3 secret=$4
sync_token() {
    local access refresh expires
    IFS=$'\t' read -r access refresh expires < <(
        jq -r '.claudeAiOauth | [.accessToken, .refreshToken, .expiresAt] | @tsv' "$source_file")
    [ -n "${access:-}" ] || return 0
    jq --arg a "$access" --arg r "$refresh" --argjson e "$expires" \
        '.anthropic = {access: $a, refresh: $r, expires: $e}' "$oauth" >"$oauth.tmp" && mv "$oauth.tmp" "$oauth"
    sed "s|^ANTHROPIC_OAUTH_TOKEN=.*|ANTHROPIC_OAUTH_TOKEN=$access|" "$env" >"$env.tmp" && mv "$env.tmp" "$env"
    jq -n --arg a "$access" --argjson e "$expires" '{access_token: $a, expires_at: $e}' >"$secret.tmp" &&
        mv "$secret.tmp" "$secret"
}
"#;

/// A new inotifywait for every event; what happens while the loop works is missed.
const ONE_SHOT: &str = r#"
echo ready
while inotifywait -q -e close_write,moved_to "$(dirname "$source_file")" >/dev/null; do sync_token; done
"#;

/// One inotifywait for ever.
const MONITOR: &str = r#"
echo ready
inotifywait -q -m -e close_write,moved_to "$(dirname "$source_file")" | while read -r _; do sync_token; done
"#;

/// What comes after the sinks: the unit is restarted. $5 is its name.
const RESTART: &str = r#"
echo ready
while inotifywait -q -e close_write,moved_to "$(dirname "$source_file")" >/dev/null; do
    sync_token && systemctl --user restart "$5"
done
"#;

/// The script by itself, once, for those who watch for us.
const ONCE: &str = "sync_token\n";

/// A child that copies rotations; ends, with its own children, when dropped.
pub struct Contender {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Contender {
    pub fn floor(home: &Home) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("floor").args(arguments(home));
        Self::start(command)
    }

    pub fn one_shot(home: &Home) -> Self {
        Self::shell(home, ONE_SHOT)
    }

    pub fn monitor(home: &Home) -> Self {
        Self::shell(home, MONITOR)
    }

    /// The one-shot loop with a restart behind it, in the manager's namespaces.
    pub fn restarting(home: &Home, manager: &PrivateManager, unit: &str) -> Self {
        let mut command = manager.command("bash");
        command.arg("-c").arg(format!("{SYNC}{RESTART}")).arg("loop").args(arguments(home)).arg(unit);
        Self::start(command)
    }

    /// incrond with a table of its own that runs the script for every event.
    pub fn incron(home: &Home) -> Self {
        let place = home.root.join("incron");
        for name in ["system", "user"] {
            std::fs::create_dir_all(place.join(name)).unwrap();
        }
        let script = place.join("sync.sh");
        let paths: Vec<String> = arguments(home).iter().map(|p| format!("'{}'", p.display())).collect();
        std::fs::write(&script, format!("#!/bin/bash\nset -- {}\n{SYNC}{ONCE}", paths.join(" "))).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let watched = home.source().parent().unwrap().display().to_string();
        let table = format!("{watched} IN_CLOSE_WRITE,IN_MOVED_TO {}\n", script.display());
        std::fs::write(place.join("system/bench"), table).unwrap();
        let settings = place.join("incron.conf");
        let dir = place.display();
        let lines = format!(
            "system_table_dir = {dir}/system\nuser_table_dir = {dir}/user\nlockfile_dir = {dir}\nlockfile_name = lock\n"
        );
        std::fs::write(&settings, lines).unwrap();
        let mut command = Command::new("incrond");
        command
            .arg("-n")
            .arg("-f")
            .arg(&settings)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().unwrap();
        // It says nothing when it is ready: its two directories of tables and ours are watched then.
        let deadline = Instant::now() + PATIENCE;
        while watches(child.id()) < 3 {
            assert!(Instant::now() < deadline, "incrond does not watch");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, lines: mpsc::channel().1 }
    }

    fn shell(home: &Home, form: &str) -> Self {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{SYNC}{form}")).arg("loop").args(arguments(home));
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let contender = Self { child, lines };
        contender.line("ready");
        contender
    }

    /// Waits for a line on its standard output.
    pub fn line(&self, word: &str) -> Instant {
        let (at, line) = self.lines.recv_timeout(PATIENCE).expect("a contender says nothing");
        assert_eq!(line, word);
        at
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn arguments(home: &Home) -> Vec<PathBuf> {
    [home.source()].into_iter().chain(home.sinks.clone()).collect()
}

/// Inotify watches of a process.
fn watches(pid: u32) -> usize {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return 0 };
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum()
}

/// Whether a program is on the usual path.
pub fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}
