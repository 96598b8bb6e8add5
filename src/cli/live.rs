//! The live view of `status --watch`: what needs nobody in few lines, with the time that is left as bars; what needs
//! somebody in full. Drawn anew each second, because the time is what it shows.

use std::fmt::Write as _;
use std::time::Duration;

use super::exit::Exit;
use super::output;
use super::stops::Stops;
use crate::base::time::{Timestamp, short_duration};
use crate::core::report::{LoginReport, Report};
use crate::sys::tty;

/// How often it is drawn.
const EVERY: Duration = Duration::from_secs(1);
/// The alternate screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The width where a terminal knows none, in characters.
const WIDTH: usize = 80;
/// The whole of a bar where nobody knows how long an access token lasts: that of Claude Code.
const USUAL_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// The whole of the bar of a login's own deadline: a month of Claude Code's.
const USUAL_LOGIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Shows reports until a signal ends it.
pub fn run(colours: bool, mut report: impl FnMut() -> Report) -> Exit {
    output::print(ENTER);
    let shown = output::block_on(async {
        let mut stops = Stops::take();
        loop {
            let size = tty::size_of_output();
            let width = size.map_or(WIDTH, |size| usize::from(size.columns));
            let rows = size.map_or(usize::MAX, |size| usize::from(size.rows));
            output::print(&screen(&draw(&report(), width, colours), rows));
            tokio::select! {
                () = stops.come() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
    output::print(LEAVE);
    shown.map_or(Exit::Failed, |()| Exit::Done)
}

/// The lines in the place of what was there, as many as there are rows.
fn screen(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().take(rows).collect();
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}

#[derive(Clone, Copy)]
enum Colour {
    Good = 32,
    Watch = 33,
    Bad = 31,
    Faint = 2,
}

struct Canvas {
    text: String,
    width: usize,
    colours: bool,
}

impl Canvas {
    /// One line of pieces, cut at the width.
    fn line(&mut self, pieces: &[(&str, Option<Colour>)]) {
        let mut room = self.width;
        for (piece, colour) in pieces {
            let shown: String = piece.chars().filter(|c| !c.is_control()).take(room).collect();
            room -= shown.chars().count();
            match colour.filter(|_| self.colours) {
                Some(colour) => {
                    let _ = write!(self.text, "\x1b[{}m{shown}\x1b[0m", colour as u8);
                }
                None => self.text.push_str(&shown),
            }
        }
        self.text.push('\n');
    }

    /// A bar of what is left, with what it says.
    fn bar(&mut self, name: &str, left: Duration, whole: Duration, says: &str) {
        let room = (self.width / 3).clamp(8, 40);
        let share = (left.as_secs_f64() / whole.as_secs_f64().max(1.0)).clamp(0.0, 1.0);
        let full =
            (0..room).filter(|cell| (f64::from(*cell as u32) + 0.5) < share * f64::from(room as u32)).count();
        let colour = match share {
            share if share > 0.25 => Colour::Good,
            share if share > 0.0 => Colour::Watch,
            _ => Colour::Bad,
        };
        let (filled, empty) = ("█".repeat(full), "░".repeat(room - full));
        let name = format!("  {name:<8} ");
        self.line(&[
            (&name, None),
            (&filled, Some(colour)),
            (&empty, Some(Colour::Faint)),
            (" ", None),
            (says, None),
        ]);
    }
}

/// The report as it is shown on a screen of so many columns.
fn draw(report: &Report, width: usize, colours: bool) -> String {
    let now = report.generated_at;
    let mut canvas = Canvas { text: String::new(), width, colours };
    let (daemon, colour) = match (report.daemon.running, report.daemon.since) {
        (true, Some(since)) => {
            (format!("daemon runs for {}", short_duration(now.since(since))), Colour::Good)
        }
        (true, None) => ("daemon runs".to_owned(), Colour::Good),
        (false, _) => ("daemon does not run".to_owned(), Colour::Bad),
    };
    canvas.line(&[
        ("tokensink  ", None),
        (&daemon, Some(colour)),
        ("  ", None),
        (&now.to_string(), Some(Colour::Faint)),
    ]);
    for login in &report.logins {
        canvas.line(&[]);
        draw_login(&mut canvas, login, now);
    }
    draw_rest(&mut canvas, report);
    canvas.text
}

fn draw_login(canvas: &mut Canvas, login: &LoginReport, now: Timestamp) {
    let (state, colour) = match login.state {
        "ok" if login.renewing => ("ok (renewing)", Colour::Watch),
        "ok" => ("ok", Colour::Good),
        "expiring" => ("expiring", Colour::Watch),
        other => (other, Colour::Bad),
    };
    let label = login.account.as_ref().map_or(String::new(), |label| format!(" ({label})"));
    canvas.line(&[(&login.id, None), (&label, Some(Colour::Faint)), ("  ", None), (state, Some(colour))]);
    if let Some(ends) = login.access_expires_at {
        let left = ends.since(now);
        let whole = login.access_seen_at.map_or(USUAL_LIFETIME, |seen| ends.since(seen));
        let says = match login.refresh.next_at {
            _ if left.is_zero() => "over".to_owned(),
            Some(at) if at > now => {
                format!("{} left, renewed in {}", short_duration(left), short_duration(at.since(now)))
            }
            _ => format!("{} left", short_duration(left)),
        };
        canvas.bar("access", left, whole.max(left), &says);
    }
    if let Some(ends) = login.login_deadline {
        let left = ends.since(now);
        let says = if left.is_zero() { "over".to_owned() } else { format!("{} left", short_duration(left)) };
        canvas.bar("login", left, USUAL_LOGIN.max(left), &says);
    }
}

fn draw_rest(canvas: &mut Canvas, report: &Report) {
    let current = report.sinks.iter().filter(|sink| sink.state == "current").count();
    if !report.sinks.is_empty() {
        canvas.line(&[]);
        let colour = if current == report.sinks.len() { Colour::Good } else { Colour::Watch };
        let count = format!("{current} of {} current", report.sinks.len());
        canvas.line(&[("sinks     ", None), (&count, Some(colour))]);
    }
    for sink in report.sinks.iter().filter(|sink| sink.state != "current") {
        let agent = sink.agent.as_ref().map_or(String::new(), |agent| format!("/{agent}"));
        let code = sink.code.map_or(String::new(), |code| format!(" {code}"));
        canvas.line(&[
            ("  ", None),
            (&sink.id, None),
            (&agent, None),
            ("  ", None),
            (sink.state, Some(Colour::Watch)),
            (&code, None),
        ]);
    }
    for gateway in &report.gateways {
        let (applied, colour) = if gateway.applied {
            ("up to date", Colour::Good)
        } else {
            ("waits to be applied", Colour::Watch)
        };
        let version = gateway.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
        canvas.line(&[
            ("gateway   ", None),
            (&gateway.id, None),
            (&version, Some(Colour::Faint)),
            ("  ", None),
            (applied, Some(colour)),
        ]);
    }
    for finding in &report.findings {
        let colour = match finding.severity.as_str() {
            "critical" => Colour::Bad,
            "warning" => Colour::Watch,
            _ => Colour::Faint,
        };
        canvas.line(&[]);
        let head = format!("{} {}", finding.code, finding.subject);
        canvas.line(&[(finding.severity.as_str(), Some(colour)), (" ", None), (&head, None)]);
        canvas.line(&[("  ", None), (&finding.summary, None)]);
        if !finding.next.is_empty() {
            canvas.line(&[("  next: ", None), (&finding.next, None)]);
        }
    }
}

#[cfg(test)]
mod tests;
