//! Gateways in containers of a real Docker Engine, with both generations of Compose: made to follow, and asked
//! what they see. The images hold nothing; what runs in them is this system's own.
//!
//! Needs root (a network namespace with nothing but loopback), Debian's packages of the engine and Compose (once).
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

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;
use support::cli_host::CliHost;
use support::container::{Engine, IMAGE, compose_plugin};
use support::host::{signal, until};
use support::provider::Pair;
use support::run::{Ran, run};

const PROJECT: &str = "version: \"3.7\"\nservices:\n  gw:\n    image: empty:1\n    network_mode: none\n    \
    env_file: [gw.env]\n    volumes: [\"/usr:/usr:ro\"]\n    stop_signal: SIGKILL\n    \
    command: [\"/usr/bin/sleep\", \"infinity\"]\n    \
    healthcheck: {test: [\"CMD\", \"/usr/bin/test\", \"-e\", \"/usr\"], interval: 1s, retries: 1}\n  \
    other:\n    image: empty:1\n    network_mode: none\n    volumes: [\"/usr:/usr:ro\"]\n    \
    stop_signal: SIGKILL\n    command: [\"/usr/bin/sleep\", \"infinity\"]\n";

const LOGIN: &str = "[[login]]\nid = \"claude\"\nprovider = \"claude\"\npath = \"~/.claude/.credentials.json\"\n\
    [login.refresh]\nmode = \"off\"\n";
const VARIABLE: &str = "[[sink]]\nid = \"env\"\nlogin = \"claude\"\nkind = \"env-file\"\n\
    path = \"~/claw/gw.env\"\nkey = \"ANTHROPIC_OAUTH_TOKEN\"\n";

struct Bench {
    engine: Engine,
    host: CliHost,
    daemon: Option<Child>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // What is kept of containers in the control groups goes with them.
        let ids = self.engine.docker(&self.host, &["ps", "-aq"]).stdout;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        self.engine.docker(&self.host, &[&["rm", "--force"], ids.as_slice()].concat());
    }
}

impl Bench {
    fn new(configuration: &str) -> Self {
        Self::with(configuration, false)
    }

    /// The same where user ids are mapped, or not.
    fn with(configuration: &str, is_mapped: bool) -> Self {
        let host = CliHost::new(false, 8 * 3600);
        let engine = Engine::start_with(&host, is_mapped);
        engine.image(&host);
        fs::create_dir_all(host.home().join("claw")).unwrap();
        let env = host.home().join("claw/gw.env");
        fs::write(&env, "A=1\nANTHROPIC_OAUTH_TOKEN=none\n").unwrap();
        fs::set_permissions(env, fs::Permissions::from_mode(0o600)).unwrap();
        let bench = Self { engine, host, daemon: None };
        bench.configure(configuration);
        bench
    }

    fn configure(&self, more: &str) {
        let text = format!("{LOGIN}{more}");
        fs::write(self.host.home().join(".config/tokensink/tokensink.toml"), text).unwrap();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.host.home().join(path)
    }

    fn docker(&self, arguments: &[&str]) -> String {
        self.engine.docker(&self.host, arguments).ok().to_owned()
    }

    /// Runs that Compose in the project.
    fn compose(&self, program: &[&str], arguments: &[&str]) -> Ran {
        let mut command = self.host.command(program[0]);
        self.engine.show(&mut command);
        command.args(&program[1..]).args(arguments).current_dir(self.at("claw"));
        run(&mut command, b"")
    }

    /// A container of ours with these further arguments of `docker run`.
    fn runs(&self, name: &str, arguments: &[&str]) {
        let before = ["run", "--detach", "--network", "none", "--volume", "/usr:/usr:ro", "--name", name];
        let after = ["--stop-signal", "SIGKILL", IMAGE, "/usr/bin/sleep", "infinity"];
        self.docker(&[&before, arguments, &after].concat());
    }

    /// The id and the start of a container; of a service by its label.
    fn start_of(&self, name: &str) -> String {
        self.docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name])
    }

    fn of_service(&self, service: &str) -> String {
        let label = format!("label=com.docker.compose.service={service}");
        self.docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label])
    }

    fn variables(&self, id: &str) -> String {
        self.docker(&["inspect", "--format", "{{json .Config.Env}}", id])
    }

    fn tokensink(&self, arguments: &[&str]) -> Ran {
        let mut command = self.host.tokensink(arguments);
        self.engine.show(&mut command);
        run(&mut command, b"")
    }

    fn sync(&self) -> Value {
        let ran = self.tokensink(&["sync", "--json"]);
        let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"));
        self.no_token_in(&ran.both());
        report
    }

    fn status(&self) -> Value {
        serde_json::from_str(self.tokensink(&["status", "--json"]).ok()).unwrap()
    }

    fn no_token_in(&self, text: &str) {
        for canary in self.host.pair.canaries() {
            assert!(!text.contains(&canary), "a token in {text}");
        }
    }

    fn rotate(&mut self, name: &str) {
        self.host.pair = Pair::invent(name);
        let document = support::claude::document(&self.host.pair, support::claude::in_seconds(8 * 3600));
        self.host.write(&document.to_string());
    }

    fn start_daemon(&mut self) {
        let mut command = self.host.tokensink(&["daemon"]);
        self.engine.show(&mut command);
        let log = fs::File::create(self.at("daemon.log")).unwrap();
        self.daemon = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("daemon.log")).unwrap_or_default()
    }

    /// Ends the daemon as systemd does.
    fn stop_daemon(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        signal(&daemon, nix::sys::signal::Signal::SIGTERM);
        assert!(daemon.wait().unwrap().success(), "{}", self.log());
    }
}

/// The codes and subjects of the findings in a report.
fn findings(report: &Value) -> Vec<(String, String)> {
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let list = report["findings"].as_array().unwrap_or_else(|| panic!("{report}"));
    list.iter().map(|finding| (word(finding, "code"), word(finding, "subject"))).collect()
}

fn finding<'a>(report: &'a Value, code: &str) -> &'a Value {
    let mut list = report["findings"].as_array().unwrap().iter();
    list.find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("no {code}: {report}"))
}

// ---- compose

const GATEWAY: &str = "[[gateway]]\nid = \"claw\"\nsinks = [\"env\"]\nmin_interval = \"0s\"\n\
    compose = { dir = \"~/claw\", service = \"gw\" }\n";

/// The programs of the generation; the plugin is found in the home alone.
fn generation(bench: &Bench, program: &'static str) -> Vec<&'static str> {
    if program == "docker-compose" {
        return vec!["docker-compose"];
    }
    fs::create_dir_all(bench.at(".docker/cli-plugins")).unwrap();
    std::os::unix::fs::symlink(compose_plugin(), bench.at(".docker/cli-plugins/docker-compose")).unwrap();
    vec!["docker", "compose"]
}

fn a_rotation_reaches_the_variable_of_one_service(program: &'static str) {
    let mut bench = Bench::new(&format!("{VARIABLE}{GATEWAY}"));
    let compose = generation(&bench, program);
    fs::write(bench.at("claw/docker-compose.yml"), PROJECT).unwrap();
    bench.compose(&compose, &["--project-name", "mine", "up", "--detach"]).ok();
    let version = bench.compose(&compose, &["version", "--short"]);
    println!("{program} {}", version.stdout.trim());
    let other = bench.start_of(&bench.of_service("other"));
    let first = bench.of_service("gw");

    bench.start_daemon();
    until("the first token is in the container", 60, || {
        let id = bench.of_service("gw");
        id != first
            && bench.engine.docker(&bench.host, &["inspect", &id]).stdout.contains(&bench.host.pair.access)
    });
    bench.rotate("second");
    until("the second token is in the container", 60, || {
        let ids = bench.of_service("gw");
        let ran = bench.engine.docker(&bench.host, &["inspect", "--format", "{{json .Config.Env}}", &ids]);
        ran.stdout.contains(&bench.host.pair.access)
    });
    until("it is on record", 30, || bench.status()["gateways"][0]["applied"] == true);
    let status = bench.status();
    assert_eq!(status["gateways"][0]["last_action"], "recreate", "{status}");
    assert_eq!(findings(&status), [], "{status}");
    assert_eq!(bench.start_of(&bench.of_service("other")), other, "nothing else was touched");
    bench.no_token_in(&bench.log());

    // The same content again: nothing is made anew.
    let gateway = bench.start_of(&bench.of_service("gw"));
    let text = bench.host.text();
    bench.host.write(&text);
    bench.stop_daemon();
    bench.sync();
    assert_eq!(bench.start_of(&bench.of_service("gw")), gateway);

    // One that is stopped is made anew and not started.
    bench.compose(&compose, &["--project-name", "mine", "stop", "gw"]).ok();
    bench.rotate("third");
    let report = bench.sync();
    let id = bench.of_service("gw");
    assert!(bench.variables(&id).contains(&bench.host.pair.access), "{report}");
    assert_eq!(bench.docker(&["inspect", "--format", "{{.State.Status}}", &id]), "created");
    assert_eq!(bench.start_of(&bench.of_service("other")), other);

    // Somebody else was faster: nothing is left to do.
    bench.docker(&["start", &id]);
    bench.rotate("fourth");
    let env = format!("A=1\nANTHROPIC_OAUTH_TOKEN={}\n", bench.host.pair.access);
    let before = fs::read_to_string(bench.at("claw/gw.env")).unwrap();
    fs::write(bench.at("claw/gw.env"), env).unwrap();
    bench.compose(&compose, &["--project-name", "mine", "up", "--detach", "--no-deps", "gw"]).ok();
    fs::write(bench.at("claw/gw.env"), before).unwrap();
    let gateway = bench.start_of(&bench.of_service("gw"));
    let report = bench.sync();
    assert_eq!(bench.start_of(&bench.of_service("gw")), gateway, "{report}");
    assert_eq!(findings(&report), [], "{report}");
}

#[test]
fn a_rotation_reaches_the_variable_of_one_service_by_the_plugin() {
    a_rotation_reaches_the_variable_of_one_service("docker");
}

#[test]
fn a_rotation_reaches_the_variable_of_one_service_by_the_first_generation() {
    a_rotation_reaches_the_variable_of_one_service("docker-compose");
}

#[test]
fn an_engine_that_is_down_is_a_finding_and_the_change_is_not_lost() {
    let mut bench = Bench::new(&format!("{VARIABLE}{GATEWAY}"));
    let compose = generation(&bench, "docker");
    fs::write(bench.at("claw/docker-compose.yml"), PROJECT).unwrap();
    bench.compose(&compose, &["up", "--detach"]).ok();
    bench.sync();
    bench.engine.stop();
    bench.rotate("second");
    let report = bench.sync();
    assert_eq!(findings(&report), [("ENGINE_UNAVAILABLE".to_owned(), "claw".to_owned())], "{report}");
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    assert_eq!(bench.status()["gateways"][0]["applied"], false);

    bench.start_daemon();
    let host = &bench.host;
    bench.engine.resume(host);
    until("the token is in the container", 60, || {
        let id = bench.of_service("gw");
        let _ = bench.engine.docker(host, &["start", &id]);
        let inspected = bench.engine.docker(host, &["inspect", "--format", "{{json .Config.Env}}", &id]);
        inspected.stdout.contains(&bench.host.pair.access)
    });
    until("all is well", 30, || findings(&bench.status()).is_empty());
    bench.stop_daemon();
}

#[test]
fn what_stands_in_the_way_of_a_service_is_told() {
    let mut bench = Bench::new(&format!("{VARIABLE}{}", GATEWAY.replace("\"gw\"", "\"nosuch\"")));
    let compose = generation(&bench, "docker");
    fs::write(bench.at("claw/docker-compose.yml"), PROJECT).unwrap();
    bench.compose(&compose, &["up", "--detach"]).ok();
    let other = bench.start_of(&bench.of_service("other"));
    let told = finding(&bench.sync(), "UNIT_FAILED").clone();
    assert!(told["summary"].as_str().unwrap().ends_with("there is no such service"), "{told}");

    // Without any Compose.
    bench.configure(&format!("{VARIABLE}{GATEWAY}"));
    fs::remove_dir_all(bench.at(".docker")).unwrap();
    let mut command = bench.host.tokensink(&["sync", "--json"]);
    bench.engine.show(&mut command);
    let alone = bench.at("alone");
    fs::create_dir_all(&alone).unwrap();
    std::os::unix::fs::symlink("/usr/bin/nsenter", alone.join("nsenter")).unwrap();
    let engine = bench.engine.path.split(':').next().unwrap();
    command.env("PATH", format!("{engine}:{}", alone.display()));
    let ran = run(&mut command, b"");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let told = finding(&report, "ENGINE_UNAVAILABLE");
    assert!(told["summary"].as_str().unwrap().starts_with("there is no Compose"), "{told}");

    // A file of variables that Compose cannot read is quoted by it, and not by us.
    let compose = generation(&bench, "docker");
    fs::write(bench.at("claw/.env"), format!("A!{}\n", bench.host.pair.access)).unwrap();
    let ran = bench.compose(&compose, &["config"]);
    assert!(ran.stderr.contains(&bench.host.pair.access), "{ran}");
    finding(&bench.sync(), "UNIT_FAILED");
    fs::remove_file(bench.at("claw/.env")).unwrap();

    // A gateway that does not become healthy.
    fs::write(bench.at("claw/docker-compose.yml"), PROJECT.replace("\"/usr\"]", "\"/nosuch\"]")).unwrap();
    bench.rotate("second");
    let report = bench.sync();
    let told = finding(&report, "NOT_CONVERGED");
    assert!(told["summary"].as_str().unwrap().ends_with("its health check fails"), "{told}");
    assert!(told["next"].as_str().unwrap().starts_with("docker logs --tail 50 claw-gw-1"), "{told}");
    assert_eq!(bench.start_of(&bench.of_service("other")), other, "nothing else was touched");
}

// ---- containers

const FILE: &str = "[[sink]]\nid = \"file\"\nlogin = \"claude\"\nkind = \"oauth-json\"\nrefresh = false\n\
    path = \"~/claw/oauth.json\"\n";

fn plain(sink: &str, apply: &str) -> String {
    format!(
        "[[gateway]]\nid = \"claw\"\nsinks = [\"{sink}\"]\nmin_interval = \"0s\"\ncontainer = \"claw\"\napply = \"{apply}\"\n"
    )
}

#[test]
fn a_container_is_restarted_where_it_runs_and_keeps_the_variables_it_was_made_with() {
    let mut bench = Bench::new(&format!("{VARIABLE}{}", plain("env", "restart")));
    let file = bench.at("claw/gw.env").display().to_string();
    bench.runs("claw", &["--env-file", &file]);
    let before = bench.start_of("claw");
    let report = bench.sync();
    let after = bench.start_of("claw");
    assert!(before != after && before.split(' ').next() == after.split(' ').next(), "{before} {after}");
    assert_eq!(findings(&report), [("NOT_CONVERGED".to_owned(), "env".to_owned())], "{report}");
    let told = finding(&report, "NOT_CONVERGED");
    assert!(
        told["summary"]
            .as_str()
            .unwrap()
            .contains("keeps the ANTHROPIC_OAUTH_TOKEN that it was created with")
    );
    assert_eq!(bench.status()["gateways"][0]["applied"], true, "it is not restarted again for that");

    bench.docker(&["rm", "--force", "claw"]);
    bench.runs("claw", &["--env-file", &file]);
    let report = bench.sync();
    assert_eq!(findings(&report), [], "made anew by its owner: {report}");
    bench.docker(&["stop", "claw"]);
    bench.rotate("second");
    let report = bench.sync();
    assert_eq!(findings(&report), [("NOT_CONVERGED".to_owned(), "env".to_owned())], "{report}");
    assert_eq!(bench.docker(&["inspect", "--format", "{{.State.Running}}", "claw"]), "false");
}

#[test]
fn a_file_that_is_mounted_alone_is_told_when_the_container_sees_the_old_one() {
    let mut bench = Bench::new(&format!("{FILE}{}", plain("file", "none")));
    fs::write(bench.at("claw/oauth.json"), "{}\n").unwrap();
    fs::set_permissions(bench.at("claw/oauth.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let directory = bench.at("claw").display().to_string();
    bench.runs("claw", &["--volume", &format!("{directory}:/etc/claw")]);
    assert_eq!(findings(&bench.sync()), [], "by its directory");
    bench.docker(&["rm", "--force", "claw"]);

    bench.runs("claw", &["--volume", &format!("{directory}/oauth.json:/opt/oauth.json")]);
    bench.rotate("second");
    let report = bench.sync();
    let told = finding(&report, "STALE_INODE");
    assert_eq!(told["subject"], "file");
    let next = told["next"].as_str().unwrap();
    assert_eq!(next, format!("mount its directory instead ({directory}), then create claw anew"));
    assert_eq!(findings(&bench.status()), [("STALE_INODE".to_owned(), "file".to_owned())]);
    bench.docker(&["restart", "claw"]);
    assert_eq!(findings(&bench.sync()), [], "a restart mounts it anew");

    // A restart of ours does that by itself; and what is a mount point for us as well is written in place.
    bench.configure(&format!("{FILE}{}", plain("file", "restart")));
    bench.rotate("third");
    assert_eq!(findings(&bench.sync()), []);
    bench.configure(&format!("{FILE}{}", plain("file", "none")));
    bench.rotate("fourth");
    let mut command = bench.host.command("/usr/bin/unshare");
    let script = "mount --bind oauth.json oauth.json && exec \"$0\" sync --json";
    command.args(["--mount", "sh", "-c", script]).arg(&bench.host.program).current_dir(bench.at("claw"));
    bench.engine.show(&mut command);
    let ran = run(&mut command, b"");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"));
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    assert_eq!(findings(&report), [], "{report}");
    assert!(bench.docker(&["exec", "claw", "cat", "/opt/oauth.json"]).contains(&bench.host.pair.access));
}

const VIEW: &str = "[[sink]]\nid = \"view\"\nlogin = \"claude\"\nkind = \"claude-credentials\"\n\
    path = \"~/claw/.credentials.json\"\n";

/// A container that is not allowed to read a view is told so, and with that group it is.
fn what_would_let_it_read(is_mapped: bool, user: &[&str], group: &str, why: &str) {
    let bench = Bench::with(&format!("{VIEW}{}", plain("view", "none")), is_mapped);
    let above = bench.host.home().parent().unwrap().to_owned();
    fs::set_permissions(above, fs::Permissions::from_mode(0o711)).unwrap();
    let mount = format!("{}:/etc/claw", bench.at("claw").display());
    bench.runs("claw", &[user, &["--volume", &mount]].concat());
    let sync = |bench: &Bench| -> Value {
        let mut command = bench.engine.beside(&bench.host, &bench.host.program);
        let ran = run(command.args(["sync", "--json"]), b"");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"))
    };
    let report = sync(&bench);
    let told = finding(&report, "CONSUMER_DENIED");
    let summary = told["summary"].as_str().unwrap();
    assert!(summary.ends_with(why), "{summary}");
    assert_eq!(told["next"], format!("group = \"{group}\" and mode = \"0640\" in its [[sink]]"));

    let owned = format!("group = \"{group}\"\nmode = \"0640\"\n");
    bench.configure(&format!("{VIEW}{owned}{}", plain("view", "none")));
    fs::remove_file(bench.at("claw/.credentials.json")).unwrap();
    assert_eq!(findings(&sync(&bench)), []);
    let read = bench.docker(&["exec", "claw", "cat", "/etc/claw/.credentials.json"]);
    assert!(read.contains(&bench.host.pair.access) && !read.contains(&bench.host.pair.refresh));
}

#[test]
fn a_container_of_another_user_is_told_what_would_let_it_read() {
    let why = "runs as 4242:4243 of this host, the file belongs to 0:0, mode 0600";
    what_would_let_it_read(false, &["--user", "4242:4243"], "4243", why);
}

#[test]
fn a_container_whose_user_ids_are_mapped_is_told_who_it_is_on_this_host() {
    let why = "runs as 200000:200000 of this host, the file belongs to 0:0, mode 0600 \
        (user ids are mapped: the owner is nobody in the container)";
    what_would_let_it_read(true, &[], "200000", why);
}

// ---- a login in a container

/// A login of which this host has nothing: its file is in the container's own file system.
#[test]
fn a_login_that_is_in_a_container_alone_is_read_there_and_renewed_by_its_cli() {
    let mut bench = Bench::new("");
    let login = "[daemon]\npoll = \"5s\"\n[[login]]\nid = \"claude\"\nprovider = \"claude\"\ncontainer = \"claude-proxy\"\n\
        path = \"/run/home/.claude/.credentials.json\"\n[login.refresh]\nenv = { ANTHROPIC_BASE_URL = \"\" }\n";
    let text = format!("{login}{FILE}");
    fs::write(bench.at(".config/tokensink/tokensink.toml"), text).unwrap();
    let cli = support::npm::claude_code("latest");
    let opt = format!("{}:/opt:ro", cli.parent().unwrap().display());
    let (ca, proxy) = (bench.host.provider.ca.clone(), bench.host.provider.url());
    let variables = [
        "HOME=/run/home".to_owned(),
        "PATH=/opt:/usr/bin:/bin".to_owned(),
        "ANTHROPIC_BASE_URL=http://127.0.0.1:9".to_owned(),
        format!("HTTPS_PROXY={proxy}"),
        format!("NODE_EXTRA_CA_CERTS={ca}"),
    ];
    let volume = format!("{ca}:{ca}:ro");
    let mut arguments =
        vec!["run", "--detach", "--network", "host", "--name", "claude-proxy", "--volume", &opt];
    arguments.extend(["--volume", "/usr:/usr:ro", "--volume", &volume, "--stop-signal", "SIGKILL"]);
    arguments.extend(variables.iter().flat_map(|variable| ["--env", variable.as_str()]));
    arguments.extend([IMAGE, "/usr/bin/sleep", "infinity"]);
    bench.docker(&arguments);
    let report = bench.sync();
    let told = finding(&report, "MISSING");
    assert_eq!(told["subject"], "claude", "{report}");

    // A login that is due, put there as its CLI would have.
    let document = support::claude::document(&bench.host.pair, support::claude::in_seconds(200)).to_string();
    fs::write(bench.at("login.json"), &document).unwrap();
    bench.docker(&["exec", "claude-proxy", "mkdir", "-p", "/run/home/.claude"]);
    let file = bench.at("login.json").display().to_string();
    bench.docker(&["cp", &file, "claude-proxy:/run/home/.claude/.credentials.json"]);
    fs::remove_file(bench.at("login.json")).unwrap();
    fs::remove_dir_all(bench.at(".claude")).unwrap();

    bench.start_daemon();
    let renewed = bench.host.provider.wait_for_grants(1, std::time::Duration::from_secs(60));
    assert!(renewed, "{}", bench.log());
    let live = bench.host.provider.ledger().live(support::cli_host::FAMILY).access.clone();
    until("the sink has the new token", 30, || {
        fs::read_to_string(bench.at("claw/oauth.json")).is_ok_and(|text| text.contains(&live))
    });
    assert!(
        bench.docker(&["exec", "claude-proxy", "cat", "/run/home/.claude/.credentials.json"]).contains(&live)
    );
    let asked = bench.host.provider.ledger();
    let prompts = asked.requests.iter().find(|request| request.path.starts_with("/v1/messages"));
    assert_eq!(
        prompts.map(|request| request.host.as_str()),
        Some("api.anthropic.com"),
        "the variable was unset"
    );
    until("that is on record", 30, || bench.status()["logins"][0]["refresh"]["last_outcome"] == "rotated");

    // Somebody else's rotation there is seen by the next poll; a container that is gone is told, and loses nothing.
    fs::create_dir_all(bench.at(".claude")).unwrap();
    bench.rotate("elsewhere");
    let next = bench.at(".claude/.credentials.json").display().to_string();
    bench.docker(&["cp", &next, "claude-proxy:/run/home/.claude/.credentials.json"]);
    until("the sink has that too", 30, || {
        fs::read_to_string(bench.at("claw/oauth.json"))
            .is_ok_and(|text| text.contains(&bench.host.pair.access))
    });
    bench.stop_daemon();
    bench.docker(&["stop", "claude-proxy"]);
    let report = bench.sync();
    let told = finding(&report, "UNREADABLE");
    assert_eq!(told["next"], "docker start claude-proxy", "{report}");
    assert_eq!(report["sinks"][0]["state"], "current", "{report}");
    bench.no_token_in(&bench.log());
    let reauth = bench.tokensink(&["login", "claude"]);
    assert!(reauth.code != Some(0) && reauth.both().contains("kept in container claude-proxy"), "{reauth}");
}

// ---- what is proposed

#[test]
fn a_set_up_proposes_the_gateway_of_a_project_and_the_claude_of_a_container() {
    let bench = Bench::new("");
    fs::remove_file(bench.at(".config/tokensink/tokensink.toml")).unwrap();
    fs::remove_dir_all(bench.at(".claude")).unwrap();
    let compose = generation(&bench, "docker");
    fs::create_dir_all(bench.at("claw-state")).unwrap();
    fs::write(bench.at("claw/.env"), "ANTHROPIC_OAUTH_TOKEN=none\n").unwrap();
    // As OpenClaw's own project: a gateway, and a service of the same image for its CLI.
    let project = "services:\n  openclaw-gateway: &it\n    image: empty:1\n    network_mode: none\n    stop_signal: SIGKILL\n    \
        volumes: [\"/usr:/usr:ro\", \"../claw-state:/home/node/.openclaw\"]\n    \
        environment: {ANTHROPIC_OAUTH_TOKEN: \"${ANTHROPIC_OAUTH_TOKEN}\"}\n    \
        command: [\"/usr/bin/sh\", \"-c\", \"sleep infinity\", \"openclaw\", \"gateway\"]\n  \
        openclaw-cli:\n    <<: *it\n    command: [\"/usr/bin/sleep\", \"infinity\"]\n";
    fs::write(bench.at("claw/docker-compose.yml"), project).unwrap();
    bench.compose(&compose, &["up", "--detach"]).ok();
    fs::create_dir_all(bench.at("cli")).unwrap();
    fs::write(bench.at("cli/claude"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(bench.at("cli/claude"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(bench.at("shared")).unwrap();
    let [cli, shared] = ["cli", "shared"].map(|name| bench.at(name).display().to_string());
    let volumes = [format!("{cli}:/opt:ro"), format!("{shared}:/run/.claude")];
    let mut arguments = vec!["--env", "HOME=/run", "--env", "PATH=/opt:/usr/bin"];
    arguments.extend(["--env", "ANTHROPIC_BASE_URL=http://x"]);
    arguments.extend(volumes.iter().flat_map(|volume| ["--volume", volume.as_str()]));
    bench.runs("claude-proxy", &arguments);

    let ran = bench.tokensink(&["setup", "--dry-run"]);
    let proposed = ran.ok();
    let [state, claw] = ["claw-state", "claw"].map(|name| bench.at(name).display().to_string());
    for wanted in [
        format!("path = \"{shared}/.credentials.json\"\n[login.refresh]\ncontainer = \"claude-proxy\"\n"),
        "env = { ANTHROPIC_BASE_URL = \"\" }\n".to_owned(),
        format!("kind = \"openclaw\"\nstate_dir = \"{state}\"\n"),
        format!("kind = \"env-file\"\npath = \"{claw}/.env\"\nkey = \"ANTHROPIC_OAUTH_TOKEN\"\n"),
        "sinks = [\"claw\", \"claw-env\"]\n".to_owned(),
        format!("compose = {{ dir = \"{claw}\", service = \"openclaw-gateway\" }}\n"),
    ] {
        assert!(proposed.contains(&wanted), "{wanted} in {proposed}");
    }
    assert!(!proposed.contains("openclaw-cli"), "{proposed}");
}

// ---- podman

#[test]
fn a_container_of_podman_is_found_where_docker_does_not_answer() {
    let mut bench = Bench::new(&format!("{FILE}{}", plain("file", "restart")));
    // Docker is on the search path, and its engine is not there.
    bench.engine.stop();
    let programs = bench.at("programs");
    fs::create_dir_all(&programs).unwrap();
    let [root, run_root, temporary] = ["root", "run", "tmp"].map(|name| bench.at(&format!("podman-{name}")));
    let runc = support::container::runc();
    let script = format!(
        "#!/bin/sh\nunset HTTPS_PROXY\nexec /usr/bin/podman --root {} --runroot {} --tmpdir {} --cgroup-manager cgroupfs \\\n\
         --events-backend file --runtime {} \"$@\"\n",
        root.display(),
        run_root.display(),
        temporary.display(),
        runc.display()
    );
    fs::write(programs.join("podman"), script).unwrap();
    fs::set_permissions(programs.join("podman"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), bench.engine.path);
    let podman = |arguments: &[&str]| -> String {
        let mut command = bench.host.command("podman");
        run(command.env("PATH", &path).args(arguments), b"").ok().to_owned()
    };
    let image = bench.engine.packed_image().display().to_string();
    podman(&["import", &image, IMAGE]);
    fs::write(bench.at("claw/oauth.json"), "{}\n").unwrap();
    fs::set_permissions(bench.at("claw/oauth.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let mount = format!("{}:/opt/oauth.json", bench.at("claw/oauth.json").display());
    let run_it = [
        "run",
        "--detach",
        "--network",
        "host",
        "--name",
        "claw",
        "--volume",
        "/usr:/usr:ro",
        // The defaults would have to be allowed to raise limits.
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "--volume",
    ];
    podman(
        &[&run_it[..], &[&mount, "--stop-signal", "SIGKILL", IMAGE, "/usr/bin/sleep", "infinity"]].concat(),
    );
    // No process of ours holds a container of podman's: it has to be ended.
    let _ended = Ended(&|| drop(podman(&["rm", "--force", "--time", "0", "claw"])));
    let started = || podman(&["inspect", "--format", "{{.State.StartedAt}}", "claw"]);
    let before = started();
    let sync = || -> Value {
        let mut command = bench.host.tokensink(&["sync", "--json"]);
        bench.engine.show(&mut command);
        let ran = run(command.env("PATH", &path), b"");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran}"))
    };
    let report = sync();
    assert_eq!(findings(&report), [], "{report}");
    assert_ne!(started(), before);
    assert!(podman(&["exec", "claw", "cat", "/opt/oauth.json"]).contains(&bench.host.pair.access));

    // Without a restart it keeps the old file, and that is told of podman's containers as well.
    bench.configure(&format!("{FILE}{}", plain("file", "none")));
    let document = support::claude::document(&Pair::invent("second"), support::claude::in_seconds(8 * 3600));
    bench.host.write(&document.to_string());
    finding(&sync(), "STALE_INODE");
}

/// Does something when it is dropped.
struct Ended<'a>(&'a dyn Fn());

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}
