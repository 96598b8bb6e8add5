//! A real OpenClaw of any release in a made-up home: its gateway runs in a network of its own that has nothing but
//! loopback, its only provider is the stand-in, which notes the bearer of every turn. Needs root and npm (once).
//!
//! Seen with 2026.1.29 to 2026.9.6: the bearer goes to `models.providers.anthropic.baseUrl` whatever supplied it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::npm;
use super::provider::Pair;
use super::remote::Remote;
use super::run::{Ran, run};

/// The port of the gateway: the usual one, in a network that is nobody else's.
pub const PORT: u16 = 18_789;
const TOKEN: &str = "made-up-gateway-token";

/// Waits for the gateway: `/readyz` is 200, or anything answers where there is no such page (until 2026.3).
const WAIT: &str = r#"
const [port, seconds] = process.argv.slice(1).map(Number), end = Date.now() + seconds * 1000;
(async function look() {
  try { const { status } = await fetch(`http://127.0.0.1:${port}/readyz`); if (status < 500) process.exit(0); } catch {}
  if (Date.now() > end) process.exit(1);
  setTimeout(look, 50);
})();
"#;

/// Keeps asking the gateway until its standard input ends; prints for how many milliseconds, and how often, it
/// did not answer. What answers at all is up: the page need not be there.
const PROBE: &str = r#"
const port = process.argv[1]; let from, down = 0, gaps = 0, asked = 0, isOver = false;
process.stdin.on("end", () => { isOver = true; }).resume();
(async function look() {
  const at = performance.now();
  try {
    await (await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(30000) })).text();
    asked += 1;
    if (from !== undefined) { down += performance.now() - from; from = undefined; }
  } catch { if (from === undefined) { from = at; gaps += 1; } }
  if (!isOver) return setTimeout(look, 50);
  if (from !== undefined) down += performance.now() - from;
  console.log(JSON.stringify({ down: Math.round(down), gaps, asked }));
  process.exit(0);
})();
"#;

/// One turn of an agent in a session of its own.
const TURN: &str = r#"
const [port, token, agent, session] = process.argv.slice(1);
fetch(`http://127.0.0.1:${port}/v1/chat/completions`, { method: "POST",
  headers: { authorization: `Bearer ${token}`, "content-type": "application/json",
    "x-openclaw-agent-id": agent, "x-openclaw-session-key": `agent:${agent}:${session}` },
  body: JSON.stringify({ model: `openclaw/${agent}`, messages: [{ role: "user", content: "hi" }] }),
}).then(async (r) => { console.log(await r.text()); process.exit(r.ok ? 0 : 1); },
  (e) => { console.log(String(e)); process.exit(1); });
"#;

/// What left the gateway during one turn.
#[derive(Debug)]
pub struct Turn {
    /// The bearer token of each request to the provider, in order.
    pub bearers: Vec<String>,
    /// What the gateway answered.
    pub answer: String,
    /// How long it took.
    pub took: Duration,
}

impl Turn {
    /// Whether there was a request, and each carried that token.
    pub fn used(&self, token: &str) -> bool {
        !self.bearers.is_empty() && self.bearers.iter().all(|bearer| bearer == token)
    }
}

/// One OpenClaw.
pub struct OpenClaw {
    dir: tempfile::TempDir,
    /// `$HOME`.
    pub home: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// The stand-in.
    pub provider: Remote,
    bin: PathBuf,
    gateway: Option<Child>,
    turns: usize,
}

impl OpenClaw {
    /// A fresh home with a configuration of that release, no credential and no running gateway.
    pub fn new(release: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("openclaw-").tempdir().expect("a temporary directory");
        let home = dir.path().join("home");
        let state = home.join(".openclaw");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&state).expect("it is ours");
        fs::create_dir(dir.path().join("tmp")).expect("it is ours");
        let mut provider = Remote::isolated(dir.path());
        provider.set(json!({"api_auth": "any"}));
        let bin = dir.path().join("bin");
        let claw = Self { home, state, bin, provider, gateway: None, turns: 0, dir };
        claw.install(release);
        let base = claw.provider.url();
        claw.write_config(&json!({
            "meta": {"lastTouchedVersion": release},
            "gateway": {"mode": "local", "port": PORT, "bind": "loopback", "auth": {"mode": "token", "token": TOKEN},
                "http": {"endpoints": {"chatCompletions": {"enabled": true}}}},
            "agents": {"defaults": {"skipBootstrap": true, "workspace": claw.home.join("workspace"),
                "model": {"primary": "anthropic/claude-sonnet-4-6"}}},
            "models": {"mode": "merge", "providers": {"anthropic": {"baseUrl": base, "api": "anthropic-messages",
                "models": [{"id": "claude-sonnet-4-6", "name": "stand-in", "maxTokens": 8192}]}}},
            "discovery": {"mdns": {"mode": "off"}},
            "update": {"checkOnStart": false},
        }));
        claw
    }

    /// Another release in its place, under the same path; the gateway that runs goes on with the old
    /// one's code in memory.
    pub fn install(&self, release: &str) {
        let new = self.bin.with_extension("new");
        std::os::unix::fs::symlink(npm::openclaw(release), &new).expect("it is ours");
        fs::rename(new, &self.bin).expect("it is ours");
    }

    /// Makes `~/bin/openclaw` lead to the release at hand; returns it. It is what `PATH` finds first.
    pub fn link_program(&self) -> PathBuf {
        let program = self.home.join("bin/openclaw");
        fs::create_dir_all(self.home.join("bin")).expect("it is ours");
        let _ = fs::remove_file(&program);
        let real = fs::canonicalize(self.bin.join("openclaw")).expect("it is installed");
        std::os::unix::fs::symlink(real, &program).expect("it is ours");
        program
    }

    /// Notes from now on what the program `openclaw` is run for, whoever runs it.
    pub fn note_runs(&self) {
        let (log, node) = (self.home.join("runs"), npm::node());
        let script =
            format!("#!/bin/sh\necho \"$*\" >>{}\nexec {}/bin/node \"$@\"\n", log.display(), node.display());
        let wrapper = self.home.join("bin/node");
        fs::create_dir_all(self.home.join("bin")).expect("it is ours");
        fs::write(&wrapper, script).expect("it is ours");
        fs::set_permissions(wrapper, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// How often it was run with `words`.
    pub fn runs(&self, words: &str) -> usize {
        let text = fs::read_to_string(self.home.join("runs")).unwrap_or_default();
        text.lines().filter(|line| line.contains(words)).count()
    }

    /// `openclaw.json`.
    pub fn config(&self) -> Value {
        let bytes = fs::read(self.state.join("openclaw.json")).expect("it was written");
        serde_json::from_slice(&bytes).expect("OpenClaw writes JSON")
    }

    /// Replaces `openclaw.json`.
    pub fn write_config(&self, config: &Value) {
        let file = self.state.join("openclaw.json");
        fs::write(&file, config.to_string()).expect("it is ours");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// The store of an agent in the JSON era.
    pub fn store(&self, agent: &str) -> PathBuf {
        self.state.join("agents").join(agent).join("agent/auth-profiles.json")
    }

    /// The file of ours that its configuration is made to refer to.
    pub fn mirror(&self) -> PathBuf {
        self.home.join(".local/state/tokensink/mirrors/claw.json")
    }

    /// Every file below the state directory that holds `text`.
    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let ran = run(Command::new("grep").args(["-rlF", "--", text]).arg(&self.state), b"");
        ran.stdout.lines().map(PathBuf::from).collect()
    }

    /// Every file of that name below the state directory.
    pub fn files_named(&self, name: &str) -> Vec<PathBuf> {
        let ran = run(Command::new("find").arg(&self.state).args(["-name", name]), b"");
        ran.ok().lines().map(PathBuf::from).collect()
    }

    /// The environment of everything that is run here, tokensink included.
    pub fn environment(&self) -> Vec<(String, String)> {
        let own = self.home.join("bin");
        let (own, bin, node) = (own.display(), self.bin.display(), npm::node());
        let path = format!("{own}:{bin}:{}/bin:/usr/bin:/bin", node.display());
        let mut environment: Vec<(String, String)> = [
            ("HOME", self.home.display().to_string()),
            ("PATH", path),
            ("TMPDIR", self.dir.path().join("tmp").display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
            // No chat channels and no browser: nothing of them is of interest here.
            ("OPENCLAW_SKIP_CHANNELS", "1".to_owned()),
            ("OPENCLAW_SKIP_CANVAS_HOST", "1".to_owned()),
            // A change of the configuration that takes a restart stays in this process.
            ("OPENCLAW_NO_RESPAWN", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend([("NO_COLOR".to_owned(), "1".to_owned())]);
        environment
    }

    /// A command in this home and network.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.provider.pid().to_string(), "--net", "--"]).arg(program);
        command.env_clear().envs(self.environment()).current_dir(&self.home);
        command
    }

    /// Runs the program `openclaw`.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("timeout");
        command.arg("120").args(["nsenter", "-t", &self.provider.pid().to_string(), "--net", "--"]);
        command.arg(self.bin.join("openclaw")).args(arguments);
        command.env_clear().envs(self.environment()).current_dir(&self.home);
        run(&mut command, b"")
    }

    /// Starts the gateway and waits until it is ready; says how long that took.
    #[track_caller]
    pub fn start(&mut self) -> Duration {
        assert!(self.gateway.is_none(), "it runs already");
        let began = Instant::now();
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("it is ours");
        let mut command = self.command(&self.bin.join("openclaw"));
        command.args(["gateway", "run"]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.gateway = Some(command.spawn().expect("nsenter is there"));
        let ready = self.node(WAIT, &[&PORT.to_string(), "240"]);
        assert!(ready.code == Some(0), "the gateway did not come up:\n{}", self.story());
        began.elapsed()
    }

    /// Stops the gateway and waits for its end.
    pub fn stop(&mut self) {
        // The one that our restart command has started, if there is one.
        let anew =
            fs::read_to_string(self.home.join("gateway.pid")).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = anew.filter(|pid| self.gateway.as_ref().is_none_or(|old| old.id() != *pid)) {
            signal(pid, nix::sys::signal::Signal::SIGTERM);
            // Not a child: there is nothing to wait for but its end.
            run(Command::new("tail").args([&format!("--pid={pid}"), "-f", "/dev/null"]), b"");
            fs::remove_file(self.home.join("gateway.pid")).expect("it is ours");
        }
        if let Some(mut gateway) = self.gateway.take() {
            end(&mut gateway);
        }
    }

    /// Keeps asking whether the gateway answers.
    pub fn prober(&self) -> Prober {
        let mut command = self.command(&npm::node().join("bin/node"));
        command.args(["-e", PROBE, &PORT.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Prober(command.spawn().expect("nsenter is there"))
    }

    /// A command that stops the gateway and starts it anew, for our `[[gateway]]`, in a session of its own: what
    /// is left in ours is ended with the command. The process of the new one is in `gateway.pid`.
    pub fn restart_command(&self) -> PathBuf {
        let (script, pid) = (self.home.join("restart-gateway"), self.home.join("gateway.pid"));
        let old = self.gateway_pid();
        fs::write(&pid, old.to_string()).expect("it is ours");
        let text = format!(
            "#!/bin/sh\nold=$(cat {pid})\nkill \"$old\"\n\
             while grep -q . /proc/$old/cmdline 2>/dev/null; do sleep 0.05; done\n\
             setsid {} gateway run >>{} 2>&1 </dev/null &\necho $! >{pid}\n\
             session() {{ cut -d' ' -f6 /proc/$1/stat; }}\n\
             while [ \"$(session $!)\" = \"$(session $$)\" ]; do sleep 0.05; done\n",
            self.bin.join("openclaw").display(),
            self.log().display(),
            pid = pid.display(),
        );
        fs::write(&script, text).expect("it is ours");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        script
    }

    /// The process of the gateway.
    pub fn gateway_pid(&self) -> u32 {
        self.gateway.as_ref().expect("it runs").id()
    }

    /// One turn of the main agent.
    pub fn turn(&mut self) -> Turn {
        self.turn_of("main")
    }

    /// One turn of an agent, over the gateway's HTTP API, in a session of its own.
    pub fn turn_of(&mut self, agent: &str) -> Turn {
        let before = self.provider.ledger().requests.len();
        self.turns += 1;
        let began = Instant::now();
        let ran = self.node(TURN, &[&PORT.to_string(), TOKEN, agent, &format!("turn-{}", self.turns)]);
        let took = began.elapsed();
        let ledger = self.provider.ledger();
        let bearers =
            ledger.requests.iter().skip(before).filter(|request| request.path.starts_with("/v1/messages"));
        let bearers = bearers.map(|request| {
            let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            bearer.or_else(|| request.header("x-api-key")).unwrap_or_default().to_owned()
        });
        Turn { bearers: bearers.collect(), answer: ran.stdout, took }
    }

    /// Runs a script in this network.
    fn node(&self, script: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(&npm::node().join("bin/node"));
        command.args(["-e", script]).args(arguments);
        run(&mut command, b"")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("gateway.log")
    }

    /// The end of what the gateway has said, for a message.
    pub fn story(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// Asks a gateway all the time whether it answers.
pub struct Prober(Child);

impl Prober {
    /// For how long it did not answer since this began. Panics when it never did.
    #[track_caller]
    pub fn down(mut self) -> Duration {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().expect("it was spawned");
        let seen: Value = serde_json::from_slice(&output.stdout).expect("it prints what it has seen");
        assert!(seen["asked"].as_u64() > Some(0), "never answered: {seen}");
        Duration::from_millis(seen["down"].as_u64().expect("a number"))
    }
}

/// Our daemon beside an OpenClaw; ended when dropped.
pub struct Beside {
    child: Child,
    lines: Receiver<String>,
    /// Everything it said so far.
    pub said: Vec<String>,
}

impl Beside {
    /// Everything it said until now, for a message.
    pub fn story(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }

    /// Makes it read its configuration again.
    pub fn reload(&self) {
        send(&self.child, nix::sys::signal::Signal::SIGHUP);
    }

    /// Waits for a line with `text` among those not waited for yet.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> Duration {
        let began = Instant::now();
        loop {
            let left = Duration::from_secs(400).saturating_sub(began.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the daemon did not say '{text}':\n{}", self.said.join("\n"))
            };
            self.said.push(line);
            if self.said.last().is_some_and(|line| line.contains(text)) {
                return began.elapsed();
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    send(child, nix::sys::signal::Signal::SIGTERM);
    let _ = child.wait();
}

fn send(child: &Child, which: nix::sys::signal::Signal) {
    signal(child.id(), which);
}

fn signal(pid: u32, which: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let _ = nix::sys::signal::kill(pid, which);
}

impl OpenClaw {
    /// A Claude Code login in this home, replaced as the CLI does.
    pub fn rotate(&self, pair: &Pair) {
        let directory = self.home.join(".claude");
        fs::create_dir_all(&directory).expect("it is ours");
        let temp = directory.join(".credentials.json.tmp.0a1b2c3d");
        let text = super::claude::document(pair, super::claude::in_seconds(8 * 3600)).to_string();
        fs::write(&temp, text).expect("it is ours");
        fs::set_permissions(&temp, fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::rename(temp, directory.join(".credentials.json")).expect("it is ours");
    }

    /// Configures us: that login, this OpenClaw with further keys, and a gateway whose restart fails.
    pub fn configure_tokensink(&self, sink: &str, gateway: &str) {
        self.configure(&format!(
            "[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\nmode = \"off\"\n\
             [[sink]]\nid = \"claw\"\nlogin = \"claude\"\nkind = \"openclaw\"\n{sink}\n\
             [[gateway]]\nid = \"claw\"\nsinks = [\"claw\"]\n{gateway}\n"
        ));
    }

    /// Configures us with that text.
    pub fn configure(&self, text: &str) {
        let directory = self.home.join(".config/tokensink");
        fs::create_dir_all(&directory).expect("it is ours");
        fs::write(directory.join("tokensink.toml"), text).expect("it is ours");
    }

    /// Runs one of our commands here.
    pub fn tokensink(&self, arguments: &[&str]) -> Ran {
        run(self.command(Path::new(env!("CARGO_BIN_EXE_tokensink"))).args(arguments), b"")
    }

    /// Starts our daemon here.
    pub fn daemon(&self) -> Beside {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_tokensink")));
        command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter is there");
        let stderr = child.stderr.take().expect("piped");
        let (told, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        Beside { child, lines, said: Vec::new() }
    }
}

impl Drop for OpenClaw {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Puts a token into the store of the JSON era without any manners, as a foreign script would.
pub fn drop_into_store(claw: &OpenClaw, agent: &str, pair: &Pair) {
    let store = claw.store(agent);
    fs::create_dir_all(store.parent().expect("a directory")).expect("it is ours");
    let profile = json!({"type": "token", "provider": "anthropic", "token": pair.access,
        "expires": super::claude::in_seconds(8 * 3600)});
    let text = json!({"version": 1, "profiles": {"anthropic:default": profile}}).to_string();
    let temp = store.with_extension("new");
    fs::write(&temp, text).expect("it is ours");
    fs::rename(temp, store).expect("it is ours");
}
