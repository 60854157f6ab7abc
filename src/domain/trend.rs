//! What is heard more than usual: velocities that decay exponentially, a fast one over a slow one.

use std::ops::RangeInclusive;

use super::window::{DAY_MS, Grain, HOUR_MS};

/// Streams that one person adds to one entity on one UTC day at most.
pub const STREAMS_PER_PERSON_MAX: u32 = 3;
/// Distinct signed-in listeners in the fast window without whom nothing trends.
pub const LISTENERS_MIN: u64 = 5;
/// Streams a day that are added to both velocities: without them, the first five streams of anything would trend.
pub const SMOOTHING: f64 = 5.0;
/// After so many half-lives a stream is forgotten: what is left out of a steady velocity is 1 / 256.
const HALF_LIVES_KEPT: i64 = 8;
/// The half-lives that the fast window is long.
const HALF_LIVES_FAST: i64 = 2;

/// How quickly a trend comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrendPeriod {
    Day,
    Week,
    Month,
}

/// How long it takes until a stream counts half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfLife(i64);

impl TrendPeriod {
    pub const fn fast(self) -> HalfLife {
        HalfLife(match self {
            Self::Day => 12 * HOUR_MS,
            Self::Week => DAY_MS,
            Self::Month => 4 * DAY_MS,
        })
    }

    pub const fn slow(self) -> HalfLife {
        HalfLife(match self {
            Self::Day => 7 * DAY_MS,
            Self::Week => 14 * DAY_MS,
            Self::Month => 56 * DAY_MS,
        })
    }

    /// The UTC days whose listeners carry a trend: those that the last two fast half-lives touch.
    pub fn fast_window(self, now_ms: i64) -> RangeInclusive<i64> {
        self.fast().days_back(HALF_LIVES_FAST, now_ms)
    }
}

impl HalfLife {
    /// The UTC days that are not forgotten yet.
    pub fn days(self, now_ms: i64) -> RangeInclusive<i64> {
        self.days_back(HALF_LIVES_KEPT, now_ms)
    }

    fn days_back(self, half_lives: i64, now_ms: i64) -> RangeInclusive<i64> {
        Grain::Day.bucket_of(now_ms - half_lives * self.0)..=Grain::Day.bucket_of(now_ms)
    }

    /// What a stream of a UTC day still adds to a velocity, in streams a day. A day's streams are taken as spread
    /// evenly over what has passed of it, so a steady flow has exactly its own velocity at any time of the day.
    pub fn velocity(self, day_ms: i64, now_ms: i64) -> f64 {
        let decay = std::f64::consts::LN_2 / self.0 as f64;
        let age_of_newest = (now_ms - day_ms - DAY_MS).max(0) as f64 * decay;
        let spread = (now_ms - day_ms).clamp(0, DAY_MS) as f64 * decay;
        // The mean of what is left over the spread; when the day has just begun there is none.
        let mean = if spread > 0.0 { -(-spread).exp_m1() / spread } else { 1.0 };
        (-age_of_newest).exp() * mean * decay * DAY_MS as f64
    }
}

/// Two velocities of one entity, in capped streams a day.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Trend {
    pub fast: f64,
    pub slow: f64,
}

impl Trend {
    /// How many times the usual velocity the present one is.
    pub fn times_usual(self) -> f64 {
        (self.fast + SMOOTHING) / (self.slow + SMOOTHING)
    }

    pub fn score(self) -> f64 {
        self.times_usual().log2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 1_795_305_600_000; // 2026-11-22T00:00:00Z

    const PERIODS: [TrendPeriod; 3] = [TrendPeriod::Day, TrendPeriod::Week, TrendPeriod::Month];

    #[test]
    fn a_steady_flow_has_its_own_velocity_at_any_time() {
        for half_life in PERIODS.into_iter().flat_map(|period| [period.fast(), period.slow()]) {
            for now_ms in [DAY + 1, DAY + HOUR_MS, DAY + DAY_MS / 2, DAY + DAY_MS - 1] {
                let days = half_life.days(now_ms).step_by(usize::try_from(DAY_MS).unwrap());
                let streams = |day: i64| 100.0 * (now_ms - day).min(DAY_MS) as f64 / DAY_MS as f64;
                let velocity: f64 = days.map(|day| streams(day) * half_life.velocity(day, now_ms)).sum();
                // What is forgotten is missing, at most.
                assert!((99.6..=100.0).contains(&velocity), "{half_life:?} at {now_ms}: {velocity}");
            }
        }
    }

    #[test]
    fn a_stream_counts_half_after_a_half_life() {
        for half_life in PERIODS.into_iter().flat_map(|period| [period.fast(), period.slow()]) {
            let now_ms = DAY + 2 * DAY_MS;
            let (now, later) = (half_life.velocity(DAY, now_ms), half_life.velocity(DAY, now_ms + half_life.0));
            assert!((later / now - 0.5).abs() < 1e-12, "{half_life:?}: {now}, {later}");
        }
    }

    #[test]
    fn a_stream_of_a_day_that_has_just_begun_counts_whole() {
        let half_life = TrendPeriod::Week.fast();
        assert_eq!(half_life.velocity(DAY, DAY), std::f64::consts::LN_2);
        assert!((half_life.velocity(DAY, DAY + 1) - std::f64::consts::LN_2).abs() < 1e-6);
    }

    #[test]
    fn windows_are_whole_days() {
        let days = |range: RangeInclusive<i64>| ((range.end() - range.start()) / DAY_MS + 1, *range.end());
        for (period, fast_window, fast, slow) in
            [(TrendPeriod::Day, 2, 5, 57), (TrendPeriod::Week, 3, 9, 113), (TrendPeriod::Month, 9, 33, 449)]
        {
            for now_ms in [DAY, DAY + DAY_MS - 1] {
                assert_eq!(days(period.fast_window(now_ms)), (fast_window, DAY), "{period:?}");
                assert_eq!(days(period.fast().days(now_ms)), (fast, DAY), "{period:?}");
                assert_eq!(days(period.slow().days(now_ms)), (slow, DAY), "{period:?}");
            }
        }
    }

    #[test]
    fn the_score_is_the_logarithm_of_times_usual() {
        let trend = Trend { fast: 27.0, slow: 3.0 };
        assert_eq!((trend.times_usual(), trend.score()), (4.0, 2.0));
        assert_eq!(Trend::default().score(), 0.0);
    }
}
