//! The record as a drawing: a lane for each login and each gateway, one for the host. Bars are the
//! lifetimes of access tokens, the thin rest of a bar what a renewal left unused. SVG 1.1 without scripts,
//! links or foreign fonts; light and dark by the viewer's preference. Always 1200 wide; one day to ninety
//! are shown, and a twelfth of that beyond now.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::day_and_time;
use super::text::{came, precise};
use crate::base::code::{Code, Severity};
use crate::base::time::{Timestamp, short_duration};
use crate::core::event::{Event, What};
use crate::core::memory::LastAction;
use crate::core::refresh::Ended;

const DAY: Duration = Duration::from_secs(86_400);
const WIDTH: i64 = 1200;
const LEFT: i64 = 150;
const RIGHT: i64 = 1180;
const TOP: i64 = 64;
const LANE: i64 = 66;
const FOOT: i64 = 44;
/// The narrowest bar in which its lifetime is written.
const ROOM_FOR_TEXT: i64 = 104;

/// Seconds between two lines of the grid; the first that gives no more than [`MOST_TICKS`] is taken.
const STEPS: [i64; 8] = [3600, 2 * 3600, 3 * 3600, 6 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 14 * 86_400];
const MOST_TICKS: i64 = 16;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.faint{fill:#59636e;font-size:11px}.head{font-size:15px;font-weight:600}\
.page{fill:#fff}.lane{fill:#f6f8fa}.grid{stroke:#d1d9e0}.now{stroke:#59636e;stroke-dasharray:4 3}\
.life{fill:#54aeff}.next{fill:#80ccff}.rest{fill:#b6b6ff}.turn{stroke:#0550ae;stroke-width:2}.in{fill:#0a3069}\
.write{fill:#2da44e}.bad{stroke:#cf222e;stroke-width:2}.act{fill:#bf8700}.ran{fill:#8c959f}\
.notice{fill:#1b7c83}.warning{fill:#d4a72c}.critical{fill:#cf222e}.told{fill:#8250df}\
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.faint{fill:#9198a1}.page{fill:#0d1117}.lane{fill:#151b23}\
.grid{stroke:#3d444d}.now{stroke:#9198a1}.life{fill:#1f6feb}.next{fill:#388bfd}.rest{fill:#6e58c4}.turn{stroke:#a5d6ff}\
.in{fill:#fff}.write{fill:#3fb950}.bad{stroke:#ff7b72}.act{fill:#e3b341}.ran{fill:#656c76}\
.notice{fill:#39c5cf}.warning{fill:#d29922}.critical{fill:#f85149}.told{fill:#bc8cff}}";

/// The drawing. Without `since` it begins with the first event.
#[must_use]
pub fn draw(events: &[Event], since: Option<Timestamp>, now: Timestamp) -> String {
    let first = since.or_else(|| events.first().map(|event| event.at)).unwrap_or(now);
    let span = now.since(first).clamp(DAY, DAY * 90);
    let scale = Scale { from: now.before(span), to: now.after(span / 12) };
    let lanes = lanes(events, now);
    let height = TOP + LANE * i64::try_from(lanes.len()).unwrap_or(0) + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\">\n<title>tokensink history</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let _ = writeln!(
        svg,
        "<text class=\"head\" x=\"16\" y=\"26\">What happened to each login</text>\n\
         <text class=\"faint\" x=\"{RIGHT}\" y=\"26\" text-anchor=\"end\">{} to {} (UTC)</text>",
        minute(scale.from),
        minute(now)
    );
    for (n, (name, _)) in (0..).zip(&lanes) {
        let y = TOP + LANE * n;
        let _ = writeln!(
            svg,
            "<rect class=\"lane\" x=\"0\" y=\"{}\" width=\"{WIDTH}\" height=\"{}\"/>\n<text x=\"16\" y=\"{}\">{}</text>\n\
             <text class=\"faint\" x=\"16\" y=\"{}\">{}</text>",
            y + 2,
            LANE - 4,
            y + 26,
            escaped(&shortened(name.name())),
            y + 42,
            name.kind()
        );
    }
    grid(&mut svg, &scale, height - FOOT, now);
    for (n, (name, items)) in (0..).zip(&lanes) {
        items.draw(&mut svg, name, &scale, TOP + LANE * n, now);
    }
    legend(&mut svg, height - 16);
    svg.push_str("</svg>\n");
    svg
}

/// Time to place, in tenths of a unit.
struct Scale {
    from: Timestamp,
    to: Timestamp,
}

impl Scale {
    /// `None` outside of the drawing.
    fn within(&self, at: Timestamp) -> Option<i64> {
        (self.from <= at && at <= self.to).then(|| self.clamped(at))
    }

    fn clamped(&self, at: Timestamp) -> i64 {
        let at = at.clamp(self.from, self.to);
        let whole = self.to.millis_from(self.from).max(1);
        LEFT * 10 + at.millis_from(self.from) * ((RIGHT - LEFT) * 10) / whole
    }

    /// Beginning and width of a span; `None` when nothing of it is in the drawing.
    fn span(&self, from: Timestamp, to: Timestamp) -> Option<(i64, i64)> {
        if to < self.from || from > self.to {
            return None;
        }
        let (begin, end) = (self.clamped(from), self.clamped(to));
        Some((begin, (end - begin).max(20)))
    }
}

/// Whose lane; the order is that of the drawing.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Login(String),
    Gateway(String),
    Host,
}

impl Name {
    fn name(&self) -> &str {
        match self {
            Self::Login(name) | Self::Gateway(name) => name,
            Self::Host => "host",
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Login(_) => "login",
            Self::Gateway(_) => "gateway",
            Self::Host => "daemon and the rest",
        }
    }
}

/// What a lane shows.
#[derive(Default)]
struct Lane<'a> {
    /// Generations: since when, and when the access token ends.
    lives: Vec<(Timestamp, Option<Timestamp>)>,
    /// Spans in which something was done, or the daemon ran: class, from, to, words.
    spans: Vec<(&'static str, Timestamp, Timestamp, String)>,
    /// Points: class, when, words.
    points: Vec<(Point, Timestamp, String)>,
    /// Findings: weight, code, subject, from, to, words.
    findings: Vec<Finding<'a>>,
}

struct Finding<'a> {
    severity: Severity,
    code: Code,
    subject: &'a str,
    from: Timestamp,
    to: Option<Timestamp>,
    summary: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Point {
    Written,
    Failed,
    Told,
    LoggedIn,
}

fn lanes(events: &[Event], now: Timestamp) -> BTreeMap<Name, Lane<'_>> {
    let mut lanes: BTreeMap<Name, Lane<'_>> = BTreeMap::new();
    // Which lane a finding belongs to: its subject may be a login, a gateway, a sink or its target.
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for event in events {
        if let What::Written { login, sink, target, .. } = &event.what {
            owners.insert(sink.as_str(), login.as_str());
            owners.insert(target, login.as_str());
        }
        if let Some(login) = event.what.login() {
            lanes.entry(Name::Login(login.to_string())).or_default();
        }
        if let What::Applied { gateway, .. } | What::NotApplied { gateway, .. } = &event.what {
            lanes.entry(Name::Gateway(gateway.to_string())).or_default();
        }
    }
    lanes.entry(Name::Host).or_default();
    let known: Vec<String> = lanes.keys().map(|name| name.name().to_owned()).collect();
    let lane_of = |subject: &str| {
        let is_known = |id: &str| known.iter().any(|name| name == id);
        match owners.get(subject) {
            Some(login) => Name::Login((*login).to_owned()),
            None if is_known(subject)
                && events.iter().any(|e| e.what.login().is_some_and(|l| l.as_str() == subject)) =>
            {
                Name::Login(subject.to_owned())
            }
            None if is_known(subject) && subject != "host" => Name::Gateway(subject.to_owned()),
            None => Name::Host,
        }
    };
    let mut running: Option<Timestamp> = None;
    for event in events {
        let at = event.at;
        let mut point = |name: Name, point: Point, words: String| {
            lanes.entry(name).or_default().points.push((point, at, words));
        };
        match &event.what {
            What::Rotated { login, expires_at, .. } => {
                let lane = lanes.entry(Name::Login(login.to_string())).or_default();
                lane.lives.push((at, *expires_at));
            }
            What::Refreshed { outcome: Ended::Rotated | Ended::Kept | Ended::Adopted, .. } => {}
            What::Refreshed { login, outcome, detail } => {
                let words = format!("refresh: {}, {detail}", outcome.as_str());
                point(Name::Login(login.to_string()), Point::Failed, words);
            }
            What::Written { login, target, reason, .. } => {
                point(
                    Name::Login(login.to_string()),
                    Point::Written,
                    format!("sink {target} written ({reason})"),
                );
            }
            What::NotWritten { target, why, .. } => {
                point(lane_of(target), Point::Failed, format!("sink {target} not written: {why}"));
            }
            What::Applied { action: LastAction::None, .. } | What::Unknown => {}
            What::Applied { gateway, outcome, took_ms, .. } => {
                let words = format!("{outcome} in {}", precise(*took_ms));
                let begun = at.before(Duration::from_millis(*took_ms));
                let lane = lanes.entry(Name::Gateway(gateway.to_string())).or_default();
                lane.spans.push(("act", begun, at, words));
            }
            What::NotApplied { gateway, code, why } => {
                point(Name::Gateway(gateway.to_string()), Point::Failed, format!("{code}: {why}"));
            }
            What::Raised { code, severity, subject, summary } => {
                let lane = lanes.entry(lane_of(subject)).or_default();
                lane.findings.push(Finding {
                    severity: *severity,
                    code: *code,
                    subject,
                    from: at,
                    to: None,
                    summary,
                });
            }
            What::Cleared { code, subject } => {
                let lane = lanes.entry(lane_of(subject)).or_default();
                let open = lane.findings.iter_mut().filter(|f| f.code == *code && f.subject == subject);
                open.filter(|f| f.to.is_none()).for_each(|f| f.to = Some(at));
            }
            What::Alerted { channel, stage, code, subject } => {
                point(
                    lane_of(subject),
                    Point::Told,
                    format!("alert, {stage}, by {channel}: {code} {subject}"),
                );
            }
            What::LoggedIn { login, how } => {
                point(Name::Login(login.to_string()), Point::LoggedIn, came(*how).to_owned());
            }
            What::Exported { login } => {
                point(Name::Login(login.to_string()), Point::LoggedIn, "went to another host".to_owned());
            }
            What::Started { .. } => {
                // Without a word of its end it ran until nobody knows when.
                if let Some(since) = running.replace(at) {
                    ran(&mut lanes, since, at, "daemon, whose end is not on record");
                }
            }
            What::Stopped { .. } => {
                if let Some(since) = running.take() {
                    ran(&mut lanes, since, at, "daemon");
                }
            }
        }
    }
    if let Some(since) = running {
        ran(&mut lanes, since, now, "daemon");
    }
    lanes
}

fn ran(lanes: &mut BTreeMap<Name, Lane<'_>>, from: Timestamp, to: Timestamp, words: &str) {
    lanes.entry(Name::Host).or_default().spans.push(("ran", from, to, words.to_owned()));
}

impl Lane<'_> {
    fn draw(&self, svg: &mut String, name: &Name, scale: &Scale, y: i64, now: Timestamp) {
        for (n, (from, ends)) in self.lives.iter().enumerate() {
            let next = self.lives.get(n + 1).map(|(at, _)| *at);
            life(svg, scale, y, n, (*from, *ends, next), now);
        }
        for (class, from, to, words) in &self.spans {
            let height = if *name == Name::Host { 8 } else { 18 };
            if let Some((x, width)) = scale.span(*from, *to) {
                let words = format!("{words}, {} to {} UTC", second(*from), second(*to));
                rect(svg, class, (x, y + 10, width, height), &words);
            }
        }
        for finding in &self.findings {
            let to = finding.to.unwrap_or(now);
            if let Some((x, width)) = scale.span(finding.from, to) {
                let end = finding
                    .to
                    .map_or_else(|| "still open".to_owned(), |to| format!("resolved {} UTC", minute(to)));
                let words = format!(
                    "{} {}: {} (since {} UTC, {end})",
                    finding.code,
                    finding.subject,
                    finding.summary,
                    minute(finding.from)
                );
                rect(svg, finding.severity.as_str(), (x, y + 52, width, 6), &words);
            }
        }
        for (point, at, words) in &self.points {
            if let Some(x) = scale.within(*at) {
                mark(svg, *point, x, y, &format!("{words}, {} UTC", second(*at)));
            }
        }
    }
}

/// One generation: to its renewal a bar, what was left of it then a thin one.
fn life(
    svg: &mut String,
    scale: &Scale,
    y: i64,
    n: usize,
    (from, ends, next): (Timestamp, Option<Timestamp>, Option<Timestamp>),
    now: Timestamp,
) {
    let end = ends.unwrap_or_else(|| next.unwrap_or(now));
    let until = next.map_or(end, |next| next.min(end));
    let mut words = format!("access token, new {} UTC", minute(from));
    if let Some(ends) = ends {
        let _ = write!(words, ", ends {} UTC", minute(ends));
    }
    if let Some(next) = next {
        let (word, since) =
            if next <= end { ("renewed after", from) } else { ("over, the next one came after", end) };
        let _ = write!(words, ", {word} {}", short_duration(next.since(since)));
    }
    if let Some((x, width)) = scale.span(until, end).filter(|_| until < end) {
        rect(svg, "rest", (x, y + 30, width, 4), &words);
    }
    if let Some((x, width)) = scale.span(from, until).filter(|_| from <= until) {
        rect(svg, if n.is_multiple_of(2) { "life" } else { "next" }, (x, y + 10, width, 18), &words);
        if width >= ROOM_FOR_TEXT * 10
            && let Some(ends) = ends
        {
            let used = short_duration(until.since(from));
            let whole = short_duration(ends.since(from));
            let text = if until < ends { format!("{used} of {whole}") } else { whole };
            let _ = writeln!(
                svg,
                "<text class=\"in faint\" x=\"{}\" y=\"{}\">{text}</text>",
                tenths(x + 60),
                y + 23
            );
        }
    }
    if let Some(x) = scale.within(from) {
        let x = tenths(x);
        let _ =
            writeln!(svg, "<line class=\"turn\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>", y + 7, y + 31);
    }
}

fn rect(svg: &mut String, class: &str, (x, y, width, height): (i64, i64, i64, i64), words: &str) {
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"2\"><title>{}</title></rect>",
        tenths(x),
        tenths(width),
        escaped(words)
    );
}

fn mark(svg: &mut String, point: Point, x: i64, y: i64, words: &str) {
    let shape = match point {
        Point::Written => format!("<circle class=\"write\" cx=\"{}\" cy=\"{}\" r=\"3\"", tenths(x), y + 40),
        Point::Failed => {
            let d =
                format!("M{0} {2}L{1} {3}M{0} {3}L{1} {2}", tenths(x - 35), tenths(x + 35), y + 36, y + 43);
            format!("<path class=\"bad\" d=\"{d}\"")
        }
        Point::Told => {
            let d = format!(
                "M{0} {3}L{1} {3}L{2} {4}z",
                tenths(x - 45),
                tenths(x + 45),
                tenths(x),
                y + 51,
                y + 43
            );
            format!("<path class=\"told\" d=\"{d}\"")
        }
        Point::LoggedIn => {
            let (left, right, top, foot) = (tenths(x - 60), tenths(x + 60), y + 2, y + 10);
            format!("<path class=\"in\" d=\"M{left} {top}L{right} {top}L{} {foot}z\"", tenths(x))
        }
    };
    let _ = writeln!(svg, "{shape}><title>{}</title>{}", escaped(words), closing(&shape));
}

fn closing(shape: &str) -> &'static str {
    if shape.starts_with("<circle") { "</circle>" } else { "</path>" }
}

fn grid(svg: &mut String, scale: &Scale, foot: i64, now: Timestamp) {
    let whole = scale.to.millis_from(scale.from);
    let fits = |step: &&i64| whole / (**step * 1000) <= MOST_TICKS;
    let step = STEPS.iter().find(fits).copied().unwrap_or(14 * 86_400) * 1000;
    let first = scale.from.as_millis().div_euclid(step).saturating_mul(step);
    for n in 0..=MOST_TICKS + 1 {
        let at = first.saturating_add(step * n);
        let (day, time) = day_and_time(Timestamp::from_millis(at));
        if let Some(x) = scale.within(Timestamp::from_millis(at)) {
            let is_midnight = time == "00:00:00";
            let label =
                if is_midnight { day.get(5..).unwrap_or(&day) } else { time.get(..5).unwrap_or(&time) };
            let x = tenths(x);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{foot}\"/>\n\
                 <text class=\"faint\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                TOP - 6,
                TOP - 12
            );
        }
    }
    let x = tenths(scale.clamped(now));
    let _ = writeln!(svg, "<line class=\"now\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{foot}\"/>", TOP - 6);
}

fn legend(svg: &mut String, y: i64) {
    let samples: [(&str, &str); 9] = [
        ("life", "access token"),
        ("rest", "unused rest"),
        ("write", "sink written"),
        ("act", "gateway restart or reload, its length"),
        ("ran", "daemon"),
        ("notice", "notice"),
        ("warning", "warning"),
        ("critical", "critical"),
        ("told", "alert"),
    ];
    let mut x = 16;
    for (class, words) in samples {
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"8\" rx=\"2\"/>\n\
             <text class=\"faint\" x=\"{}\" y=\"{y}\">{words}</text>",
            y - 8,
            x + 17
        );
        x += 40 + 6 * i64::try_from(words.len()).unwrap_or(0);
    }
    let (right, top) = (x + 7, y - 7);
    let _ = writeln!(
        svg,
        "<path class=\"bad\" d=\"M{x} {y}L{right} {top}M{x} {top}L{right} {y}\"/>\n\
         <text class=\"faint\" x=\"{}\" y=\"{y}\">failed</text>",
        x + 13
    );
}

fn tenths(value: i64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

fn minute(at: Timestamp) -> String {
    let (day, time) = day_and_time(at);
    format!("{day} {}", time.get(..5).unwrap_or(""))
}

fn second(at: Timestamp) -> String {
    let (day, time) = day_and_time(at);
    format!("{day} {time}")
}

/// A name that fits beside its lane.
fn shortened(name: &str) -> String {
    const MOST: usize = 18;
    if name.chars().count() <= MOST {
        name.to_owned()
    } else {
        name.chars().take(MOST - 1).chain(['…']).collect()
    }
}

/// Text as it may stand in XML 1.0, in an element and in an attribute. What XML cannot hold at all becomes
/// a replacement character.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(' '),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21T10:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_255_200_000);

    #[test]
    fn a_day_and_a_half_is_drawn_as_the_golden_file_has_it() {
        let drawn = draw(&super::super::example(), None, NOW);
        assert_eq!(drawn, include_str!("example.svg"));
        let document = roxmltree::Document::parse(&drawn).unwrap();
        let lives = document.descendants().filter(|n| matches!(n.attribute("class"), Some("life" | "next")));
        // The sample of the legend counts as well.
        assert_eq!(lives.count(), 5 + 1);
        assert!(!drawn.contains("script") && !drawn.contains("href"));
    }

    #[test]
    fn ninety_days_have_no_more_than_their_lines_and_the_same_width() {
        let event = |days: u64| Event {
            at: NOW.before(DAY * u32::try_from(days).unwrap()),
            what: What::Stopped { why: "x".into() },
        };
        for days in [0, 1, 3, 14, 90, 4000] {
            let drawn = draw(&[event(days)], None, NOW);
            let document = roxmltree::Document::parse(&drawn).unwrap();
            let lines = document.descendants().filter(|n| n.attribute("class") == Some("grid")).count();
            assert!((4..=17).contains(&lines), "{days} days: {lines}");
            assert_eq!(document.root_element().attribute("width"), Some("1200"));
        }
        assert!(roxmltree::Document::parse(&draw(&[], None, NOW)).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_text_in_the_drawing(text in any::<String>(), other in "[\\x00-\\x7f]{0,40}") {
            for text in [text, other] {
                let event = |what| Event { at: NOW.before(DAY / 2), what };
                let events = [
                    event(What::Raised {
                        code: Code::Missing, severity: Severity::Warning, subject: text.clone(), summary: text.clone(),
                    }),
                    event(What::NotWritten {
                        sink: crate::base::id::SinkId::try_new("s").unwrap(), target: text.clone(), why: text.clone(),
                    }),
                ];
                let drawn = draw(&events, None, NOW);
                let document = roxmltree::Document::parse(&drawn).unwrap();
                let said: String = document.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
                let kept: String = text.chars()
                    .map(|c| match c {
                        '\t' | '\n' => ' ',
                        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
                        c => c,
                    })
                    .collect();
                prop_assert!(said.contains(&kept), "{kept:?} in {said:?}");
            }
        }

        /// Any record at all, at any time, is a drawing.
        #[test]
        fn any_order_of_events_is_drawn(times in prop::collection::vec((any::<i64>(), 0_usize..30), 0..40), now in any::<i64>()) {
            let kinds = super::super::example();
            let mut events: Vec<Event> = times
                .into_iter()
                .map(|(at, kind)| Event { at: Timestamp::from_millis(at), what: kinds[kind % kinds.len()].what.clone() })
                .collect();
            events.sort_by_key(|event| event.at);
            let drawn = draw(&events, None, Timestamp::from_millis(now));
            prop_assert!(roxmltree::Document::parse(&drawn).is_ok());
        }
    }
}
