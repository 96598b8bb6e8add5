//! Wake-ups that survive suspend, and notice of clock changes: two timer descriptors and no
//! ticking. Idle means asleep.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An alarm further away than this fires early; whoever set it looks and sets it again.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// A timer whose descriptor the runtime can wait for.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe against types that close or change their descriptor; \
                  a timer does neither, and unsafe code is for sys/resident.rs alone"
    )]
    fn register(clock: ClockId) -> io::Result<AsyncFd<Self>> {
        let timer = TimerFd::new(clock, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        AsyncFd::with_interest(Self(timer), Interest::READABLE)
    }
}

/// One wake-up on the boot-time clock: time spent in suspend counts.
#[derive(Debug)]
pub struct Alarm(AsyncFd<Timer>);

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Timer::register(ClockId::CLOCK_BOOTTIME)?))
    }

    /// Fires once, `after` from now; a time set before is forgotten.
    ///
    /// # Errors
    /// When the system refuses the time.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // A zero time would disarm the timer.
        let ms = i64::try_from(after.min(LONGEST).as_millis()).unwrap_or(1).max(1);
        let once = Expiration::OneShot(TimeSpec::milliseconds(ms));
        Ok(self.0.get_ref().0.set(once, TimerSetTimeFlags::empty())?)
    }

    /// Waits until the alarm fires.
    ///
    /// # Errors
    /// When the descriptor is broken.
    pub async fn fired(&self) -> io::Result<()> {
        drained(&self.0).await
    }
}

/// Notices that somebody set the wall clock, or that the system was resumed and set it.
#[derive(Debug)]
pub struct ClockWatch(AsyncFd<Timer>);

impl ClockWatch {
    /// Starts to watch.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub fn new() -> io::Result<Self> {
        let watch = Self(Timer::register(ClockId::CLOCK_REALTIME)?);
        watch.arm()?;
        Ok(watch)
    }

    fn arm(&self) -> io::Result<()> {
        // A time that never comes (the year 2255; `TimeSpec` ends in 2262): only the cancellation
        // by a clock change is wanted.
        let never = Expiration::OneShot(TimeSpec::seconds(9_000_000_000));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        Ok(self.0.get_ref().0.set(never, flags)?)
    }

    /// Waits until the clock was changed.
    ///
    /// # Errors
    /// When the descriptor is broken.
    pub async fn changed(&self) -> io::Result<()> {
        drained(&self.0).await?;
        self.arm()
    }
}

/// Waits for the timer and reads it empty. A cancelled timer reads as `ECANCELED`, which is the
/// event that [`ClockWatch`] waits for.
async fn drained(timer: &AsyncFd<Timer>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        match ready.try_io(|fd| match fd.get_ref().0.wait() {
            Ok(()) | Err(nix::errno::Errno::ECANCELED) => Ok(()),
            Err(errno) => Err(io::Error::from(errno)),
        }) {
            Ok(done) => return done,
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn an_alarm_fires_once_and_can_be_set_again() {
        let alarm = Alarm::new().unwrap();
        for _ in 0..2 {
            alarm.set(Duration::ZERO).unwrap();
            alarm.fired().await.unwrap();
        }
    }
}
