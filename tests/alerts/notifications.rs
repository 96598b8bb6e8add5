//! The desktop channel against a service of its own on a private message bus, which speaks
//! `org.freedesktop.Notifications` (specification 1.2).

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokensink::alerts::{self, Event, Message};
use tokensink::base::code::Severity;
use tokensink::config::settings::{AlertKind, AlertSettings};
use tokensink::sys::paths::Surroundings;
use zbus::OwnedVariant;

/// A message bus of one test.
struct Bus {
    daemon: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Bus {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Command::new("/usr/bin/dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
            .arg(format!("--address=unix:path={}", dir.path().join("bus").display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs dbus-daemon (Debian package dbus-daemon)");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().to_owned(), _dir: dir }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

/// What is on the desktop.
#[derive(Debug, Clone, Default)]
struct Screen {
    last: u32,
    /// By number: title, text, urgency, expiry.
    shown: BTreeMap<u32, (String, String, u8, i32)>,
}

struct Desktop(Arc<Mutex<Screen>>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desktop {
    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".into(), "body-markup".into()]
    }

    #[allow(clippy::too_many_arguments, reason = "the specification has so many")]
    fn notify(
        &self,
        _app_name: String,
        replaces_id: u32,
        _app_icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        hints: HashMap<String, OwnedVariant>,
        expire_timeout: i32,
    ) -> u32 {
        let mut screen = self.0.lock().unwrap();
        let id = if replaces_id == 0 {
            screen.last += 1;
            screen.last
        } else {
            replaces_id
        };
        let urgency = u8::try_from(hints["urgency"].clone()).unwrap();
        screen.shown.insert(id, (summary, body, urgency, expire_timeout));
        id
    }

    fn close_notification(&self, id: u32) -> Result<(), zbus::fdo::Error> {
        let closed = self.0.lock().unwrap().shown.remove(&id);
        closed.map(drop).ok_or_else(|| zbus::fdo::Error::Failed(String::new()))
    }
}

async fn desktop(bus: &Bus) -> (zbus::Connection, Arc<Mutex<Screen>>) {
    let screen = Arc::new(Mutex::new(Screen::default()));
    let connection = zbus::connection::Builder::address(bus.address.as_str())
        .name("org.freedesktop.Notifications")
        .serve_at("/org/freedesktop/Notifications", Desktop(Arc::clone(&screen)))
        .build()
        .await
        .unwrap();
    (connection, screen)
}

fn channel(bus: &Bus) -> alerts::Channel {
    let variables = [("DBUS_SESSION_BUS_ADDRESS".to_owned(), bus.address.clone())];
    let surroundings = Surroundings { home: "/nonexistent".into(), variables: variables.into() };
    let settings = AlertSettings {
        kind: AlertKind::Desktop,
        url: None,
        command: None,
        target: None,
        channel: None,
        credential: None,
        token_file: None,
    };
    alerts::channels(&[settings], &surroundings, None).remove(0)
}

#[tokio::test(flavor = "current_thread")]
async fn a_reminder_takes_the_place_of_the_alert_and_a_resolved_takes_it_away() {
    let bus = Bus::start();
    let (connection, screen) = desktop(&bus).await;
    let channel = channel(&bus);
    let message =
        |event| Message::new(event, Severity::Critical, "LOGIN_NEEDED claude", "a <b> & c\nnext: x");

    let first = alerts::send(&channel, &message(Event::Raised), None).await.unwrap();
    let other = alerts::send(&channel, &message(Event::Raised), None).await.unwrap();
    assert_ne!(first, other);
    let again = alerts::send(&channel, &message(Event::Reminder), first.handle.as_deref()).await.unwrap();
    assert_eq!(first, again);
    let shown = screen.lock().unwrap().shown.clone();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[&1], ("LOGIN_NEEDED claude".into(), "a &lt;b&gt; &amp; c\nnext: x".into(), 2, 0));

    alerts::send(&channel, &message(Event::Resolved), first.handle.as_deref()).await.unwrap();
    assert_eq!(screen.lock().unwrap().shown.keys().copied().collect::<Vec<_>>(), [2]);
    let login = message(Event::Reauth).with_click("https://claude.ai/oauth/authorize?a=1&b=2");
    let login = alerts::send(&channel, &login, None).await.unwrap();
    assert!(screen.lock().unwrap().shown[&3].1.ends_with("\nhttps://claude.ai/oauth/authorize?a=1&amp;b=2"));
    alerts::send(&channel, &message(Event::Resolved), login.handle.as_deref()).await.unwrap();
    assert_eq!(message(Event::Reauth).with_click("file:///etc/passwd").click, None);
    // Somebody has closed it.
    alerts::send(&channel, &message(Event::Resolved), first.handle.as_deref()).await.unwrap();

    // After a new start of the desktop the same number is something else's.
    drop(connection);
    let (_connection, screen) = desktop(&bus).await;
    screen.lock().unwrap().shown.insert(2, ("not ours".into(), String::new(), 0, 0));
    screen.lock().unwrap().last = 2;
    alerts::send(&channel, &message(Event::Resolved), other.handle.as_deref()).await.unwrap();
    alerts::send(&channel, &message(Event::Reminder), other.handle.as_deref()).await.unwrap();
    let shown = screen.lock().unwrap().shown.clone();
    assert_eq!((shown[&2].0.as_str(), shown.len()), ("not ours", 2));
}

#[tokio::test(flavor = "current_thread")]
async fn without_a_desktop_a_message_is_not_delivered_and_that_is_no_lasting_fault() {
    let bus = Bus::start();
    let channel = channel(&bus);
    assert!(channel.may_be_absent());
    let message = Message::new(Event::Raised, Severity::Critical, "t", "b");
    let refused = alerts::send(&channel, &message, None).await.unwrap_err();
    assert!(!refused.is_lasting);
    assert_eq!(refused.to_string(), "no notification service answers on the session bus");
}
