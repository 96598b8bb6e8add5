//! Writing to the terminal, and running what has to wait.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::Exit;

/// Whether something could not be printed.
static UNPRINTED: AtomicBool = AtomicBool::new(false);

/// Prints to standard output. A reader that went away is no error of ours; a full disk is, and is
/// remembered for [`exit_of`].
pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if printed.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        UNPRINTED.store(true, Ordering::Relaxed);
    }
}

/// The exit of a command that meant to end with `exit`: failed, if its report was not printed.
#[must_use]
pub fn exit_of(exit: Exit) -> Exit {
    if UNPRINTED.load(Ordering::Relaxed) {
        return failure("standard output could not be written", Exit::Failed);
    }
    exit
}

/// Prints one line of complaint to standard error and returns `exit`.
pub fn failure(why: impl std::fmt::Display, exit: Exit) -> Exit {
    let _ = writeln!(std::io::stderr().lock(), "tokensink: {why}");
    exit
}

/// Prints a JSON document.
pub fn print_json(value: &impl serde::Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        print(&text);
        print("\n");
    }
}

/// Runs a future on one thread.
///
/// # Errors
/// When the system gives no event queue.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let mut done = None;
    run(Box::pin(async { done = Some(future.await) }))?;
    done.ok_or_else(|| std::io::Error::other("it did not come to its end"))
}

/// Of one type, so that the runtime is in the program once and not for each command.
fn run(future: Pin<Box<dyn Future<Output = ()> + '_>>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(future));
    Ok(())
}
