//! The way to the providers: an authority that is not trusted, proxies, and the time.

use std::net::{Ipv4Addr, TcpListener};

use crate::Looked;
use crate::provider::Provider;
use crate::stage::{CANARY, Home, Login};

struct Bench {
    home: Home,
    provider: Provider,
}

impl Bench {
    /// A login that is renewed at `token_url`; the provider's own URL without one.
    fn new(token_url: impl FnOnce(&Provider) -> Option<String>) -> Self {
        let home = Home::new();
        let provider = Provider::start(home.root());
        let url = token_url(&provider).map_or_else(String::new, |url| format!("token_url = \"{url}\"\n"));
        home.configure(&format!("[[login]]\nid = \"claude\"\nprovider = \"claude\"\n[login.refresh]\n{url}"));
        home.rotate(&Login::nth(1));
        Self { home, provider }
    }

    fn look(&self, variables: &[(&str, &str)]) -> Looked {
        let mut command = self.home.command(&["doctor", "--json", "--network"]);
        command.envs(variables.iter().copied());
        Looked::by(&self.home, command)
    }

    fn ca(&self) -> &str {
        self.provider.ca_pem().to_str().unwrap()
    }

    /// Each request was a question without a credential.
    fn nothing_was_sent(&self) {
        let requests = self.provider.ledger().requests;
        for request in &requests {
            assert_eq!(
                (request.method.as_str(), request.path.as_str(), request.body.as_str()),
                ("HEAD", "/", "")
            );
            let text = format!("{:?}", request.headers);
            assert!(!text.contains(CANARY) && !text.to_lowercase().contains("authorization"), "{text}");
        }
    }
}

#[test]
fn an_authority_that_is_not_trusted_is_named_and_a_trusted_one_is_silent() {
    let bench = Bench::new(|provider| Some(format!("https://127.0.0.1:{}/v1/oauth/token", provider.port)));
    let (evidence, next) = bench.look(&[]).one("TLS_UNTRUSTED", "127.0.0.1");
    assert!(evidence.starts_with("unknown issuer"), "{evidence}");
    assert!(next.contains("SSL_CERT_FILE") && next.contains("NODE_EXTRA_CA_CERTS"), "{next}");
    assert!(bench.provider.ledger().requests.is_empty(), "nothing is said to who is not known");

    let looked = bench.look(&[("SSL_CERT_FILE", bench.ca())]);
    for code in ["TLS_UNTRUSTED", "ENDPOINT_UNREACHABLE", "PROXY_DIFFERS"] {
        looked.none(code);
    }
    assert_eq!(looked.check("the way to the providers"), Some(0));
    assert_eq!(bench.provider.ledger().requests.len(), 1);
    bench.nothing_was_sent();
    assert_eq!(Looked::at(&bench.home).check("the way to the providers"), None, "only where it is asked for");
    assert_eq!(bench.provider.ledger().requests.len(), 1);
    bench.home.finish();
}

#[test]
fn the_way_goes_through_the_proxy_and_a_dead_one_is_named() {
    let bench = Bench::new(|_| None);
    let proxy = bench.provider.url();
    let looked = bench.look(&[("HTTPS_PROXY", &proxy), ("SSL_CERT_FILE", bench.ca())]);
    looked.none("ENDPOINT_UNREACHABLE");
    looked.none("TLS_UNTRUSTED");
    let hosts: Vec<String> =
        bench.provider.ledger().requests.iter().map(|request| request.host.clone()).collect();
    assert_eq!(hosts, ["platform.claude.com"]);
    bench.nothing_was_sent();
    // A proxy that looks into TLS, with an authority of its own.
    let (evidence, _) = bench.look(&[("HTTPS_PROXY", &proxy)]).one("TLS_UNTRUSTED", "platform.claude.com");
    assert_eq!(evidence, "unknown issuer; HTTPS_PROXY set here");

    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let closed = format!("http://alice:made-up-password@{closed}");
    let ran = bench.look(&[("HTTPS_PROXY", &closed)]);
    let (evidence, _) = ran.one("ENDPOINT_UNREACHABLE", "platform.claude.com");
    assert!(evidence.contains("no connection") && evidence.contains("HTTPS_PROXY set here"), "{evidence}");
    assert!(!ran.0.to_string().contains("made-up-password"), "a proxy's password is a secret");
    bench.home.finish();
}

#[test]
fn a_clock_that_is_not_the_providers_is_named() {
    let bench = Bench::new(|provider| Some(format!("{}/v1/oauth/token", provider.url())));
    bench.provider.set(|switches| switches.clock_ahead = Some(0));
    bench.look(&[]).none("CLOCK_SUSPECT");
    bench.provider.set(|switches| switches.clock_ahead = Some(7200));
    let (evidence, next) = bench.look(&[]).one("CLOCK_SUSPECT", "clock");
    assert_eq!(evidence, "Date of 127.0.0.1");
    assert!(next.starts_with("timedatectl"), "{next}");
    bench.home.finish();
}

#[test]
fn a_proxy_that_the_running_daemon_does_not_have_is_named() {
    let bench = Bench::new(|provider| Some(format!("{}/v1/oauth/token", provider.url())));
    let daemon = bench.home.ready();
    bench.look(&[]).none("PROXY_DIFFERS");
    let (evidence, _) = bench.look(&[("NO_PROXY", "127.0.0.1")]).one("PROXY_DIFFERS", "proxy");
    assert_eq!(evidence, "set here: NO_PROXY");
    daemon.stop();
    bench.home.finish();
}
