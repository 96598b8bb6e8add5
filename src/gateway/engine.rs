//! Container engines and Compose, by their own command lines: those know contexts, rootless sockets and
//! logins to remote hosts, and are what a person would type (`docs/containers.md`). What they print of a
//! failure is bounded and without anything that could be a token: Compose quotes files of variables.
//! Facts: Docker 20.10.24, Podman 4.3.1, Compose 1.29.2 and 2.26.1.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Means;
use crate::base::code::Code;
use crate::base::secret::Document;
use crate::config::settings::GatewayKind;
use crate::core::memory::Failure;
use crate::format::standing::{Project, Seen};
use crate::sys::process::{self, CommandSpec, Finished};
use crate::sys::search;

/// How long a question to the engine may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Output of a question that is kept, in bytes: what is said of a container is some kilobytes.
const OUTPUT_LIMIT: usize = 4 * 1024 * 1024;
/// The shortest word that could be a token, in bytes.
const TOKEN_LENGTH: usize = 24;

/// An engine's command line.
pub type Engine = &'static str;

/// Why an engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is not there, does not answer, or not to us.
    Unavailable(String),
    /// It knows no such container.
    Unknown(String),
    /// Anything else.
    Failed(String),
}

impl Trouble {
    /// The finding that it is for what belongs to `subject`.
    #[must_use]
    pub fn failure(self, subject: &str) -> Failure {
        let (code, why) = match self {
            Self::Unavailable(why) => (Code::EngineUnavailable, why),
            Self::Unknown(why) | Self::Failed(why) => (Code::UnitFailed, why),
        };
        let next = if code == Code::EngineUnavailable { "docker info" } else { "docker ps --all" };
        Failure::new(code, format!("{subject}: {why}"), next)
    }
}

/// The containers of a gateway, as the engine that has them sees them.
#[derive(Debug)]
pub struct Found {
    /// The engine.
    pub engine: Engine,
    /// All of them; of a service there may be none, or several.
    pub seen: Vec<Seen>,
    /// The engine's own words, which may hold tokens.
    pub answer: Document,
}

/// Finds the containers of a gateway with the first engine that has any. Those of a service are told by
/// what Compose notes on them, whichever of its generations made them.
///
/// # Errors
/// When an engine fails; for a container, when none has it. That is never said of a service.
pub async fn find(kind: &GatewayKind, means: &Means) -> Result<Found, Trouble> {
    let mut trouble = None;
    let mut nothing = None;
    for engine in search::container_engines(path_of(means)) {
        let found = match kind {
            GatewayKind::Container { name } => inspect(engine, std::slice::from_ref(name), means).await,
            GatewayKind::Compose { dir, service } => of_service(engine, dir, service, means).await,
            GatewayKind::Unit { .. } | GatewayKind::Command { .. } => {
                Err(Trouble::Failed("not in a container".to_owned()))
            }
        };
        match found {
            Ok(found) if found.seen.is_empty() => nothing = nothing.or(Some(found)),
            Ok(found) => return Ok(found),
            // One that does not answer may be the one that has it.
            Err(new @ Trouble::Unknown(_)) => trouble = trouble.or(Some(new)),
            Err(new) if !matches!(trouble, Some(Trouble::Unavailable(_) | Trouble::Failed(_))) => {
                trouble = Some(new);
            }
            Err(_) => {}
        }
    }
    match (trouble, nothing) {
        (Some(trouble), _) => Err(trouble),
        (None, Some(nothing)) => Ok(nothing),
        (None, None) => Err(Trouble::Unavailable(search::NO_ENGINE.to_owned())),
    }
}

async fn of_service(engine: Engine, dir: &Path, service: &str, means: &Means) -> Result<Found, Trouble> {
    let label = format!("label=com.docker.compose.service={service}");
    let mut found = listed(engine, Some(&label), means).await?;
    let dir = canonical(dir);
    let is_of_dir = |project: &Project| !project.is_one_off && canonical(&project.dir) == dir;
    found.seen.retain(|seen| seen.project.as_ref().is_some_and(is_of_dir));
    let names = || found.seen.iter().filter_map(|seen| Some(seen.project.as_ref()?.name.as_str()));
    if names().any(|name| Some(name) != names().next()) {
        let names: std::collections::BTreeSet<&str> = names().collect();
        let names = Vec::from_iter(names).join(", ");
        return Err(Trouble::Failed(format!("service {service} runs in several projects: {names}")));
    }
    // The answer is to be about these alone.
    let ids: Vec<String> = found.seen.iter().map(|seen| seen.id.clone()).collect();
    inspect(engine, &ids, means).await
}

/// Every container that an engine has, or those that its filter lets through.
///
/// # Errors
/// When the engine fails.
pub async fn listed(engine: Engine, filter: Option<&str>, means: &Means) -> Result<Found, Trouble> {
    let mut words = vec!["ps", "--all", "--quiet", "--no-trunc"];
    words.extend(filter.iter().flat_map(|filter| ["--filter", filter]));
    let printed = ask(engine, &words, means).await?;
    let printed = String::from_utf8_lossy(printed.expose()).into_owned();
    let ids: Vec<String> = printed.lines().map(str::to_owned).collect();
    inspect(engine, &ids, means).await
}

async fn inspect(engine: Engine, names: &[String], means: &Means) -> Result<Found, Trouble> {
    if names.is_empty() {
        return Ok(Found { engine, seen: Vec::new(), answer: Document::new(b"[]".to_vec()) });
    }
    let words = ["inspect", "--type", "container"].into_iter().chain(names.iter().map(String::as_str));
    let answer = ask(engine, &Vec::from_iter(words), means).await?;
    let seen = Seen::all(answer.expose())
        .ok_or_else(|| Trouble::Failed(format!("what {engine} says of it is not understood")))?;
    Ok(Found { engine, seen, answer })
}

/// What an engine prints.
///
/// # Errors
/// When it cannot be run or fails, in words that hold nothing that could be a token.
pub async fn ask(engine: Engine, words: &[&str], means: &Means) -> Result<Document, Trouble> {
    let finished = run(engine, words, means).await?;
    if finished.succeeded() { Ok(finished.stdout.bytes) } else { Err(trouble(engine, &finished)) }
}

/// Has an engine do something that takes as long as a command of a gateway may.
///
/// # Errors
/// As [`ask`].
pub async fn told(engine: Engine, words: &[&str], means: &Means) -> Result<(), Trouble> {
    let argv = [&[engine], words].concat();
    let finished = run_in(&argv, None, means.command_deadline, means).await.map_err(Trouble::Failed)?;
    if finished.timed_out {
        return Err(Trouble::Failed(format!("took longer than {} s", means.command_deadline.as_secs())));
    }
    if finished.succeeded() { Ok(()) } else { Err(trouble(engine, &finished)) }
}

/// Runs an engine to its end, however that is.
///
/// # Errors
/// When it cannot be run.
pub async fn run(engine: Engine, words: &[&str], means: &Means) -> Result<Finished, Trouble> {
    run_in(&[&[engine], words].concat(), None, DEADLINE, means).await.map_err(Trouble::Failed)
}

async fn run_in(
    argv: &[&str],
    cwd: Option<&Path>,
    deadline: Duration,
    means: &Means,
) -> Result<Finished, String> {
    let finished = process::run(CommandSpec {
        argv: argv.iter().map(Into::into).collect(),
        env: means.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        stdin: None,
        cwd: cwd.map(Path::to_owned),
        deadline,
        output_limit: OUTPUT_LIMIT,
    });
    finished.await.map_err(|error| format!("{}: {error}", argv.join(" ")))
}

/// Why a run of an engine failed.
fn trouble(engine: Engine, finished: &Finished) -> Trouble {
    if finished.timed_out {
        return Trouble::Unavailable(format!("{engine} does not answer within {} s", DEADLINE.as_secs()));
    }
    let said = String::from_utf8_lossy(finished.stderr.bytes.expose()).into_owned();
    judged(engine, &said)
}

/// What engines say when they are not there, not for us, and of what they do not know.
fn judged(engine: Engine, said: &str) -> Trouble {
    const AWAY: [&str; 5] = [
        "permission denied while trying to connect",
        "Cannot connect to the Docker daemon",
        "error during connect",
        "connect to Podman",
        "docker daemon is not running",
    ];
    let why = format!("{engine}: {}", last_line(said));
    match () {
        () if AWAY.iter().any(|words| said.contains(words)) => Trouble::Unavailable(why),
        () if ["No such", "no such"].iter().any(|words| said.contains(words)) => Trouble::Unknown(why),
        () => Trouble::Failed(why),
    }
}

/// The last line of what a program said, bounded, without what could be a token.
fn last_line(said: &str) -> String {
    // Compose quotes what it cannot read, and that may be the rest of an environment file.
    let quoted = said.find('"').unwrap_or(said.len());
    let said = said.get(..quoted).unwrap_or_default().trim_end();
    let line = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output");
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+');
    let mut shown = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| is_of_token(c) != is_of_token(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_hidden = is_of_token(first) && (word.len() >= TOKEN_LENGTH || word.contains("sk-ant"));
        shown.push_str(if is_hidden { "(hidden)" } else { word });
        rest = after;
    }
    shown.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The Compose that is there: a plugin of the engine, or the program of its own. What made a container
/// comes first: the generations name containers differently.
///
/// # Errors
/// `ENGINE_UNAVAILABLE` when there is none.
pub async fn compose(
    engine: Engine,
    is_first_generation: bool,
    means: &Means,
) -> Result<Vec<String>, Failure> {
    let mut candidates = [vec![engine, "compose"], vec!["docker-compose"]];
    if is_first_generation {
        candidates.reverse();
    }
    let mut said = Vec::new();
    for candidate in candidates {
        let words = [candidate.as_slice(), &["version"]].concat();
        match run_in(&words, None, DEADLINE, means).await {
            Ok(finished) if finished.succeeded() => {
                return Ok(candidate.into_iter().map(str::to_owned).collect());
            }
            Ok(finished) => {
                let why = String::from_utf8_lossy(finished.stderr.bytes.expose()).into_owned();
                said.push(format!("{}: {}", candidate.join(" "), last_line(&why)));
            }
            Err(why) => said.push(why),
        }
    }
    let why = format!("there is no Compose ({})", said.join("; "));
    Err(Failure::new(Code::EngineUnavailable, why, format!("{engine} compose version")))
}

/// What makes a command of Compose one about the project of `dir`: exactly the one that made
/// `project`, where that is known. A guess by the directory's name could make a second gateway.
///
/// # Errors
/// The file that made it and is gone: from others it would be made differently.
pub fn about(dir: &Path, project: Option<&Project>) -> Result<Vec<String>, PathBuf> {
    let Some(project) = project else { return Ok(Vec::new()) };
    let mut words = vec!["--project-name".to_owned(), project.name.clone()];
    words.extend(["--project-directory".to_owned(), project.dir.display().to_string()]);
    let there = |files: &[PathBuf]| -> Vec<PathBuf> { files.iter().map(|file| dir.join(file)).collect() };
    let files = there(&project.files);
    let env_files = there(&project.env_files);
    let gone = files.iter().chain(&env_files).find(|file| !file.is_file());
    // The first generation noted them as they were given, from wherever that was.
    if let (Some(gone), false) = (gone, project.is_first_generation) {
        return Err(gone.clone());
    }
    if files.iter().all(|file| file.is_file()) {
        words.extend(files.iter().flat_map(|file| ["--file".to_owned(), file.display().to_string()]));
    }
    for file in env_files.iter().filter(|file| file.is_file()) {
        words.extend(["--env-file".to_owned(), file.display().to_string()]);
    }
    Ok(words)
}

/// Runs a command of Compose in its project directory; what it printed.
///
/// # Errors
/// `UNIT_FAILED`, or `ENGINE_UNAVAILABLE` when that is why.
pub async fn run_compose(command: &[String], dir: &Path, means: &Means) -> Result<Document, Failure> {
    let argv: Vec<&str> = command.iter().map(String::as_str).collect();
    let name = if argv.first() == Some(&"docker-compose") { "docker-compose" } else { "compose" };
    let finished = run_in(&argv, Some(dir), means.command_deadline, means)
        .await
        .map_err(|why| Failure::new(Code::UnitFailed, why, ""))?;
    if finished.succeeded() {
        return Ok(finished.stdout.bytes);
    }
    let trouble = if finished.timed_out {
        Trouble::Failed(format!("{name} took longer than {} s", means.command_deadline.as_secs()))
    } else {
        let said = String::from_utf8_lossy(finished.stderr.bytes.expose()).into_owned();
        match judged(name, &said) {
            // Of a service or an image, not of a container.
            Trouble::Unknown(why) => Trouble::Failed(why),
            other => other,
        }
    };
    Err(trouble.failure(&dir.display().to_string()))
}

/// As the kernel names a directory, by whatever links it was named.
fn canonical(dir: &Path) -> PathBuf {
    std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
}

fn path_of(means: &Means) -> &str {
    means.environment.get("PATH").map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests make files of their own")]
    use super::*;

    #[test]
    fn an_engine_that_is_away_is_told_from_one_that_does_not_know() {
        for (said, wanted) in [
            ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "away"),
            ("Got permission denied while trying to connect to the Docker daemon socket at …", "away"),
            ("error during connect: this error may indicate that the docker daemon is not running", "away"),
            ("Cannot connect to Podman. Please verify your connection", "away"),
            ("Error: No such object: claw", "unknown"),
            ("Error: inspecting object: no such object: \"claw\"", "unknown"),
            ("Error response from daemon: Container c is restarting", "failed"),
        ] {
            let word = match judged("docker", said) {
                Trouble::Unavailable(_) => "away",
                Trouble::Unknown(_) => "unknown",
                Trouble::Failed(_) => "failed",
            };
            assert_eq!(word, wanted, "{said}");
        }
    }

    #[test]
    fn what_could_be_a_token_is_not_repeated() {
        let said = "fine\nfailed to read /home/alice/openclaw/.env: line 3: unexpected character near \
                    \"TOK=sk-ant-oat01-made-up\\nB=0123456789abcdef0123456789abcdef\"\n\n";
        let line = last_line(said);
        assert_eq!(line, "failed to read /home/alice/openclaw/.env: line 3: unexpected character near");
        let hidden = last_line("bad word sk-ant-oat01-made-up in 0123456789abcdef0123456789abcdef");
        assert_eq!(hidden, "bad word (hidden) in (hidden)");
        assert_eq!(last_line(""), "no output");
        assert_eq!(last_line("no such service: gw"), "no such service: gw");
    }

    #[test]
    fn a_project_is_named_as_compose_noted_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yml"), "").unwrap();
        let project = |files: &[&str]| Project {
            name: "claw".to_owned(),
            service: "gw".to_owned(),
            dir: dir.path().to_owned(),
            files: files.iter().map(PathBuf::from).collect(),
            env_files: vec!["gone.env".into()],
            is_first_generation: true,
            is_one_off: false,
        };
        let base = vec![
            "--project-name".to_owned(),
            "claw".to_owned(),
            "--project-directory".to_owned(),
            dir.path().display().to_string(),
        ];
        assert_eq!(about(dir.path(), Some(&project(&["sub/a.yml"]))), Ok(base.clone()));
        let file = dir.path().join("a.yml").display().to_string();
        assert_eq!(
            about(dir.path(), Some(&project(&["a.yml"]))),
            Ok([base, vec!["--file".to_owned(), file]].concat())
        );
        assert_eq!(about(dir.path(), None), Ok(Vec::new()));
        // From other files than those that made it, a service would be another one.
        let later = Project { is_first_generation: false, ..project(&["a.yml"]) };
        assert_eq!(about(dir.path(), Some(&later)), Err(dir.path().join("gone.env")));
    }
}
