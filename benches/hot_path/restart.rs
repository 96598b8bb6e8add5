//! From the last sink to the submitted restart job, on a private user manager; beside it a
//! `systemctl --user restart` of the same unit. The bus itself tells of the job (`JobNew`), so
//! the figure contains the manager's work and the way of the signal.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tokensink::systemd::bus::{BusAddresses, Scope};
use tokensink::systemd::job::ServiceManager;
use zbus::export::futures_core::Stream;
use zbus::{MatchRule, MessageStream};

use crate::Options;
use crate::eyes::Eyes;
use crate::home::{Home, PATIENCE};
use crate::private_manager::PrivateManager;
use crate::proc;
use crate::table::{Sample, Table};

const PART: &str = "last sink -> restart job";
const UNIT: &str = "bench-gateway.service";
/// Restarts are slower than rotations and steadier.
const MOST: usize = 40;
const PAUSE: Duration = Duration::from_millis(100);

/// What the manager says about jobs of the unit.
enum JobSignal {
    New,
    Removed,
}

pub fn measure(options: &Options, table: &mut Table) {
    let manager = PrivateManager::start();
    manager.write_unit(UNIT, "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\n");
    manager.daemon_reload();
    manager.systemctl_ok(&["start", UNIT]);
    let jobs = listen(manager.addresses());

    let mut home = Home::new(&options.dir, "restart");
    home.configure(&format!(
        "{}[[gateway]]\nid = \"gateway\"\nsinks = [\"oauth\", \"env\", \"secret\"]\nunit = \"{UNIT}\"\n\
         min_interval = \"0s\"\n",
        home.three_sinks()
    ));
    let mut eyes = Eyes::open();
    for sink in &home.sinks {
        eyes.watch(sink.parent().unwrap());
    }
    let reached: Vec<_> = manager
        .environment()
        .into_iter()
        .filter(|(name, _)| matches!(*name, "XDG_RUNTIME_DIR" | "DBUS_SESSION_BUS_ADDRESS"))
        .collect();
    let mut daemon = home.daemon_with(&options.program, &reached);
    // The first pass filled the sinks and restarts the unit.
    until_removed(&jobs);

    let (mut submitted, mut whole, mut systemctl) = (Sample::default(), Sample::default(), Sample::default());
    for round in 0..=options.rounds.min(MOST) {
        std::thread::sleep(PAUSE);
        eyes.blink();
        let (token, start) = home.rotate();
        let last = eyes.until_all_hold(&home.sinks, &token, PATIENCE).expect("a sink was not written");
        let job = until_new(&jobs);
        until_removed(&jobs);
        std::thread::sleep(PAUSE);
        let by_hand = Instant::now();
        manager.systemctl_ok(&["restart", UNIT]);
        let by_hand = by_hand.elapsed();
        until_removed(&jobs);
        if round > 0 {
            submitted.push(job.saturating_duration_since(last));
            whole.push(job - start);
            systemctl.push(by_hand);
        }
    }
    assert!(daemon.is_alive(), "the daemon ended");
    table.at_most(PART, "last sink -> job, median", submitted.median(), "ms", 5.0);
    table.note(format!("p95 {:.2} ms", submitted.p95()));
    table.plain(PART, "credential rename -> job, median", whole.median(), "ms");
    table.note(format!("p95 {:.2} ms", whole.p95()));
    table.plain(PART, "systemctl --user restart, wall time, median", systemctl.median(), "ms");
    table.note(format!("p95 {:.2} ms, nsenter included", systemctl.p95()));
    let count = options.rounds.min(MOST) + 2;
    table.at_most(PART, &format!("RSS after {count} restarts"), proc::rss(daemon.pid()), "MiB", 5.0);
    table.note(format!("peak {:.2} MiB", proc::peak(daemon.pid())));
}

fn until_new(jobs: &Receiver<(Instant, JobSignal)>) -> Instant {
    loop {
        if let (at, JobSignal::New) = jobs.recv_timeout(PATIENCE).expect("no restart job") {
            return at;
        }
    }
}

fn until_removed(jobs: &Receiver<(Instant, JobSignal)>) {
    while !matches!(jobs.recv_timeout(PATIENCE).expect("the job did not end").1, JobSignal::Removed) {}
}

/// Listens to the manager in a thread of its own, which ends with the program.
fn listen(addresses: BusAddresses) -> Receiver<(Instant, JobSignal)> {
    let (sender, receiver) = mpsc::channel();
    let (standing, stands) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let manager = ServiceManager::connect(Scope::User, &addresses).await.unwrap();
            let rule = MatchRule::builder()
                .msg_type(zbus::message::Type::Signal)
                .interface("org.freedesktop.systemd1.Manager")
                .build()
                .unwrap();
            let mut stream = MessageStream::for_match_rule(rule, manager.connection(), None).await.unwrap();
            let subscribe = manager.connection().call_method(
                Some("org.freedesktop.systemd1"),
                "/org/freedesktop/systemd1",
                Some("org.freedesktop.systemd1.Manager"),
                "Subscribe",
                &(),
            );
            subscribe.await.unwrap();
            standing.send(()).unwrap();
            while let Some(Ok(message)) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
                let at = Instant::now();
                let header = message.header();
                let signal = match header.member().map(|m| m.as_str()) {
                    Some("JobNew") => JobSignal::New,
                    Some("JobRemoved") => JobSignal::Removed,
                    _ => continue,
                };
                if sender.send((at, signal)).is_err() {
                    return;
                }
            }
        });
    });
    stands.recv_timeout(PATIENCE).expect("the bus cannot be listened to");
    receiver
}
