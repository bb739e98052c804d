//! The samples as a picture.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor, SVGBackend, WHITE,
    },
};

use super::sample::{Figure, Sample};

const SIZE: (u32, u32) = (900, 1100);
const BLUE: RGBColor = RGBColor(31, 119, 180);
const ORANGE: RGBColor = RGBColor(214, 100, 20);

/// One field: what it shows, and its lines.
struct Field {
    title: &'static str,
    lines: Vec<Figure>,
}

fn fields() -> Vec<Field> {
    vec![
        Field {
            title: "resident memory, MiB",
            lines: vec![("first daemon", |s| s.memory(0)), ("second daemon", |s| s.memory(1))],
        },
        Field {
            title: "open descriptors",
            lines: vec![("first daemon", |s| s.descriptors(0)), ("second daemon", |s| s.descriptors(1))],
        },
        Field { title: "backlog: paths that wait, at both", lines: vec![("", Sample::backlog)] },
        Field { title: "logs, KiB, both", lines: vec![("", Sample::log)] },
        Field { title: "archives on the disk, MiB, both", lines: vec![("", Sample::archives)] },
    ]
}

/// Draws them over the time.
pub fn draw(samples: &[Sample], path: &Path) -> Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = draw_in(samples, &area);
    drawn.with_context(|| format!("cannot draw {}", path.display()))
}

fn draw_in(samples: &[Sample], area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
    // The errors of the library know no thread but their own.
    let plain = |e: &dyn std::error::Error| anyhow!("{e}");
    area.fill(&WHITE).map_err(|e| plain(&e))?;
    let minutes = |sample: &Sample| sample.at.as_secs_f64() / 60.0;
    let end = samples.last().map_or(1.0, minutes).max(0.1);
    let fields = fields();
    for (field, area) in fields.iter().zip(area.split_evenly((fields.len(), 1))) {
        let values = field.lines.iter().flat_map(|(_, value)| samples.iter().map(value));
        let top = values.fold(1.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(field.title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..top)
            .map_err(|e| plain(&e))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(13)
            .y_labels(6)
            .x_desc("minutes")
            .draw()
            .map_err(|e| plain(&e))?;
        for ((name, value), color) in field.lines.iter().zip([BLUE, ORANGE]) {
            let points = samples.iter().map(|sample| (minutes(sample), value(sample)));
            let series = chart.draw_series(LineSeries::new(points, color)).map_err(|e| plain(&e))?;
            if !name.is_empty() {
                series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
            }
        }
        if field.lines.len() > 1 {
            let legend = chart.configure_series_labels().background_style(WHITE).border_style(WHITE).draw();
            legend.map_err(|e| plain(&e))?;
        }
    }
    area.present().map_err(|e| plain(&e))
}
