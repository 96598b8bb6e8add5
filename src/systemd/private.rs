//! The service manager's own socket: D-Bus between two peers, without a bus daemon.
//!
//! NOTE: a manager signs what it sends here as `org.freedesktop.systemd1`, which is no unique name
//! as the D-Bus specification wants a sender to be (systemd 252, `sd_bus_set_sender` in
//! src/core/dbus.c), and zbus 6.2 ends the connection over it. So messages are read whole and the
//! first letter of that one header field becomes a colon, which makes a unique name of it. Nothing
//! else is changed, and nothing is interpreted beyond the lengths in the fixed header.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
// NOTE: the attribute the traits were written with; without it each method is six lines of types.
use zbus::export::async_trait::async_trait;

/// The fixed part of a header: byte order, type, flags, version, three lengths.
const FIXED: usize = 16;
/// The longest message of the D-Bus specification.
const LONGEST: usize = 128 << 20;
/// The longest answer to our authentication: two short lines.
const LONGEST_AUTH: usize = 256;

/// Code and type of the header field SENDER, as the first four bytes of its structure.
const SENDER: [u8; 4] = [7, 1, b's', 0];
const NAME: &[u8] = b"org.freedesktop.systemd1\0";

/// Connects and authenticates by the credentials of the socket.
pub(super) async fn connect(path: &Path) -> zbus::Result<zbus::Connection> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").await?;
    let guid = authenticated(&mut stream).await?;
    zbus::connection::Builder::authenticated_socket(Private(stream), guid.as_str()).p2p().build().await
}

/// Reads `DATA` and `OK guid`, and not one byte more.
async fn authenticated(stream: &mut UnixStream) -> zbus::Result<String> {
    let mut line = String::new();
    for _ in 0..LONGEST_AUTH {
        let byte = stream.read_u8().await?;
        if byte != b'\n' {
            line.push(char::from(byte));
            continue;
        }
        match line.trim_end().split_once(' ') {
            Some(("OK", guid)) => return Ok(guid.to_owned()),
            None if line.trim_end() == "DATA" => line.clear(),
            _ => break,
        }
    }
    Err(zbus::Error::Handshake("the service manager refused our credentials".to_owned()))
}

#[derive(Debug)]
struct Private(UnixStream);

#[derive(Debug)]
struct Reader {
    stream: OwnedReadHalf,
    /// A whole message, from `position` on not yet handed over.
    message: Vec<u8>,
    position: usize,
}

#[derive(Debug)]
struct Writer(OwnedWriteHalf);

impl Socket for Private {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (stream, writer) = self.0.into_split();
        Split::new(Reader { stream, message: Vec::new(), position: 0 }, Writer(writer))
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<std::os::fd::OwnedFd>)> {
        if self.position == self.message.len() {
            self.message = read_message(&mut self.stream).await?;
            self.position = 0;
        }
        let rest = self.message.get(self.position..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.position += count;
        Ok((count, Vec::new()))
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// Reads one message; an empty one at the end of the stream.
async fn read_message(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; FIXED];
    match stream.read_exact(&mut message).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let (fields, length) = lengths(&message).ok_or(io::ErrorKind::InvalidData)?;
    message.resize(length, 0);
    stream.read_exact(message.get_mut(FIXED..).unwrap_or_default()).await?;
    repair(&mut message, fields);
    Ok(message)
}

/// Where the header fields end, and how long the message is. `None` when it cannot be one.
fn lengths(fixed: &[u8]) -> Option<(usize, usize)> {
    let number = |at: usize| {
        let bytes: [u8; 4] = fixed.get(at..at + 4)?.try_into().ok()?;
        let number = match fixed.first()? {
            b'l' => u32::from_le_bytes(bytes),
            b'B' => u32::from_be_bytes(bytes),
            _ => return None,
        };
        usize::try_from(number).ok().filter(|number| *number <= LONGEST)
    };
    let fields = FIXED + number(12)?;
    let length = fields.next_multiple_of(8) + number(4)?;
    (length <= LONGEST).then_some((fields, length))
}

/// Makes a unique name of the sender. Fields begin at multiples of eight, and no string of a
/// header may hold the bytes a field begins with.
fn repair(message: &mut [u8], fields: usize) {
    let header = message.get_mut(FIXED..fields).unwrap_or_default();
    for at in (0..header.len()).step_by(8) {
        let Some(field) = header.get_mut(at..) else { return };
        if field.starts_with(&SENDER)
            && field.get(8..).is_some_and(|text| text.starts_with(NAME))
            && let Some(first) = field.get_mut(8)
        {
            *first = b':';
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as zbus wants it, and as a manager sends it.
    fn signals() -> (Vec<u8>, Vec<u8>) {
        let message = zbus::Message::signal("/org/freedesktop/systemd1", "org.example.A", "Changed")
            .sender(":rg.freedesktop.systemd1")
            .build(&("org.freedesktop.systemd1",))
            .unwrap();
        let wanted = message.data().bytes().to_vec();
        let mut sent = wanted.clone();
        let at = sent.windows(3).position(|w| w == b":rg").unwrap();
        sent[at] = b'o';
        (wanted, sent)
    }

    #[tokio::test]
    async fn the_sender_becomes_a_unique_name_and_nothing_else_changes() {
        let (wanted, sent) = signals();
        let two = [sent.clone(), sent].concat();
        let mut stream = two.as_slice();
        for _ in 0..2 {
            assert_eq!(read_message(&mut stream).await.unwrap(), wanted);
        }
        assert!(read_message(&mut stream).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_message_or_ends_early_is_an_error() {
        let (_, whole) = signals();
        for bad in
            [&[b'x'; 40][..], &[0xff; 40], b"l\x04\0\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0", &whole[..50]]
        {
            let mut stream = bad;
            assert!(read_message(&mut stream).await.is_err(), "{bad:?}");
        }
    }
}
