//! Half-open stretches of time, and how they fall into the buckets that are stored.

use std::ops::Range;

use chrono::{DateTime, Datelike, Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

/// Every zone's offset from UTC is a multiple of a quarter of an hour, so a quarter-hour bucket lies
/// inside one local hour and one local day, whatever the zone.
pub const QUARTER_MS: i64 = 15 * 60_000;
pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The two sizes of stored buckets. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum Grain {
    Quarter = 0,
    Day = 1,
}

impl Grain {
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn length_ms(self) -> i64 {
        match self {
            Self::Quarter => QUARTER_MS,
            Self::Day => DAY_MS,
        }
    }

    pub const fn bucket_of(self, at_ms: i64) -> i64 {
        at_ms - at_ms.rem_euclid(self.length_ms())
    }
}

/// `[from_ms, to_ms)` in epoch milliseconds, both at quarter-hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    pub from_ms: i64,
    pub to_ms: i64,
}

/// How a window falls into stored buckets: whole UTC days, and the quarter-hours at its edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    pub days: Range<i64>,
    pub quarters: [Range<i64>; 2],
}

impl Window {
    /// The smallest window of quarter-hours that holds `[from_ms, to_ms)`.
    pub fn snapped_outward(from_ms: i64, to_ms: i64) -> Self {
        Self { from_ms: Grain::Quarter.bucket_of(from_ms), to_ms: Grain::Quarter.bucket_of(to_ms + QUARTER_MS - 1) }
    }

    pub fn length_ms(self) -> i64 {
        self.to_ms - self.from_ms
    }

    /// How many UTC days it holds or cuts.
    pub fn touched_days(self) -> i64 {
        if self.from_ms >= self.to_ms {
            return 0;
        }
        (Grain::Day.bucket_of(self.to_ms - 1) - Grain::Day.bucket_of(self.from_ms)) / DAY_MS + 1
    }

    /// The window of the same length immediately before.
    pub fn previous(self) -> Self {
        Self { from_ms: self.from_ms - self.length_ms(), to_ms: self.from_ms }
    }

    pub fn buckets(self) -> Buckets {
        let first_day = Grain::Day.bucket_of(self.from_ms + DAY_MS - 1);
        let end_of_days = Grain::Day.bucket_of(self.to_ms);
        if first_day >= end_of_days {
            return Buckets { days: 0..0, quarters: [self.from_ms..self.to_ms, 0..0] };
        }
        Buckets { days: first_day..end_of_days, quarters: [self.from_ms..first_day, end_of_days..self.to_ms] }
    }
}

impl Buckets {
    pub fn is_empty(&self) -> bool {
        self.days.is_empty() && self.quarters.iter().all(Range::is_empty)
    }
}

/// A calendar period, meant in some time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    Today,
    Yesterday,
    ThisWeek,
    LastWeek,
    ThisMonth,
    LastMonth,
    ThisYear,
    LastYear,
    AllTime,
}

/// The length of a timeline's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A window as a client asks for it; what it covers can depend on the present moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedWindow {
    /// The stretch of this length that ends now.
    Last(i64),
    Period(Period),
    /// Fixed instants, whole quarter-hours after snapping.
    Between(Window),
}

impl AskedWindow {
    /// The stored window that this means at `now_ms` in `zone`. `oldest_ms` is where "all time" begins.
    pub fn resolve(self, now_ms: i64, zone: Tz, oldest_ms: i64) -> Window {
        match self {
            Self::Last(length_ms) => Window::snapped_outward(now_ms - length_ms, now_ms),
            Self::Between(window) => window,
            Self::Period(Period::AllTime) => Window::snapped_outward(oldest_ms.min(now_ms), now_ms + 1),
            Self::Period(period) => {
                let today = local_date(now_ms, zone);
                let monday = today - Duration::days(i64::from(today.weekday().num_days_from_monday()));
                let month = Granularity::Month;
                let year = Granularity::Year;
                let first_of_month = month.start_date(today);
                let first_of_year = year.start_date(today);
                let (from, to) = match period {
                    Period::Today => (today, today + Duration::days(1)),
                    Period::Yesterday => (today - Duration::days(1), today),
                    Period::ThisWeek => (monday, monday + Duration::days(7)),
                    Period::LastWeek => (monday - Duration::days(7), monday),
                    Period::ThisMonth => (first_of_month, month.next_date(first_of_month)),
                    Period::LastMonth => (month.start_date(first_of_month - Duration::days(1)), first_of_month),
                    Period::ThisYear => (first_of_year, year.next_date(first_of_year)),
                    Period::LastYear | Period::AllTime => {
                        (year.start_date(first_of_year - Duration::days(1)), first_of_year)
                    }
                };
                Window { from_ms: midnight(from, zone), to_ms: midnight(to, zone) }
            }
        }
    }
}

impl Granularity {
    /// Cuts a window into this granularity's calendar buckets of a zone. The first and the last are
    /// clipped to the window, so that the buckets add up to it exactly. `None` past `limit` buckets.
    pub fn cut(self, window: Window, zone: Tz, limit: usize) -> Option<Vec<Window>> {
        let mut buckets = Vec::new();
        let mut from_ms = window.from_ms;
        while from_ms < window.to_ms {
            if buckets.len() == limit {
                return None;
            }
            let to_ms = self.next_boundary(from_ms, zone).min(window.to_ms);
            buckets.push(Window { from_ms, to_ms });
            from_ms = to_ms;
        }
        Some(buckets)
    }

    /// Whether a calendar bucket of this granularity begins at `at_ms`.
    pub fn starts_at(self, at_ms: i64, zone: Tz) -> bool {
        self.next_boundary(at_ms - QUARTER_MS, zone) == at_ms
    }

    /// A window with the buckets that it cuts as a whole; a bucket is a day or longer.
    pub fn widened(self, window: Window, zone: Tz) -> Window {
        let from_ms = midnight(self.start_date(local_date(window.from_ms, zone)), zone);
        let to_ms = if window.to_ms <= from_ms { from_ms } else { self.next_boundary(window.to_ms - 1, zone) };
        Window { from_ms, to_ms }
    }

    /// Whether a bucket is a whole calendar bucket that has ended: not cut by a window, not still growing.
    pub fn is_complete(self, bucket: Window, now_ms: i64, zone: Tz) -> bool {
        bucket.to_ms <= now_ms && self.starts_at(bucket.from_ms, zone) && self.starts_at(bucket.to_ms, zone)
    }

    /// The first instant after `at_ms` at which a calendar bucket begins.
    fn next_boundary(self, at_ms: i64, zone: Tz) -> i64 {
        if self == Self::Hour {
            // Walks the quarter-hours: right where a clock change repeats, skips or shortens an hour.
            let mut boundary = Grain::Quarter.bucket_of(at_ms) + QUARTER_MS;
            while local(boundary, zone).minute() >= 15 {
                boundary += QUARTER_MS;
            }
            return boundary;
        }
        let start = self.start_date(local_date(at_ms, zone));
        midnight(self.next_date(start), zone)
    }

    /// The first day of the bucket that holds `date`.
    fn start_date(self, date: NaiveDate) -> NaiveDate {
        match self {
            Self::Hour | Self::Day => date,
            Self::Week => date - Duration::days(i64::from(date.weekday().num_days_from_monday())),
            Self::Month => date - Duration::days(i64::from(date.day0())),
            Self::Year => date - Duration::days(i64::from(date.ordinal0())),
        }
    }

    /// The first day of the bucket after the one that begins on `start`.
    fn next_date(self, start: NaiveDate) -> NaiveDate {
        match self {
            Self::Hour | Self::Day => start + Duration::days(1),
            Self::Week => start + Duration::days(7),
            // 32 and 367 days on lie in the next month and year; back to its first day from there.
            Self::Month => self.start_date(start + Duration::days(32)),
            Self::Year => self.start_date(start + Duration::days(366)),
        }
    }
}

/// The hour of the zone's wall clock, 0 to 23.
pub fn hour_of_day(at_ms: i64, zone: Tz) -> u32 {
    local(Grain::Quarter.bucket_of(at_ms), zone).hour()
}

/// The zone's day of the week, from 1 for Monday to 7.
pub fn weekday(at_ms: i64, zone: Tz) -> u32 {
    local(Grain::Quarter.bucket_of(at_ms), zone).weekday().number_from_monday()
}

/// What the clocks of a zone show.
pub fn local(at_ms: i64, zone: Tz) -> NaiveDateTime {
    let at = DateTime::<Utc>::from_timestamp_millis(at_ms).unwrap_or_default();
    at.with_timezone(&zone).naive_local()
}

fn local_date(at_ms: i64, zone: Tz) -> NaiveDate {
    local(at_ms, zone).date()
}

/// The first instant of a local day. Where a clock change skips midnight, the day begins when the
/// clocks have moved on; where it repeats midnight, the first of the two.
fn midnight(date: NaiveDate, zone: Tz) -> i64 {
    let mut wall = date.and_time(NaiveTime::MIN);
    // No zone ever skipped more than a day (Samoa, 30 December 2011).
    for _ in 0..=96 {
        match zone.from_local_datetime(&wall) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => {
                return Grain::Quarter.bucket_of(at.timestamp_millis());
            }
            LocalResult::None => wall += Duration::minutes(15),
        }
    }
    Grain::Quarter.bucket_of(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn zone(name: &str) -> Tz {
        name.parse().unwrap()
    }

    #[test]
    fn windows_fall_into_whole_days_and_edges() {
        let window = Window { from_ms: at("2026-01-01T10:00:00Z"), to_ms: at("2026-01-04T00:30:00Z") };
        let days = at("2026-01-02T00:00:00Z")..at("2026-01-04T00:00:00Z");
        let quarters = [window.from_ms..days.start, days.end..window.to_ms];
        assert_eq!(window.buckets(), Buckets { days, quarters });
        let inside_one_day = Window { from_ms: at("2026-01-01T10:00:00Z"), to_ms: at("2026-01-01T11:00:00Z") };
        let quarters = [inside_one_day.from_ms..inside_one_day.to_ms, 0..0];
        assert_eq!(inside_one_day.buckets(), Buckets { days: 0..0, quarters });
    }

    #[test]
    fn buckets_of_every_zone_add_up_to_the_window() {
        let window = Window { from_ms: at("2026-03-01T10:15:00Z"), to_ms: at("2026-11-08T00:30:00Z") };
        for name in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "Asia/Beirut"]
        {
            for granularity in [Granularity::Hour, Granularity::Day, Granularity::Week, Granularity::Month] {
                let buckets = granularity.cut(window, zone(name), 10_000).unwrap();
                assert_eq!(buckets.first().unwrap().from_ms, window.from_ms);
                assert_eq!(buckets.last().unwrap().to_ms, window.to_ms);
                assert!(buckets.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms), "{name}");
                assert!(buckets[1..].iter().all(|bucket| granularity.starts_at(bucket.from_ms, zone(name))), "{name}");
            }
        }
    }

    #[test]
    fn local_days_are_23_and_25_hours_long_when_clocks_change() {
        let berlin = zone("Europe/Berlin");
        for (now, hours) in [("2026-03-29T12:00:00Z", 23), ("2026-10-25T12:00:00Z", 25), ("2026-10-26T12:00:00Z", 24)] {
            let day = AskedWindow::Period(Period::Today).resolve(at(now), berlin, 0);
            assert_eq!(day.length_ms(), hours * HOUR_MS, "{now}");
            assert_eq!(Granularity::Hour.cut(day, berlin, 100).unwrap().len(), usize::try_from(hours).unwrap());
        }
        // Lebanon's clocks skip midnight itself.
        let beirut = AskedWindow::Period(Period::Today).resolve(at("2026-03-29T12:00:00Z"), zone("Asia/Beirut"), 0);
        assert_eq!(beirut.length_ms(), 23 * HOUR_MS);
        // Lord Howe Island moves its clocks by half an hour.
        let howe =
            AskedWindow::Period(Period::Today).resolve(at("2026-04-05T06:00:00Z"), zone("Australia/Lord_Howe"), 0);
        assert_eq!(howe.length_ms(), 24 * HOUR_MS + 30 * 60_000);
    }

    #[test]
    fn periods_follow_the_calendar() {
        use Period::*;
        let now = at("2028-02-29T12:00:00Z"); // a leap day, a Tuesday
        for (period, from, to) in [
            (Today, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Yesterday, "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z"),
            (ThisWeek, "2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z"),
            (LastWeek, "2028-02-21T00:00:00Z", "2028-02-28T00:00:00Z"),
            (ThisMonth, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (LastMonth, "2028-01-01T00:00:00Z", "2028-02-01T00:00:00Z"),
            (ThisYear, "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"),
            (LastYear, "2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"),
        ] {
            let window = AskedWindow::Period(period).resolve(now, Tz::UTC, 0);
            assert_eq!(window, Window { from_ms: at(from), to_ms: at(to) }, "{period:?}");
        }
    }

    #[test]
    fn rolling_windows_snap_outward() {
        let window = AskedWindow::Last(HOUR_MS).resolve(at("2026-01-01T10:07:00Z"), Tz::UTC, 0);
        assert_eq!(window, Window { from_ms: at("2026-01-01T09:00:00Z"), to_ms: at("2026-01-01T10:15:00Z") });
    }
}
