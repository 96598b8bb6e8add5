//! The verdict on a login: one table for `status`, `doctor` and alerts.

use std::time::Duration;

use crate::base::credential::{Credential, SourceReading};
use crate::base::time::Timestamp;

/// A login's state, as `status` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginState {
    /// Usable, now or after an automatic refresh.
    Ok,
    /// Ends within the warning time, and nothing renews it by itself.
    Expiring,
    /// Over, and not refreshable.
    Expired,
    /// No file.
    Missing,
    /// A file with blank tokens.
    Husk,
    /// A person must log in.
    LoginNeeded,
    /// A file that cannot be read or judged.
    Unreadable,
}

impl LoginState {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Expiring,
        Self::Expired,
        Self::Missing,
        Self::Husk,
        Self::LoginNeeded,
        Self::Unreadable,
    ];

    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Missing => "missing",
            Self::Husk => "husk",
            Self::LoginNeeded => "login_needed",
            Self::Unreadable => "unreadable",
        }
    }

    /// The word of `status --simple`.
    #[must_use]
    pub const fn simple(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Expiring => "EXPIRING",
            Self::Expired => "EXPIRED",
            Self::Husk | Self::LoginNeeded => "LOGIN_NEEDED",
            Self::Missing | Self::Unreadable => "MISSING",
        }
    }

    /// How bad it is, for the worst of several.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Expiring => 1,
            Self::Expired => 2,
            Self::Unreadable => 3,
            Self::Missing => 4,
            Self::Husk => 5,
            Self::LoginNeeded => 6,
        }
    }
}

/// OpenClaw's contract of a check (`models status --check`): 0, 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// 0.
    Ok,
    /// 2: ends within the warning time.
    Expiring,
    /// 1: expired, missing, or cannot be judged.
    Expired,
}

impl Check {
    /// The exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Expired => 1,
            Self::Expiring => 2,
        }
    }

    /// The worse of two: 1 wins over 2, 2 over 0.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Expired, _) | (_, Self::Expired) => Self::Expired,
            (Self::Expiring, _) | (_, Self::Expiring) => Self::Expiring,
            _ => Self::Ok,
        }
    }
}

/// The verdict on one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Its state.
    pub state: LoginState,
    /// Access token over, refresh token there: the next refresh brings it back.
    pub renewing: bool,
    /// `--check`.
    pub check: Check,
    /// `--check=access`: the access token alone.
    pub check_access: Check,
}

/// Judges one reading. `refused` tells that the provider refused this refresh token for good.
#[must_use]
pub fn judge(reading: &SourceReading, refused: bool, warn: Duration, now: Timestamp) -> Verdict {
    match reading {
        SourceReading::Ok(credential) => judge_credential(credential, refused, warn, now),
        SourceReading::ApiKey => {
            Verdict { state: LoginState::Ok, renewing: false, check: Check::Ok, check_access: Check::Ok }
        }
        SourceReading::Husk { .. } => dead(LoginState::Husk),
        SourceReading::Missing => dead(LoginState::Missing),
        SourceReading::Partial { .. }
        | SourceReading::Unparseable { .. }
        | SourceReading::Unreadable { .. } => dead(LoginState::Unreadable),
    }
}

fn dead(state: LoginState) -> Verdict {
    Verdict { state, renewing: false, check: Check::Expired, check_access: Check::Expired }
}

fn judge_credential(credential: &Credential, refused: bool, warn: Duration, now: Timestamp) -> Verdict {
    let ends_within = |at: Option<Timestamp>, span: Duration| at.is_some_and(|at| at <= now.after(span));
    let is_live = !ends_within(credential.expires_at, Duration::ZERO);
    let deadline_passed = ends_within(credential.login_deadline, Duration::ZERO);
    let is_refreshable = credential.refresh.is_some();
    let check_access = match () {
        () if !is_live => Check::Expired,
        () if ends_within(credential.expires_at, warn) => Check::Expiring,
        () => Check::Ok,
    };
    let (state, check) = if is_refreshable && (refused || deadline_passed) {
        (LoginState::LoginNeeded, if is_live { Check::Expiring } else { Check::Expired })
    } else if is_refreshable {
        if ends_within(credential.login_deadline, warn) {
            (LoginState::Expiring, Check::Expiring)
        } else {
            (LoginState::Ok, Check::Ok)
        }
    } else {
        match check_access {
            Check::Expired => (LoginState::Expired, Check::Expired),
            Check::Expiring => (LoginState::Expiring, Check::Expiring),
            Check::Ok => (LoginState::Ok, Check::Ok),
        }
    };
    let renewing = state == LoginState::Ok && !is_live;
    Verdict { state, renewing, check, check_access }
}

#[cfg(test)]
mod tests;
