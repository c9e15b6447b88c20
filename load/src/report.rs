//! Results as text: tables with aligned columns.

use std::fmt::Write as _;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::ledger::Violations;

pub const NO_VIOLATIONS: &str =
    "Checked: every acknowledged message reached every listener, once and in the order of its number.";
/// Maximum number of violations that are printed. The JSON contains more violations.
const MAX_PRINTED: usize = 20;

/// Latencies in milliseconds. NaN if nothing was measured; JSON shows NaN as null.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    pub fn of(histogram: &Histogram) -> Self {
        Self { p50: histogram.quantile(500), p99: histogram.quantile(990), max: histogram.max() }
    }
}

/// Formats a table. The first column is aligned to the left, and all other columns to the right.
pub fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let mut table = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
            let _ = if column == 0 { write!(table, "{cell:<width$}") } else { write!(table, "  {cell:>width$}") };
        }
        table.push('\n');
    }
    table
}

/// Formats a number with `decimals` decimals. A number that was not measured is shown as a question mark.
pub fn decimal(value: impl Into<Option<f64>>, decimals: usize) -> String {
    match value.into() {
        Some(value) if value.is_finite() => format!("{value:.decimals$}"),
        _ => "?".to_owned(),
    }
}

/// Formats a share between 0 and 1 in percent. A share that was not measured is shown as a question mark.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "?".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

/// Prints the first violations.
pub fn print_violations(scenario: &str, violations: &Violations) {
    for description in violations.descriptions.iter().take(MAX_PRINTED) {
        println!("VIOLATION, {scenario}: {description}");
    }
    if violations.count > MAX_PRINTED {
        println!("… and {} more", violations.count - MAX_PRINTED);
    }
}

#[cfg(test)]
mod tests {
    use super::{aligned, decimal, percent};

    #[test]
    fn columns_are_aligned() {
        let table = aligned(&[["µs", "a"], ["x", "100"]].map(|line| line.map(str::to_owned)));
        assert_eq!(table, "µs    a\nx   100\n");
    }

    #[test]
    fn unknown_values_are_question_marks() {
        assert_eq!(decimal(1.25, 1), "1.2");
        assert_eq!((decimal(f64::NAN, 1), decimal(None, 1), percent(None)), ("?".into(), "?".into(), "?".into()));
        assert_eq!(percent(Some(0.425)), "42 %");
    }
}
