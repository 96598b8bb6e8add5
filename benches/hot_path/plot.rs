//! The drawings of a run: who took how long, and what more of everything costs. By plotters, as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::table::{Curve, Table, Timed};

const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const OTHERS: RGBColor = RGBColor(0x7f, 0x7f, 0x7f);
const ROW: u32 = 26;

/// Every contender as a line from its fastest round to its 95th percentile, with its median; time is logarithmic.
pub fn contenders(table: &Table, file: &Path) {
    let samples = &table.samples;
    if samples.is_empty() {
        return;
    }
    let rows = u32::try_from(samples.len()).unwrap();
    let area = SVGBackend::new(file, (1000, 80 + ROW * rows)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let least = samples.iter().map(|s| s.sample.least()).fold(f64::INFINITY, f64::min).max(0.01);
    let most = samples.iter().map(|s| s.sample.p95()).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("median, fastest round to 95th percentile, in ms", ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(24)
        .build_cartesian_2d((least * 0.01..most * 1.5).log_scale(), 0.0..f64::from(rows))
        .unwrap();
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .x_label_formatter(&|x| format!("{x}"))
        .draw()
        .unwrap();
    for (row, Timed { part, name, sample }) in (0..rows).rev().zip(samples) {
        let y = f64::from(row) + 0.5;
        let colour = if name.starts_with("tokensink") { OURS } else { OTHERS };
        let line = [(sample.least(), y), (sample.p95(), y)];
        chart.draw_series(LineSeries::new(line, colour.stroke_width(3))).unwrap();
        chart.draw_series([Circle::new((sample.median(), y), 5, colour.filled())]).unwrap();
        let label = format!("{part}: {name}, {:.2}", sample.median());
        chart.draw_series([Text::new(label, (least * 0.011, y + 0.2), ("sans-serif", 12))]).unwrap();
    }
    area.present().unwrap();
}

/// Every curve in a field of its own.
pub fn curves(table: &Table, file: &Path) {
    let count = u32::try_from(table.curves.len()).unwrap();
    if count == 0 {
        return;
    }
    let across = count.min(2);
    let down = count.div_ceil(across);
    let area = SVGBackend::new(file, (500 * across, 320 * down)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let fields = area.split_evenly((down as usize, across as usize));
    for (field, curve) in fields.iter().zip(&table.curves) {
        draw(field, curve);
    }
    area.present().unwrap();
}

fn draw(field: &DrawingArea<SVGBackend<'_>, Shift>, curve: &Curve) {
    let top = curve.points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    let right = curve.points.iter().map(|(x, _)| *x).fold(1.0, f64::max);
    let mut builder = ChartBuilder::on(field);
    let caption = format!("{} ({} over {})", curve.name, curve.unit, curve.of);
    builder.caption(caption, ("sans-serif", 14)).margin(10).x_label_area_size(24).y_label_area_size(48);
    let mut chart = builder.build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.1).unwrap();
    chart.configure_mesh().draw().unwrap();
    chart.draw_series(LineSeries::new(curve.points.iter().copied(), OURS.stroke_width(2))).unwrap();
    chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, OURS.filled()))).unwrap();
}
