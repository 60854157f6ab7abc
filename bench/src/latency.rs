//! How long things took: every single time is kept, so that percentiles are exact.

use std::time::Duration;

use serde::Serialize;

/// Times taken, in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    us: Vec<u32>,
}

/// Milliseconds; percentiles by nearest rank. All 0 where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    pub count: usize,
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latencies {
    pub fn record(&mut self, took: Duration) {
        self.us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn append(&mut self, mut others: Latencies) {
        self.us.append(&mut others.us);
    }

    pub fn summary(mut self) -> Summary {
        if self.us.is_empty() {
            return Summary::default();
        }
        self.us.sort_unstable();
        let count = self.us.len();
        let at = |percent: usize| ms(self.us[(count * percent).div_ceil(100).max(1) - 1]);
        let sum: u64 = self.us.iter().map(|us| u64::from(*us)).sum();
        Summary {
            count,
            mean: round(sum as f64 / count as f64 / 1_000.0),
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: at(100),
        }
    }
}

/// Three digits after the point: more would be noise.
pub fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn ms(us: u32) -> f64 {
    round(f64::from(us) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut latencies = Latencies::default();
        (1..=200).rev().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let summary = latencies.summary();
        assert_eq!((summary.p50, summary.p95, summary.p99, summary.max), (100.0, 190.0, 198.0, 200.0));
        assert_eq!(summary.mean, 100.5);

        let mut one = Latencies::default();
        one.record(Duration::from_micros(1_500));
        assert_eq!((one.clone().summary().p50, one.summary().max), (1.5, 1.5));
        assert_eq!(Latencies::default().summary(), Summary::default());
    }
}
