//! What holds for every input of the outside, however torn or hostile: one function for each thing that is
//! read. `tests/corpus.rs` holds the corpus to it, `tests/fuzz` looks for inputs that break it.
//! To add a target: its function in the file of its kind, its row below, a seed in `tests/corpus/seeds/NAME/`.

mod answers;
mod bus;
mod documents;
mod hosts;
mod logins;
mod members;
mod memory;
mod own;
mod planted;
mod sinks;
mod texts;
mod views;
mod wires;

/// Something that is read.
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Folders of golden cases whose files are seeds as well.
    pub golden: &'static [&'static str],
    /// Panics where a property does not hold.
    pub holds: fn(&[u8]),
}

/// Everything that is fuzzed.
pub const TARGETS: [Target; 43] = [
    target("json", &["tests/format/oauth_json", "tests/format/auth_profiles"], documents::json),
    target("claude", &[], logins::claude),
    target("codex", &["tests/format/codex"], logins::codex),
    target("copilot", &[], logins::copilot),
    target("described", &[], logins::described),
    target("own-login", &[], logins::own),
    target("static-token", &[], logins::static_token),
    target("bundle", &[], logins::bundle),
    target("auth-profiles", &["tests/format/auth_profiles"], sinks::auth_profiles),
    target("oauth-json", &["tests/format/oauth_json"], sinks::oauth_json),
    target("dotenv", &["tests/format/dotenv"], sinks::dotenv),
    target("own-files", &["tests/format/secret_file"], sinks::own_files),
    target("template", &["tests/format/template"], sinks::template),
    target("openclaw-config", &[], hosts::openclaw_config),
    target("unit-file", &[], hosts::unit_file),
    target("syncer", &[], hosts::syncer),
    target("containers", &[], hosts::containers),
    target("proc", &[], hosts::proc),
    target("token-answer", &[], wires::token_answer),
    target("device", &[], wires::device),
    target("http-date", &[], wires::http_date),
    target("paste", &[], wires::paste),
    target("setup-token", &[], wires::setup_token),
    target("callback", &[], wires::callback),
    target("rpc", &[], wires::rpc),
    target("models-status", &[], wires::models_status),
    target("dbus", &[], wires::dbus),
    target("terminal", &[], texts::terminal),
    target("config", &["tests/config"], texts::config),
    target("release", &[], texts::release),
    target("state", &[], memory::state),
    target("alerts", &[], memory::alerts),
    target("intent", &[], own::intent),
    target("history", &[], own::history),
    target("records", &[], own::records),
    target("sealed", &[], own::sealed),
    target("app-server", &[], answers::app_server),
    target("programs", &[], answers::programs),
    target("gateway", &[], answers::gateway),
    target("manifest", &[], answers::manifest),
    target("small-answers", &[], answers::small),
    target("arguments", &[], bus::arguments),
    target("view", &["tests/format/codex"], views::view),
];

const fn target(name: &'static str, golden: &'static [&'static str], holds: fn(&[u8])) -> Target {
    Target { name, golden, holds }
}
