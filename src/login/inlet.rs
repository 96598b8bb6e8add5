//! The way into an attempt that waits: a socket of the user's own, by which a second process brings the
//! code, and is told what the first one says. A phone cannot keep one SSH session open while its owner
//! is in the browser, and only the process that asked for a code can trade it.
//!
//! V1: it is there while somebody waits, in a directory that is the user's alone, and both ends look
//!     whether the other is the same user.
//! V2: a visitor writes `code …` or `leave`; it reads lines that are no secret. Lines are bounded, and so
//!     is the number of visitors.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::{JoinHandle, JoinSet};
use zeroize::Zeroizing;

use super::paste::LONGEST;
use crate::base::secret::Secret;

/// Visitors at a time; one more is turned away.
const CROWD: usize = 8;
/// How long visitors may take to read the last words.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is in front of a code.
const CODE: &[u8] = b"code ";

/// The open way into an attempt; closed, and its socket removed, when it is dropped.
#[derive(Debug)]
pub struct Inlet {
    path: PathBuf,
    hub: Rc<Hub>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Hub {
    /// What everybody who comes is told first.
    standing: RefCell<Option<String>>,
    visitors: RefCell<Vec<UnboundedSender<String>>>,
    codes: UnboundedSender<Secret>,
    /// A visitor wants the attempt to end.
    leaves: Notify,
    /// The attempt has ended.
    ends: Notify,
}

impl Inlet {
    /// Opens it at a path in a private directory; codes go to `codes`. The caller holds the lock of this
    /// login's attempts, so that what is there is a dead one's. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(path: PathBuf, codes: UnboundedSender<Secret>) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Nobody else can enter the directory; the mode says the same.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let hub = Rc::new(Hub {
            standing: RefCell::default(),
            visitors: RefCell::default(),
            codes,
            leaves: Notify::new(),
            ends: Notify::new(),
        });
        let serving = tokio::task::spawn_local(serve(listener, Rc::clone(&hub)));
        Ok(Self { path, hub, serving })
    }

    /// Tells every visitor a line; one that `stands` also those who come later.
    pub fn tell(&self, line: &str, stands: bool) {
        if stands {
            *self.hub.standing.borrow_mut() = Some(line.to_owned());
        }
        self.hub.visitors.borrow_mut().retain(|visitor| visitor.send(line.to_owned()).is_ok());
    }

    /// Waits until a visitor asks that the attempt end.
    pub async fn is_to_leave(&self) {
        self.hub.leaves.notified().await;
    }

    /// Closes it, with the last words for those who are there.
    pub async fn close(mut self, line: &str) {
        // Who hears that it is over must not find it open any more.
        let _ = std::fs::remove_file(&self.path);
        self.tell(line, false);
        self.hub.ends.notify_one();
        let _ = tokio::time::timeout(FAREWELL, &mut self.serving).await;
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(listener: UnixListener, hub: Rc<Hub>) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = hub.ends.notified() => break,
            Some(_) = talks.join_next() => {}
            stream = listener.accept() => {
                // What cannot be accepted now has gone away.
                let Ok((stream, _)) = stream else { continue };
                if talks.len() < CROWD && is_same_user(&stream) {
                    talks.spawn_local(talk(stream, Rc::clone(&hub)));
                }
            }
        }
    }
    drop(listener);
    hub.visitors.borrow_mut().clear();
    while talks.join_next().await.is_some() {}
}

async fn talk(stream: UnixStream, hub: Rc<Hub>) {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut told) = mpsc::unbounded_channel();
    if let Some(line) = hub.standing.borrow().clone() {
        let _ = sender.send(line);
    }
    hub.visitors.borrow_mut().push(sender);
    let mut lines = LineReader::new(reader);
    loop {
        tokio::select! {
            biased;
            line = told.recv() => {
                let Some(line) = line else { return };
                if writer.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
            line = lines.next() => match line.as_deref().map(Vec::as_slice) {
                None => return,
                Some(b"leave") => hub.leaves.notify_one(),
                Some(line) => {
                    let code = line.strip_prefix(CODE).and_then(|code| std::str::from_utf8(code).ok());
                    if let Some(code) = code {
                        let _ = hub.codes.send(Secret::new(code.to_owned()));
                    }
                }
            },
        }
    }
}

fn is_same_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == nix::unistd::geteuid().as_raw())
}

/// A second process at an attempt that waits.
#[derive(Debug)]
pub struct Visitor {
    lines: LineReader,
    writer: tokio::net::unix::OwnedWriteHalf,
}

impl Visitor {
    /// Goes to the attempt at that path; `None` when nobody waits there.
    pub async fn at(path: &Path) -> Option<Self> {
        let stream = UnixStream::connect(path).await.ok().filter(is_same_user)?;
        let (reader, writer) = stream.into_split();
        Some(Self { lines: LineReader::new(reader), writer })
    }

    /// Hands over a code.
    ///
    /// # Errors
    /// When the attempt has ended.
    pub async fn give(&mut self, code: &Secret) -> io::Result<()> {
        let code = code.expose().trim();
        // Room at once: a growing text would leave unwiped copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(CODE.len() + code.len() + 1));
        line.extend_from_slice(CODE);
        line.extend_from_slice(code.as_bytes());
        line.push(b'\n');
        self.writer.write_all(&line).await
    }

    /// Asks the attempt to end, and waits until it has.
    pub async fn send_away(mut self) {
        if self.writer.write_all(b"leave\n").await.is_ok() {
            while self.next().await.is_some() {}
        }
    }

    /// The next thing that is said; `None` when the attempt has ended.
    pub async fn next(&mut self) -> Option<String> {
        let line = self.lines.next().await?;
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

/// Lines of a socket, none of them longer than a pasted answer may be.
#[derive(Debug)]
struct LineReader {
    reader: OwnedReadHalf,
    kept: Zeroizing<Vec<u8>>,
}

impl LineReader {
    fn new(reader: OwnedReadHalf) -> Self {
        let longest = usize::try_from(LONGEST).unwrap_or(usize::MAX);
        Self { reader, kept: Zeroizing::new(Vec::with_capacity(longest + CODE.len() + 1)) }
    }

    /// The next line; `None` at the end, and for one that is too long. Nothing is lost when the future
    /// is dropped.
    async fn next(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        loop {
            if let Some(end) = self.kept.iter().position(|byte| *byte == b'\n') {
                let line = Zeroizing::new(self.kept.get(..end)?.to_vec());
                self.kept.drain(..=end);
                return Some(line);
            }
            let room = self.kept.capacity() - self.kept.len();
            let mut piece = Zeroizing::new([0_u8; 1024]);
            let read =
                self.reader.read(piece.get_mut(..room.min(1024)).filter(|piece| !piece.is_empty())?).await;
            let read = read.ok().filter(|read| *read > 0)?;
            self.kept.extend_from_slice(piece.get(..read)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    async fn standing(directory: &Path) -> (Inlet, UnboundedReceiver<Secret>) {
        let (sender, codes) = mpsc::unbounded_channel();
        (Inlet::open(directory.join("socket"), sender).unwrap(), codes)
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test)
    }

    #[test]
    fn a_code_goes_in_and_everybody_hears_how_it_ended() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            assert!(Visitor::at(&path).await.is_none(), "nobody waits");
            let (inlet, mut codes) = standing(dir.path()).await;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            inlet.tell("visit", true);
            let (mut one, mut other) = (Visitor::at(&path).await.unwrap(), Visitor::at(&path).await.unwrap());
            assert_eq!(
                (one.next().await.unwrap(), other.next().await.unwrap()),
                ("visit".into(), "visit".into())
            );
            one.give(&Secret::new(" ac_1#s ".into())).await.unwrap();
            assert_eq!(codes.recv().await.unwrap(), Secret::new("ac_1#s".into()));
            inlet.tell("unfit", false);
            inlet.close("mended").await;
            for visitor in [&mut one, &mut other] {
                assert_eq!(visitor.next().await.as_deref(), Some("unfit"));
                assert_eq!(visitor.next().await.as_deref(), Some("mended"));
                assert_eq!(visitor.next().await, None);
            }
            assert!(!path.exists() && Visitor::at(&path).await.is_none());
        });
    }

    #[test]
    fn hostile_visitors_are_bounded_and_turned_away() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let (inlet, mut codes) = standing(dir.path()).await;
            let path = dir.path().join("socket");
            let mut flood = UnixStream::connect(&path).await.unwrap();
            // Far too long, and never a line.
            let endless = vec![b'x'; 200_000];
            let _ = tokio::time::timeout(Duration::from_secs(1), flood.write_all(&endless)).await;
            let mut crowd = Vec::new();
            for _ in 0..=CROWD {
                crowd.push(Visitor::at(&path).await.unwrap());
            }
            assert_eq!(crowd.last_mut().unwrap().next().await, None, "one too many");
            let mut strange = UnixStream::connect(&path).await.unwrap();
            let _ = strange.write_all(b"what\n\xff\ncode \xff\n").await;
            crowd[0].give(&Secret::new("good".into())).await.unwrap();
            assert_eq!(codes.recv().await.unwrap(), Secret::new("good".into()));
            crowd.remove(1).writer.write_all(b"leave\n").await.unwrap();
            inlet.is_to_leave().await;
        });
    }
}
