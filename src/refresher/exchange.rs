//! Way `exchange`: the official CLI trades the refresh token (`auth login` with the token in its
//! environment), in a scratch directory, while we hold its real locks; what it brought is recorded
//! and stored like the answer to a request of our own. Used on the live directory the same command
//! takes no lock, compares nothing and drops other logins. Facts: Claude Code 2.1.70 to 2.1.329.
//!
//! E1: the answer is what is in the scratch directory, never an exit code; it is deleted only after
//!     the store. E2: a failure is believed only from a CLI that has not touched the marker in
//!     its credential file: it does that with the answer in hand. Everything else is unknown.
//! E3: no signal for as long as the CLI's own requests may take.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::claude;
use super::cli_run::{self, CliRun, GRACE, Secrets};
use crate::base::credential::{Credential, SourceReading};
use crate::base::id::LoginId;
use crate::base::secret::{Document, Secret};
use crate::base::time::short_duration;
use crate::core::token_answer::{self, Answer, Grant};
use crate::format;
use crate::oauth::endpoint::SendError;
use crate::sys::atomic_file::{self, Expected, FileState, Policy};
use crate::sys::process::{self, CommandSpec};
use crate::sys::{clock, failpoint, witness};
use crate::systemd::bus::BusAddresses;

/// The first version that was seen to take the refresh token from its environment. Older ones take
/// `auth login` for a prompt, or wait for a browser.
const FIRST: Version = Version([2, 1, 70]);
/// The first version that was seen to take the OAuth client from its environment.
const FIRST_WITH_CLIENT: Version = Version([2, 1, 112]);
/// How long the CLI's requests may take: token 30 s, profile twice 10 s, roles 10 s, and its store.
const DEADLINE: Duration = Duration::from_secs(90);
/// How long `--version` may take.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);
/// The CLI asks for a year (2.1.132 and later). What goes beyond a day is noted as a day: the login
/// is looked at again while its refresh token, which ends within weeks, still works.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// What is in the CLI's credential file before: no login.
const MARK: &[u8] = b"{\"mcpOAuth\":{}}";
/// How often a CLI that an earlier run started is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Where an administrator pins logins.
const MANAGED: &str = "/etc/claude-code";
/// Ways to the network, which the CLI has to use like us.
const NETWORK: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];
/// What would make the CLI look elsewhere than at the scratch directory and the token, if a user
/// manager's own environment had it.
const FOREIGN: [&str; 12] = [
    "CLAUDE_SECURESTORAGE_CONFIG_DIR",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
    "CLAUDE_CODE_OAUTH_CLIENT_ID",
    "CLAUDE_CODE_SIMPLE",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_UNIX_SOCKET",
];
/// Words of a connection that was never made, so that nothing was sent on it.
const NOT_CONNECTED: [&str; 7] = [
    "getaddrinfo ",
    "connect ECONNREFUSED",
    "connect ENETUNREACH",
    "connect EHOSTUNREACH",
    "connect ETIMEDOUT",
    "connect ENOENT",
    "Proxy connection ended before receiving CONNECT response",
];

/// A version of the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 3]);

impl Version {
    /// Reads `2.1.329 (Claude Code)`, and nothing else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let number =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        let numbers = line.trim_end().strip_suffix(" (Claude Code)")?;
        let numbers: Option<Vec<u32>> = numbers.split('.').map(number).collect();
        numbers?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A CLI that can make the exchange.
#[derive(Debug)]
pub struct Exchange {
    program: PathBuf,
    version: Version,
    environment: BTreeMap<String, String>,
}

impl Exchange {
    /// Asks the CLI for its version. `surroundings` is what an official CLI would get; of it, and of
    /// the configured `overrides`, only what leads to the program and to the network is used.
    ///
    /// # Errors
    /// Why this CLI cannot be used, in words.
    pub async fn with(
        program: &Path,
        surroundings: &BTreeMap<String, String>,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let mut environment = BTreeMap::new();
        for name in ["HOME", "PATH", "LANG"].iter().chain(&NETWORK) {
            let value = overrides.get(*name).or_else(|| surroundings.get(*name));
            environment.extend(value.filter(|v| !v.is_empty()).map(|v| ((*name).to_owned(), v.clone())));
        }
        for (name, value) in [
            ("DISABLE_AUTOUPDATER", "1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("TERM", "dumb"),
        ] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        let asked = CommandSpec {
            argv: vec![program.into(), "--version".into()],
            env: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            stdin: None,
            cwd: None,
            deadline: VERSION_DEADLINE,
            output_limit: 4096,
        };
        let said = process::run(asked).await.map_err(|error| error.to_string())?;
        let line = String::from_utf8_lossy(said.stdout.bytes.expose()).into_owned();
        let version = Version::parse(&line).filter(|_| said.succeeded());
        let version = version.ok_or("the version of the official CLI cannot be told")?;
        if version < FIRST {
            return Err(format!("Claude Code {version} has no exchange, {FIRST} and later have"));
        }
        Ok(Self { program: program.to_owned(), version, environment })
    }

    /// Makes the scratch directory and everything else ready. Nothing has run yet.
    ///
    /// # Errors
    /// Why this login cannot be exchanged, in words; nothing may be spent then.
    pub fn prepare(
        &self,
        login: &LoginId,
        scratch: &Scratch,
        document: &Document,
        credential: &Credential,
        token: &Secret,
    ) -> Result<CliRun, String> {
        if !credential.scopes.iter().any(|scope| scope == "user:inference") {
            return Err("an exchange without the scope user:inference would end the login".into());
        }
        if !cli_run::can_be_handed_over(token) {
            return Err("the refresh token is not one that an environment can hold".into());
        }
        if let Some(why) = pinned_in(Path::new(MANAGED)) {
            return Err(why);
        }
        let mut environment = self.environment.clone();
        let client = format::claude::client_id(document.expose()).filter(|id| id != claude::CLIENT_ID);
        if let Some(client) = &client {
            if self.version < FIRST_WITH_CLIENT {
                return Err(format!("Claude Code {} takes no other OAuth client than its own", self.version));
            }
            environment.insert("CLAUDE_CODE_OAUTH_CLIENT_ID".to_owned(), client.clone());
        }
        let config = scratch.config().display().to_string();
        environment.insert("CLAUDE_CONFIG_DIR".to_owned(), config);
        environment.insert("CLAUDE_CODE_OAUTH_SCOPES".to_owned(), credential.scopes.join(" "));
        scratch.make()?;
        let unset = FOREIGN.iter().filter(|name| !environment.contains_key(**name));
        Ok(CliRun {
            unit: unit_of(login),
            description: format!("exchange of login {login} by its own CLI"),
            argv: vec![self.program.display().to_string(), "auth".to_owned(), "login".to_owned()],
            unset: unset.map(|name| (*name).to_owned()).collect(),
            environment,
            secrets: Some(Secrets {
                file: scratch.0.join("environment"),
                variables: BTreeMap::from([("CLAUDE_CODE_OAUTH_REFRESH_TOKEN".to_owned(), token.clone())]),
            }),
            directory: Some(scratch.config()),
            output: Some(scratch.output()),
            joins: false,
            deadline: DEADLINE,
            grace: GRACE,
        })
    }
}

/// Makes a prepared exchange and reads what came of it.
///
/// # Errors
/// As a request of our own would end without an answer.
pub async fn spend(run: &CliRun, scratch: &Scratch, buses: &BusAddresses) -> Result<Answer, SendError> {
    run.run(buses, &|| false).await.map_err(SendError::NotSent)?;
    failpoint::hit("exchange-ended");
    scratch.answer()
}

/// Notes the end of an access token as a day ahead at most, and says so.
pub fn cap(grant: &mut Grant) -> Option<String> {
    let lifetime = grant.expires_in.filter(|lifetime| *lifetime > LONGEST)?;
    grant.expires_in = Some(LONGEST);
    Some(format!(
        "stored; the access token lasts {}, its end is noted as {} ahead to be looked at again",
        short_duration(lifetime),
        short_duration(LONGEST)
    ))
}

fn unit_of(login: &LoginId) -> String {
    format!("tokensink-exchange-{login}.service")
}

/// The directory in which the CLI makes its exchange, with what belongs to it: `claude/` (its
/// configuration), `output`, `marker`, and for a moment `environment`.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Names that of a login, beside its intent.
    #[must_use]
    pub fn of(intents: &Path, login: &LoginId) -> Self {
        Self(intents.join(format!("{login}.exchange")))
    }

    fn config(&self) -> PathBuf {
        self.0.join("claude")
    }

    fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    fn marker(&self) -> PathBuf {
        self.0.join("marker")
    }

    fn credentials(&self) -> PathBuf {
        self.config().join(".credentials.json")
    }

    /// Whether an earlier run left it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.symlink_metadata().is_ok()
    }

    /// Makes it anew. A CLI that finds an old login in it spends the token twice.
    fn make(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("scratch directory {}: {error}", self.0.display());
        self.clear()?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.config()).map_err(failed)?;
        for (path, content) in [(self.marker(), MARK), (self.output(), &b"\n"[..])] {
            let document = Document::new(content.to_vec());
            atomic_file::replace(&path, &document, Expected::Absent, Policy::default())
                .map_err(|error| format!("scratch directory: {error}"))?;
        }
        std::fs::hard_link(self.marker(), self.credentials()).map_err(failed)?;
        for directory in
            [self.config(), self.0.clone()].iter().chain(self.0.parent().map(PathBuf::from).iter())
        {
            std::fs::File::open(directory).and_then(|d| d.sync_all()).map_err(failed)?;
        }
        failpoint::hit("exchange-made");
        Ok(())
    }

    /// Removes it, with whatever is in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// As [`Self::remove`], for what comes next.
    ///
    /// # Errors
    /// A sentence that names it, when it cannot be removed.
    pub fn clear(&self) -> Result<(), String> {
        self.remove().map_err(|error| format!("scratch directory {}: {error}", self.0.display()))
    }

    /// The CLI's credentials, where they are there and cannot be read.
    #[must_use]
    pub fn unread(&self) -> Option<PathBuf> {
        let path = self.credentials();
        matches!(atomic_file::observe(&path), FileState::Unreadable { .. }).then_some(path)
    }

    /// Waits for a CLI that an earlier run of ours started here; `false` when it still runs after
    /// all the time that it may take.
    pub async fn is_left_alone(&self, login: &LoginId, buses: &BusAddresses) -> bool {
        let end = clock::monotonic().saturating_add(DEADLINE);
        loop {
            let is_used = cli_run::is_running(&unit_of(login), buses).await
                || witness::runs_with("CLAUDE_CONFIG_DIR", &self.config());
            if !is_used || clock::monotonic() >= end {
                return !is_used;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Whether the CLI has left a login here.
    #[must_use]
    pub fn has_login(&self) -> bool {
        matches!(self.answer(), Ok(Answer::Granted(_)))
    }

    /// What the CLI left here, as the answer of a token endpoint.
    ///
    /// # Errors
    /// `NotSent` when it says that it had no connection, `Unknown` for everything that leaves it open
    /// whether the token was spent.
    pub fn answer(&self) -> Result<Answer, SendError> {
        let state = atomic_file::observe(&self.credentials());
        if let FileState::Present(file) = &state
            && let SourceReading::Ok(credential) = format::claude::parse(file.document.expose())
        {
            return Ok(Answer::Granted(grant(credential)));
        }
        if !self.is_untouched(&state) {
            return Err(SendError::Unknown("the CLI had an answer and stored no login".into()));
        }
        let output = match atomic_file::observe(&self.output()) {
            FileState::Present(file) => String::from_utf8_lossy(file.document.expose()).into_owned(),
            _ => String::new(),
        };
        judge(&output)
    }

    /// Whether the CLI's credential file is the marker still, byte for byte and the same file.
    fn is_untouched(&self, state: &FileState) -> bool {
        match (state, atomic_file::observe(&self.marker())) {
            (FileState::Present(file), FileState::Present(marker)) => {
                (file.dev, file.ino) == (marker.dev, marker.ino) && file.document.expose() == MARK
            }
            _ => false,
        }
    }
}

fn grant(credential: Credential) -> Grant {
    let now = clock::now();
    Grant {
        access: Some(credential.access),
        refresh: credential.refresh,
        id_token: None,
        expires_in: credential.expires_at.map(|at| at.since(now)),
        login_ends_in: credential.login_deadline.map(|at| at.since(now)),
        scopes: Some(credential.scopes),
    }
}

/// What the words of a CLI that got no tokens mean. It tells the status of its one request, and no
/// more: a request with the login's own scopes and client that is answered with 400 or 401 is taken
/// for a refusal of the token.
///
/// # Errors
/// `NotSent` when it says that it had no connection, `Unknown` for everything else.
pub fn judge(output: &str) -> Result<Answer, SendError> {
    const STATUS: &str = "Request failed with status code ";
    let status = output.split(STATUS).nth(1).and_then(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u16>().ok().filter(|status| (300..600).contains(status))
    });
    match status {
        Some(status @ (400 | 401)) => Ok(Answer::Rejected { error: format!("status {status}") }),
        Some(404) => Ok(Answer::Blocked { status: 404 }),
        Some(status) => Ok(token_answer::judge(status, None, b"")),
        None if NOT_CONNECTED.iter().any(|words| output.contains(words)) => {
            Err(SendError::NotSent("the CLI had no connection".into()))
        }
        None => Err(SendError::Unknown("the CLI ended without tokens and without a status".into())),
    }
}

/// Why an administrator's settings forbid it: they pin logins, and the CLI revokes what does not fit.
fn pinned_in(directory: &Path) -> Option<String> {
    let dropped = std::fs::read_dir(directory.join("managed-settings.d")).into_iter().flatten().flatten();
    let files =
        dropped.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    for path in files.chain([directory.join("managed-settings.json")]) {
        let settings = match atomic_file::observe(&path) {
            FileState::Absent { .. } => continue,
            FileState::Present(file) => serde_json::from_slice::<Value>(file.document.expose()).ok(),
            FileState::Unreadable { .. } => None,
        };
        let Some(Value::Object(settings)) = settings else {
            return Some(format!("managed settings {} cannot be read", path.display()));
        };
        if let Some(key) = settings.keys().find(|key| key.starts_with("forceLogin")) {
            return Some(format!("managed settings {} pin logins ({key})", path.display()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_strictly() {
        assert_eq!(Version::parse("2.1.329 (Claude Code)\n"), Some(Version([2, 1, 329])));
        for line in [
            "",
            "2.1.329",
            "2.1 (Claude Code)",
            "2.1.3.4 (Claude Code)",
            "v2.1.70 (Claude Code)",
            "2.1.+7 (Claude Code)",
        ] {
            assert_eq!(Version::parse(line), None, "{line}");
        }
        assert!(Version([2, 1, 9]) < FIRST && Version([2, 1, 100]) > FIRST && Version([1, 9, 999]) < FIRST);
    }

    #[test]
    fn words_of_the_cli_are_judged_by_the_table() {
        let status = |n: u16| judge(&format!("Couldn't log in: Request failed with status code {n}\n"));
        for n in [400, 401] {
            assert!(matches!(status(n), Ok(Answer::Rejected { .. })), "{n}");
        }
        for n in [302, 403, 404] {
            assert_eq!(status(n), Ok(Answer::Blocked { status: n }));
        }
        assert!(matches!(status(429), Ok(Answer::Throttled { .. })));
        assert_eq!(status(503), Ok(Answer::ServerFailed { status: 503 }));
        for text in ["connect ECONNREFUSED 127.0.0.1:1", "getaddrinfo EAI_AGAIN platform.claude.com"] {
            assert!(
                matches!(judge(&format!("Login failed: {text}\n")), Err(SendError::NotSent(_))),
                "{text}"
            );
        }
        for text in [
            "",
            "Login successful.",
            "Login failed: socket hang up",
            "timeout of 30000ms exceeded",
            "status code 7",
        ] {
            assert!(matches!(judge(text), Err(SendError::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn what_is_in_the_scratch_directory_is_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let login = LoginId::try_new("a").unwrap();
        let scratch = Scratch::of(dir.path(), &login);
        let write = |path: &Path, text: &str| {
            let state = atomic_file::observe(path);
            let staged = atomic_file::stage(
                path,
                &Document::new(text.as_bytes().to_vec()),
                state.expected().unwrap(),
                Policy::default(),
            );
            staged.unwrap().commit().unwrap();
        };
        let says = |text: &str| write(&scratch.output(), text);
        scratch.make().unwrap();
        assert!(matches!(scratch.answer(), Err(SendError::Unknown(_))));
        says("Request failed with status code 500");
        assert_eq!(scratch.answer(), Ok(Answer::ServerFailed { status: 500 }));
        // The same words of a CLI that had its answer: a rewritten marker, or none.
        write(&scratch.credentials(), std::str::from_utf8(MARK).unwrap());
        assert!(matches!(scratch.answer(), Err(SendError::Unknown(_))));
        std::fs::remove_file(scratch.credentials()).unwrap();
        assert!(matches!(scratch.answer(), Err(SendError::Unknown(_))));
        write(&scratch.credentials(), "{\"claudeAiOauth\":{\"accessToken\":\"sk-ant-oat01-");
        assert!(matches!(scratch.answer(), Err(SendError::Unknown(_))));
        write(
            &scratch.credentials(),
            "{\"claudeAiOauth\":{\"accessToken\":\"sk-ant-oat01-n\",\"refreshToken\":\"sk-ant-ort01-n\",\"expiresAt\":32503680000000,\"scopes\":[\"user:inference\"]}}",
        );
        let Ok(Answer::Granted(mut grant)) = scratch.answer() else { panic!("it is the answer") };
        assert_eq!(grant.refresh, Some(Secret::new("sk-ant-ort01-n".into())));
        assert!(cap(&mut grant).is_some_and(|told| told.contains("1d 0h ahead")), "{grant:?}");
        assert_eq!((grant.expires_in, cap(&mut grant)), (Some(LONGEST), None));
        scratch.make().unwrap();
        assert!(matches!(scratch.answer(), Err(SendError::Unknown(_))), "made anew, nothing is left");
        scratch.remove().unwrap();
        assert!(!scratch.is_there());
    }

    #[test]
    fn an_administrators_pin_forbids_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            let document = Document::new(text.as_bytes().to_vec());
            let state = atomic_file::observe(&path);
            atomic_file::stage(&path, &document, state.expected().unwrap(), Policy::default())
                .unwrap()
                .commit()
                .unwrap();
        };
        assert_eq!(pinned_in(dir.path()), None);
        put("managed-settings.json", "{\"env\":{}}");
        assert_eq!(pinned_in(dir.path()), None);
        std::fs::DirBuilder::new().create(dir.path().join("managed-settings.d")).unwrap();
        put("managed-settings.d/10.json", "{\"forceLoginOrgUUID\":\"x\"}");
        assert!(pinned_in(dir.path()).unwrap().contains("forceLoginOrgUUID"));
        put("managed-settings.d/10.json", "{");
        assert!(pinned_in(dir.path()).unwrap().contains("cannot be read"));
    }
}
