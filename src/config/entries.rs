//! `[[login]]` with `[login.fields]` and `[login.refresh]`, and `[[alert]]`.

use std::collections::BTreeMap;

use crate::base::id::{LoginId, Provider};
use crate::format::mapped::{Fields, Pointer, TimeUnit};

use super::check;
use super::error::{BAD_VALUE, CONFLICT, MISSING_KEY, UNFIT_KEY};
use super::fragment::{Node, Place, Value};
use super::merge::id_of;
use super::schema::{ALERT_KINDS, AUTHORIZE, FIELDS, LOGIN, REFRESH, joined};
use super::section::{Reader, Section, word};
use super::settings::{
    AlertKind, AlertSettings, AuthorizeSettings, LoginSettings, RefreshMode, RefreshSettings, RefreshWay,
    RequestStyle,
};

/// An entry and the place that faults with other entries are reported at.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The entry.
    pub value: T,
    /// Its path, or its beginning.
    pub place: Place,
    /// The key at that place.
    pub key: String,
}

impl<T> Placed<T> {
    /// Places an entry at one of its keys.
    #[must_use]
    pub fn at(value: T, s: &Section<'_>, key: &str) -> Option<Self> {
        let place = s.place_of(key)?.clone();
        let key = if s.has(key) { joined(&s.path, key) } else { s.path.clone() };
        Some(Self { value, place, key })
    }
}

const MODES: [(&str, RefreshMode); 4] = [
    ("auto", RefreshMode::Auto),
    ("cli", RefreshMode::Cli),
    ("direct", RefreshMode::Direct),
    ("off", RefreshMode::Off),
];
const WAYS: [(&str, RefreshWay); 2] = [("prompt", RefreshWay::Prompt), ("exchange", RefreshWay::Exchange)];
const STYLES: [(&str, RequestStyle); 2] = [("form", RequestStyle::Form), ("json", RequestStyle::Json)];
const UNITS: [(&str, TimeUnit); 3] =
    [("ms", TimeUnit::Milliseconds), ("s", TimeUnit::Seconds), ("rfc3339", TimeUnit::Rfc3339)];
/// Keys of `[login.refresh]` that describe what only a generic provider leaves open.
const CLIENT_KEYS: [&str; 3] = ["client_id", "client_secret_file", "style"];
const ALERTS: [(&str, AlertKind); 6] = [
    ("ntfy", AlertKind::Ntfy),
    ("webhook", AlertKind::Webhook),
    ("command", AlertKind::Command),
    ("desktop", AlertKind::Desktop),
    ("openclaw", AlertKind::OpenClaw),
    ("journal", AlertKind::Journal),
];

/// The ids that sinks may name, valid or not, with their provider where it is known.
#[must_use]
pub fn known_logins(nodes: &[Node]) -> BTreeMap<&str, Option<Provider>> {
    let provider = |node: &Node| match &node.value {
        Value::Table(table) => match table.get("provider") {
            Some(Node { value: Value::Text(text), .. }) => Provider::from_word(text),
            _ => None,
        },
        _ => None,
    };
    nodes.iter().filter_map(|node| Some((id_of(node)?, provider(node)))).collect()
}

/// A parser of ids.
pub(super) fn id<T>(
    make: impl Fn(String) -> Result<T, crate::base::id::InvalidId>,
) -> impl Fn(&str) -> Result<T, String> {
    move |text| make(text.to_owned()).map_err(|invalid| invalid.to_string())
}

/// Reads one `[[login]]`.
pub fn login(r: &mut Reader<'_>, node: &Node) -> Option<Placed<LoginSettings>> {
    let s = Section::new(Some(node), &LOGIN, joined("login", id_of(node)?));
    let id = r.required(&s, "id", id(LoginId::try_new));
    let words: Vec<(&str, Provider)> = Provider::ALL.iter().map(|one| (one.as_str(), *one)).collect();
    let provider = r.required(&s, "provider", word(&words));
    let path = r.optional_path(&s, "path");
    let label = r.parsed_or(&s, "label", "", |text| Ok(text.to_owned()));
    if provider == Some(Provider::Static) {
        r.missing(&s, "path", "is required for the provider static");
    }
    let inner = s.inner("fields", &FIELDS);
    let fields = match provider {
        // A login that is made from here may be in our own store, whose layout is ours.
        Some(Provider::Generic) if s.has("authorize") && !s.has("path") && !s.has("fields") => None,
        Some(Provider::Generic) => {
            for key in ["path", "fields"] {
                r.missing(&s, key, "is required for the provider generic");
            }
            Some(fields(r, &inner))
        }
        Some(_) if s.has("fields") => {
            r.fault(&s, "fields", UNFIT_KEY, "is for the provider generic only");
            None
        }
        _ => None,
    };
    let authorize = authorize(r, &s, provider);
    let container = r.parsed(&s, "container", |name| check::container_name(name).map(|()| name.to_owned()));
    let mut refresh = refresh(r, &s.inner("refresh", &REFRESH), provider);
    if s.has("container") {
        inside(r, &s, &refresh);
        refresh.container = refresh.container.or_else(|| container.clone());
    }
    let fields = match fields {
        Some(described) => Some(described?),
        None => None,
    };
    let login = LoginSettings {
        id: id?,
        provider: provider?,
        path,
        container,
        label: label?,
        fields,
        authorize,
        refresh,
    };
    Placed::at(login, &s, "path")
}

/// What fits a login whose file is in a container: its own CLI there alone can renew it.
fn inside(r: &mut Reader<'_>, s: &Section<'_>, refresh: &RefreshSettings) {
    r.missing(s, "path", "is required for a login in a container: where the file is in it");
    let keys = s.inner("refresh", &REFRESH);
    for (key, is_unfit) in
        [("mode", refresh.mode == RefreshMode::Direct), ("way", refresh.way == RefreshWay::Exchange)]
    {
        if is_unfit {
            r.fault(&keys, key, CONFLICT, "does not fit a login in a container: its own CLI there renews it");
        }
    }
}

fn fields(r: &mut Reader<'_>, s: &Section<'_>) -> Option<Fields> {
    let access_token = r.required(s, "access_token", Pointer::parse);
    let unit = r.parsed_or(s, "expires_unit", "ms", word(&UNITS));
    Some(Fields {
        refresh_token: r.parsed(s, "refresh_token", Pointer::parse),
        id_token: r.parsed(s, "id_token", Pointer::parse),
        expires_at: r.parsed(s, "expires_at", Pointer::parse),
        expires_unit: unit.unwrap_or(TimeUnit::Milliseconds),
        scope: r.parsed(s, "scope", Pointer::parse),
        account: r.parsed(s, "account", Pointer::parse),
        access_token: access_token?,
    })
}

fn authorize(
    r: &mut Reader<'_>,
    login: &Section<'_>,
    provider: Option<Provider>,
) -> Option<AuthorizeSettings> {
    if !login.has("authorize") {
        return None;
    }
    if provider.is_some_and(|provider| provider != Provider::Generic) {
        r.fault(login, "authorize", UNFIT_KEY, "is for the provider generic only");
        return None;
    }
    let s = login.inner("authorize", &AUTHORIZE);
    if !s.has("device_url") {
        r.missing(&s, "url", "is required, or device_url");
    }
    let client = login.inner("refresh", &REFRESH);
    for key in ["token_url", "client_id"] {
        if !r.gaps.keys && !client.has(key) {
            r.fault(login, "authorize", MISSING_KEY, format!("needs {key} in [login.refresh]"));
        }
    }
    let url = |text: &str| check::token_url(text).map(|()| text.to_owned());
    Some(AuthorizeSettings {
        url: r.parsed(&s, "url", url),
        device_url: r.parsed(&s, "device_url", url),
        scopes: r.list(&s, "scopes", check::scopes).unwrap_or_default(),
        redirect: r.parsed_or(&s, "redirect", "http://127.0.0.1/callback", url).unwrap_or_default(),
    })
}

fn refresh(r: &mut Reader<'_>, s: &Section<'_>, provider: Option<Provider>) -> RefreshSettings {
    let mode = r.parsed_or(s, "mode", "auto", word(&MODES));
    let margin = r.parsed(s, "margin", |text| check::duration(text, check::MARGIN));
    let every = r.duration_or(s, "every", "6h", check::EVERY);
    let command = r.command(s, "command");
    let way = if provider == Some(Provider::Claude) {
        r.parsed_or(s, "way", "prompt", word(&WAYS))
    } else {
        if provider.is_some() && s.has("way") {
            r.fault(s, "way", UNFIT_KEY, "is for the provider claude only");
        }
        None
    };
    if way == Some(RefreshWay::Exchange) {
        let why = "cannot stand beside way = \"exchange\", which runs a command of its own on this host";
        for key in ["command", "container"].into_iter().filter(|key| s.has(key)) {
            r.fault(s, key, CONFLICT, why);
        }
    }
    let is_generic = provider == Some(Provider::Generic);
    let style = if is_generic { r.parsed_or(s, "style", "form", word(&STYLES)) } else { None };
    if is_generic && mode == Some(RefreshMode::Direct) {
        for key in ["token_url", "client_id"] {
            r.missing(s, key, "is required to refresh the provider generic");
        }
    }
    for key in CLIENT_KEYS {
        if provider.is_some() && !is_generic && s.has(key) {
            r.fault(s, key, UNFIT_KEY, "is for the provider generic only");
        }
    }
    RefreshSettings {
        mode: mode.unwrap_or(RefreshMode::Auto),
        margin,
        every,
        command,
        way: way.unwrap_or(RefreshWay::Prompt),
        container: r.parsed(s, "container", |text| check::container_name(text).map(|()| text.to_owned())),
        env: r.variables(s, "env"),
        token_url: r.parsed(s, "token_url", |text| check::token_url(text).map(|()| text.to_owned())),
        client_id: r.parsed(s, "client_id", present),
        client_secret_file: r.optional_path(s, "client_secret_file"),
        style: style.unwrap_or(RequestStyle::Form),
        grants_per_day: r.number_or(s, "grants_per_day", 12, check::GRANTS),
    }
}

fn present(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be blank".to_owned()) } else { Ok(text.to_owned()) }
}

/// Reads one `[[alert]]`.
pub fn alert(r: &mut Reader<'_>, s: &Section<'_>) -> Option<AlertSettings> {
    let kind = r.required(s, "kind", word(&ALERTS))?;
    let name = ALERTS.iter().find(|(_, one)| *one == kind).map_or("", |(name, _)| *name);
    let fitting = ALERT_KINDS.iter().find(|(one, _)| *one == name).map_or(&[] as &[_], |(_, keys)| *keys);
    unfit(r, s, name, fitting, &["kind"], &ALERT_KINDS);
    match kind {
        AlertKind::Ntfy | AlertKind::Webhook => r.missing(s, "url", &format!("is required for {name}")),
        AlertKind::Command => r.missing(s, "command", "is required for command"),
        AlertKind::OpenClaw => r.missing(s, "target", "is required for openclaw"),
        AlertKind::Desktop | AlertKind::Journal => {}
    }
    if s.has("credential") && s.has("token_file") {
        r.fault(s, "token_file", CONFLICT, "cannot stand beside credential: the secret has one place");
    }
    let text = |text: &str| text.to_owned();
    let has_secret = s.has("credential") || s.has("token_file");
    Some(AlertSettings {
        kind,
        url: r.private_url(s, "url", |url| check::alert_url(kind, url, has_secret)),
        command: r.command(s, "command"),
        target: r.parsed(s, "target", |target| check::argument(target).map(|()| text(target))),
        channel: r.parsed(s, "channel", |channel| check::argument(channel).map(|()| text(channel))),
        credential: r.parsed(s, "credential", |name| check::credential_name(name).map(|()| text(name))),
        token_file: r.optional_path(s, "token_file"),
    })
}

/// Notes every written key that does not fit the kind, and says which kinds have it.
pub(super) fn unfit(
    r: &mut Reader<'_>,
    s: &Section<'_>,
    kind: &str,
    fitting: &[&str],
    always: &[&str],
    kinds: &[(&str, &[&str])],
) {
    for (key, _) in s.written() {
        if fitting.contains(&key) || always.contains(&key) {
            continue;
        }
        let having: Vec<&str> =
            kinds.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name).collect();
        let message = format!("does not fit kind '{kind}'; it belongs to {}", having.join(", "));
        r.fault(s, key, UNFIT_KEY, message);
    }
}

/// Notes a bad value when a list names something twice.
pub(super) fn distinct(r: &mut Reader<'_>, s: &Section<'_>, key: &str, list: &[String]) {
    let mut sorted: Vec<&String> = list.iter().collect();
    sorted.sort();
    if sorted.windows(2).any(|pair| matches!(pair, [left, right] if left == right)) {
        r.fault(s, key, BAD_VALUE, "names something twice");
    }
}
