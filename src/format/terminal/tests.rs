//! Login screens as they are drawn, in any pieces, and streams that mean no good.

use proptest::prelude::*;

use super::*;

const HOSTS: [&str; 2] = ["claude.com", "claude.ai"];
const URL: &str = "https://claude.com/cai/oauth/authorize?code=true&client_id=9d1c250a-e61b&response_type=code&redirect_uri=https%3A%2F%2Fplatform.claude.com%2Foauth%2Fcode%2Fcallback&scope=user%3Ainference&code_challenge=1RHZzIq-iOaIx1eDttzeWGca9zvZbUky6V7PUWkQ0K8&code_challenge_method=S256&state=srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss";

fn of(text: &str) -> Transcript {
    let mut transcript = Transcript::default();
    transcript.feed(text.as_bytes());
    transcript
}

fn address(text: &str) -> Option<String> {
    of(text).authorize_address(&HOSTS).map(|address| address.as_str().to_owned())
}

/// The address in lines of that width, each after `indent` and within `frame`.
fn wrapped(width: usize, indent: &str, frame: &str) -> String {
    let parts: Vec<&[u8]> = URL.as_bytes().chunks(width).collect();
    let line = |part: &[u8]| {
        let part = std::str::from_utf8(part).unwrap();
        format!("{indent}{frame}{}{part:width$}{}{frame}\x1b[39m\r\n", "\x1b[38;5;246m", "\x1b[0m")
    };
    format!(
        "Visit:\r\n\r\n{}\r\nPaste code here if prompted > ",
        parts.into_iter().map(line).collect::<String>()
    )
}

/// What Claude Code draws: plainly; as a link; word by word by columns, in a frame below.
fn screens() -> Vec<String> {
    vec![
        format!("Opening browser to sign in…\r\nIf the browser didn't open, visit: {URL}\r\n"),
        format!(
            "If the browser didn't open, visit: \x1b]8;;{URL}\x07\x1b[94m{URL}\x1b[39m\x1b]8;;\x07\r\nPaste code here if prompted > "
        ),
        format!(
            "\x1b7\x1b[r\x1b8\x1b[?25l\x1b[?2004h\x1b[38;5;174mWelcome\x1b[9Gto\x1b[12GClaude\x1b[39m\r\r\n\
             \x1b]11;?\x07\x1b[c\x1b[2GBrowser\x1b[10Gdidn't\x1b[17Gopen?\r\r\n\r\r\n\
             \x1b]8;id=35o235;{URL}\x1b\\\x1b[38;5;246m{URL}\x1b[39m\x1b]8;;\x1b\\\r\r\n\r\r\n\
             \x1b[2GPaste\x1b[8Gcode\x1b[13Ghere\x1b[18Gif\x1b[21Gprompted\r\r\n\x1b[2G╭────╮\r\r\n│\x1b[6G│"
        ),
        wrapped(80, "", ""),
        wrapped(100, "  ", ""),
        wrapped(76, " ", "│"),
    ]
}

#[test]
fn the_address_of_every_screen_is_found_whole() {
    for screen in screens() {
        assert_eq!(address(&screen).as_deref(), Some(URL), "{screen:?}");
    }
    let found = of(&screens()[0]).authorize_address(&HOSTS).unwrap();
    assert_eq!(found.parameter("state"), Some("srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss"));
    assert_eq!((found.parameter("code"), found.parameter("nothing")), (Some("true"), None));
}

#[test]
fn a_question_is_seen_however_it_is_set() {
    for screen in &screens()[1..] {
        assert!(of(screen).shows("Paste code here"), "{screen:?}");
    }
    assert!(!of(&screens()[0]).shows("paste code"));
    assert!(!of("Paste\r\ncode").shows("paste code"), "two lines");
}

#[test]
fn the_last_words_are_not_what_was_typed() {
    let screen = of("Sign in\r\n\x1b[31mIt\x1b[4Gfailed\x07.\x1b[0m\r\n code > ac_1#s1\r\n > \r\n");
    assert_eq!(screen.last_words("ac_1"), "It failed.");
    assert_eq!(screen.last_words(""), "code > ac_1#s1");
    assert_eq!(of(" \r\n").last_words(""), "");
}

#[test]
fn only_a_link_to_an_allowed_host_is_an_address() {
    for (from, to) in [
        ("https://claude.com/", "http://claude.com/"),
        ("https://claude.com/", "https://claude.com.evil.example/"),
        ("https://claude.com/", "https://evil.example/claude.com/"),
        ("https://claude.com/", "https://claude.com@evil.example/"),
        ("https://claude.com/", "https://user@claude.com/"),
        ("https://claude.com/", "https://claude.com:8443/"),
        ("https://claude.com/", "https://evil.example?x=claude.com/"),
        ("https://claude.com/", "https://Claude.com/"),
        ("authorize", "elsewhere"),
        ("&state=srX", "&nostate=srX"),
        ("&state=srXCDgj9IBldKkak11ZpNtlVViOv44vq-Cn569Vllss", "&state="),
        ("?code", "#code"),
    ] {
        for screen in screens() {
            if screen.contains(from) {
                let screen = screen.replace(from, to);
                assert_eq!(address(&screen), None, "{screen:?}");
            }
        }
    }
}

#[test]
fn the_target_of_a_link_wins_over_its_text_and_the_newest_over_older_ones() {
    let other = URL.replace("srX", "other");
    assert_eq!(address(&format!("\x1b]8;;{URL}\x07{other}\x1b]8;;\x07\r\n")).as_deref(), Some(URL));
    assert_eq!(address(&format!("{other}\r\nagain:\r\n{URL}\r\n")).as_deref(), Some(URL));
    // A target elsewhere does not hide an honest text.
    assert_eq!(
        address(&format!("\x1b]8;;https://evil.example/authorize?state=1\x07{URL}")).as_deref(),
        Some(URL)
    );
    // The separator of a sequence's parts is part of an address.
    let with = URL.replace("code=true", "code=true;x");
    assert_eq!(address(&format!("\x1b]8;;{with}\x07link\x1b]8;;\x07")).as_deref(), Some(with.as_str()));
}

#[test]
fn what_follows_an_address_is_not_joined_to_it() {
    for after in
        ["Paste code here", "Paste", "prompted:", "", "│ │", "https://claude.com/help", "  two words"]
    {
        assert_eq!(address(&format!("{URL}\r\n{after}\r\n")).as_deref(), Some(URL), "{after:?}");
    }
    // Nothing goes on across a blank line, or behind a word on the same one.
    assert_eq!(address(&format!("{URL}\r\n\r\nabc-123\r\n")).as_deref(), Some(URL));
    assert_eq!(address(&format!("{URL} now\r\nabc-123\r\n")).as_deref(), Some(URL));
}

#[test]
fn a_sequence_without_end_hides_nothing_and_grows_nothing() {
    for endless in
        ["\x1b]8;;https://", "\x1b[", "\x1bP", "\x1b_", "\x1b]", "\x1b[?1;", "\x1b]8;;;;;;;;;;;;;;;;;;;;;"]
    {
        let mut transcript = Transcript::default();
        transcript.feed(endless.as_bytes());
        for _ in 0..200 {
            transcript.feed(&[b'1'; 10_000]);
        }
        assert_eq!(transcript.authorize_address(&HOSTS), None);
        transcript.feed(b"\x1b\\\x07m\r\n");
        transcript.feed(URL.as_bytes());
        assert_eq!(transcript.authorize_address(&HOSTS).unwrap().as_str(), URL, "{endless:?}");
    }
    // One that was cut to fit is not a target.
    let long = format!("\x1b]8;;{URL}{}\x07", "a".repeat(LONGEST_SEQUENCE));
    assert_eq!(address(&long), None);
    let parts = format!("\x1b]8;;{URL}{}\x07", ";b".repeat(20));
    assert_eq!(address(&parts), None);
}

#[test]
fn a_flood_is_bounded_and_looked_through_in_time() {
    let mut transcript = Transcript::default();
    for flood in
        ["https://claude.com/authorize?state=", "a", "\r\n", "https://", "\x1b[65535G\u{10ffff}", "\x08"]
    {
        for _ in 0..40 {
            transcript.feed(flood.repeat(20_000).as_bytes());
        }
    }
    let kept: usize = transcript.drawn.all_lines().map(|line| line.len()).sum();
    assert!(kept <= (LINES + 1) * LONGEST_LINE * 4, "{kept}");
    let _ = transcript.authorize_address(&HOSTS);
    assert!(transcript.last_words("").chars().count() <= 200);
    transcript.feed(format!("\r\n{URL}\r\n").as_bytes());
    assert_eq!(transcript.authorize_address(&HOSTS).unwrap().as_str(), URL);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pieces_in_which_a_screen_arrives_do_not_matter(
        which in 0_usize..6,
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..40),
    ) {
        let screen = screens().remove(which);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(screen.len())).collect();
        at.extend([0, screen.len()]);
        at.sort_unstable();
        let mut transcript = Transcript::default();
        for pair in at.windows(2) {
            transcript.feed(&screen.as_bytes()[pair[0]..pair[1]]);
        }
        let found = transcript.authorize_address(&HOSTS);
        prop_assert_eq!(found.as_ref().map(Address::as_str), Some(URL));
        prop_assert_eq!(transcript.shows("paste code"), which != 0);
    }

    #[test]
    fn an_address_wrapped_at_any_width_is_whole(width in 60_usize..400, indent in 0_usize..8) {
        let found = address(&wrapped(width, &" ".repeat(indent), ""));
        let last = URL.len() % width;
        // A rest that reads like a word is taken for one, unless a full line came before.
        let tail = &URL[URL.len() - last..];
        if !(is_word(tail) && URL.len() / width == 1) {
            prop_assert_eq!(found.as_deref(), Some(URL));
        }
    }

    #[test]
    fn nothing_that_is_written_panics_or_sends_a_person_elsewhere(
        noise in proptest::collection::vec(any::<u8>(), 0..2000),
        words in proptest::collection::vec(0_usize..8, 0..60),
    ) {
        const WORDS: [&str; 8] = [URL, "\x1b]8;;", "\x07", "\r\n", "https://evil.example/authorize?state=1", "\x1b[2K", "\x1b[9G", "@"];
        let mut transcript = Transcript::default();
        for word in words {
            transcript.feed(WORDS[word].as_bytes());
        }
        transcript.feed(&noise);
        if let Some(found) = transcript.authorize_address(&HOSTS) {
            prop_assert!(found.as_str().starts_with("https://claude.com/"));
            prop_assert!(found.as_str().chars().all(is_of_a_url));
        }
        let _ = (transcript.shows("x"), transcript.last_words(""));
    }
}
