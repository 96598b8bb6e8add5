//! Transient units on a real `systemd --user`: results, deadlines, collection.
//!
//! Needs what `systemd_user.rs` needs.

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
use std::time::Duration;

use private_manager::PrivateManager;
use tokensink::systemd::bus::Scope;
use tokensink::systemd::job::ServiceManager;
use tokensink::systemd::outcome::{ActiveState, JobResult, LoadState, RestartOutcome};
use tokensink::systemd::transient::{TransientKind, TransientService};

const SOON: Duration = Duration::from_secs(20);

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(50), test).await.expect("the test hangs")
    })
}

async fn connect(manager: &PrivateManager) -> ServiceManager {
    ServiceManager::connect(Scope::User, &manager.addresses()).await.unwrap()
}

fn oneshot(script: &str) -> TransientService {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    TransientService::oneshot("a run of a test", command)
}

#[test]
fn a_transient_command_runs_to_its_end_and_tells_its_result() {
    let manager = PrivateManager::start();
    run(async {
        let systemd = connect(&manager).await;
        let out = manager.home().join("out");
        let service = TransientService {
            environment: vec![("WORD".to_owned(), "two words".to_owned())],
            working_directory: Some(manager.home()),
            ..oneshot("echo \"$WORD\" >out")
        };
        let (result, after) =
            systemd.start_transient("run-1.service", &service).await.unwrap().wait_facts(SOON).await.unwrap();
        assert_eq!((result, after.result()), (JobResult::Done, "success"));
        assert_eq!(after.active_state, ActiveState::Inactive);
        assert_eq!(fs::read_to_string(out).unwrap(), "two words\n");

        let (result, after) = systemd
            .start_transient("run-2.service", &oneshot("exit 3"))
            .await
            .unwrap()
            .wait_facts(SOON)
            .await
            .unwrap();
        assert_eq!((result, after.result()), (JobResult::Failed, "exit-code"));
        assert_eq!(after.service.unwrap().exec_main_status, 3);
        // Collected, once its result was read.
        while systemd.unit_facts("run-2.service").await.unwrap().load_state != LoadState::NotFound {
            tokio::task::yield_now().await;
        }

        let service =
            TransientService { timeout_start: Some(Duration::from_millis(100)), ..oneshot("exec sleep 1h") };
        let outcome = systemd.start_transient("run-3.service", &service).await.unwrap().wait(SOON).await;
        assert!(
            matches!(&outcome, RestartOutcome::Failed { result, .. } if result == "timeout"),
            "{outcome:?}"
        );

        let outcome =
            systemd.start_transient("run-4.service", &oneshot("exit 5")).await.unwrap().wait(SOON).await;
        assert!(
            matches!(&outcome, RestartOutcome::Failed { result, .. } if result == "exit-code"),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_transient_service_is_started_once_and_stopped() {
    let manager = PrivateManager::start();
    run(async {
        let systemd = connect(&manager).await;
        let service = TransientService { kind: TransientKind::Exec, ..oneshot("exec sleep infinity") };
        let started = systemd.start_transient("server.service", &service).await.unwrap().wait(SOON).await;
        assert!(matches!(started, RestartOutcome::Restarted { previous: None, .. }), "{started:?}");

        let twice = systemd.start_transient("server.service", &service).await.map(drop).unwrap_err();
        let error_name = "org.freedesktop.systemd1.UnitExists".to_owned();
        assert_eq!(twice, RestartOutcome::Refused { error_name });

        systemd.kill("server.service", 0).await.unwrap_err();
        let stopped = systemd.stop("server.service").await.unwrap().wait(SOON).await;
        assert_eq!(stopped, RestartOutcome::Stopped);
    });
}
