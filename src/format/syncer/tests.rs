//! Scripts as people have them, and texts that are none of our business.

use proptest::prelude::*;

use super::*;

fn of(text: &str) -> Option<Syncer> {
    read(text, &BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]))
}

/// The loop that the first document of this product describes, in our own words.
const LOOP: &str = r#"#!/bin/bash
# Watches the login and hands it on.
set -euo pipefail
WATCH_DIR="${CLAUDE_DIR:-$HOME/.claude}"
CLAUDE_DIR=$HOME/.claude
SOURCE="$CLAUDE_DIR/.credentials.json"
OPENCLAW=/srv/openclaw
export OAUTH_FILE="${OPENCLAW}/.openclaw/credentials/oauth.json"
ENV_FILE='/srv/openclaw/.env'
sync() {
  access=$(jq -r .claudeAiOauth.accessToken "$SOURCE")
  jq --arg a "$access" '.anthropic.access=$a' "$OAUTH_FILE" > "$OAUTH_FILE.tmp" && mv "$OAUTH_FILE.tmp" "$OAUTH_FILE"
  sed -i "s|^ANTHROPIC_OAUTH_TOKEN=.*|ANTHROPIC_OAUTH_TOKEN=$access|" "$ENV_FILE"
  (cd $OPENCLAW && docker compose up -d openclaw-gateway)
}
while inotifywait -q -e close_write,moved_to "$CLAUDE_DIR"; do sync; done
"#;

#[test]
fn the_loop_around_inotifywait_is_known_with_its_paths() {
    let found = of(LOOP).unwrap();
    assert!(!found.refreshes && !found.triggers);
    assert_eq!(found.sources, [Path::new("/home/a/.claude/.credentials.json")]);
    assert_eq!(
        found.targets,
        [
            Target::OAuthJson("/srv/openclaw/.openclaw/credentials/oauth.json".into()),
            Target::EnvFile { path: "/srv/openclaw/.env".into(), key: "ANTHROPIC_OAUTH_TOKEN".into() },
        ]
    );
}

#[test]
fn a_script_that_spends_the_refresh_token_by_the_clock_is_known() {
    let text = "#!/usr/bin/env python3\nimport os\n\
        SRC = os.path.expanduser(\"~/.claude/.credentials.json\")\n\
        DST = os.path.expanduser(\"~/.openclaw/agents/main/agent/auth-profiles.json\")\n\
        URL = \"https://platform.claude.com/v1/oauth/token\"\n\
        body = {\"grant_type\": \"refresh_token\"}\n";
    let found = of(text).unwrap();
    assert!(found.refreshes);
    assert_eq!(found.sources, [Path::new("/home/a/.claude/.credentials.json")]);
    assert_eq!(found.targets, [Target::Store("/home/a/.openclaw".into())]);
}

#[test]
fn a_timer_that_runs_the_cli_is_known() {
    let text = "#!/bin/sh\nexpires=$(jq .claudeAiOauth.expiresAt ~/.claude/.credentials.json)\n\
        docker exec -e ANTHROPIC_BASE_URL= claude-proxy claude -p hi --max-turns 1\n";
    let found = of(text).unwrap();
    assert!(found.triggers && !found.refreshes);
}

#[test]
fn other_peoples_scripts_are_none_of_our_business() {
    for text in [
        "",
        "#!/bin/sh\necho hi\n",
        // Claude Code at work.
        "#!/bin/sh\nclaude -p 'write the release notes' > notes.md\n",
        // A look, and a backup.
        "#!/bin/sh\njq .claudeAiOauth.expiresAt ~/.claude/.credentials.json\n",
        "#!/bin/sh\ntar czf b.tgz ~/.claude/.credentials.json ~/.openclaw\n",
        // Words in a comment.
        "# copies .credentials.json to /x/oauth.json\ntrue\n",
        "while inotifywait -e close_write ~/notes; do make; done\n",
        "curl https://example.org/oauth/token -d grant_type=client_credentials\n",
    ] {
        assert_eq!(of(text), None, "{text}");
    }
    assert_eq!(of(&format!("{LOOP}\0")), None, "a program is no script");
    assert_eq!(of(&LOOP.repeat(MAX_SCRIPT / LOOP.len() + 1)), None);
}

#[test]
fn a_key_that_somebody_bought_and_files_that_are_only_read_are_nobodys_sinks() {
    let key = "SRC=~/.claude/.credentials.json\nsed -i \"s|^ANTHROPIC_API_KEY=.*|ANTHROPIC_API_KEY=$x|\" /opt/bot/.env\n\
        cp \"$SRC\" /ok/oauth.json\n";
    assert_eq!(of(key).unwrap().targets, [Target::OAuthJson("/ok/oauth.json".into())]);
    let trigger = "#!/bin/sh\n. /opt/bot/.env; ANTHROPIC_OAUTH_TOKEN= claude -p hi # refresh\n";
    let found = of(trigger).unwrap();
    assert!(found.triggers && found.targets.is_empty(), "{found:?}");
    let codex = of("cp ~/.codex/auth.json /srv/oauth.json\n").unwrap();
    assert!(!codex.is_claudes());
}

#[test]
fn what_cannot_be_told_is_not_guessed() {
    let text = "SRC=$HOME/.claude/.credentials.json\nD=$(dirname \"$0\")\n\
        cp \"$SRC\" \"$D/oauth.json\"\ncp \"$SRC\" $UNKNOWN/oauth.json\ncp \"$SRC\" /a/*/oauth.json /a/../oauth.json\n\
        cp \"$SRC\" /ok/oauth.json\n";
    assert_eq!(of(text).unwrap().targets, [Target::OAuthJson("/ok/oauth.json".into())]);
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in "(\\$|\\{|\\}|:-|=|~/|[a-zA-Z_/.\"' \n]|\\PC){0,200}") {
        let marked = format!("SRC=~/.claude/.credentials.json\n{text}\ncp $SRC /ok/oauth.json\n");
        let _ = of(&text);
        if let Some(found) = of(&marked) {
            for target in &found.targets {
                let (Target::OAuthJson(path) | Target::Store(path) | Target::EnvFile { path, .. }) = target;
                prop_assert!(path.is_absolute());
            }
        }
    }

    #[test]
    fn values_that_grow_without_end_are_dropped(n in 1..60_usize) {
        let mut text = "A=xxxxxxxxxxxxxxxx\n".to_owned();
        for _ in 0..n {
            text.push_str("A=$A$A\n");
        }
        let _ = of(&text);
    }
}

#[test]
fn a_line_of_cron_is_its_words_behind_the_times_and_the_user() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cron_line("*/5 * * * * sync.sh --now", false), Some((None, words("sync.sh --now"))));
    assert_eq!(cron_line(" @hourly sync.sh", false), Some((None, words("sync.sh"))));
    assert_eq!(cron_line("0 1 * * * root sync.sh", true), Some((Some("root"), words("sync.sh"))));
    for nothing in ["# 1 2 3 4 5 sync.sh", "", "* * * * *", "@hourly", "PATH=/bin"] {
        assert_eq!(cron_line(nothing, false), None, "{nothing}");
        assert_eq!(cron_line(nothing, true), None, "{nothing}");
    }
    assert_eq!(cron_line("@daily root", true), None);
}
