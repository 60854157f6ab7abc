//! How songs and albums took off: what they had reached after each day since they were first streamed.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use roaring::RoaringBitmap;

use super::{
    Analytics,
    days::{Asked, Days},
};
use crate::{
    db::{
        DbError,
        queries::{catalogue, rollups},
    },
    domain::{
        counting::Counter,
        entity::{EntityKind, EntityRef},
        measure::{MeasureKey, Measures, Need},
        window::{DAY_MS, Grain, Window},
    },
};

/// The longest curve.
pub const RELEASE_DAYS_MAX: usize = 365;
/// Earlier releases that a curve is shown beside.
pub const EARLIER_MAX: usize = 5;
/// Works of one artist that are compared; an artist with more is "Various Artists".
const OWN_WORKS_MAX: u64 = 5_000;

/// Whose curve, and of how many days.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReleaseQuestion {
    /// A song or an album, as it is read.
    pub entity: EntityRef,
    /// Whose earlier releases stand beside it.
    pub artist_id: Option<Arc<str>>,
    pub days: usize,
}

/// A release's curve, and those of its artist's earlier releases, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releases {
    pub own: ReleaseCurve,
    pub earlier: Vec<ReleaseCurve>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseCurve {
    pub entity: EntityRef,
    /// The UTC day of the first stream.
    pub first_day: i64,
    /// Day after day from the first, as far as they have begun.
    pub points: Vec<ReleasePoint>,
}

/// What was reached by the end of a day, since the first stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReleasePoint {
    pub streams: i64,
    pub direct_streams: i64,
    /// Distinct.
    pub listeners: u64,
}

/// A curve that is to be drawn.
type Outline = (EntityRef, i64);

impl Analytics {
    /// How works took off, beside their artists' earlier ones of the same kind.
    ///
    /// Shape: one answer for each that was ever streamed. Source: the sums of days say when each began, sums and
    /// listener sets what followed; statements do not depend on how many questions there are.
    pub async fn releases(&self, questions: &[ReleaseQuestion]) -> Result<HashMap<ReleaseQuestion, Releases>, DbError> {
        let works = self.works(questions).await?;
        let first_days = self.first_days(questions, &works).await?;
        let mut outlines: HashMap<&ReleaseQuestion, Vec<Outline>> = HashMap::new();
        for question in questions {
            if let Some(first_day) = first_days.get(&question.entity) {
                let own_works = works.get(&work_key(question)).into_iter().flatten();
                let begun = own_works.filter_map(|work| Some((work.clone(), *first_days.get(work)?)));
                let mut earlier: Vec<Outline> = begun.filter(|(_, day)| day < first_day).collect();
                earlier
                    .sort_unstable_by(|(one, day), (other, later)| (Reverse(day), one).cmp(&(Reverse(later), other)));
                earlier.truncate(EARLIER_MAX);
                let own = (question.entity.clone(), *first_day);
                outlines.insert(question, std::iter::once(own).chain(earlier).collect());
            }
        }
        let (measures, days) = self.read_curves(&outlines).await?;
        let releases = |(question, outlines): (&ReleaseQuestion, Vec<Outline>)| {
            let mut curves = outlines.into_iter().map(|outline| self.curve(outline, question.days, &measures, &days));
            Some((question.clone(), Releases { own: curves.next()?, earlier: curves.collect() }))
        };
        Ok(outlines.into_iter().filter_map(releases).collect())
    }

    /// Each artist's works of the kinds that are asked about.
    async fn works(&self, questions: &[ReleaseQuestion]) -> Result<HashMap<WorkKey, BTreeSet<EntityRef>>, DbError> {
        let artist = |id: &Arc<str>| EntityRef { kind: EntityKind::Artist, id: id.clone() };
        let mut works: HashMap<WorkKey, BTreeSet<EntityRef>> = HashMap::new();
        for kind in [EntityKind::Song, EntityKind::Album] {
            let of_kind = questions.iter().filter(|question| question.entity.kind == kind);
            let asked = of_kind.filter_map(|question| question.artist_id.as_ref());
            let members: BTreeSet<EntityRef> = asked.flat_map(|id| self.merges.members(&artist(id))).collect();
            let ids: Vec<&str> = members.iter().map(|artist| &*artist.id).collect();
            if ids.is_empty() {
                continue;
            }
            let found = catalogue::list_works_of_each(self.database.reader(), kind, &ids, OWN_WORKS_MAX).await?;
            for (artist_id, work) in found {
                let owner = self.merges.canonical(&artist(&artist_id.into())).id;
                works.entry((kind, Some(owner))).or_default().insert(self.merges.canonical(&work));
            }
        }
        Ok(works)
    }

    /// The UTC days on which what is asked about and its artists' works were first streamed.
    async fn first_days(
        &self,
        questions: &[ReleaseQuestion],
        works: &HashMap<WorkKey, BTreeSet<EntityRef>>,
    ) -> Result<HashMap<EntityRef, i64>, DbError> {
        let own = questions.iter().map(|question| &question.entity);
        let all: BTreeSet<&EntityRef> = own.chain(works.values().flatten()).collect();
        let members: BTreeSet<EntityRef> = all.into_iter().flat_map(|work| self.merges.members(work)).collect();
        let mut first_days: HashMap<EntityRef, i64> = HashMap::new();
        for kind in [EntityKind::Song, EntityKind::Album] {
            let of_kind = members.iter().filter(|member| member.kind == kind);
            let ids: Vec<Arc<str>> = of_kind.map(|member| member.id.clone()).collect();
            for (id, day) in rollups::list_first_days(self.database.reader(), kind, &ids).await? {
                let first_day = first_days.entry(self.merges.canonical(&EntityRef::new(kind, id))).or_insert(day);
                *first_day = day.min(*first_day);
            }
        }
        Ok(first_days)
    }

    async fn read_curves(
        &self,
        outlines: &HashMap<&ReleaseQuestion, Vec<Outline>>,
    ) -> Result<(HashMap<MeasureKey, Measures>, Days), DbError> {
        let mut asked = Asked::default();
        for (question, outlines) in outlines {
            for (entity, first_day) in outlines {
                asked.listeners.extend(self.days_of(*first_day, question.days).map(|day| (entity.clone(), day)));
            }
        }
        let keys: Vec<MeasureKey> = asked.listeners.iter().map(|(entity, day)| streams_key(entity, *day)).collect();
        Ok((self.measures(&keys).await?, self.days(asked).await?))
    }

    fn curve(
        &self,
        (entity, first_day): Outline,
        days: usize,
        measures: &HashMap<MeasureKey, Measures>,
        sets: &Days,
    ) -> ReleaseCurve {
        let mut listeners = RoaringBitmap::new();
        let mut reached = ReleasePoint::default();
        let mut points = Vec::with_capacity(days);
        for day in self.days_of(first_day, days) {
            if let Some(measures) = measures.get(&streams_key(&entity, day)) {
                reached.streams += measures.counters[Counter::Streams];
                reached.direct_streams += measures.counters[Counter::DirectStreams];
            }
            if let Some(set) = sets.listeners.get(&(entity.clone(), day)) {
                listeners |= set;
            }
            reached.listeners = listeners.len();
            points.push(reached);
        }
        ReleaseCurve { entity, first_day, points }
    }

    /// So many days from the first on, as far as they have begun.
    fn days_of(&self, first_day: i64, days: usize) -> impl Iterator<Item = i64> + use<> {
        let step = usize::try_from(DAY_MS).expect("a day is a small positive number");
        let today = Grain::Day.bucket_of(self.now_ms());
        (first_day..=today).step_by(step).take(days)
    }
}

/// An artist's works of one kind.
type WorkKey = (EntityKind, Option<Arc<str>>);

fn work_key(question: &ReleaseQuestion) -> WorkKey {
    (question.entity.kind, question.artist_id.clone())
}

/// The streams of a day.
fn streams_key(entity: &EntityRef, day: i64) -> MeasureKey {
    let counters = [Counter::Streams, Counter::DirectStreams].into_iter().collect();
    let window = Window { from_ms: day, to_ms: day + DAY_MS };
    MeasureKey { entity: entity.clone(), window, country: None, need: Need { counters, ..Need::default() } }
}
