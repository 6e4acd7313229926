//! Repeated measurements, and what is said of them.

use std::fmt;

/// One thing, measured several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(|last| last / 2)
    }

    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        self.0.iter().copied().map(change).collect()
    }

    /// The bounds of the middle half.
    pub(crate) fn quartiles(&self) -> (f64, f64) {
        (self.at(|last| last / 4), self.at(|last| last - last / 4))
    }

    /// The value at a place in their order, by the number of the last.
    fn at(&self, place: impl Fn(usize) -> usize) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values.get(place(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    /// With so many digits behind the point.
    pub(crate) fn show(&self, digits: usize) -> String {
        let (low, high) = self.quartiles();
        format!("{:.digits$} [{low:.digits$} .. {high:.digits$}]", self.median())
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(0))
    }
}
