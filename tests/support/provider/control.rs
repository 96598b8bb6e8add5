//! The stand-in as a process of its own: one JSON command per line in, one JSON answer per line out.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Pair, Provider, Switches};

/// What it can be told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Command {
    /// Make a family known; answers the pair.
    Seed { family: String },
    /// Make a family known with that pair, or give it a new login.
    Adopt { family: String, pair: Pair },
    /// Turn the named switches; answers all of them.
    Switches { set: serde_json::Map<String, Value> },
    /// Answers the ledger.
    Ledger,
    /// Wait until so many grants were made; answers whether that was before the deadline.
    Wait { grants: usize, seconds: u64 },
}

/// What it says first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The loopback port.
    pub port: u16,
    /// Where the certificate of its authority is.
    pub ca: String,
}

/// Serves until standard input ends.
pub fn serve(dir: &Path) {
    let provider = Provider::start(dir);
    let mut out = std::io::stdout().lock();
    let mut say = |value: &Value| {
        writeln!(out, "{value}").and_then(|()| out.flush()).expect("standard output is open");
    };
    say(&json!(Hello { port: provider.port, ca: provider.ca_pem().display().to_string() }));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match serde_json::from_str(&line) {
            Ok(command) => obey(&provider, command),
            Err(error) => json!({"error": error.to_string()}),
        };
        say(&answer);
    }
}

fn obey(provider: &Provider, command: Command) -> Value {
    match command {
        Command::Seed { family } => json!(provider.seed(&family)),
        Command::Adopt { family, pair } => {
            provider.adopt(&family, pair);
            json!({})
        }
        Command::Switches { set } => {
            let mut all = json!(provider.switches());
            for (name, value) in set {
                all[name] = value;
            }
            match serde_json::from_value::<Switches>(all) {
                Ok(switches) => {
                    provider.set(|now| now.clone_from(&switches));
                    json!(switches)
                }
                Err(error) => json!({"error": error.to_string()}),
            }
        }
        Command::Ledger => json!(provider.ledger()),
        Command::Wait { grants, seconds } => {
            json!(provider.wait_for(Duration::from_secs(seconds), |ledger| ledger.grants() >= grants))
        }
    }
}
