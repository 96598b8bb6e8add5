//! The way to the providers, which `doctor --network` asks for: TLS, proxies and the time.

use std::time::Duration;

use super::facts::{Facts, NetworkFacts, ServerFacts, Unreached};
use super::{Examined, Subject, joined};
use crate::base::code::Code;
use crate::base::time::short_duration;
use crate::core::clock::JUMP;

/// Everything about the network; nothing unless it was asked for.
pub fn examine(facts: &Facts) -> Option<Vec<Examined>> {
    let network = facts.network.as_ref()?;
    let mut found: Vec<Examined> =
        network.servers.iter().filter_map(|server| unreached(server, network)).collect();
    found.extend(ways(network));
    found.extend(clock(network));
    Some(found)
}

fn unreached(server: &ServerFacts, network: &NetworkFacts) -> Option<Examined> {
    let why = server.answer.as_ref().err()?;
    let subject = Subject::Server(server.host.clone());
    let logins = joined(&server.logins);
    let by = match network.ways_here.as_slice() {
        [] => "no proxy is set here".to_owned(),
        set => format!("{} set here", joined(set)),
    };
    Some(match why {
        Unreached::UntrustedIssuer => {
            let what = format!(
                "its certificate is of an authority that is not trusted here, as a proxy that looks into TLS \
                 shows one: {logins} cannot be renewed"
            );
            Examined::warning(Code::TlsUntrusted, subject, what).seen(format!("unknown issuer; {by}")).next(
                "if that proxy is yours: its authority in SSL_CERT_FILE, and for Claude Code in \
                 NODE_EXTRA_CA_CERTS, by systemctl --user edit tokensink",
            )
        }
        Unreached::Certificate(what_is_wrong) => {
            let what = format!("its certificate is not accepted: {logins} cannot be renewed");
            let finding = Examined::warning(Code::TlsUntrusted, subject, what);
            finding.seen(format!("{what_is_wrong}; {by}")).next("look at the clock first: timedatectl")
        }
        Unreached::NoConnection(why) => {
            let what = format!("it is not reached: {logins} cannot be renewed");
            let finding = Examined::warning(Code::EndpointUnreachable, subject, what);
            finding.seen(format!("{why}; {by}")).next("if there is a proxy, name it in HTTPS_PROXY")
        }
    })
}

fn ways(network: &NetworkFacts) -> Option<Examined> {
    let differ = network.ways_differ.as_ref().filter(|names| !names.is_empty())?;
    let what = format!(
        "{} of this shell and of the daemon differ: what works from here need not work there",
        joined(differ)
    );
    let finding = Examined::notice(Code::ProxyDiffers, Subject::Host("proxy"), what);
    let here = match network.ways_here.as_slice() {
        [] => "none is set here".to_owned(),
        set => format!("set here: {}", joined(set)),
    };
    Some(
        finding
            .seen(here)
            .next("systemctl --user edit tokensink, with Environment= lines in [Service], then restart it"),
    )
}

fn clock(network: &NetworkFacts) -> Vec<Examined> {
    let told =
        network.servers.iter().filter_map(|server| Some((server, server.answer.as_ref().ok()?.as_ref()?)));
    let most = told.max_by_key(|(_, ahead)| ahead.unsigned_abs());
    let off = most.filter(|(_, ahead)| u128::from(ahead.unsigned_abs()) > JUMP.as_millis());
    let mut found = Vec::new();
    if let Some((server, ahead)) = off {
        let by = short_duration(Duration::from_millis(ahead.unsigned_abs()));
        let side = if *ahead > 0 { "ahead of" } else { "behind" };
        let what =
            format!("the clock is {by} {side} that of {}: ends of tokens are judged by it", server.host);
        let finding = Examined::warning(Code::ClockSuspect, Subject::Host("clock"), what);
        found.push(finding.seen(format!("Date of {}", server.host)).next("timedatectl set-ntp true"));
    }
    if network.is_synchronized == Some(false) {
        let what = "no time server keeps the clock right";
        let mut finding = Examined::notice(Code::ClockSuspect, Subject::Host("time server"), what)
            .seen("NTPSynchronized of org.freedesktop.timedate1 is false")
            .next("timedatectl set-ntp true");
        if off.is_some() {
            finding = finding.because_of(Code::ClockSuspect, "clock");
        }
        found.push(finding);
    }
    found
}
