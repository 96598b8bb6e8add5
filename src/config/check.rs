//! What single values may be: durations, modes, URLs, names of units and containers.
//!
//! Pure. Every function returns the value or a sentence without subject that quotes nothing.
//! Names of units and credentials: systemd 252, tried with `systemd-escape --mangle` and
//! `systemd-creds encrypt --name=`; ours are stricter about spaces and leading dots.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use reqwest::Url;

use super::settings::AlertKind;

/// The least and the greatest duration of a key.
pub type Range = (Duration, Duration);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
const DAY: u64 = 86_400;
/// A year as the duration parser counts it, 365.25 days.
const YEAR: u64 = 31_557_600;

/// `daemon.poll`: less is a busy loop, more is no fallback.
pub const POLL: Range = (secs(1), secs(DAY));
/// Thresholds: `status.warn` and each `alerts.login_deadline`.
pub const AHEAD: Range = (secs(60), secs(YEAR));
/// `login.refresh.margin`.
pub const MARGIN: Range = (secs(10), secs(30 * DAY));
/// `login.refresh.every`.
pub const EVERY: Range = (secs(60), secs(30 * DAY));
/// `gateway.min_interval`.
pub const MIN_INTERVAL: Range = (secs(0), secs(7 * DAY));
/// `sink.timeout`.
pub const TIMEOUT: Range = (secs(1), secs(600));
/// `alerts.remind`: more often is noise.
pub const REMIND: Range = (secs(60), secs(30 * DAY));
/// `login.refresh.grants_per_day`: more than one a minute is a loop.
pub const GRANTS: (i64, i64) = (1, 1440);

/// The widest mode of a file with tokens.
pub const WIDEST_MODE: u32 = 0o640;

/// A duration such as `60s`, `6h` or `7d` within a range.
///
/// # Errors
/// A sentence without subject.
pub fn duration(text: &str, (least, most): Range) -> Result<Duration, String> {
    let value = humantime::parse_duration(text)
        .map_err(|_| "must be a duration such as \"60s\", \"6h\" or \"7d\"".to_owned())?;
    if value < least || value > most {
        return Err(format!(
            "must be between {} and {}",
            humantime::format_duration(least),
            humantime::format_duration(most)
        ));
    }
    Ok(value)
}

/// Permission bits such as `0640`.
///
/// # Errors
/// A sentence without subject.
pub fn mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let bits = if octal { u32::from_str_radix(text, 8).ok() } else { None };
    match bits {
        None => Err("must be an octal mode such as \"0640\"".to_owned()),
        Some(bits) if bits & !WIDEST_MODE != 0 => Err("must not be wider than \"0640\"".to_owned()),
        Some(bits) if bits & 0o400 == 0 => Err("must let the owner read the file".to_owned()),
        Some(bits) => Ok(bits),
    }
}

/// An `http` or `https` URL with a host and without a password.
///
/// # Errors
/// A sentence without subject.
pub fn url(text: &str) -> Result<Url, String> {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let parsed = if lower.starts_with("http://") || lower.starts_with("https://") {
        Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()))
    } else {
        None
    };
    let url = parsed.ok_or("must be an http:// or https:// URL")?;
    if text.contains([' ', '\\']) || text.chars().any(char::is_control) {
        return Err("must not contain spaces, backslashes or control characters".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or password; a secret belongs in a credential".to_owned());
    }
    Ok(url)
}

/// A URL that tokens are sent to: https, or http on this machine.
///
/// # Errors
/// A sentence without subject.
pub fn token_url(text: &str) -> Result<(), String> {
    let url = url(text)?;
    if url.scheme() == "https" || url.host_str().is_some_and(is_loopback) {
        return Ok(());
    }
    Err("must be https; http is for loopback addresses only".to_owned())
}

/// The URL of an alert channel. With a secret it is https, or stays on this machine; that of ntfy ends in
/// the topic and holds nothing else.
///
/// # Errors
/// A sentence without subject.
pub fn alert_url(kind: AlertKind, text: &str, has_secret: bool) -> Result<(), String> {
    let url = url(text)?;
    if has_secret && url.scheme() != "https" && !url.host_str().is_some_and(is_loopback) {
        return Err(
            "must be https where a secret goes with it; http is for loopback addresses only".to_owned()
        );
    }
    let topic = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_topic = (1..=64).contains(&topic.len()) && topic.bytes().all(valid);
    if kind == AlertKind::Ntfy && (!is_topic || url.query().is_some() || url.fragment().is_some()) {
        return Err("must end in a topic of a-z, A-Z, 0-9, '_' and '-', with nothing after it".to_owned());
    }
    Ok(())
}

/// The URL of the dead-man's signal; empty for none.
///
/// # Errors
/// A sentence without subject.
pub fn heartbeat_url(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { url(text).map(drop) }
}

/// One argument of a command line.
///
/// # Errors
/// A sentence without subject.
pub fn argument(text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err("must be one line that is not blank".to_owned());
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

/// The scopes of a login, each a word of RFC 6749 (section 3.3).
///
/// # Errors
/// A sentence without subject.
pub fn scopes(list: &[String]) -> Result<Vec<String>, String> {
    let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if list.iter().all(|scope| !scope.is_empty() && scope.bytes().all(valid)) {
        return Ok(list.to_vec());
    }
    Err("must be a list of words without spaces, quotes and backslashes".to_owned())
}

const UNIT_TYPES: [&str; 10] =
    ["service", "socket", "target", "timer", "path", "mount", "automount", "swap", "slice", "scope"];

/// The name of a unit with its suffix.
///
/// # Errors
/// A sentence without subject.
pub fn unit_name(text: &str) -> Result<(), String> {
    let Some((stem, suffix)) = text.rsplit_once('.') else {
        return Err("must end in the type of the unit, as in \"name.service\"".to_owned());
    };
    if !UNIT_TYPES.contains(&suffix) {
        return Err("must end in the type of the unit, as in \"name.service\"".to_owned());
    }
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if stem.is_empty() || text.len() > 255 || stem.starts_with('@') || !stem.bytes().all(valid) {
        return Err("is not a valid unit name".to_owned());
    }
    if stem.ends_with('@') {
        return Err("names a template; name an instance, as in \"name@instance.service\"".to_owned());
    }
    Ok(())
}

/// The name of a container or of a compose service: never an option of the command line.
///
/// # Errors
/// A sentence without subject.
pub fn container_name(text: &str) -> Result<(), String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if first && text.len() <= 255 && text.bytes().all(valid) {
        return Ok(());
    }
    Err("must be a name of a-z, A-Z, 0-9, '_', '.' and '-'".to_owned())
}

/// A name of an OpenClaw agent: it is a directory there.
///
/// # Errors
/// A sentence without subject.
pub fn agent_name(text: &str) -> Result<(), String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=64).contains(&text.len()) && !text.starts_with(['.', '-']) && text.bytes().all(valid) {
        return Ok(());
    }
    Err("must hold names of agents (a-z, A-Z, 0-9, '.', '_', '-')".to_owned())
}

/// The name of a systemd credential: a file name without a colon.
///
/// # Errors
/// A sentence without subject.
pub fn credential_name(text: &str) -> Result<(), String> {
    let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if (1..=255).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(valid) {
        return Ok(());
    }
    Err("must be the name of a systemd credential, without '/', ':' and spaces".to_owned())
}

/// A profile id of OpenClaw, as in `anthropic:default`.
///
/// # Errors
/// A sentence without subject.
pub fn profile_id(text: &str) -> Result<(), String> {
    let whole = text.len() <= 128 && !text.chars().any(char::is_whitespace);
    match text.split_once(':') {
        Some((provider, name)) if whole && !provider.is_empty() && !name.is_empty() => Ok(()),
        _ => Err("must be a profile id, as in \"anthropic:default\"".to_owned()),
    }
}

/// A user or group, by name or number.
///
/// # Errors
/// A sentence without subject.
pub fn account(text: &str) -> Result<(), String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte);
    if (1..=32).contains(&text.len()) && !text.starts_with(['-', '.']) && text.bytes().all(valid) {
        return Ok(());
    }
    Err("must be the name or number of a user or group".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("1m 30s", POLL), Ok(secs(90)));
        for bad in ["", "60", "0s", "500ms", "2d", "1 fortnight", "-5s", "9999999999999999y"] {
            assert!(duration(bad, POLL).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_wider_than_0640_are_refused() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("600"), Ok(0o600));
        for bad in ["0644", "0660", "4600", "0200", "0o600", "rw", "", "00600"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_go_over_https_or_stay_on_this_machine() {
        for good in ["https://a.example/t", "http://127.0.0.1:1/t", "http://localhost/t", "HTTP://[::1]:2/t"]
        {
            assert_eq!(token_url(good), Ok(()), "{good}");
        }
        for bad in [
            "http://a.example/t",
            "http://127.0.0.1.a.example/t",
            "http://localhost.a.example/",
            "https:a.example",
            "ftp://127.0.0.1/",
            "https://",
            "https://u:p@a.example/",
            "https://a.example\\@127.0.0.1/",
            "",
        ] {
            assert!(token_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unit_names_need_a_suffix_and_an_instance() {
        for good in ["a.service", "a@b.service", "a-b\\x2d.timer", "x.y.target"] {
            assert_eq!(unit_name(good), Ok(()), "{good}");
        }
        for bad in
            ["a", "a.conf", ".service", "a@.service", "@b.service", "a b.service", "a/b.service", "é.service"]
        {
            assert!(unit_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_a_command_line_would_take_for_options_are_refused() {
        for bad in ["-v", "", "a b", "a/b"] {
            assert!(container_name(bad).is_err(), "{bad}");
            assert!(agent_name(bad).is_err(), "{bad}");
            assert!(account(bad).is_err(), "{bad}");
        }
        assert!(agent_name("..").is_err());
        assert!(credential_name("../x").is_err());
        assert!(profile_id("anthropic").is_err());
    }
}
