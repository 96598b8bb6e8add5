//! Decisions. Facts and time go in, plans and findings come out; nothing here does I/O, asks the
//! clock, draws random numbers, logs or waits.

pub mod agreement;
pub mod alert;
pub mod apply;
pub mod authorize;
pub mod choose;
pub mod clock;
pub mod device;
pub mod doctor;
pub mod event;
pub mod families;
pub mod fit;
pub mod health;
pub mod links;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod order;
pub mod plan;
pub mod reach;
pub mod refresh;
pub mod report;
pub mod schedule;
pub mod setup_token;
pub mod token_answer;
pub mod unauthorized;
pub mod undo;
pub mod verdict;
pub mod windows;

#[cfg(test)]
mod tests {
    use super::alert::Event;
    use super::memory::LastAction;
    use super::model::{TargetState, WriteReason};
    use super::order::From;
    use super::refresh::Ended;
    use super::schedule::Mode;
    use super::verdict::LoginState;
    use crate::base::code::Severity;

    /// Programs of others read them: none is ever renamed.
    #[test]
    fn the_words_of_the_contract_are_what_is_printed() {
        let login = LoginState::ALL.map(LoginState::as_str);
        assert_eq!(login, ["ok", "expiring", "expired", "missing", "husk", "login_needed", "unreadable"]);
        use TargetState::{Current, Error, Missing, Refused, Stale};
        let target = [Current, Stale, Missing, Refused, Error].map(TargetState::as_str);
        assert_eq!(target, ["current", "stale", "missing", "refused", "error"]);
        use WriteReason as Why;
        let why = [Why::Missing, Why::Stale, Why::Clobbered, Why::Repair, Why::Expiry].map(Why::as_str);
        assert_eq!(why, ["missing", "stale", "clobbered", "repair", "expiry"]);
        assert_eq!(
            [From::Agent, From::Global, From::Automatic].map(From::as_str),
            ["agent", "global", "automatic"]
        );
        let modes = [Mode::Auto, Mode::Cli, Mode::Direct, Mode::Off].map(Mode::as_str);
        assert_eq!(modes, ["auto", "cli", "direct", "off"]);
        use Event::{Raised, Reauth, Reminder, Resolved, Test, Worse};
        let events = [Raised, Worse, Reminder, Resolved, Reauth, Test].map(Event::as_str);
        assert_eq!(events, ["raised", "worse", "reminder", "resolved", "reauth", "test"]);
    }

    #[test]
    fn what_is_printed_is_the_word_that_is_stored() {
        for ended in Ended::ALL {
            assert_eq!(serde_json::to_value(ended).unwrap(), ended.as_str());
        }
        for action in [LastAction::None, LastAction::Reload, LastAction::Restart, LastAction::Recreate] {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        for severity in [Severity::Notice, Severity::Warning, Severity::Critical] {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        }
    }
}
