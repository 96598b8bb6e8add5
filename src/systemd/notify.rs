//! Telling the service manager how we are: READY, STATUS, RELOADING, WATCHDOG, STOPPING.
//!
//! The socket's address comes in as a value and is kept; the environment is neither read nor
//! changed here (changing it is never sound once a thread exists). Child processes therefore
//! inherit `NOTIFY_SOCKET` unless whoever starts them removes it from their environment.
//! Protocol: sd_notify(3) of systemd 252; the words are those of the sd-notify crate 0.5.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// How long a message may wait for a manager that does not read. Long enough for a busy host,
/// short against every watchdog.
const SEND_DEADLINE: Duration = Duration::from_secs(1);

/// The longest status text, in bytes.
const STATUS_LIMIT: usize = 512;

/// The way to the service manager that started us; does nothing when there is none.
#[derive(Debug)]
pub struct Notifier {
    channel: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// A notifier for the value of `$NOTIFY_SOCKET`; `None` or an empty value gives one that does
    /// nothing.
    ///
    /// # Errors
    /// The value is neither an absolute path nor an abstract name (`@…`), or no socket could be
    /// made.
    pub fn from_env_value(notify_socket: Option<&OsStr>) -> io::Result<Self> {
        let Some(value) = notify_socket.filter(|value| !value.is_empty()) else {
            return Ok(Self { channel: None });
        };
        let address = match value.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(value)?,
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_DEADLINE))?;
        Ok(Self { channel: Some((socket, address)) })
    }

    /// Whether a service manager listens.
    #[must_use]
    pub const fn is_supervised(&self) -> bool {
        self.channel.is_some()
    }

    /// Start-up, or a reload, is finished.
    ///
    /// # Errors
    /// The message could not be handed over.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// What `systemctl status` shows. Line ends and control characters become spaces.
    ///
    /// # Errors
    /// The message could not be handed over.
    pub fn status(&self, text: &str) -> io::Result<()> {
        self.send_if_ready(&[NotifyState::Status(&one_line(text))])
    }

    /// A reload begins; [`ready`](Self::ready) ends it. Carries the monotonic time, without which
    /// systemd 253 and later would end a `Type=notify-reload` service.
    ///
    /// # Errors
    /// The message could not be handed over.
    pub fn reloading(&self) -> io::Result<()> {
        self.send(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
    }

    /// The loop made progress.
    ///
    /// # Errors
    /// The message could not be handed over.
    pub fn watchdog(&self) -> io::Result<()> {
        self.send_if_ready(&[NotifyState::Watchdog])
    }

    /// The end begins.
    ///
    /// # Errors
    /// The message could not be handed over.
    pub fn stopping(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))])
    }

    /// Hands over a message that the manager waits for.
    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some((socket, address)) = &self.channel else { return Ok(()) };
        socket.send_to_addr(message(states).as_bytes(), address).map(|_whole| ())
    }

    /// Hands over a message that the next one replaces: a manager that does not read just now must
    /// not hold up the loop.
    fn send_if_ready(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some((socket, _)) = &self.channel else { return Ok(()) };
        socket.set_nonblocking(true)?;
        let sent = self.send(states);
        socket.set_nonblocking(false)?;
        sent
    }
}

fn message(states: &[NotifyState<'_>]) -> String {
    let mut message = String::new();
    for state in states {
        message.push_str(&state.to_string());
        message.push('\n');
    }
    message
}

/// How often the watchdog wants to be pinged: half of its limit. `None` when there is no watchdog,
/// or it watches another process.
///
/// The first two are the values of `$WATCHDOG_USEC` and `$WATCHDOG_PID`, the last is our own
/// process id.
#[must_use]
pub fn ping_interval(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let limit: u64 = usec?.parse().ok()?;
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    (is_ours && limit > 1).then(|| Duration::from_micros(limit / 2))
}

fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() + c.len_utf8() > STATUS_LIMIT {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let notifier = Notifier::from_env_value(Some(path.as_os_str())).unwrap();
        (dir, socket, notifier)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn without_a_manager_every_call_does_nothing() {
        for value in [None, Some(OsStr::new(""))] {
            let notifier = Notifier::from_env_value(value).unwrap();
            assert!(!notifier.is_supervised());
            notifier.ready("up").unwrap();
            notifier.watchdog().unwrap();
        }
    }

    #[test]
    fn an_address_of_an_unknown_kind_is_refused() {
        assert!(Notifier::from_env_value(Some(OsStr::new("vsock:2:1"))).is_err());
    }

    #[test]
    fn each_state_arrives_as_one_message() {
        let (_dir, socket, notifier) = bound();
        notifier.ready("watching 2 logins").unwrap();
        assert_eq!(received(&socket), "READY=1\nSTATUS=watching 2 logins\n");
        notifier.watchdog().unwrap();
        assert_eq!(received(&socket), "WATCHDOG=1\n");
        notifier.stopping("bye").unwrap();
        assert_eq!(received(&socket), "STOPPING=1\nSTATUS=bye\n");
    }

    #[test]
    fn a_reload_carries_the_monotonic_time() {
        let (_dir, socket, notifier) = bound();
        notifier.reloading().unwrap();
        let message = received(&socket);
        let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(usec.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn a_status_cannot_smuggle_in_another_state() {
        let (_dir, socket, notifier) = bound();
        notifier.status("a\nREADY=1\r\n\u{1b}[31mb\0").unwrap();
        assert_eq!(received(&socket), "STATUS=a READY=1   [31mb \n");
        notifier.status(&"é".repeat(5000)).unwrap();
        assert_eq!(received(&socket).len(), "STATUS=\n".len() + STATUS_LIMIT);
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("tokensink-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::from_env_value(Some(OsStr::new(&format!("@{name}")))).unwrap();
        notifier.watchdog().unwrap();
        assert_eq!(received(&socket), "WATCHDOG=1\n");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_and_not_a_panic() {
        let (_dir, socket, notifier) = bound();
        drop(socket);
        assert!(notifier.watchdog().is_err());
    }

    #[test]
    fn the_watchdog_is_pinged_at_half_its_limit_and_only_by_its_process() {
        let half = Some(Duration::from_secs(15));
        assert_eq!(ping_interval(Some("30000000"), None, 7), half);
        assert_eq!(ping_interval(Some("30000000"), Some("7"), 7), half);
        for (usec, pid) in [
            (None, None),
            (Some("30000000"), Some("8")),
            (Some("0"), None),
            (Some("soon"), None),
            (Some("30000000"), Some("x")),
        ] {
            assert_eq!(ping_interval(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }
}
