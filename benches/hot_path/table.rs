//! The table of figures: what was measured, what was aimed at, whether it was reached.

use std::fmt::Write as _;
use std::time::Duration;

struct Row {
    part: &'static str,
    figure: String,
    value: f64,
    unit: &'static str,
    target: Option<(bool, f64)>,
    note: String,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.target {
            None => "",
            Some((true, most)) if self.value <= most => "met",
            Some((false, least)) if self.value >= least => "met",
            Some(_) => "missed",
        }
    }

    fn aim(&self) -> String {
        let sign = |most| if most { "<=" } else { ">=" };
        self.target.map_or(String::new(), |(most, value)| format!("{} {value} {}", sign(most), self.unit))
    }
}

/// All figures of a run.
pub struct Table {
    rows: Vec<Row>,
    remarks: Vec<String>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Vec::new(), remarks: Vec::new() }
    }

    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// A figure without a target.
    pub fn plain(&mut self, part: &'static str, figure: impl Into<String>, value: f64, unit: &'static str) {
        self.push(part, figure, value, unit, None);
    }

    /// A figure that should be at most `target`.
    pub fn at_most(&mut self, part: &'static str, figure: &str, value: f64, unit: &'static str, target: f64) {
        self.push(part, figure, value, unit, Some((true, target)));
    }

    /// A figure that should be at least `target`.
    pub fn at_least(
        &mut self,
        part: &'static str,
        figure: &str,
        value: f64,
        unit: &'static str,
        target: f64,
    ) {
        self.push(part, figure, value, unit, Some((false, target)));
    }

    fn push(
        &mut self,
        part: &'static str,
        figure: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Option<(bool, f64)>,
    ) {
        self.rows.push(Row { part, figure: figure.into(), value, unit, target, note: String::new() });
    }

    /// A word on the figure that was added last.
    pub fn note(&mut self, text: impl Into<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.note = text.into();
        }
    }

    pub fn text(&self) -> String {
        let width = self.rows.iter().map(|r| r.figure.len()).max().unwrap_or(0);
        let mut text = String::new();
        let mut part = "";
        for row in &self.rows {
            if row.part != part {
                part = row.part;
                let _ = writeln!(text, "\n{part}");
            }
            let value = format!("{} {}", shown(row.value), row.unit);
            let line = format!(
                "  {:<width$}  {value:>14}  {:<12} {:<6} {}",
                row.figure,
                row.aim(),
                row.verdict(),
                row.note
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push('\n');
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        text
    }

    pub fn csv(&self) -> String {
        let mut text = String::from("part,figure,value,unit,target,verdict,note\n");
        let quoted = |word: &str| format!("\"{}\"", word.replace('"', "\"\""));
        for row in &self.rows {
            let (figure, note) = (quoted(&row.figure), quoted(&row.note));
            let (value, aim, verdict) = (row.value, row.aim(), row.verdict());
            let _ = writeln!(
                text,
                "{},{figure},{value:.4},{},{aim},{verdict},{note}",
                quoted(row.part),
                row.unit
            );
        }
        text
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Durations of many rounds.
#[derive(Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }

    /// In milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        assert!(!sorted.is_empty(), "nothing was measured");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a small count"
        )]
        let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
        sorted[at - 1].as_secs_f64() * 1000.0
    }
}
