//! A made-up Codex login, and a home in which the real CLI (seen: 0.169.0) reaches nothing but the stand-in.

use std::path::Path;

use super::provider::{OPENAI_ACCOUNT, Pair, jwt_until};

/// The latest release whose behaviour is written down.
pub const VERSION: &str = "0.169.0";
/// A release that truncates the file and writes it again, without a lock.
pub const OLD_VERSION: &str = "0.165.0";
/// The client that the login was made with.
pub const CLIENT: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// An id token that ended long ago: nobody looks at that.
fn id_token() -> String {
    jwt_until(1_780_000_000, "aWQ")
}

/// The credential file as Codex writes it.
pub fn plain_document(pair: &Pair) -> String {
    let value = serde_json::json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": {
            "id_token": id_token(),
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "account_id": OPENAI_ACCOUNT,
        },
        "last_refresh": "2026-11-20T17:15:48.760505969Z"
    });
    format!("{value:#}")
}

/// A credential file whose every spelling is unusual, with keys that nobody knows.
pub fn document(pair: &Pair) -> String {
    format!(
        "{{\n\t\"unknownBeside\": [1, 2.50, null],  \"last_refresh\" : \"2026-11-20T17:15:48.760505969Z\",\n\
         \t\"tokens\": {{\"unknownInside\":{{\"kept\": 1.0}}, \"refresh_token\":\"{}\",\n\
         \t\t\"access_token\" : \"{}\", \"id_token\": \"{}\",\n\
         \t\t\"oauth_provenance\": {{\"issuer\":\"https:\\/\\/auth.openai.com\", \"client_id\": \"{CLIENT}\"}},\n\
         \t\t\"login_owner_id\": \"kX\\u0030\", \"account_id\": \"{OPENAI_ACCOUNT}\"}},\n\
         \t\"OPENAI_API_KEY\": null, \"auth_mode\": \"chatgpt\", \"big\": 123456789012345678901234567890 }}\n",
        pair.refresh,
        pair.access,
        id_token(),
    )
}

/// Writes the configuration of the CLI into that `CODEX_HOME`: a provider of its own, because for the built-in one it
/// refuses a backend that is not https.
pub fn configure(codex_home: &Path, url: &str) {
    let text = format!(
        "model = \"stand-in\"\nmodel_provider = \"stand-in\"\nchatgpt_base_url = \"{url}/backend-api\"\n\
         openai_base_url = \"{url}/v1\"\ncheck_for_update_on_startup = false\n[analytics]\nenabled = false\n\
         [model_providers.stand-in]\nname = \"stand-in\"\nbase_url = \"{url}/v1\"\nwire_api = \"responses\"\n\
         requires_openai_auth = true\nsupports_websockets = false\nrequest_max_retries = 2\nstream_max_retries = 3\n"
    );
    std::fs::create_dir_all(codex_home).expect("the home is ours");
    std::fs::write(codex_home.join("config.toml"), text).expect("the home is ours");
}

/// The arguments of a run that sends one prompt.
pub const EXEC: [&str; 5] = ["exec", "--skip-git-repo-check", "-s", "read-only", "hi"];

/// The whole environment of a CLI run that can reach nothing but the stand-in.
pub fn environment(home: &str, url: &str) -> Vec<(String, String)> {
    [
        ("HOME", home.to_owned()),
        ("CODEX_HOME", format!("{home}/.codex")),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("CODEX_REFRESH_TOKEN_URL_OVERRIDE", format!("{url}/oauth/token")),
        ("CODEX_REVOKE_TOKEN_URL_OVERRIDE", format!("{url}/oauth/revoke")),
        ("LANG", "C.UTF-8".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
