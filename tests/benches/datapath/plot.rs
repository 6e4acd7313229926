//! Plots, drawn as SVG: a line for each series, with the bounds of the middle half.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::figures::Sample;

const SIZE: (u32, u32) = (860, 440);
/// Colours that people who do not tell red from green tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// What is drawn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plot {
    /// The file's name, without its ending.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) categories: Vec<String>,
    /// Whether steps of the vertical axis are factors.
    pub(crate) logarithmic: bool,
    /// Where the names of the series are not in the way of the lines.
    pub(crate) legend_below: bool,
    pub(crate) series: Vec<Series>,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    name: String,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Point {
    category: u32,
    low: f64,
    median: f64,
    high: f64,
}

impl Series {
    /// Of what was measured, by category.
    pub(crate) fn new(name: &str, samples: &[Option<Sample>]) -> Self {
        let points = (0..).zip(samples).filter_map(|(category, sample)| {
            let sample = sample.as_ref()?;
            let (low, high) = sample.quartiles();
            Some(Point { category, low, median: sample.median(), high })
        });
        Self { name: name.to_owned(), points: points.collect() }
    }
}

impl Plot {
    /// The file's text.
    pub(crate) fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(&mut text).map_err(|error| anyhow!("draw {}: {error}", self.name))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (low, high) = self.range();
        let last = f64::from(u32::try_from(self.categories.len())?) - 0.5;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(-0.5..last, low..high)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .x_labels(2 * self.categories.len() + 1)
            .x_label_formatter(&|x| self.category(*x))
            .y_label_formatter(&|y| self.label(*y))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let points = || series.points.iter();
            let line = points().map(|it| (f64::from(it.category), self.scaled(it.median)));
            let legend = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour);
            let style = colour.stroke_width(2);
            chart.draw_series(LineSeries::new(line, style))?.label(&series.name).legend(legend);
            chart.draw_series(points().map(|it| {
                let [low, median, high] = [it.low, it.median, it.high].map(|it| self.scaled(it));
                ErrorBar::new_vertical(
                    f64::from(it.category),
                    low,
                    median,
                    high,
                    colour.filled(),
                    8,
                )
            }))?;
        }
        chart
            .configure_series_labels()
            .position(if self.legend_below {
                SeriesLabelPosition::LowerLeft
            } else {
                SeriesLabelPosition::UpperLeft
            })
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.4))
            .draw()?;
        root.present()?;
        drop(chart);
        drop(root);
        Ok(())
    }

    /// Where a value is on the vertical axis.
    fn scaled(&self, value: f64) -> f64 {
        if self.logarithmic { value.max(1.0).log10() } else { value }
    }

    fn range(&self) -> (f64, f64) {
        let points = self.series.iter().flat_map(|series| &series.points);
        let all = points.flat_map(|point| [point.low, point.median, point.high]);
        let (low, high) =
            all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        if self.logarithmic {
            (self.scaled(low).floor(), self.scaled(high).ceil().max(1.0))
        } else {
            (low.min(0.0), high * 1.1)
        }
    }

    fn category(&self, x: f64) -> String {
        let named = (0_u32..).zip(&self.categories);
        let mut here = named.filter(|(number, _)| (f64::from(*number) - x).abs() < 0.01);
        here.next().map(|(_, name)| name.clone()).unwrap_or_default()
    }

    fn label(&self, y: f64) -> String {
        let value = if self.logarithmic { 10_f64.powf(y) } else { y };
        match value {
            _ if self.logarithmic && (y - y.round()).abs() > 0.01 => String::new(),
            value if value >= 1e6 => format!("{:.0} M", value / 1e6),
            value if value >= 1e4 => format!("{:.0} k", value / 1e3),
            value => format!("{value:.0}"),
        }
    }
}
