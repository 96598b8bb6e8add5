//! The table of figures: what was measured, what was aimed at, whether it was reached. Behind it the raw samples
//! and the points of the curves.

use std::fmt::Write as _;
use std::time::Duration;

struct Row {
    part: &'static str,
    figure: String,
    value: f64,
    p95: Option<f64>,
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

/// One line of a drawing.
pub struct Curve {
    pub name: &'static str,
    /// What the first number of a point is.
    pub of: &'static str,
    pub unit: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// The rounds of one contender.
pub struct Timed {
    pub part: &'static str,
    pub name: String,
    pub sample: Sample,
}

/// All figures of a run.
pub struct Table {
    rows: Vec<Row>,
    remarks: Vec<String>,
    /// In the order in which they were measured.
    pub samples: Vec<Timed>,
    pub curves: Vec<Curve>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Vec::new(), remarks: Vec::new(), samples: Vec::new(), curves: Vec::new() }
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

    /// The median of a sample, with its 95th percentile; the sample itself is kept.
    pub fn timed(&mut self, part: &'static str, figure: impl Into<String>, sample: &Sample) {
        self.sampled(part, figure.into(), sample, None);
    }

    /// The same, where the median should be at most `target` ms.
    pub fn timed_at_most(&mut self, part: &'static str, figure: &str, sample: &Sample, target: f64) {
        self.sampled(part, figure.to_owned(), sample, Some((true, target)));
    }

    fn sampled(&mut self, part: &'static str, name: String, sample: &Sample, target: Option<(bool, f64)>) {
        self.push(part, format!("{name}, median"), sample.median(), "ms", target);
        if let Some(row) = self.rows.last_mut() {
            row.p95 = Some(sample.p95());
        }
        self.samples.push(Timed { part, name, sample: sample.clone() });
    }

    /// A point of a curve.
    pub fn point(&mut self, name: &'static str, of: &'static str, unit: &'static str, (x, y): (f64, f64)) {
        match self.curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push((x, y)),
            None => self.curves.push(Curve { name, of, unit, points: vec![(x, y)] }),
        }
    }

    fn push(
        &mut self,
        part: &'static str,
        figure: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Option<(bool, f64)>,
    ) {
        let figure = figure.into();
        self.rows.push(Row { part, figure, value, p95: None, unit, target, note: String::new() });
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
            let p95 = row.p95.map_or(String::new(), |p95| format!("p95 {}", shown(p95)));
            let line = format!(
                "  {:<width$}  {value:>14}  {p95:<12} {:<12} {:<6} {}",
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
        let mut text = String::from("part,figure,value,p95,unit,target,verdict,note\n");
        for row in &self.rows {
            let (figure, note) = (quoted(&row.figure), quoted(&row.note));
            let (value, aim, verdict) = (row.value, row.aim(), row.verdict());
            let p95 = row.p95.map_or(String::new(), |p95| format!("{p95:.4}"));
            let _ = writeln!(
                text,
                "{},{figure},{value:.4},{p95},{},{aim},{verdict},{note}",
                quoted(row.part),
                row.unit
            );
        }
        text
    }

    /// Every single measurement, in milliseconds, in the order of the rounds.
    pub fn samples_csv(&self) -> String {
        let mut text = String::from("part,contender,round,ms\n");
        for Timed { part, name, sample } in &self.samples {
            for (round, duration) in (1..).zip(&sample.0) {
                let ms = duration.as_secs_f64() * 1000.0;
                let _ = writeln!(text, "{},{},{round},{ms:.4}", quoted(part), quoted(name));
            }
        }
        text
    }
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Durations of many rounds.
#[derive(Default, Clone)]
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn extend(&mut self, durations: impl IntoIterator<Item = Duration>) {
        self.0.extend(durations);
    }

    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }

    /// The fastest round.
    pub fn least(&self) -> f64 {
        self.quantile(0.0)
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
