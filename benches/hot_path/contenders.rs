//! Who carries a rotation to the sinks: the floor, and the shell loops that people write.
//!
//! The loops follow the published description of such a set-up (inotifywait on the directory,
//! fields mapped by jq, the environment file edited by sed, each result moved into place), with
//! fewer processes than usual: the source is read by one jq. They sync nothing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::home::{Home, PATIENCE};

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

    fn shell(home: &Home, form: &str) -> Self {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{SYNC}{form}")).arg("loop").args(arguments(home));
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        use std::os::unix::process::CommandExt as _;
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

/// Whether a program is on the usual path.
pub fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
}
