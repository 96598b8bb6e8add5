//! `config check` and `config show`, and what is wrong usage.

use crate::stage::{Home, Login};

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let home = Home::new();
    home.configure(&home.three_sinks(""));
    home.rotate(&Login::nth(1));
    for wrong in [
        &[][..],
        &["stat"],
        &["status", "--chekc"],
        &["status", "--check=both"],
        &["status", "--json", "--simple"],
        &["status", "--watch", "--json"],
        &["status", "nobody"],
        &["sync", "--json", "now"],
        &["sync", "--dry-run", "--accept", "claude"],
        &["config"],
        &["daemon", "--foreground"],
        &["--config"],
        &["help"],
    ] {
        let ran = home.run(wrong);
        assert_eq!(ran.code, 64, "{wrong:?}: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{wrong:?}: {ran:?}");
    }
    for right in [&["--help"][..], &["status", "--help"], &["config", "check", "-h"], &["--version"]] {
        let ran = home.run(right);
        assert_eq!(ran.code, 0, "{right:?}: {ran:?}");
        assert!(ran.stderr.is_empty() && !ran.stdout.is_empty(), "{right:?}: {ran:?}");
    }
    assert!(home.run(&["--version"]).stdout.contains(env!("CARGO_PKG_VERSION")));
    let help = home.run(&["--help"]).stdout;
    assert!(!help.contains("selftest-"), "a part of the test is no command: {help}");
}

#[test]
fn a_check_names_every_error_with_file_line_and_code() {
    let home = Home::new();
    let none = home.run(&["config", "check"]);
    assert_eq!(none.code, 78);
    assert!(none.stderr.contains("tokensink setup"), "{none:?}");

    home.configure(&home.three_sinks(""));
    let good = home.run(&["config", "check"]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains("tokensink.toml"));

    home.mkdir(".config/tokensink/tokensink.d");
    home.write(".config/tokensink/tokensink.d/10-a.toml", "[daemon]\npolll = \"5s\"\npoll = 5\n");
    home.write(
        ".config/tokensink/tokensink.d/20-b.toml",
        "[[sink]]\nid = \"x\"\nlogin = \"who\"\nkind = \"oauth\"\n",
    );
    let bad = home.run(&["config", "check"]);
    assert_eq!(bad.code, 78, "{bad:?}");
    for part in [
        "10-a.toml:2: daemon.polll",
        "UNKNOWN_KEY",
        "10-a.toml:3: daemon.poll",
        "WRONG_TYPE",
        "20-b.toml:4: sink.x.kind",
    ] {
        assert!(bad.stderr.contains(part), "{part}: {}", bad.stderr);
    }
    for command in [&["status"][..], &["sync"], &["sync", "--dry-run"], &["config", "show"]] {
        let ran = home.run(command);
        assert_eq!(ran.code, 1, "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("daemon.polll") && ran.stdout.is_empty(), "{command:?}: {ran:?}");
    }
    // One file alone: the others do not count.
    let alone = home.write("alone.toml", home.three_sinks(""));
    let ran = home.run(&["--config", alone.to_str().unwrap(), "config", "check"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = home.run(&["config", "check", "--config", home.path("nowhere.toml").to_str().unwrap()]);
    assert_eq!(ran.code, 78, "{ran:?}");
}

#[test]
fn what_holds_is_shown_with_where_it_came_from() {
    let home = Home::new();
    home.configure(&home.three_sinks("[daemon]\npoll = \"30s\"\n"));
    home.mkdir(".config/tokensink/tokensink.d");
    home.write(".config/tokensink/tokensink.d/10-a.toml", "[daemon]\npoll = \"7s\"\n");
    let text = home.run(&["config", "show"]);
    assert_eq!(text.code, 0, "{text:?}");
    let line = text.stdout.lines().find(|line| line.contains("poll")).unwrap();
    assert!(line.contains("7s") && line.contains("10-a.toml:2"), "{line}");
    let json = home.run(&["config", "show", "--json"]).json();
    assert_eq!(json["format_version"], 1);
    assert_eq!(json["files"].as_array().unwrap().len(), 2);
    assert!(json["values"].to_string().contains("10-a.toml"), "{json}");
}
