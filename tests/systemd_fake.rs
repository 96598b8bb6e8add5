//! What a real service manager cannot be made to do on demand: refuse by policy, answer late or
//! not at all, report odd results, and share its bus with a liar. A small fake on a private bus.

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

#[path = "support/bus.rs"]
mod bus;

use std::time::Duration;

use bus::Bus;
use tokensink::systemd::bus::{BusAddresses, BusError, Scope};
use tokensink::systemd::job::ServiceManager;
use tokensink::systemd::outcome::RestartOutcome;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

const SOON: Duration = Duration::from_secs(20);
const MANAGER: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "/org/freedesktop/systemd1/unit/gateway_2eservice";
const JOB: &str = "/org/freedesktop/systemd1/job/7";

/// Errors of the manager's own namespace.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum ManagerError {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
    UnitMasked(String),
    TransactionIsDestructive(String),
    AlreadySubscribed(String),
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.DBus.Error")]
enum BusRefusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    AccessDenied(String),
    InteractiveAuthorizationRequired(String),
    LimitsExceeded(String),
}

#[derive(Debug)]
enum Refusal {
    Manager(ManagerError),
    Bus(BusRefusal),
}

impl zbus::DBusError for Refusal {
    fn create_reply(&self, call: &zbus::message::Header<'_>) -> zbus::Result<zbus::Message> {
        match self {
            Self::Manager(error) => error.create_reply(call),
            Self::Bus(error) => error.create_reply(call),
        }
    }
    fn name(&self) -> zbus::names::ErrorName<'_> {
        match self {
            Self::Manager(error) => error.name(),
            Self::Bus(error) => error.name(),
        }
    }
    fn description(&self) -> Option<&str> {
        None
    }
}

/// What the fake does when a restart is asked for.
#[derive(Clone, Copy)]
enum Behaviour {
    Refuse(fn() -> Refusal),
    /// Reports the result, then answers the call: the signal overtakes the reply.
    ResultFirst(&'static str),
    /// Answers, and reports nothing.
    Silent,
    /// Never answers.
    Mute,
}

struct FakeManager(Behaviour);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeManager {
    fn subscribe(&self) -> Result<(), ManagerError> {
        Err(ManagerError::AlreadySubscribed("text that nobody reads".to_owned()))
    }

    fn load_unit(&self, _name: &str) -> OwnedObjectPath {
        OwnedObjectPath::try_from(UNIT).unwrap()
    }

    async fn restart_unit(
        &self,
        _name: &str,
        mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        #[zbus(object_server)] server: &zbus::ObjectServer,
    ) -> Result<OwnedObjectPath, Refusal> {
        assert_eq!(mode, "replace");
        match self.0 {
            Behaviour::Refuse(error) => return Err(error()),
            Behaviour::Mute => std::future::pending().await,
            Behaviour::Silent => {}
            Behaviour::ResultFirst(result) => {
                let unit = server.interface::<_, FakeUnit>(UNIT).await.unwrap();
                unit.get_mut().await.0 = 2;
                let job = OwnedObjectPath::try_from(JOB).unwrap();
                // Another job of the same unit, whose result is not ours.
                let other = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/6").unwrap();
                Self::job_removed(&emitter, 6, other, "gateway.service", "failed").await.unwrap();
                Self::job_removed(&emitter, 7, job, "gateway.service", result).await.unwrap();
            }
        }
        Ok(OwnedObjectPath::try_from(JOB).unwrap())
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// The unit; its number is the invocation.
struct FakeUnit(u8);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl FakeUnit {
    #[zbus(property)]
    fn id(&self) -> &str {
        "gateway.service"
    }
    #[zbus(property)]
    fn load_state(&self) -> &str {
        "loaded"
    }
    #[zbus(property)]
    fn active_state(&self) -> &str {
        "active"
    }
    #[zbus(property)]
    fn sub_state(&self) -> &str {
        "running"
    }
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        vec![self.0; 16]
    }
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (7, OwnedObjectPath::try_from(JOB).unwrap())
    }
}

struct FakeService;

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl FakeService {
    #[zbus(property)]
    fn result(&self) -> &str {
        "success"
    }
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        0
    }
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        7
    }
    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        0
    }
}

async fn fake(bus: &Bus, behaviour: Behaviour) -> Connection {
    zbus::connection::Builder::address(bus.address.as_str())
        .serve_at(MANAGER, FakeManager(behaviour))
        .serve_at(UNIT, FakeUnit(1))
        .serve_at(UNIT, FakeService)
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(50), test).await.expect("the test hangs")
    })
}

async fn outcome(bus: &Bus, behaviour: Behaviour) -> RestartOutcome {
    let _fake = fake(bus, behaviour).await;
    let systemd = ServiceManager::connect(Scope::User, &bus.addresses()).await.unwrap();
    match systemd.submit_restart("gateway.service").await {
        Ok(mut job) => job.wait(SOON).await,
        Err(outcome) => outcome,
    }
}

/// How to refuse, by which name that is told, and whether it passes by itself.
type Case = (fn() -> Refusal, &'static str, bool);

#[test]
fn each_refusal_is_told_by_its_name() {
    fn text() -> String {
        "words with sk-ant-oat01-made-up in them".to_owned()
    }
    let cases: [Case; 4] = [
        (|| Refusal::Bus(BusRefusal::AccessDenied(text())), "org.freedesktop.DBus.Error.AccessDenied", false),
        (
            || Refusal::Bus(BusRefusal::InteractiveAuthorizationRequired(text())),
            "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
            false,
        ),
        (
            || Refusal::Bus(BusRefusal::LimitsExceeded(text())),
            "org.freedesktop.DBus.Error.LimitsExceeded",
            true,
        ),
        (
            || Refusal::Manager(ManagerError::TransactionIsDestructive(text())),
            "org.freedesktop.systemd1.TransactionIsDestructive",
            true,
        ),
    ];
    run(async {
        for (error, name, retryable) in cases {
            let bus = Bus::start();
            let outcome = outcome(&bus, Behaviour::Refuse(error)).await;
            assert_eq!(outcome, RestartOutcome::Refused { error_name: name.to_owned() });
            assert_eq!(outcome.is_retryable(), retryable, "{name}");
            assert!(!outcome.to_string().contains("made-up"));
        }
        let gone: [(fn() -> Refusal, RestartOutcome); 2] = [
            (|| Refusal::Manager(ManagerError::NoSuchUnit(text())), RestartOutcome::NotLoaded),
            (|| Refusal::Manager(ManagerError::UnitMasked(text())), RestartOutcome::Masked),
        ];
        for (error, wanted) in gone {
            let bus = Bus::start();
            assert_eq!(outcome(&bus, Behaviour::Refuse(error)).await, wanted);
        }
    });
}

#[test]
fn a_result_that_overtakes_the_reply_is_not_lost() {
    run(async {
        for result in ["done", "invented later"] {
            let bus = Bus::start();
            let outcome = outcome(&bus, Behaviour::ResultFirst(result)).await;
            assert_eq!(
                outcome,
                RestartOutcome::Restarted { invocation: "02".repeat(16), previous: Some("01".repeat(16)) }
            );
        }
    });
}

#[test]
fn a_result_from_someone_else_on_the_bus_is_not_believed() {
    run(async {
        let bus = Bus::start();
        let _fake = fake(&bus, Behaviour::Silent).await;
        let systemd = ServiceManager::connect(Scope::User, &bus.addresses()).await.unwrap();
        let mut job = systemd.submit_restart("gateway.service").await.unwrap();
        let liar = bus.client().await;
        let us = systemd.connection().unique_name().unwrap().to_owned();
        let forged = zbus::Message::signal(MANAGER, "org.freedesktop.systemd1.Manager", "JobRemoved")
            .destination(us)
            .build(&(7_u32, OwnedObjectPath::try_from(JOB).unwrap(), "gateway.service", "done"))
            .unwrap();
        liar.send(&forged).await.unwrap();
        assert_eq!(job.wait(Duration::from_millis(500)).await, RestartOutcome::TimedOut);
    });
}

#[test]
fn a_manager_that_does_not_answer_is_given_up() {
    run(async {
        let bus = Bus::start();
        let outcome = outcome(&bus, Behaviour::Mute).await;
        assert!(
            matches!(&outcome, RestartOutcome::BusUnavailable { reason } if reason.contains("RestartUnit"))
        );
    });
}

#[test]
fn a_bus_without_a_service_manager_is_no_way_to_one() {
    run(async {
        let bus = Bus::start();
        let error = ServiceManager::connect(Scope::User, &bus.addresses()).await.unwrap_err();
        let BusError::Unreachable { attempts } = error else { panic!("{error:?}") };
        assert!(attempts[0].reason.contains("NameHasNoOwner"), "{attempts:?}");
    });
}

#[test]
fn a_manager_that_joins_the_bus_a_moment_later_is_found() {
    run(async {
        let bus = Bus::start();
        let addresses = bus.addresses();
        let join = async {
            let client = bus.client().await;
            // The client is on the bus once its own name is there; only then comes the manager.
            assert!(client.unique_name().is_some());
            fake(&bus, Behaviour::Silent).await
        };
        let (systemd, _fake) = tokio::join!(ServiceManager::connect(Scope::User, &addresses), join);
        assert!(systemd.unwrap().is_alive());
    });
}

#[test]
fn the_system_manager_is_found_by_the_address_that_was_given() {
    run(async {
        let bus = Bus::start();
        let _fake = fake(&bus, Behaviour::ResultFirst("done")).await;
        let addresses = BusAddresses { system: Some(bus.address.clone()), ..BusAddresses::default() };
        let systemd = ServiceManager::connect(Scope::System, &addresses).await.unwrap();
        let mut job = systemd.submit_restart("gateway.service").await.unwrap();
        assert!(job.wait(SOON).await.is_applied());
    });
}
