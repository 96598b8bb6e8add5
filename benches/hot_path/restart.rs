//! From the last sink to the submitted restart job, on a private user manager; beside it a
//! `systemctl --user restart` of the same unit, the whole of a shell loop that does so, and the floor: calls
//! on a connection that stands. The bus itself tells of the job (`JobNew`), so
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
use crate::contenders::{Contender, is_installed};
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
    let mut others = Home::new(&options.dir, "restart-loop");
    for sink in home.sinks.iter().chain(&others.sinks) {
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

    let has_loop = ["bash", "inotifywait", "jq", "sed"].iter().all(|tool| is_installed(tool));
    let script = has_loop.then(|| Contender::restarting(&others, &manager, UNIT));
    let [mut submitted, mut whole, mut systemctl, mut looped]: [Sample; 4] = Default::default();
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
        let by_loop = script.as_ref().map(|_| {
            std::thread::sleep(PAUSE);
            eyes.blink();
            let (_, start) = others.rotate();
            let job = until_new(&jobs) - start;
            until_removed(&jobs);
            job
        });
        if round > 0 {
            looped.extend(by_loop);
            submitted.push(job.saturating_duration_since(last));
            whole.push(job - start);
            systemctl.push(by_hand);
        }
    }
    assert!(daemon.is_alive(), "the daemon ended");
    table.timed_at_most(PART, "tokensink, last sink -> job", &submitted, 5.0);
    table.timed(PART, "tokensink, credential rename -> job", &whole);
    if !looped.is_empty() {
        table.timed(PART, "one-shot loop with systemctl restart, credential rename -> job", &looped);
        let ratio = looped.median() / whole.median();
        table.plain(PART, "that loop / tokensink", ratio, "x");
    }
    table.timed(PART, "systemctl --user restart, wall time", &systemctl);
    table.note("nsenter included");
    let (call, restart) = floors(&manager.addresses(), &jobs);
    table.timed(PART, "floor: one round trip on the bus (GetUnit)", &call);
    table.timed(PART, "floor: RestartUnit answered, on a connection that stands", &restart);
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

/// A call that changes nothing, and a restart, each until its answer.
fn floors(addresses: &BusAddresses, jobs: &Receiver<(Instant, JobSignal)>) -> (Sample, Sample) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let manager = runtime.block_on(ServiceManager::connect(Scope::User, addresses)).unwrap();
    let call = |method: &'static str, arguments: &[&str]| {
        let (bus, path, interface) =
            ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
        let start = Instant::now();
        let connection = manager.connection();
        let answer = match *arguments {
            [unit] => {
                runtime.block_on(connection.call_method(Some(bus), path, Some(interface), method, &(unit,)))
            }
            [unit, mode] => runtime.block_on(connection.call_method(
                Some(bus),
                path,
                Some(interface),
                method,
                &(unit, mode),
            )),
            _ => unreachable!("no such call is made"),
        };
        answer.unwrap();
        start.elapsed()
    };
    let (mut bare, mut restart) = (Sample::default(), Sample::default());
    for _ in 0..MOST {
        bare.push(call("GetUnit", &[UNIT]));
        restart.push(call("RestartUnit", &[UNIT, "replace"]));
        until_removed(jobs);
    }
    (bare, restart)
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
