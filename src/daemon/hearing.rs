//! Listening to the logs of gateways, where the configuration says what means 401. One task for each,
//! which is there as long as the gateway is; a listener that ends is started anew, later each time.
//! What was heard waits here until the loop asks, and wakes it once in a while only: a flood of lines
//! is no flood of passes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::base::id::GatewayId;
use crate::core::unauthorized::REPEATS_AFTER;
use crate::daemon::world::World;
use crate::gateway::log;
use crate::sys::{clock, follow};

/// The first pause before a listener that ended is started anew; it doubles up to [`PAUSE_MOST`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(5 * 60);
/// One that listened for so long has worked.
const WORKED: Duration = Duration::from_secs(60);

/// What was heard of each gateway, in lines.
pub type Heard = BTreeMap<GatewayId, u64>;

/// The listeners, and what they heard.
#[derive(Debug, Default)]
pub struct Hearing {
    listeners: BTreeMap<GatewayId, (Vec<String>, AbortHandle)>,
    // Each is aborted, and its command killed, when this is dropped.
    tasks: JoinSet<()>,
    ear: Rc<Ear>,
    /// When (monotonic) the loop was last told.
    told_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Ear {
    heard: RefCell<Heard>,
    wakes: Notify,
}

impl Hearing {
    /// Listens to the gateways as they are configured now. Must be called within a runtime.
    pub fn set(&mut self, world: &World) {
        let wanted = world.settings.gateways.iter();
        let wanted: BTreeMap<_, _> = wanted.filter_map(|g| Some((g.id.clone(), log::command(g)?))).collect();
        self.listeners.retain(|id, (argv, task)| {
            let stays = wanted.get(id) == Some(argv);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, argv) in wanted {
            if !self.listeners.contains_key(&id) {
                let env = world.surroundings.child_environment();
                let listener = listen(id.clone(), argv.clone(), env, Rc::clone(&self.ear));
                let task = self.tasks.spawn_local(listener);
                self.listeners.insert(id, (argv, task));
            }
        }
        // Those that were aborted are collected; the others go on.
        while self.tasks.try_join_next().is_some() {}
    }

    /// Waits until something was heard, and a moment longer if the last time is not long ago.
    pub async fn wakes(&self) {
        while self.ear.heard.borrow().is_empty() {
            self.ear.wakes.notified().await;
        }
        let since = self.told_at.map(|at| clock::monotonic().saturating_sub(at));
        if let Some(pause) = since.and_then(|since| REPEATS_AFTER.checked_sub(since)) {
            tokio::time::sleep(pause).await;
        }
    }

    /// What was heard since the last time.
    pub fn take(&mut self) -> Heard {
        let heard = std::mem::take(&mut *self.ear.heard.borrow_mut());
        if !heard.is_empty() {
            self.told_at = Some(clock::monotonic());
        }
        heard
    }

    /// Puts back what could not be taken into account.
    pub fn put_back(&self, heard: Heard) {
        for (gateway, lines) in heard {
            self.ear.note(&gateway, lines);
        }
    }
}

impl Ear {
    fn note(&self, gateway: &GatewayId, lines: u64) {
        let mut heard = self.heard.borrow_mut();
        let count = heard.entry(gateway.clone()).or_default();
        *count = count.saturating_add(lines);
        self.wakes.notify_one();
    }
}

/// Listens to one gateway, for ever.
async fn listen(gateway: GatewayId, argv: Vec<String>, env: BTreeMap<String, String>, ear: Rc<Ear>) {
    let mut pause = PAUSE_FIRST;
    loop {
        let began = clock::monotonic();
        let ended = follow::count_lines(&argv, &env, &mut |lines| ear.note(&gateway, lines)).await;
        if clock::monotonic().saturating_sub(began) >= WORKED {
            pause = PAUSE_FIRST;
        }
        let why = match ended {
            Ok(status) => format!("journalctl ended with {status}"),
            Err(error) => format!("journalctl: {error}"),
        };
        if pause == PAUSE_FIRST {
            tracing::warn!(tokensink_gateway = %gateway, "the log of gateway {gateway} is not heard, trying again: {why}");
        } else {
            tracing::debug!("the log of gateway {gateway} is not heard: {why}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}
