//! The signals that ask a command to stop, for commands that must not be stopped anywhere.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, taken from their deadly default.
#[derive(Debug)]
pub struct Stops(Vec<Signal>);

impl Stops {
    /// Takes them. Must be called within a runtime.
    #[must_use]
    pub fn take() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    /// The same without SIGHUP, which does nothing then. Must be called within a runtime.
    #[must_use]
    pub fn but_hangup() -> Self {
        let mut stops = Self::take();
        // Its handler stays for the life of the process.
        stops.0.truncate(2);
        stops
    }

    /// True when one of them has come.
    pub async fn asked(&mut self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.come()).await.is_ok()
    }

    /// Waits for one of them.
    pub async fn come(&mut self) {
        std::future::poll_fn(|context| {
            let has_come =
                |signal: &mut Signal| matches!(signal.poll_recv(context), std::task::Poll::Ready(Some(())));
            // Each is asked, so that each wakes us.
            if self.0.iter_mut().map(has_come).fold(false, |any, one| any | one) {
                return std::task::Poll::Ready(());
            }
            std::task::Poll::Pending
        })
        .await;
    }
}
