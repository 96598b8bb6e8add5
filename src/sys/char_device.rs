//! One end of a terminal, read and written as it is ready: what `pty` and `tty` have in common.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;

/// A descriptor that does not block. Its owner keeps it open and the same for as long as it lives.
#[derive(Debug)]
pub(super) struct CharDevice<T>(AsyncFd<Held<T>>)
where
    Held<T>: AsRawFd;

/// What `AsyncFd` asks for, of anything that has a descriptor.
pub(super) struct Held<T>(T);

impl<T> std::fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl<T: AsFd> AsRawFd for Held<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> CharDevice<T> {
    /// Takes it over and keeps it from blocking. Must be called within a tokio runtime.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for the sake of descriptors that change or close early; \
                  those of a terminal do neither, and unsafe code is for sys/resident.rs alone"
    )]
    pub(super) fn new(device: T) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&device, FcntlArg::F_GETFL)?);
        fcntl(&device, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        AsyncFd::new(Held(device)).map(Self)
    }

    pub(super) fn inner(&self) -> &T {
        &self.0.get_ref().0
    }
}

impl<T: AsFd> CharDevice<T>
where
    for<'a> &'a T: Read + Write,
{
    /// The next bytes; 0 at the end, which is also when nobody has the other end open any more.
    pub(super) async fn read(&self, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|device| (&device.get_ref().0).read(chunk)) {
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => return Ok(0),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// Writes as much as is taken now.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|device| (&device.get_ref().0).write(bytes)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// Writes all of it.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}
