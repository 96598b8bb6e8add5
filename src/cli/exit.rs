//! Exit codes: one enum, one conversion.

use std::process::ExitCode;

use crate::core::verdict::Check;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 64: wrong usage.
    Usage,
    /// 70: something the daemon cannot do without was refused.
    Internal,
    /// 77: our own files cannot be used.
    Permission,
    /// 78: the configuration is not valid, or there is none.
    Config,
    /// `status --check`: OpenClaw's contract.
    Check(Check),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Internal => 70,
            Exit::Permission => 77,
            Exit::Config => 78,
            Exit::Check(check) => check.exit_code(),
        })
    }
}
