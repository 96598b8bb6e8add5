//! What each OpenClaw says of its own health, beside what we say: for `status --probe` and `doctor`.
//! The one part of both that runs a program.

use std::fmt;

use crate::core::agreement::{self, Agreement, Ours, Said};
use crate::daemon::look::Look;
use crate::daemon::order::OfSink;
use crate::daemon::world::World;

/// Of one agent.
#[derive(Debug)]
pub struct Opinion {
    /// The sink that supplies it.
    pub sink: String,
    /// The agent.
    pub agent: String,
    /// What it says and how that stands to what we say, or why it says nothing.
    pub answer: Result<(Said, Agreement), String>,
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "openclaw {}/{}  ", self.sink, self.agent)?;
        match &self.answer {
            Err(why) => write!(f, "says nothing\n         {why}"),
            Ok((said, agreement)) => {
                let word = match said.exit {
                    0 => "ok",
                    1 => "expired or missing",
                    2 => "expiring",
                    _ => "failed",
                };
                match agreement {
                    Agreement::Agrees => write!(f, "says {word}, as we do"),
                    Agreement::Explained(why) => {
                        write!(f, "says {word}, and nothing is wrong\n         {why}")
                    }
                    Agreement::Contradicts(why) => write!(f, "says {word}, and we do not\n         {why}"),
                }
            }
        }
    }
}

/// Asks every OpenClaw that is supplied with one of those logins (all, when none is named), agent by
/// agent: seconds each.
pub async fn opinions(world: &World, look: &Look, logins: &[String]) -> Vec<Opinion> {
    let is_wanted = |login: &str| logins.is_empty() || logins.iter().any(|wanted| wanted == login);
    let mut opinions = Vec::new();
    for sink in world.settings.sinks.iter().filter(|sink| is_wanted(sink.login.as_str())) {
        let Some(instance) = OfSink::of(world, sink) else { continue };
        let report = look.report(&[sink.login.to_string()], world);
        for agent in instance.agents() {
            let Some(answer) = instance.health(&agent).await else { continue };
            let answer = answer.map(|(way, said)| {
                let (profile, provider) = (instance.profile(), instance.provider());
                let ours = Ours { way, profile, provider, login: report.check, access: report.check_access };
                let agreement = agreement::judge(&said, &ours);
                (said, agreement)
            });
            opinions.push(Opinion { sink: sink.id.to_string(), agent, answer });
        }
    }
    opinions
}
