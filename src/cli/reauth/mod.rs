//! `tokensink reauth`: from a dead login to consumers that work again, guided. What is dead and what that
//! breaks is said first, then the person is asked in the shortest way; the answer may come from a second
//! process (`login/inlet.rs`). It is done when everybody uses the new login, and not before.
//!
//! X1: whatever ends it before the new login is stored leaves the old one as it was.

pub mod event;
mod needed;
mod outcome;
mod own_cli;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::event::Event;
use self::outcome::Before;
use super::args::ReauthArguments;
use super::asking::{self, Asking, Device};
use super::exit::Exit;
use super::stops::Stops;
use super::{load, output};
use crate::alerts::{self, Channel};
use crate::base::code::Code;
use crate::base::credential::NewLogin;
use crate::base::id::Provider;
use crate::core::alert::Message;
use crate::daemon::alerting;
use crate::daemon::login::{self as places, NoPlace, NotStored, Place};
use crate::daemon::look;
use crate::daemon::store::{StateDir, private_directory};
use crate::daemon::world::World;
use crate::login::inlet::{Inlet, Visitor};
use crate::login::paste::Lines;
use crate::login::{Told, browser};
use crate::sys::paths::Surroundings;
use crate::sys::{clock, log};

/// How the socket of an attempt is named.
const SOCKET: (&str, &str) = ("reauth-", ".sock");

/// Runs the command.
#[must_use]
pub fn run(arguments: &ReauthArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    log::init(&surroundings, tracing::Level::WARN);
    if arguments.code.as_deref().is_some_and(|from| from != "-") {
        let why = "a code is never an argument, which others can see: --code - reads it from standard input";
        return output::failure(why, Exit::Usage);
    }
    match output::block_on(reauth(arguments, surroundings, only)) {
        Ok(exit) => exit,
        Err(error) => output::failure(error, Exit::Failed),
    }
}

async fn reauth(arguments: &ReauthArguments, surroundings: Surroundings, only: Option<&Path>) -> Exit {
    let state = StateDir::of(&surroundings);
    let rooms = rooms(&surroundings, &state);
    let world = match load::world(surroundings.clone(), only) {
        Ok((world, _)) => world,
        Err(errors) => return output::failure(load::lines(&errors), Exit::Failed),
    };
    // Without a key two tokens cannot be told apart.
    if let Err(error) = state.create().and_then(|()| state.key_or_create()) {
        return output::failure(error, Exit::Failed);
    }
    let voice = Voice::new(arguments);
    let login = match chosen(arguments, &world, &state, &rooms).await {
        Ok(Some(login)) => login,
        Ok(None) => {
            voice.say(&Event::NothingNeeded);
            return Exit::Done;
        }
        Err(exit) => return exit,
    };
    let socket = rooms.join(format!("{}{login}{}", SOCKET.0, SOCKET.1));
    match Visitor::at(&socket).await {
        Some(waiting) if arguments.again => waiting.send_away().await,
        Some(waiting) => return join(arguments, waiting, &voice).await,
        None => {}
    }
    let attempt =
        Attempt { arguments, world: &world, state: &state, surroundings: &surroundings, login: &login };
    match attempt.mend(&voice, socket).await {
        Ok(summary) => {
            voice.end(Event::Mended { login, summary }).await;
            Exit::Done
        }
        Err(NoPlace::Usage(why)) => output::failure(why, Exit::Usage),
        Err(NoPlace::Unusable(why)) => {
            voice.end(Event::Failed { login, why }).await;
            Exit::Failed
        }
    }
}

/// Where attempts can be visited: memory of the user's own where there is such a place.
fn rooms(surroundings: &Surroundings, state: &StateDir) -> PathBuf {
    surroundings.runtime_dir().map_or_else(|| state.attempts(), |runtime| runtime.join("tokensink"))
}

/// Which login: the one that is named, the one that somebody waits for, or the worst.
async fn chosen(
    arguments: &ReauthArguments,
    world: &World,
    state: &StateDir,
    rooms: &Path,
) -> Result<Option<String>, Exit> {
    if let Some(named) = &arguments.login {
        let is_known = world.settings.logins.iter().any(|login| login.id.as_str() == named);
        let unknown = || output::failure(format_args!("there is no login {named}"), Exit::Usage);
        return if is_known { Ok(Some(named.clone())) } else { Err(unknown()) };
    }
    if arguments.code.is_some() {
        let mut waiting = Vec::new();
        for login in &world.settings.logins {
            let socket = rooms.join(format!("{}{}{}", SOCKET.0, login.id, SOCKET.1));
            if Visitor::at(&socket).await.is_some() {
                waiting.push(login.id.to_string());
            }
        }
        match (waiting.pop(), waiting.is_empty()) {
            (Some(only), true) => return Ok(Some(only)),
            (Some(last), false) => {
                let why = format!("several logins are waited for, name one: {}, {last}", waiting.join(", "));
                return Err(output::failure(why, Exit::Usage));
            }
            (None, _) => {}
        }
    }
    Ok(needed::worst(&look::report(&[], world, state)))
}

/// Goes to the attempt that waits: says what it says, hands over what is typed, and ends as it does.
async fn join(arguments: &ReauthArguments, mut waiting: Visitor, voice: &Voice) -> Exit {
    let mut lines = Lines::of_stdin();
    let only_hands_over = arguments.code.is_some();
    // Whoever hands over a code has seen already what it is for.
    if only_hands_over {
        let Some(code) = lines.next().await else {
            return output::failure("standard input ended before a code was given", Exit::Failed);
        };
        if waiting.give(&code).await.is_err() {
            return output::failure("the attempt that waited has ended", Exit::Failed);
        }
    }
    loop {
        let line = tokio::select! {
            line = waiting.next() => line,
            Some(code) = lines.next(), if !only_hands_over => {
                // Its end is heard by the other way.
                let _ = waiting.give(&code).await;
                continue;
            }
        };
        let Some(event) = line.map(|line| Event::read(&line)) else {
            return output::failure("the attempt that waited has ended without a word", Exit::Failed);
        };
        match event {
            Some(event) if only_hands_over && event.stands() => {}
            Some(event) => {
                voice.say(&event);
                match event {
                    Event::Mended { .. } => return Exit::Done,
                    Event::Failed { .. } => return Exit::Failed,
                    Event::Unfit { .. } if only_hands_over => return Exit::Failed,
                    _ => {}
                }
            }
            None => {}
        }
    }
}

/// What is said, to whom.
struct Voice {
    is_json: bool,
    /// Who is at the attempt beside us.
    inlet: RefCell<Option<Rc<Inlet>>>,
}

impl Voice {
    fn new(arguments: &ReauthArguments) -> Self {
        Self { is_json: arguments.json, inlet: RefCell::default() }
    }

    fn say(&self, event: &Event) {
        self.say_as(event, &event.text());
    }

    /// Says it in words of its own, where words are wanted.
    fn say_as(&self, event: &Event, words: &str) {
        match event {
            _ if self.is_json => output::print(&format!("{}\n", event.line())),
            Event::Failed { why, .. } => drop(output::failure(why, Exit::Failed)),
            _ => output::print(words),
        }
        if let Some(inlet) = &*self.inlet.borrow() {
            inlet.tell(&event.line(), event.stands());
        }
    }

    /// The last words.
    async fn end(&self, event: Event) {
        let inlet = self.inlet.borrow_mut().take();
        self.say(&event);
        if let Some(inlet) = inlet.and_then(Rc::into_inner) {
            inlet.close(&event.line()).await;
        }
    }
}

/// One attempt at one login.
struct Attempt<'a> {
    arguments: &'a ReauthArguments,
    world: &'a World,
    state: &'a StateDir,
    surroundings: &'a Surroundings,
    login: &'a str,
}

impl Attempt<'_> {
    /// From what is broken to what works.
    async fn mend(&self, voice: &Voice, socket: PathBuf) -> Result<String, NoPlace> {
        let failed = |why: String| NoPlace::Unusable(why);
        let report = look::report(&[self.login.to_owned()], self.world, self.state);
        let before = Before::of(&report, self.login);
        voice.say(&needed::needed(&report, self.world, self.login));

        let known = self.world.settings.logins.iter().find(|login| login.id.as_str() == self.login);
        let provider = known.map_or(Provider::Generic, |login| login.provider);
        let place = places::place(&self.world.settings, self.surroundings, provider, Some(self.login))?;
        if provider == Provider::Generic && place.login.authorize.is_none() {
            return Err(failed(format!(
                "login {} has no table [login.authorize], so that only its own program can make it anew",
                self.login
            )));
        }
        place.prove().map_err(failed)?;
        // A window that is closed does not end it: the code may come by another one.
        let mut stops = Stops::but_hangup();
        let (lock, scratch) =
            self.state.attempt(&place.login.id).map_err(|error| failed(error.to_string()))?;
        let _attempt = asking::lock(&lock, &place.login.id).map_err(|error| failed(error.to_string()))?;
        let replaced = match own_cli::of(provider) {
            Some(command) => {
                own_cli::run(command, &place, self.surroundings, self.state, &mut stops)
                    .await
                    .map_err(failed)?;
                false
            }
            None => {
                let (mut lines, codes) = Lines::of_stdin_and_others();
                // Who feeds standard input is the only one who does.
                if self.arguments.code.is_none() {
                    socket
                        .parent()
                        .map_or(Ok(()), private_directory)
                        .map_err(|error| failed(error.to_string()))?;
                    let inlet = Inlet::open(socket, codes);
                    let inlet = inlet.map_err(|error| failed(format!("the way in for a code: {error}")))?;
                    *voice.inlet.borrow_mut() = Some(Rc::new(inlet));
                } else {
                    drop(codes);
                }
                let new = self.asked(voice, &place, &scratch, &mut lines, &mut stops).await;
                let new = new.map_err(|why| failed(format!("{why}; nothing was changed")))?;
                self.stored(&place, &new).await.map_err(failed)?
            }
        };
        let within = Duration::from_secs(self.arguments.within);
        tokio::select! {
            followed = outcome::followed(self.login, &before, replaced, self.world, self.state, within) => {
                followed.map_err(|why| failed(format!("the new login is stored, but {why}")))
            }
            () = stops.come() => Err(failed("stopped; the login is stored, not everybody has it".to_owned())),
        }
    }

    /// Asks the person, who may answer here or by the way in.
    async fn asked(
        &self,
        voice: &Voice,
        place: &Place,
        scratch: &Path,
        lines: &mut Lines,
        stops: &mut Stops,
    ) -> Result<NewLogin, String> {
        let wants_browser = !self.arguments.no_browser && !self.arguments.json;
        let is_headless = !wants_browser || browser::program(self.surroundings).is_err();
        let asking = Asking {
            place,
            surroundings: self.surroundings,
            state: self.state,
            patience: Duration::from_secs(self.arguments.patience),
            wants_browser,
            device: if is_headless && !self.arguments.paste { Device::First } else { Device::Never },
            scratch: Some(scratch),
            ends_with_stdin: self.arguments.code.is_some(),
        };
        let login = self.login.to_owned();
        // Beside the asking: a channel that hangs holds up nobody who has the code already.
        let mut sent = JoinSet::new();
        let mut tell = |told: Told<'_>| {
            let words = if voice.is_json { String::new() } else { asking.words(&told) };
            let event = event_of(&told, login.clone());
            voice.say_as(&event, &words);
            if let Some(message) = event.message(&self.surroundings.host_name()) {
                let channels = alerting::channels(self.world, None);
                sent.spawn_local(send(channels, message));
            }
        };
        if place.login.provider == Provider::Static {
            voice.say(&Event::Token { login: self.login.to_owned() });
        }
        let inlet = voice.inlet.borrow().clone();
        let left = async {
            match &inlet {
                Some(inlet) => inlet.is_to_leave().await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            asked = asking.ask(lines, &mut tell) => asked.map_err(|failed| failed.to_string()),
            () = stops.come() => Err("stopped".to_owned()),
            () = left => Err("another attempt takes the place of this one".to_owned()),
        };
        let new = asked?;
        match new.expires_at {
            Some(ends) if ends <= clock::now() => Err("the new login is over already".to_owned()),
            _ => Ok(new),
        }
    }

    /// Stores the new login; true when it took the place of another account's.
    async fn stored(&self, place: &Place, new: &NewLogin) -> Result<bool, String> {
        let key = self.state.key_or_create().map_err(|error| error.to_string())?;
        let stored = place.store(self.state, &key, new, self.arguments.replace_account).await;
        let stored = stored.map_err(|why| match why {
            NotStored::OtherAccount => format!(
                "{}: the new login belongs to another account than login {} does; nothing was changed \
                 (--replace-account stores it all the same)",
                Code::AccountMismatch,
                place.login.id
            ),
            NotStored::Failed(why) => why,
        })?;
        Ok(stored.replaced_account)
    }
}

/// Sends where to log in; who is at the terminal hears what did not go out.
async fn send(channels: Vec<Channel>, message: Message) {
    for attempt in alerts::send_to_all(&channels, &message).await {
        if let Err(why) = attempt.outcome {
            tracing::warn!("the address was not sent by {}: {why}", attempt.channel);
        }
    }
}

/// What a person is told, for everybody.
fn event_of(told: &Told<'_>, login: String) -> Event {
    match told {
        // Heard or not: where the browser is on another machine, the answer is brought.
        Told::Visit { url, .. } => Event::Visit { login, url: (*url).to_owned(), takes_code: true },
        Told::VisitFor { url, takes_code } => {
            Event::Visit { login, url: (*url).to_owned(), takes_code: *takes_code }
        }
        Told::Code { url, complete, code, lasts } => Event::Enter {
            login,
            url: (*url).to_owned(),
            complete: complete.map(str::to_owned),
            user_code: (*code).to_owned(),
            lasts: lasts.as_secs(),
        },
        Told::Unfit(why) => Event::Unfit { login, why: why.as_str().to_owned() },
    }
}
