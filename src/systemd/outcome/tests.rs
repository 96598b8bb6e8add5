//! Tables for the pure decisions.

use super::*;

const OLD: &str = "11111111111111111111111111111111";
const NEW: &str = "22222222222222222222222222222222";

fn unit(active: &str, sub: &str, result: &str, invocation: Option<&str>) -> UnitFacts {
    UnitFacts {
        id: "gateway.service".to_owned(),
        load_state: LoadState::Loaded,
        active_state: ActiveState::from_word(active),
        sub_state: sub.to_owned(),
        unit_file_state: "enabled".to_owned(),
        invocation: invocation.map(str::to_owned),
        can_reload: true,
        condition_result: true,
        need_daemon_reload: false,
        job: None,
        job_type: None,
        active_enter_usec: 1,
        service: Some(ServiceFacts {
            result: result.to_owned(),
            n_restarts: 0,
            main_pid: 7,
            exec_main_status: 0,
        }),
    }
}

fn running(invocation: &str) -> UnitFacts {
    unit("active", "running", "success", Some(invocation))
}

fn failed(result: &str, sub: &str) -> RestartOutcome {
    RestartOutcome::Failed { result: result.to_owned(), sub_state: sub.to_owned() }
}

#[test]
fn each_job_result_and_state_has_one_outcome() {
    let restarted = RestartOutcome::Restarted { invocation: NEW.to_owned(), previous: Some(OLD.to_owned()) };
    let not_active = |active: &str, sub: &str| RestartOutcome::NotActive {
        active_state: active.to_owned(),
        sub_state: sub.to_owned(),
    };
    let dead = || unit("inactive", "dead", "success", None);
    let table = [
        ("done", running(NEW), restarted.clone()),
        ("done", unit("reloading", "reload", "success", Some(NEW)), restarted.clone()),
        ("done", running(OLD), RestartOutcome::InvocationUnchanged),
        ("done", dead(), not_active("inactive", "dead")),
        ("done", unit("activating", "start", "success", Some(NEW)), not_active("activating", "start")),
        ("done", unit("failed", "failed", "exit-code", Some(NEW)), failed("exit-code", "failed")),
        ("done", unit("activating", "auto-restart", "signal", Some(NEW)), failed("signal", "auto-restart")),
        ("failed", unit("failed", "failed", "exit-code", Some(NEW)), failed("exit-code", "failed")),
        ("failed", unit("failed", "failed", "timeout", Some(NEW)), failed("timeout", "failed")),
        ("failed", unit("failed", "failed", "start-limit-hit", Some(OLD)), RestartOutcome::StartLimit),
        ("failed", unit("failed", "failed", "success", None), failed("failed", "failed")),
        ("failed", dead(), failed("failed", "dead")),
        ("canceled", dead(), RestartOutcome::Superseded),
        ("canceled", running(OLD), RestartOutcome::Superseded),
        // Whoever canceled the job has started the unit anew: what was wanted is there.
        ("canceled", running(NEW), restarted.clone()),
        ("collected", dead(), RestartOutcome::Superseded),
        ("timeout", dead(), RestartOutcome::TimedOut),
        ("dependency", dead(), RestartOutcome::DependencyFailed),
        ("dependency", unit("failed", "failed", "signal", Some(OLD)), RestartOutcome::DependencyFailed),
        ("skipped", running(OLD), RestartOutcome::Skipped),
        ("invalid", running(OLD), failed("invalid", "running")),
        ("assert", dead(), failed("assert", "dead")),
        ("unsupported", dead(), failed("unsupported", "dead")),
        ("once", dead(), failed("once", "dead")),
        ("frozen", running(OLD), failed("frozen", "running")),
        ("invented later", running(OLD), failed("invented later", "running")),
        ("invented later", running(NEW), restarted),
    ];
    for (job, after, wanted) in table {
        let found = infer(&JobResult::from_word(job), &running(OLD), &after);
        assert_eq!(found, wanted, "{job} {} {}", after.active_state, after.sub_state);
    }
}

#[test]
fn a_condition_that_does_not_hold_is_told_from_a_dead_unit() {
    let mut after = unit("inactive", "dead", "success", Some(OLD));
    after.condition_result = false;
    assert_eq!(infer(&JobResult::Done, &running(OLD), &after), RestartOutcome::Skipped);
}

#[test]
fn a_first_start_has_no_previous_invocation() {
    let before = unit("failed", "failed", "exit-code", None);
    assert_eq!(
        infer(&JobResult::Done, &before, &running(NEW)),
        RestartOutcome::Restarted { invocation: NEW.to_owned(), previous: None }
    );
}

#[test]
fn an_active_unit_without_an_invocation_proves_nothing() {
    let without = unit("active", "running", "success", None);
    assert_eq!(infer(&JobResult::Done, &running(OLD), &without), RestartOutcome::InvocationUnchanged);
}

#[test]
fn a_reload_keeps_the_invocation_and_goes_by_the_job() {
    let reloaded = RestartOutcome::Reloaded { invocation: OLD.to_owned() };
    let table = [
        ("done", running(OLD), reloaded),
        (
            "done",
            running(NEW),
            RestartOutcome::Restarted { invocation: NEW.to_owned(), previous: Some(OLD.to_owned()) },
        ),
        ("failed", unit("active", "running", "exit-code", Some(OLD)), failed("exit-code", "running")),
        ("failed", running(OLD), failed("failed", "running")),
        ("canceled", running(OLD), RestartOutcome::Superseded),
        ("timeout", running(OLD), RestartOutcome::TimedOut),
    ];
    for (job, after, wanted) in table {
        assert_eq!(infer_reload(&JobResult::from_word(job), &running(OLD), &after), wanted, "{job}");
    }
}

#[test]
fn a_stop_is_judged_by_the_state_alone() {
    for job in ["done", "canceled"] {
        let after = unit("inactive", "dead", "success", Some(OLD));
        assert_eq!(infer_stop(&JobResult::from_word(job), &after), RestartOutcome::Stopped, "{job}");
    }
    assert_eq!(infer_stop(&JobResult::Canceled, &running(OLD)), RestartOutcome::Superseded);
}

#[test]
fn what_needs_no_job_is_decided_before_one() {
    let mut table = Vec::new();
    for (load, wanted) in [
        ("not-found", Some(RestartOutcome::NotLoaded)),
        ("masked", Some(RestartOutcome::Masked)),
        ("bad-setting", Some(RestartOutcome::BadUnit { load_state: "bad-setting".to_owned() })),
        ("error", Some(RestartOutcome::BadUnit { load_state: "error".to_owned() })),
        ("loaded", None),
        ("merged", None),
        ("invented later", None),
    ] {
        table.push((load, "active", wanted));
    }
    for (active, wanted) in [
        ("inactive", Some(RestartOutcome::Stopped)),
        ("deactivating", Some(RestartOutcome::Stopped)),
        ("failed", None),
        ("activating", None),
        ("reloading", None),
        ("invented later", None),
    ] {
        table.push(("loaded", active, wanted));
    }
    for (load, active, wanted) in table {
        let mut before = unit(active, "x", "success", Some(OLD));
        before.load_state = LoadState::from_word(load);
        assert_eq!(without_a_job(&before), wanted, "{load} {active}");
    }
}

#[test]
fn a_unit_between_stop_and_start_of_a_restart_is_not_taken_for_stopped() {
    for active in ["inactive", "deactivating"] {
        for (job, wanted) in [
            ("restart", None),
            ("start", None),
            ("stop", Some(RestartOutcome::Stopped)),
            ("verify-active", Some(RestartOutcome::Stopped)),
        ] {
            let mut before = unit(active, "x", "success", Some(OLD));
            before.job_type = Some(job.to_owned());
            assert_eq!(without_a_job(&before), wanted, "{active} {job}");
        }
    }
}

#[test]
fn refusals_are_told_apart_by_the_name_of_the_error() {
    let refused = |name: &str| RestartOutcome::Refused { error_name: name.to_owned() };
    let table = [
        ("org.freedesktop.systemd1.NoSuchUnit", RestartOutcome::NotLoaded, false),
        ("org.freedesktop.systemd1.UnitMasked", RestartOutcome::Masked, false),
        (
            "org.freedesktop.systemd1.LoadFailed",
            RestartOutcome::BadUnit { load_state: "error".to_owned() },
            false,
        ),
        (
            "org.freedesktop.DBus.Error.NoReply",
            RestartOutcome::BusUnavailable { reason: "org.freedesktop.DBus.Error.NoReply".to_owned() },
            true,
        ),
    ];
    for (name, wanted, retryable) in table {
        assert_eq!(from_error_name(name), wanted);
        assert_eq!(wanted.is_retryable(), retryable, "{name}");
    }
    for (name, retryable) in [
        ("org.freedesktop.DBus.Error.AccessDenied", false),
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", false),
        ("org.freedesktop.DBus.Error.UnknownMethod", false),
        ("org.freedesktop.systemd1.JobTypeNotApplicable", false),
        ("org.freedesktop.systemd1.OnlyByDependency", false),
        ("org.freedesktop.systemd1.TransactionIsDestructive", true),
        ("org.freedesktop.systemd1.ShuttingDown", true),
        ("org.freedesktop.DBus.Error.LimitsExceeded", true),
    ] {
        assert_eq!(from_error_name(name), refused(name));
        assert_eq!(from_error_name(name).is_retryable(), retryable, "{name}");
    }
}

#[test]
fn only_what_reads_the_new_files_is_applied() {
    let applied = [
        RestartOutcome::Restarted { invocation: NEW.to_owned(), previous: None },
        RestartOutcome::Reloaded { invocation: OLD.to_owned() },
        RestartOutcome::Stopped,
    ];
    assert!(applied.iter().all(|outcome| outcome.is_applied() && !outcome.is_retryable()));
    let not_applied = [
        RestartOutcome::NotLoaded,
        RestartOutcome::Masked,
        RestartOutcome::StartLimit,
        RestartOutcome::Superseded,
        RestartOutcome::Skipped,
        RestartOutcome::DependencyFailed,
        RestartOutcome::TimedOut,
        RestartOutcome::InvocationUnchanged,
        failed("signal", "failed"),
    ];
    assert!(!not_applied.iter().any(RestartOutcome::is_applied));
}

#[test]
fn foreign_words_are_kept_but_bounded() {
    assert_eq!(ActiveState::from_word("active"), ActiveState::Active);
    assert_eq!(ActiveState::from_word("dozing").as_str(), "dozing");
    assert_eq!(LoadState::from_word("not-found").to_string(), "not-found");
    let long = JobResult::from_word(&"é".repeat(1000));
    assert_eq!(long.as_str().len(), 200);
    assert_eq!(JobResult::from_word("a\nb").as_str(), "a b");
}

#[test]
fn every_outcome_has_its_own_word_and_a_sentence() {
    let outcomes = [
        RestartOutcome::Restarted { invocation: NEW.to_owned(), previous: None },
        RestartOutcome::Reloaded { invocation: OLD.to_owned() },
        RestartOutcome::NotLoaded,
        RestartOutcome::Masked,
        RestartOutcome::BadUnit { load_state: "error".to_owned() },
        RestartOutcome::Stopped,
        failed("signal", "failed"),
        RestartOutcome::StartLimit,
        RestartOutcome::Refused { error_name: "a.b".to_owned() },
        RestartOutcome::Superseded,
        RestartOutcome::Skipped,
        RestartOutcome::DependencyFailed,
        RestartOutcome::TimedOut,
        RestartOutcome::NotActive { active_state: "inactive".to_owned(), sub_state: "dead".to_owned() },
        RestartOutcome::InvocationUnchanged,
        RestartOutcome::BusUnavailable { reason: "gone".to_owned() },
    ];
    let words: std::collections::BTreeSet<_> = outcomes.iter().map(RestartOutcome::as_str).collect();
    assert_eq!(words.len(), outcomes.len());
    for outcome in &outcomes {
        let sentence = outcome.to_string();
        assert!(!sentence.is_empty() && !sentence.ends_with('.') && !sentence.contains('\n'), "{sentence}");
    }
}
