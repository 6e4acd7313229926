//! Series on their way to text: gathered by metric, so that none is there twice. Pure.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, MetricFamily, MetricType};

use super::catalogue::{Kind, Metric};

/// The series of all metrics.
#[derive(Debug, Default)]
pub(super) struct Exposition(BTreeMap<&'static str, Family>);

#[derive(Debug)]
struct Family {
    metric: Metric,
    /// Values by those of the labels.
    series: BTreeMap<Vec<String>, f64>,
}

impl Exposition {
    /// Adds to a series: Prometheus takes none twice, and what two have the same labels for is one
    /// thing to whoever looks.
    pub(super) fn add(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let family = self
            .0
            .entry(metric.name)
            .or_insert_with(|| Family { metric: *metric, series: BTreeMap::new() });
        let labels = labels.iter().map(|value| (*value).to_owned()).collect();
        *family.series.entry(labels).or_default() += value;
    }

    /// Adds to a series that counts.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are such: exact to 2^53")]
    pub(super) fn count(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        self.add(metric, labels, value as f64);
    }

    /// Prometheus' text format, version 0.0.4.
    pub(super) fn text(self) -> prometheus::Result<String> {
        let families: Vec<MetricFamily> = self.0.into_values().map(Family::encode).collect();
        TextEncoder::new().encode_to_string(&families)
    }
}

impl Family {
    fn encode(self) -> MetricFamily {
        let Self { metric: Metric { name, kind, help, labels }, series } = self;
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        let series = series.into_iter().map(|(values, value)| {
            let pairs = labels.iter().zip(values).map(|(label, value)| pair(label, value));
            encode(kind, pairs.collect(), value)
        });
        family.set_metric(series.collect());
        family
    }
}

fn encode(kind: Kind, labels: Vec<LabelPair>, value: f64) -> prometheus::proto::Metric {
    let mut metric = prometheus::proto::Metric::from_label(labels);
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn pair(label: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(label.to_owned());
    pair.set_value(value);
    pair
}
