//! Asking a person for a login, in the way that fits its provider: what `login` and `reauth` have in
//! common. Nothing is stored here.

use std::path::Path;
use std::time::Duration;

use super::output;
use crate::base::code::Code;
use crate::base::credential::NewLogin;
use crate::base::id::{LoginId, Provider};
use crate::core::token_answer::Grant;
use crate::daemon::login::Place;
use crate::daemon::refresh;
use crate::daemon::store::StateDir;
use crate::format;
use crate::login::claude::{self, Scratch};
use crate::login::paste::Lines;
use crate::login::{Comes, Failed, Told, browser, codex, device, generic, pkce, setup_token};
use crate::sys::clock;
use crate::sys::lock::{LockError, ProcessLock};
use crate::sys::paths::Surroundings;

/// What an access token without a stated lifetime is believed to last.
const UNSTATED_LIFETIME: Duration = Duration::from_secs(3600);

/// Whether a code is typed on another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// It is not.
    Never,
    /// It is.
    Only,
    /// It is where the provider gives such a code; else the browser's way is taken.
    First,
}

/// What a person is asked for, and how.
pub(super) struct Asking<'a> {
    /// The login.
    pub place: &'a Place,
    pub surroundings: &'a Surroundings,
    pub state: &'a StateDir,
    /// How long the person is waited for.
    pub patience: Duration,
    /// A browser may be opened, if there is one.
    pub wants_browser: bool,
    pub device: Device,
    /// The scratch directory, where the caller holds the lock of attempts; else it is taken here.
    pub scratch: Option<&'a Path>,
    /// Whether the lines end with standard input.
    pub ends_with_stdin: bool,
}

/// Takes the lock of a person's attempts at a login.
///
/// # Errors
/// When another attempt is in progress, or the lock cannot be used.
pub(super) fn lock(path: &Path, login: &LoginId) -> Result<ProcessLock, Failed> {
    ProcessLock::try_acquire(path, Some(clock::now())).map_err(|error| match error {
        LockError::Busy { .. } => Failed::System(format!("a login of {login} is in progress: {error}")),
        other => Failed::System(other.to_string()),
    })
}

impl Asking<'_> {
    /// Asks.
    pub async fn ask(&self, lines: &mut Lines, tell: &mut dyn FnMut(Told<'_>)) -> Result<NewLogin, Failed> {
        match self.place.login.provider {
            Provider::Static => {
                let prompt =
                    || output::print("Paste the token that `claude setup-token` printed. It is not shown.\n");
                setup_token::run(lines, self.ends_with_stdin, self.patience, prompt).await
            }
            Provider::Claude => {
                let login = &self.place.login.id;
                let (path, scratch) =
                    self.state.attempt(login).map_err(|error| Failed::System(error.to_string()))?;
                let _attempt = if self.scratch.is_none() { Some(lock(&path, login)?) } else { None };
                self.by_claude(scratch, lines, tell).await
            }
            provider => new_login(provider, self.granted(lines, tell).await?),
        }
    }

    /// By Claude Code, in a directory of its own.
    async fn by_claude(
        &self,
        scratch: std::path::PathBuf,
        lines: &mut Lines,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<NewLogin, Failed> {
        let scratch = Scratch::make(scratch).map_err(Failed::System)?;
        let program = refresh::cli_for(self.surroundings, Provider::Claude).ok_or_else(|| {
            let why = "Claude Code is not found; `tokensink login claude --setup-token` takes a token made on another host";
            Failed::System(format!("{}: {why}", Code::CliMissing))
        })?;
        let (wants, patience) = (self.wants_browser, self.patience);
        claude::run(&program, &scratch, self.surroundings, wants, lines, patience, tell).await
    }

    /// Asks at the provider itself.
    async fn granted(&self, lines: &mut Lines, tell: &mut dyn FnMut(Told<'_>)) -> Result<Grant, Failed> {
        if self.device != Device::Never {
            let mut is_told = false;
            let granted = self
                .by_device(&mut |told| {
                    is_told = true;
                    tell(told);
                })
                .await;
            match granted {
                // Nobody has been troubled yet: the provider gives no such codes, or not to everybody.
                Err(Failed::Endpoint(_) | Failed::Refused { .. } | Failed::System(_))
                    if self.device == Device::First && !is_told => {}
                granted => return granted,
            }
        }
        let login = &self.place.login;
        let asked = match &login.authorize {
            None => codex::authorization(login),
            Some(described) => match generic::authorization(login, described)? {
                Some(asked) => asked,
                // Only a code is described.
                None => return self.by_device(tell).await,
            },
        };
        pkce::run(&asked, lines, self.patience, tell).await
    }

    async fn by_device(&self, tell: &mut dyn FnMut(Told<'_>)) -> Result<Grant, Failed> {
        let login = &self.place.login;
        let Some(described) = &login.authorize else {
            return codex::by_device(login, self.patience, tell).await;
        };
        let url = described.device_url.as_ref();
        let url = url.ok_or_else(|| Failed::System(format!("login {} has no device_url", login.id)))?;
        device::run(&generic::client(login)?, url, &described.scopes, self.patience, tell).await
    }

    /// What the person has to know, in words; the browser is opened.
    pub fn words(&self, told: &Told<'_>) -> String {
        match told {
            Told::Visit { url, comes } => {
                let how = match (self.wants_browser, browser::open) {
                    (false, _) => "Visit this URL to log in:",
                    (true, open) => match open(url, self.surroundings) {
                        Ok(()) => "A browser was opened. If none is to be seen, visit this URL to log in:",
                        Err(_) => "Visit this URL to log in:",
                    },
                };
                let then = match comes {
                    Comes::Heard => {
                        "If the browser is on another machine it ends at a page that cannot be shown: paste that page's \
                         URL here, or the code in it."
                    }
                    Comes::Unheard => {
                        "Every callback port of this machine is taken, so the browser ends at a page of another program \
                         or at one that cannot be shown: paste that page's URL here, or the code in it."
                    }
                    Comes::Shown => {
                        "The browser ends at a page that shows a code: paste that page's code here."
                    }
                };
                format!("{how}\n\n{url}\n\n{then}\n")
            }
            Told::Code { url, complete, code, lasts } => {
                let minutes = lasts.as_secs() / 60;
                let open = complete
                    .map(|complete| format!("or, with the code in it, {complete}\n"))
                    .unwrap_or_default();
                format!(
                    "On any device visit\n\n{url}\n{open}\nand type the code {code} there. It lasts for {minutes} min; \
                     never type a code that somebody sent you.\n"
                )
            }
            Told::VisitFor { url, takes_code } => {
                let how = if !self.wants_browser || browser::program(self.surroundings).is_err() {
                    "Visit this URL to log in:"
                } else {
                    "Claude Code opens a browser. If none is to be seen, visit this URL to log in:"
                };
                let then = if *takes_code {
                    "Then paste here the code that the page shows."
                } else {
                    "This version of Claude Code takes no code by hand: it waits for the browser on this machine."
                };
                format!("{how}\n\n{url}\n\n{then}\n")
            }
            Told::Unfit(why) => format!("That is not the answer: {}. Try again.\n", why.as_str()),
        }
    }
}

/// What is stored of a grant that came just now.
fn new_login(provider: Provider, grant: Grant) -> Result<NewLogin, Failed> {
    let lacks = |what: &str| Err(Failed::Endpoint(format!("the token endpoint gave no {what}")));
    let Some(access) = grant.access else { return lacks("access token") };
    let account = match provider {
        Provider::Codex => format::codex::account_of(&access, grant.id_token.as_ref()),
        _ => grant.id_token.as_ref().and_then(format::own_login::subject),
    };
    // Codex can do nothing without the two.
    if provider == Provider::Codex && grant.refresh.is_none() {
        return lacks("refresh token");
    }
    if provider == Provider::Codex && account.is_none() {
        return lacks("token that names its account");
    }
    let now = clock::now();
    Ok(NewLogin {
        expires_at: Some(now.after(grant.expires_in.unwrap_or(UNSTATED_LIFETIME))),
        refresh: grant.refresh,
        id_token: grant.id_token,
        scopes: grant.scopes.unwrap_or_default(),
        account,
        granted_at: now,
        document: None,
        access,
    })
}
