//! Restarts, reloads and transient units against a real `systemd --user` and a real bus.
//!
//! Needs root and the Debian packages systemd, dbus and dbus-user-session; without them the tests
//! fail and say so. Nothing here waits for luck: slow units wait on a FIFO that the test opens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "support/private_manager.rs"]
mod private_manager;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use private_manager::PrivateManager;
use tokensink::systemd::bus::{BusAddresses, BusError, Scope};
use tokensink::systemd::job::{PendingJob, ServiceManager};
use tokensink::systemd::outcome::{ActiveState, JobResult, LoadState, RestartOutcome};
use tokensink::systemd::transient::TransientService;

const SOON: Duration = Duration::from_secs(20);
const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(50), test).await.expect("the test hangs")
    })
}

async fn connect(manager: &PrivateManager) -> ServiceManager {
    ServiceManager::connect(Scope::User, &manager.addresses()).await.unwrap()
}

async fn restart(systemd: &ServiceManager, unit: &str) -> RestartOutcome {
    match systemd.submit_restart(unit).await {
        Ok(mut job) => job.wait(SOON).await,
        Err(outcome) => outcome,
    }
}

fn property(manager: &PrivateManager, unit: &str, name: &str) -> String {
    manager.systemctl_ok(&["show", "--value", "-p", name, unit])
}

/// A unit that is ready only once a line was written to its FIFO.
struct Gate(PathBuf);

impl Gate {
    fn unit(manager: &PrivateManager, name: &str) -> Self {
        let fifo = manager.home().join(format!("{name}.gate"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = manager.write_script(
            &format!("{name}.sh"),
            &format!(
                "#!/bin/sh\nread -r _ <{}\nsystemd-notify --ready\nexec sleep infinity\n",
                fifo.display()
            ),
        );
        manager.write_unit(
            name,
            &format!("[Service]\nType=notify\nNotifyAccess=all\nExecStart={}\n", script.display()),
        );
        Self(fifo)
    }

    /// Lets one start through; blocks until the unit has come to its gate.
    async fn open(&self) {
        let path = self.0.clone();
        tokio::task::spawn_blocking(move || {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"go\n").unwrap();
        })
        .await
        .unwrap();
    }

    async fn start(&self, manager: &PrivateManager, name: &str) {
        manager.systemctl_ok(&["start", "--no-block", name]);
        self.open().await;
        // A second start joins the first and waits for it.
        manager.systemctl_ok(&["start", name]);
    }
}

#[test]
fn an_active_unit_is_restarted_and_its_new_invocation_is_the_proof() {
    let manager = PrivateManager::start();
    manager.write_unit("gateway.service", SLEEPER);
    manager.systemctl_ok(&["start", "gateway.service"]);
    let old = property(&manager, "gateway.service", "InvocationID");
    run(async {
        let systemd = connect(&manager).await;
        assert!(systemd.is_alive() && !systemd.is_private());
        let before = systemd.unit_facts("gateway.service").await.unwrap();
        assert_eq!(before.invocation.as_ref(), Some(&old));
        assert_eq!((&before.load_state, &before.active_state), (&LoadState::Loaded, &ActiveState::Active));
        assert_eq!((before.sub_state.as_str(), before.unit_file_state.as_str()), ("running", "static"));
        assert!(before.active_enter_usec > 0 && !before.can_reload && before.job.is_none());
        assert!(before.service.as_ref().unwrap().main_pid > 1);

        let outcome = restart(&systemd, "gateway.service").await;
        let RestartOutcome::Restarted { invocation, previous } = outcome else { panic!("{outcome:?}") };
        assert_eq!(previous, Some(old.clone()));
        assert_ne!(invocation, old);
        assert_eq!(invocation, property(&manager, "gateway.service", "InvocationID"));
    });
}

#[test]
fn a_unit_known_by_an_alias_is_restarted_under_its_own_name() {
    let manager = PrivateManager::start();
    manager.write_unit("gateway.service", SLEEPER);
    let units = manager.home().join(".config/systemd/user");
    std::os::unix::fs::symlink("gateway.service", units.join("alias.service")).unwrap();
    manager.daemon_reload();
    manager.systemctl_ok(&["start", "gateway.service"]);
    run(async {
        let systemd = connect(&manager).await;
        assert_eq!(systemd.unit_facts("alias.service").await.unwrap().id, "gateway.service");
        let outcome = restart(&systemd, "alias.service").await;
        assert!(matches!(outcome, RestartOutcome::Restarted { .. }), "{outcome:?}");
    });
}

#[test]
fn what_needs_no_job_gets_none() {
    let manager = PrivateManager::start();
    manager.write_unit("idle.service", SLEEPER);
    manager.write_unit("masked.service", SLEEPER);
    manager.write_unit("broken.service", "[Service]\nType=simple\n");
    manager.systemctl_ok(&["start", "masked.service"]);
    manager.systemctl_ok(&["mask", "--runtime", "absent.service"]);
    fs::remove_file(manager.home().join(".config/systemd/user/masked.service")).unwrap();
    manager.systemctl_ok(&["mask", "masked.service"]);
    manager.daemon_reload();
    run(async {
        let systemd = connect(&manager).await;
        assert_eq!(restart(&systemd, "nowhere.service").await, RestartOutcome::NotLoaded);
        assert_eq!(restart(&systemd, "absent.service").await, RestartOutcome::Masked);
        assert_eq!(restart(&systemd, "masked.service").await, RestartOutcome::Masked);
        assert_eq!(property(&manager, "masked.service", "ActiveState"), "active");
        assert_eq!(
            restart(&systemd, "broken.service").await,
            RestartOutcome::BadUnit { load_state: "bad-setting".to_owned() }
        );
        assert_eq!(restart(&systemd, "idle.service").await, RestartOutcome::Stopped);
        assert_eq!(property(&manager, "idle.service", "ActiveState"), "inactive");
        assert_eq!(
            restart(&systemd, "no-suffix").await,
            RestartOutcome::Refused { error_name: "org.freedesktop.DBus.Error.InvalidArgs".to_owned() }
        );
    });
}

#[test]
fn a_failed_unit_is_started_again() {
    let manager = PrivateManager::start();
    let script = manager.write_script(
        "fragile.sh",
        "#!/bin/sh\n[ -e \"$HOME/cure\" ] || exit 3\nsystemd-notify --ready\nexec sleep infinity\n",
    );
    manager.write_unit(
        "fragile.service",
        &format!("[Service]\nType=notify\nNotifyAccess=all\nExecStart={}\n", script.display()),
    );
    assert!(!manager.systemctl(&["start", "fragile.service"]).status.success());
    run(async {
        let systemd = connect(&manager).await;
        let before = systemd.unit_facts("fragile.service").await.unwrap();
        assert_eq!(before.active_state, ActiveState::Failed);
        assert_eq!(before.service.unwrap().exec_main_status, 3);
        let still = restart(&systemd, "fragile.service").await;
        assert_eq!(
            still,
            RestartOutcome::Failed { result: "exit-code".to_owned(), sub_state: "failed".to_owned() }
        );
        fs::write(manager.home().join("cure"), "").unwrap();
        let outcome = restart(&systemd, "fragile.service").await;
        assert!(matches!(outcome, RestartOutcome::Restarted { .. }), "{outcome:?}");
    });
}

#[test]
fn a_unit_that_only_crashes_and_waits_to_be_restarted_has_failed() {
    let manager = PrivateManager::start();
    let script = manager.write_script(
        "gateway.sh",
        "#!/bin/sh\n[ ! -e \"$HOME/poison\" ] || exit 1\nsystemd-notify --ready\nexec sleep infinity\n",
    );
    manager.write_unit(
        "gateway.service",
        &format!(
            "[Service]\nType=notify\nNotifyAccess=all\nRestart=always\nRestartSec=1h\nExecStart={}\n",
            script.display()
        ),
    );
    manager.systemctl_ok(&["start", "gateway.service"]);
    fs::write(manager.home().join("poison"), "").unwrap();
    run(async {
        let systemd = connect(&manager).await;
        assert_eq!(
            restart(&systemd, "gateway.service").await,
            RestartOutcome::Failed { result: "exit-code".to_owned(), sub_state: "auto-restart".to_owned() }
        );
    });
}

#[test]
fn a_unit_started_too_often_is_a_start_limit_and_not_a_failure() {
    let manager = PrivateManager::start();
    manager.write_unit(
        "gateway.service",
        "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    manager.systemctl_ok(&["start", "gateway.service"]);
    run(async {
        let systemd = connect(&manager).await;
        let first = restart(&systemd, "gateway.service").await;
        assert!(first.is_applied(), "{first:?}");
        assert_eq!(restart(&systemd, "gateway.service").await, RestartOutcome::StartLimit);
        assert_eq!(restart(&systemd, "gateway.service").await, RestartOutcome::StartLimit);
        systemd.reset_failed("gateway.service").await.unwrap();
        // Forgotten means inactive: now it is its owner's to start.
        assert_eq!(restart(&systemd, "gateway.service").await, RestartOutcome::Stopped);
    });
}

#[test]
fn a_slow_unit_times_out_and_can_be_waited_for_again() {
    let manager = PrivateManager::start();
    let gate = Gate::unit(&manager, "slow.service");
    run(async {
        gate.start(&manager, "slow.service").await;
        let systemd = connect(&manager).await;
        let mut job = systemd.submit_restart("slow.service").await.unwrap();
        assert_eq!(job.wait(Duration::from_millis(200)).await, RestartOutcome::TimedOut);
        let meanwhile = systemd.unit_facts("slow.service").await.unwrap();
        assert_eq!(meanwhile.active_state, ActiveState::Activating);
        assert_eq!(meanwhile.job.as_deref(), Some(job.path()));
        gate.open().await;
        let outcome = job.wait(SOON).await;
        assert!(matches!(outcome, RestartOutcome::Restarted { .. }), "{outcome:?}");
    });
}

#[test]
fn a_restart_that_is_overtaken_by_a_stop_is_superseded() {
    let manager = PrivateManager::start();
    let gate = Gate::unit(&manager, "slow.service");
    run(async {
        gate.start(&manager, "slow.service").await;
        let systemd = connect(&manager).await;
        let mut job = systemd.submit_restart("slow.service").await.unwrap();
        manager.systemctl_ok(&["stop", "slow.service"]);
        assert_eq!(job.wait(SOON).await, RestartOutcome::Superseded);
    });
}

/// A unit that stops only once a line was written to its FIFO.
fn slow_to_stop(manager: &PrivateManager, name: &str) -> Gate {
    let gate = Gate::unit(manager, "unused.service");
    manager.write_unit(
        name,
        &format!(
            "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'read -r _ <{}'\n",
            gate.0.display()
        ),
    );
    manager.systemctl_ok(&["start", name]);
    gate
}

#[test]
fn a_restart_in_the_midst_of_another_joins_it() {
    let manager = PrivateManager::start();
    let gate = slow_to_stop(&manager, "gateway.service");
    run(async {
        let (one, two) = (connect(&manager).await, connect(&manager).await);
        let mut first = one.submit_restart("gateway.service").await.unwrap();
        until(&two, "gateway.service", ActiveState::Deactivating).await;
        let mut second = two.submit_restart("gateway.service").await.unwrap();
        assert_eq!(first.path(), second.path());
        let (first, second, ()) = tokio::join!(first.wait(SOON), second.wait(SOON), gate.open());
        assert!(matches!(first, RestartOutcome::Restarted { .. }), "{first:?}");
        assert_eq!(first, second);
    });
}

#[test]
fn a_unit_that_someone_is_stopping_stays_stopped() {
    let manager = PrivateManager::start();
    let gate = slow_to_stop(&manager, "gateway.service");
    run(async {
        let systemd = connect(&manager).await;
        manager.systemctl_ok(&["stop", "--no-block", "gateway.service"]);
        until(&systemd, "gateway.service", ActiveState::Deactivating).await;
        assert_eq!(restart(&systemd, "gateway.service").await, RestartOutcome::Stopped);
        gate.open().await;
        until(&systemd, "gateway.service", ActiveState::Inactive).await;
    });
}

#[test]
fn a_condition_and_a_dependency_are_told_from_a_failure() {
    let manager = PrivateManager::start();
    let need = manager.home().join("need");
    fs::write(&need, "").unwrap();
    manager.write_unit(
        "careful.service",
        &format!(
            "[Unit]\nConditionPathExists={}\n[Service]\nExecStart=/bin/sleep infinity\n",
            need.display()
        ),
    );
    let script = manager.write_script("base.sh", "#!/bin/sh\n[ -e \"$HOME/need\" ]\n");
    manager.write_unit(
        "base.service",
        &format!("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={}\n", script.display()),
    );
    manager.write_unit(
        "dependent.service",
        "[Unit]\nRequires=base.service\nAfter=base.service\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    manager.systemctl_ok(&["start", "careful.service", "dependent.service"]);
    fs::remove_file(need).unwrap();
    run(async {
        let systemd = connect(&manager).await;
        assert_eq!(restart(&systemd, "careful.service").await, RestartOutcome::Skipped);

        // The base unit goes away, and its dependent with it; a kill makes that one failed first.
        manager.systemctl_ok(&["kill", "-s", "KILL", "dependent.service"]);
        until(&systemd, "dependent.service", ActiveState::Failed).await;
        manager.systemctl_ok(&["stop", "base.service"]);
        let outcome = restart(&systemd, "dependent.service").await;
        assert_eq!(outcome, RestartOutcome::DependencyFailed);
    });
}

/// Looks until the unit has come to a state; each look is a round trip.
async fn until(systemd: &ServiceManager, unit: &str, state: ActiveState) {
    while systemd.unit_facts(unit).await.unwrap().active_state != state {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_reload_keeps_the_invocation_and_is_refused_where_there_is_none() {
    let manager = PrivateManager::start();
    manager.write_unit("gateway.service", "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n");
    manager.write_unit("deaf.service", SLEEPER);
    manager.write_unit("sore.service", "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/false\n");
    manager.systemctl_ok(&["start", "gateway.service", "deaf.service", "sore.service"]);
    run(async {
        let systemd = connect(&manager).await;
        let invocation = systemd.unit_facts("gateway.service").await.unwrap().invocation.unwrap();
        let mut job = systemd.submit_reload("gateway.service").await.unwrap();
        assert_eq!(job.wait(SOON).await, RestartOutcome::Reloaded { invocation });

        let refused = systemd.submit_reload("deaf.service").await.map(drop).unwrap_err();
        let error_name = "org.freedesktop.systemd1.JobTypeNotApplicable".to_owned();
        assert_eq!(refused, RestartOutcome::Refused { error_name });

        let outcome = systemd.submit_reload("sore.service").await.unwrap().wait(SOON).await;
        assert!(matches!(outcome, RestartOutcome::Failed { .. }), "{outcome:?}");
    });
}

#[test]
fn a_bus_that_dies_while_waiting_is_noticed_at_once_and_survived() {
    let manager = PrivateManager::start();
    let gate = Gate::unit(&manager, "slow.service");
    run(async {
        gate.start(&manager, "slow.service").await;
        let systemd = connect(&manager).await;
        let mut job = systemd.submit_restart("slow.service").await.unwrap();
        let started = Instant::now();
        let (outcome, ()) = tokio::join!(job.wait(SOON), async { manager.stop_bus() });
        assert!(matches!(outcome, RestartOutcome::BusUnavailable { .. }), "{outcome:?}");
        assert!(outcome.is_retryable() && started.elapsed() < Duration::from_secs(10));
        systemd.closed().await;
        assert!(!systemd.is_alive());
        let gone = systemd.unit_facts("slow.service").await.unwrap_err();
        assert!(matches!(gone, BusError::Lost { .. }), "{gone:?}");
        let refused = systemd.submit_restart("slow.service").await.map(drop).unwrap_err();
        assert!(matches!(refused, RestartOutcome::BusUnavailable { .. }), "{refused:?}");

        manager.start_bus();
        let again = connect(&manager).await;
        assert!(!again.is_private());
        gate.open().await;
        until(&again, "slow.service", ActiveState::Active).await;
        let after = again.unit_facts("slow.service").await.unwrap();
        assert_ne!(after.invocation, job.before().invocation);
    });
}

#[test]
fn without_a_bus_the_managers_own_socket_does_the_same() {
    let manager = PrivateManager::start();
    let gate = Gate::unit(&manager, "slow.service");
    manager.write_unit("gateway.service", SLEEPER);
    manager.systemctl_ok(&["start", "gateway.service"]);
    manager.stop_bus();
    run(async {
        let systemd = connect(&manager).await;
        assert!(systemd.is_private() && systemd.address().ends_with("/systemd/private"));
        let outcome = restart(&systemd, "gateway.service").await;
        assert!(matches!(outcome, RestartOutcome::Restarted { .. }), "{outcome:?}");
        assert_eq!(restart(&systemd, "nowhere.service").await, RestartOutcome::NotLoaded);

        gate.start(&manager, "slow.service").await;
        let mut job = systemd.submit_restart("slow.service").await.unwrap();
        assert_eq!(job.wait(Duration::from_millis(100)).await, RestartOutcome::TimedOut);
        gate.open().await;
        assert!(job.wait(SOON).await.is_applied());

        let mut job = systemd.start_transient("run.service", &oneshot("exit 4")).await.unwrap();
        let (result, _) = job.wait_facts(SOON).await.unwrap();
        assert_eq!(result, JobResult::Failed);
    });
}

#[test]
fn a_manager_executed_anew_loses_no_pending_job() {
    let manager = PrivateManager::start();
    let gate = Gate::unit(&manager, "slow.service");
    run(async {
        gate.start(&manager, "slow.service").await;
        let systemd = connect(&manager).await;
        let mut job = systemd.submit_restart("slow.service").await.unwrap();
        manager.systemctl_ok(&["daemon-reexec"]);
        let (outcome, ()) = tokio::join!(job.wait(SOON), gate.open());
        assert!(matches!(outcome, RestartOutcome::Restarted { .. }), "{outcome:?}");
    });
}

fn oneshot(script: &str) -> TransientService {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    TransientService::oneshot("a run of a test", command)
}

#[test]
fn a_dead_session_address_does_not_hide_the_bus_beside_it() {
    let manager = PrivateManager::start();
    run(async {
        let addresses =
            BusAddresses { session: Some("unix:path=/nonexistent/bus".to_owned()), ..manager.addresses() };
        let systemd = ServiceManager::connect(Scope::User, &addresses).await.unwrap();
        assert!(!systemd.is_private());
        assert_eq!(systemd.address(), manager.addresses().session.unwrap());
    });
}

#[test]
fn an_idle_connection_causes_no_wake_ups() {
    let manager = PrivateManager::start();
    manager.write_unit("gateway.service", SLEEPER);
    manager.systemctl_ok(&["start", "gateway.service"]);
    let switches = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    run(async {
        let systemd = connect(&manager).await;
        assert!(restart(&systemd, "gateway.service").await.is_applied());
        // The match is given back in the background.
        let settled = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
        assert!(settled.is_err());
        let before = switches();
        let watched = tokio::time::timeout(Duration::from_secs(2), std::future::pending::<()>());
        // Something that is none of our business happens meanwhile.
        let (watched, ()) = tokio::join!(watched, async {
            manager.systemctl(&["restart", "gateway.service"]);
        });
        assert!(watched.is_err());
        let woken = switches() - before;
        // The timer, and waiting for systemctl on this very thread.
        assert!(woken <= 12, "{woken} wake-ups in 2 s");
        println!("{woken} voluntary context switches in 2 s");
    });
}

#[test]
fn submitting_takes_a_few_milliseconds_at_most() {
    let manager = PrivateManager::start();
    manager.write_unit(
        "gateway.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    manager.systemctl_ok(&["start", "gateway.service"]);
    run(async {
        let systemd = connect(&manager).await;
        let (mut connected, mut fresh, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..20 {
            let start = Instant::now();
            let mut job: PendingJob = systemd.submit_restart("gateway.service").await.unwrap();
            connected.push(start.elapsed());
            assert!(job.wait(SOON).await.is_applied());
            done.push(start.elapsed());

            let start = Instant::now();
            let own = connect(&manager).await;
            let mut job = own.submit_restart("gateway.service").await.unwrap();
            fresh.push(start.elapsed());
            assert!(job.wait(SOON).await.is_applied());
        }
        for (name, times) in
            [("connected", &mut connected), ("with connect", &mut fresh), ("proven", &mut done)]
        {
            times.sort();
            println!("{name}: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
        }
    });
}
