//! Charts: the calendar of their periods, the order of their entries, and what an entry tells about the
//! entity's earlier ones.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveTime, Weekday};

use super::{
    entity::EntityKind,
    window::{DAY_MS, Window},
};

/// Places of a chart.
pub const PLACES: usize = 200;

/// How often a chart is published. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum Cadence {
    Daily = 1,
    Weekly = 2,
    Monthly = 3,
}

impl Cadence {
    pub const ALL: [Cadence; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cadence| cadence.word() == word)
    }
}

/// How UTC days fall into chart periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    pub week_starts_on: Weekday,
}

impl Calendar {
    /// The period that holds an instant, as whole UTC days.
    pub fn period_of(self, cadence: Cadence, at_ms: i64) -> Window {
        let day = date_of(at_ms);
        let (from, to) = match cadence {
            Cadence::Daily => (day, day + Duration::days(1)),
            Cadence::Weekly => {
                let from = day - Duration::days(i64::from(day.weekday().days_since(self.week_starts_on)));
                (from, from + Duration::days(7))
            }
            Cadence::Monthly => {
                let from = day - Duration::days(i64::from(day.day0()));
                // 31 days on lie in the next month, whose first day they are as many days behind.
                let behind = from + Duration::days(31);
                (from, behind - Duration::days(i64::from(behind.day0())))
            }
        };
        Window { from_ms: midnight(from), to_ms: midnight(to) }
    }

    /// The period immediately before.
    pub fn before(self, cadence: Cadence, period: Window) -> Window {
        self.period_of(cadence, period.from_ms - 1)
    }

    /// The newest period that has ended.
    pub fn newest_closed(self, cadence: Cadence, now_ms: i64) -> Window {
        self.before(cadence, self.period_of(cadence, now_ms))
    }

    /// The ended periods that hold any instant of `[from_ms, to_ms)`, oldest first.
    pub fn closed_within(self, cadence: Cadence, from_ms: i64, to_ms: i64, now_ms: i64) -> Vec<Window> {
        let mut periods = Vec::new();
        let mut period = self.period_of(cadence, from_ms);
        while period.from_ms < to_ms && period.to_ms <= now_ms {
            periods.push(period);
            period = self.period_of(cadence, period.to_ms);
        }
        periods
    }
}

/// The UTC day of an instant.
pub fn date_of(at_ms: i64) -> NaiveDate {
    DateTime::from_timestamp_millis(at_ms).unwrap_or_default().date_naive()
}

/// When a UTC day begins.
pub fn midnight(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_millis()
}

/// The UTC days of a period.
pub fn days_of(period: Window) -> Vec<i64> {
    (0..(period.to_ms - period.from_ms) / DAY_MS).map(|day| period.from_ms + day * DAY_MS).collect()
}

/// Which charts follow one another: one kind of entity, one cadence, one part of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub of: EntityKind,
    pub cadence: Cadence,
    /// Only entities of this genre; all where there is none.
    pub genre: Option<Arc<str>>,
    /// Only what was streamed in this country; everywhere where there is none.
    pub country: Option<Arc<str>>,
}

/// What became of an entity since the chart before. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Movement {
    New = 1,
    ReEntry = 2,
    Up = 3,
    Down = 4,
    Same = 5,
    Out = 6,
}

impl Movement {
    const ALL: [Movement; 6] = [Self::New, Self::ReEntry, Self::Up, Self::Down, Self::Same, Self::Out];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|movement| movement.code() == code)
    }
}

/// An entity that may enter a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: Arc<str>,
    /// Streams of the period.
    pub value: i64,
    /// Listeners of the period; only compared, and only known, where values are equal.
    pub listeners: u64,
    /// Its place in the chart before.
    pub previous: Option<i32>,
}

/// Sorts by streams, ties by listeners, then by the place before, then by id.
pub fn sort(candidates: &mut [Candidate]) {
    let place_before = |candidate: &Candidate| candidate.previous.unwrap_or(i32::MAX);
    candidates.sort_by(|one, other| {
        let one_key = (Reverse(one.value), Reverse(one.listeners), place_before(one), &one.id);
        one_key.cmp(&(Reverse(other.value), Reverse(other.listeners), place_before(other), &other.id))
    });
}

/// An entity in a chart, or one that dropped out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: Arc<str>,
    /// Its place from 1; none for a drop-out.
    pub position: Option<i32>,
    /// Its place in the chart of the period immediately before.
    pub previous: Option<i32>,
    /// Its best place so far.
    pub peak: i32,
    /// When the period began in which it first had that place.
    pub peak_at_ms: i64,
    /// Charts that it has been on so far.
    pub periods: i32,
    /// Charts without a gap up to this one; 0 for a drop-out.
    pub streak: i32,
    pub movement: Movement,
    /// Streams of the period; of a drop-out those of the period before.
    pub value: i64,
}

/// What the charts before say of the entities of a new one.
#[derive(Debug, Default)]
pub struct Past {
    /// The entries of the chart of the period immediately before, in its order.
    pub previous: Vec<Entry>,
    /// The last entry, if there is one, of those of the new chart that are not on the previous one.
    pub earlier: HashMap<Arc<str>, Entry>,
}

impl Past {
    /// The places of the chart before.
    pub fn places(&self) -> HashMap<Arc<str>, i32> {
        self.previous.iter().filter_map(|entry| Some((entry.id.clone(), entry.position?))).collect()
    }
}

/// The entries of a chart whose order is known, and behind them its drop-outs in the order of their last places.
pub fn entries(period: Window, ranked: &[(Arc<str>, i64)], past: &Past) -> Vec<Entry> {
    let previous: HashMap<&Arc<str>, &Entry> =
        past.previous.iter().filter(|entry| entry.position.is_some()).map(|entry| (&entry.id, entry)).collect();
    let mut entries: Vec<Entry> = (1..)
        .zip(ranked)
        .map(|(position, (id, value))| {
            let before = previous.get(id).copied();
            entry(period, position, (id, *value), before, past.earlier.get(id))
        })
        .collect();
    let stayed: std::collections::HashSet<Arc<str>> = entries.iter().map(|entry| entry.id.clone()).collect();
    let dropped = past.previous.iter().filter(|entry| entry.position.is_some() && !stayed.contains(&entry.id));
    entries.extend(dropped.map(|entry| Entry {
        position: None,
        previous: entry.position,
        streak: 0,
        movement: Movement::Out,
        ..entry.clone()
    }));
    entries
}

fn entry(
    period: Window,
    position: i32,
    (id, value): (&Arc<str>, i64),
    previous: Option<&Entry>,
    earlier: Option<&Entry>,
) -> Entry {
    let place_before = previous.and_then(|entry| entry.position);
    let movement = match (place_before, earlier) {
        (Some(before), _) if position < before => Movement::Up,
        (Some(before), _) if position > before => Movement::Down,
        (Some(_), _) => Movement::Same,
        (None, Some(_)) => Movement::ReEntry,
        (None, None) => Movement::New,
    };
    let last = previous.or(earlier);
    let (peak, peak_at_ms) = match last {
        Some(last) if last.peak <= position => (last.peak, last.peak_at_ms),
        _ => (position, period.from_ms),
    };
    Entry {
        id: id.clone(),
        position: Some(position),
        previous: place_before,
        peak,
        peak_at_ms,
        periods: last.map_or(0, |last| last.periods) + 1,
        streak: previous.map_or(0, |previous| previous.streak) + 1,
        movement,
        value,
    }
}

/// The last entry of what is one thing now and was charted under several ids, as if it had always been one: where
/// several were on one chart, the best place counts. `history` has all entries that have a place.
pub fn united(id: &Arc<str>, history: &[(Window, Entry)]) -> Option<Entry> {
    let mut charts: BTreeMap<i64, (Window, i32, i64)> = BTreeMap::new();
    for (period, entry) in history {
        let Some(position) = entry.position else { continue };
        let best = charts.entry(period.from_ms).or_insert((*period, position, entry.value));
        if position < best.1 {
            *best = (*period, position, entry.value);
        }
    }
    let mut last: Option<(Window, Entry)> = None;
    for (period, position, value) in charts.into_values() {
        let (previous, earlier) = match &last {
            Some((before, entry)) if before.to_ms == period.from_ms => (Some(entry), None),
            last => (None, last.as_ref().map(|(_, entry)| entry)),
        };
        last = Some((period, entry(period, position, (id, value), previous, earlier)));
    }
    last.map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(&format!("{text}:00Z")).unwrap().timestamp_millis()
    }

    fn day(text: &str) -> i64 {
        at(&format!("{text}T00:00"))
    }

    const FRIDAYS: Calendar = Calendar { week_starts_on: Weekday::Fri };

    #[test]
    fn periods_are_whole_days_of_the_calendar() {
        use Cadence::*;
        let mondays = Calendar { week_starts_on: Weekday::Mon };
        for (calendar, cadence, now, from, to) in [
            (FRIDAYS, Daily, "2026-06-15T12:00", "2026-06-15", "2026-06-16"),
            (FRIDAYS, Daily, "2026-06-15T00:00", "2026-06-15", "2026-06-16"),
            (FRIDAYS, Weekly, "2017-01-01T10:00", "2016-12-30", "2017-01-06"),
            (FRIDAYS, Weekly, "2017-01-05T23:59", "2016-12-30", "2017-01-06"),
            (FRIDAYS, Weekly, "2017-01-06T00:00", "2017-01-06", "2017-01-13"),
            (mondays, Weekly, "2017-01-01T10:00", "2016-12-26", "2017-01-02"),
            (FRIDAYS, Monthly, "2028-02-29T23:59", "2028-02-01", "2028-03-01"),
            (FRIDAYS, Monthly, "2026-12-31T00:00", "2026-12-01", "2027-01-01"),
            (FRIDAYS, Monthly, "2026-01-31T00:00", "2026-01-01", "2026-02-01"),
            (FRIDAYS, Weekly, "1969-12-31T00:00", "1969-12-26", "1970-01-02"),
        ] {
            let period = calendar.period_of(cadence, at(now));
            assert_eq!(period, Window { from_ms: day(from), to_ms: day(to) }, "{cadence:?} {now}");
            assert_eq!(calendar.before(cadence, period).to_ms, period.from_ms, "{cadence:?} {now}");
        }
    }

    #[test]
    fn a_period_is_closed_when_its_last_day_has_ended() {
        let newest = |now| FRIDAYS.newest_closed(Cadence::Weekly, at(now)).from_ms;
        assert_eq!(newest("2017-01-12T23:59"), day("2016-12-30"));
        assert_eq!(newest("2017-01-13T00:00"), day("2017-01-06"));
        let starts = |from, to, now| -> Vec<i64> {
            let periods = FRIDAYS.closed_within(Cadence::Weekly, day(from), day(to), at(now));
            periods.into_iter().map(|period| period.from_ms).collect()
        };
        let weeks = [day("2016-12-30"), day("2017-01-06"), day("2017-01-13")];
        assert_eq!(starts("2017-01-01", "2017-01-14", "2018-01-01T00:00"), weeks);
        assert_eq!(starts("2017-01-01", "2017-01-13", "2018-01-01T00:00"), weeks[..2]);
        assert_eq!(starts("2017-01-01", "2017-01-14", "2017-01-19T23:59"), weeks[..2]);
        assert_eq!(starts("2017-01-01", "2017-01-01", "2016-01-01T00:00"), [0_i64; 0]);
    }

    #[test]
    fn ties_go_by_listeners_then_by_the_place_before_then_by_id() {
        let candidate = |id: &str, value, listeners, previous| Candidate { id: id.into(), value, listeners, previous };
        let mut candidates = vec![
            candidate("d", 5, 2, None),
            candidate("c", 5, 2, None),
            candidate("b", 5, 2, Some(9)),
            candidate("g", 5, 2, Some(3)),
            candidate("a", 5, 1, Some(1)),
            candidate("e", 5, 3, None),
            candidate("f", 6, 0, None),
        ];
        sort(&mut candidates);
        let order: Vec<&str> = candidates.iter().map(|candidate| &*candidate.id).collect();
        assert_eq!(order, ["f", "e", "g", "b", "c", "d", "a"]);
    }

    /// Charts of days 0, 1, … by the ids in their order; what one letter's entries say, day by day.
    fn story(charts: &[&str], of: &str) -> Vec<Option<Entry>> {
        let mut last: HashMap<Arc<str>, Entry> = HashMap::new();
        let mut previous = Vec::new();
        let mut told = Vec::new();
        for (number, chart) in (0..).zip(charts) {
            let period = Window { from_ms: number * DAY_MS, to_ms: (number + 1) * DAY_MS };
            let ranked: Vec<(Arc<str>, i64)> = chart.chars().map(|id| (id.to_string().into(), 10)).collect();
            let past = Past { previous, earlier: last.clone() };
            previous = entries(period, &ranked, &past);
            let on_it = previous.iter().filter(|entry| entry.position.is_some());
            last.extend(on_it.map(|entry| (entry.id.clone(), entry.clone())));
            told.push(previous.iter().find(|entry| &*entry.id == of).cloned());
        }
        told
    }

    #[test]
    fn an_entry_follows_from_the_earlier_ones() {
        use Movement::*;
        let told = story(&["xa", "ax", "yax", "yxza", "x", "xy", "xa", "xa"], "a");
        // position, previous, peak, day of the peak, periods, streak, movement
        for (number, expected) in (0..).zip([
            Some((Some(2), None, 2, 0, 1, 1, New)),
            Some((Some(1), Some(2), 1, 1, 2, 2, Up)),
            Some((Some(2), Some(1), 1, 1, 3, 3, Down)),
            Some((Some(4), Some(2), 1, 1, 4, 4, Down)),
            Some((None, Some(4), 1, 1, 4, 0, Out)),
            None,
            Some((Some(2), None, 1, 1, 5, 1, ReEntry)),
            Some((Some(2), Some(2), 1, 1, 6, 2, Same)),
        ]) {
            let entry = told[number].as_ref().map(|entry| {
                let Entry { position, previous, peak, peak_at_ms, periods, streak, movement, .. } = entry;
                (*position, *previous, *peak, *peak_at_ms / DAY_MS, *periods, *streak, *movement)
            });
            assert_eq!(entry, expected, "day {number}");
        }
    }

    #[test]
    fn the_date_of_a_peak_is_that_of_its_first_time() {
        let told = story(&["xa", "ax", "xa", "ax"], "a");
        let peaks: Vec<i64> = told.iter().map(|entry| entry.as_ref().unwrap().peak_at_ms / DAY_MS).collect();
        assert_eq!(peaks, [0, 1, 1, 1]);
    }

    #[test]
    fn drop_outs_stand_behind_in_the_order_of_their_last_places() {
        let day_0 = entries(Window { from_ms: 0, to_ms: DAY_MS }, &ranked("abcd"), &Past::default());
        let past = Past { previous: day_0, ..Past::default() };
        let day_1 = entries(Window { from_ms: DAY_MS, to_ms: 2 * DAY_MS }, &ranked("ec"), &past);
        let ids: Vec<&str> = day_1.iter().map(|entry| &*entry.id).collect();
        assert_eq!(ids, ["e", "c", "a", "b", "d"]);
        // Who dropped out the day before is nobody's drop-out again.
        let past = Past { previous: day_1, ..Past::default() };
        let day_2 = entries(Window { from_ms: 2 * DAY_MS, to_ms: 3 * DAY_MS }, &ranked("e"), &past);
        assert_eq!(day_2.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["e", "c"]);
    }

    fn ranked(ids: &str) -> Vec<(Arc<str>, i64)> {
        ids.chars().map(|id| (id.to_string().into(), 1)).collect()
    }

    #[test]
    fn what_was_charted_under_two_ids_has_one_past() {
        let on = |day: i64, id: &str, position: i32, value: i64| {
            let period = Window { from_ms: day * DAY_MS, to_ms: (day + 1) * DAY_MS };
            (period, entry(period, position, (&id.into(), value), None, None))
        };
        let united = |history: &[(Window, Entry)]| {
            let entry = united(&"a".into(), history)?;
            let Entry { position, peak, peak_at_ms, periods, streak, value, .. } = entry;
            Some((position?, peak, peak_at_ms / DAY_MS, periods, streak, value))
        };
        assert_eq!(united(&[]), None);
        // On days 1 and 2 both were on the chart; on day 4 the other came back after a gap.
        let history = [on(0, "b", 3, 9), on(1, "a", 7, 4), on(1, "b", 2, 8), on(2, "a", 5, 6), on(2, "b", 6, 5)];
        assert_eq!(united(&history), Some((5, 2, 1, 3, 3, 6)));
        assert_eq!(united(&[&history[..], &[on(4, "b", 2, 7)]].concat()), Some((2, 2, 1, 4, 1, 7)));
    }
}
