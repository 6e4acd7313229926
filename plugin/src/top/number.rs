//! Numbers in the few columns that a terminal has. Pure.

/// Powers of a thousand.
const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// At most five characters: `0`, `0.4`, `12`, `1.2k`, `999M`.
pub(super) fn short(number: f64) -> String {
    if number < 0.05 {
        return "0".to_owned();
    }
    let mut left = number;
    for unit in UNITS {
        if left < 9.95 && (!unit.is_empty() || left.fract() > 0.0) {
            return format!("{left:.1}{unit}");
        }
        if left < 999.5 {
            return format!("{left:.0}{unit}");
        }
        left /= 1000.0;
    }
    "huge".to_owned()
}

/// A count, as [`short`] has it.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn short_count(number: u64) -> String {
    short(number as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_five_characters() {
        let cases = [
            (0.0, "0"),
            (0.04, "0"),
            (0.06, "0.1"),
            (1.0, "1"),
            (9.94, "9.9"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (1_234.0, "1.2k"),
            (12_345.0, "12k"),
            (999_600.0, "1.0M"),
            (2.5e9, "2.5G"),
            (1e30, "huge"),
        ];
        for (number, expected) in cases {
            assert_eq!(short(number), expected, "{number}");
        }
        assert_eq!(short_count(u64::MAX), "huge");
    }
}
