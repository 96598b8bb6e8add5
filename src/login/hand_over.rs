//! Handing the terminal over to another program's own login: it runs on a terminal that we hold, the
//! person's keys go to it as they come and what it draws comes back as it is, the size of the window
//! included. Nothing is read, kept or noted on the way. It and all that it started are dead, and
//! the person's terminal is as it was, when this returns or is dropped.

use std::process::ExitStatus;

use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::Failed;
use crate::sys::pty::{PtySpec, Session};
use crate::sys::tty::{Change, Tty, WindowSize};

/// What a terminal is that does not say.
const USUAL: WindowSize = WindowSize { rows: 24, columns: 80 };

/// Runs the command to its end. The size in it is replaced by that of the person's window.
///
/// # Errors
/// [`Failed::NoTerminal`] when standard input is none; [`Failed::System`].
pub async fn run(command: &PtySpec) -> Result<ExitStatus, Failed> {
    let system = |error: std::io::Error| Failed::System(error.to_string());
    let tty = Tty::open(Change::Raw).map_err(system)?.ok_or(Failed::NoTerminal)?;
    let command = PtySpec { size: tty.size().unwrap_or(USUAL), ..command.clone() };
    let mut resized = signal(SignalKind::window_change()).map_err(system)?;
    let session = Session::start(&command).map_err(|error| Failed::System(error.to_string()))?;
    let mut drawn = Zeroizing::new([0_u8; 4096]);
    let mut key = Zeroizing::new([0_u8; 1024]);
    // What was typed and is not taken yet: a program that draws and does not read must not stop us.
    let mut waiting: Zeroizing<Vec<u8>> = Zeroizing::default();
    loop {
        tokio::select! {
            read = session.read(drawn.as_mut_slice()) => match read.map_err(system)? {
                0 => break,
                read => tty.write_all(drawn.get(..read).unwrap_or_default()).await.map_err(system)?,
            },
            read = tty.read(key.as_mut_slice()), if waiting.is_empty() => match read.map_err(system)? {
                // The window was closed.
                0 => break,
                read => waiting = Zeroizing::new(key.get(..read).unwrap_or_default().to_vec()),
            },
            taken = session.write(&waiting), if !waiting.is_empty() => {
                // Where nobody takes it any more, the end comes by the other way.
                let taken = taken.unwrap_or(waiting.len());
                waiting = Zeroizing::new(waiting.get(taken..).unwrap_or_default().to_vec());
            }
            _ = resized.recv() => session.resize(tty.size().unwrap_or(USUAL)),
        }
    }
    session.end().await.map_err(system)
}
