//! Named places where a test may kill the real program, to prove what a crash there leaves.
//!
//! Only with the cargo feature `failpoints` (or in unit tests) is anything compiled in: the
//! environment variable `TOKENSINK_FAILPOINT` names one place, and reaching it is a SIGKILL;
//! `NAME:N` means the N-th time it is reached.

#[cfg(any(test, feature = "failpoints"))]
mod armed {
    use std::sync::atomic::{AtomicU32, Ordering};

    /// True when the environment names the place `name`, and it is reached for the wanted time.
    #[expect(clippy::disallowed_methods, reason = "a switch of tests; no released program reads it")]
    pub fn is_armed(name: &str) -> bool {
        static REACHED: AtomicU32 = AtomicU32::new(0);
        let Some(wanted) = std::env::var_os("TOKENSINK_FAILPOINT") else { return false };
        let wanted = wanted.to_string_lossy();
        let (place, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        // One place is named, so one count will do.
        place == name && time.parse() == Ok(REACHED.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Dies here when the environment says so.
    pub fn hit(name: &str) {
        if is_armed(name) {
            die();
        }
    }

    /// Dies here.
    pub fn die() {
        // An unsent signal means that the test goes on and fails by itself.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(not(any(test, feature = "failpoints")))]
mod armed {
    /// Never: the feature is off.
    pub const fn is_armed(_: &str) -> bool {
        false
    }

    /// Nothing: the feature is off.
    pub const fn hit(_: &str) {}

    /// Nothing: the feature is off.
    pub const fn die() {}
}

pub use armed::{die, hit, is_armed};
