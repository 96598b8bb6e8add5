//! A message bus of one test, and somebody who calls on it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokensink::dbus::{NAME, PATH};
use tokensink::systemd::bus::BusAddresses;
use zbus::{Connection, Message};

/// A running bus; ends when dropped.
pub struct Bus {
    daemon: Child,
    pub address: String,
    dir: Option<tempfile::TempDir>,
}

impl Bus {
    /// A bus somewhere.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bus = Self::start_at(&dir.path().join("bus"));
        bus.dir = Some(dir);
        bus
    }

    /// A bus with its socket there.
    pub fn start_at(socket: &Path) -> Self {
        let mut daemon = Command::new("/usr/bin/dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
            .arg(format!("--address=unix:path={}", socket.display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs dbus-daemon (Debian package dbus-daemon)");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().to_owned(), dir: None }
    }

    /// The way to it.
    pub fn addresses(&self) -> BusAddresses {
        BusAddresses { session: Some(self.address.clone()), ..BusAddresses::default() }
    }

    /// A connection to it.
    pub async fn client(&self) -> Connection {
        zbus::connection::Builder::address(self.address.as_str()).build().await.unwrap()
    }

    /// Somebody who calls on it.
    pub fn caller(&self) -> Caller {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(self.client());
        Caller { runtime, connection }
    }

    /// Starts `dbus-monitor` with its recording in that file.
    pub fn monitor(&self, recording: &Path) -> Child {
        let file = std::fs::File::create(recording).unwrap();
        let mut monitor = Command::new("/usr/bin/dbus-monitor");
        monitor.args(["--address", &self.address]).stdout(file).spawn().unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

/// Somebody who calls.
pub struct Caller {
    pub runtime: tokio::runtime::Runtime,
    pub connection: Connection,
}

impl Caller {
    /// Calls a method of an interface of our object.
    pub fn call_on<B>(&self, interface: &str, member: &str, body: &B) -> Result<Message, zbus::Error>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let call = self.connection.call_method(Some(NAME), PATH, Some(interface), member, body);
        self.runtime
            .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), call).await.unwrap() })
    }

    /// Calls a method of our own interface.
    pub fn call<B>(&self, member: &str, body: &B) -> Result<Message, zbus::Error>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.call_on(NAME, member, body)
    }

    /// The report.
    pub fn status(&self) -> Value {
        let reply = self.call("Status", &()).unwrap();
        serde_json::from_str(reply.body().deserialize::<&str>().unwrap()).unwrap()
    }

    /// A property that is a text.
    pub fn property(&self, name: &str) -> String {
        let reply = self.call_on("org.freedesktop.DBus.Properties", "Get", &(NAME, name)).unwrap();
        let body = reply.body();
        let value: zbus::Variant<'_> = body.deserialize().unwrap();
        match value {
            zbus::Variant::Str(text) => text.to_string(),
            other => format!("{other:?}"),
        }
    }

    /// Whether somebody has our name.
    pub fn is_served(&self) -> bool {
        let bus = "org.freedesktop.DBus";
        let call =
            self.connection.call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "NameHasOwner", &NAME);
        self.runtime.block_on(call).unwrap().body().deserialize().unwrap()
    }
}

/// The name of a D-Bus error.
#[track_caller]
pub fn error_name(answer: Result<Message, zbus::Error>) -> String {
    match answer {
        Err(zbus::Error::MethodError(name, text, _)) => {
            assert!(text.is_some_and(|text| !text.is_empty()), "{name} says why");
            name.to_string()
        }
        Err(zbus::Error::FDO(error)) => zbus::DBusError::name(&*error).to_string(),
        other => panic!("no error: {other:?}"),
    }
}
