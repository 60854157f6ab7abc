//! How people began: what their first stream says.

use std::collections::{BTreeSet, HashMap};

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{
    Analytics, Who,
    listening::PLAYED,
    trails::{EVER, Walk},
};
use crate::{
    audience::{fact::Texts, trail::Step},
    db::{
        DbError,
        queries::{
            events,
            listeners::{self, People},
        },
    },
    domain::{
        counting::{Counter, effect},
        entity::EntityRef,
        event::Event,
        window::{DAY_MS, Grain, Window},
    },
};

/// What a first stream has to say; what is left out may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstStream {
    pub country: Option<String>,
    pub source: Option<String>,
    pub genre: Option<String>,
}

/// Country, source, device and genre of a stream: by these, streams of one moment are put in order, as trails are.
type Told<'a> = [Option<&'a str>; 4];

impl FirstStream {
    fn is_met(&self, [country, source, _, genre]: Told<'_>) -> bool {
        let is_or_all = |asked: &Option<String>, found| asked.as_deref().is_none_or(|asked| found == Some(asked));
        is_or_all(&self.country, country) && is_or_all(&self.source, source) && is_or_all(&self.genre, genre)
    }

    fn is_met_by(&self, step: &Step, texts: &Texts) -> bool {
        let [_, country, source, device, genre] = step.told(texts).map(|text| text.map(|text| &**text));
        self.is_met([country, source, device, genre])
    }
}

fn told(event: &Event) -> Told<'_> {
    [&event.country, &event.listening_source, &event.device, &event.genre].map(|text| text.as_deref())
}

impl Analytics {
    /// Those of some people whose first stream ever, of anything, was as asked. Source: trails.
    pub(super) async fn began_with(
        &self,
        asked: &FirstStream,
        people: &RoaringBitmap,
    ) -> Result<RoaringBitmap, DbError> {
        let mut met = RoaringBitmap::new();
        self.walk(&all_plays_of(people), |steps, texts| {
            let first = steps.iter().find(|step| step.is_stream);
            met.extend(first.filter(|step| asked.is_met_by(step, texts)).map(|step| step.user));
        })
        .await?;
        Ok(met)
    }

    /// Those of some listeners of an entity whose first stream of it was as asked.
    ///
    /// Source: trails, which do not know what was streamed. Where all of a listener's streams of the first day answer
    /// alike that does not matter; otherwise it is read in the log.
    pub(super) async fn began_to_hear_with(
        &self,
        asked: &FirstStream,
        entity: &EntityRef,
        people: &RoaringBitmap,
    ) -> Result<RoaringBitmap, DbError> {
        let first_days = self.days_begun(entity, people).await?;
        let mut met = RoaringBitmap::new();
        let mut undecided: FxHashMap<u32, Vec<i64>> = FxHashMap::default();
        self.walk(&all_plays_of(people), |steps, texts| {
            let Some(day) = first_days.get(&steps[0].user) else { return };
            let is_of_day = |step: &&Step| step.is_stream && Grain::Day.bucket_of(step.at_ms) == *day;
            let of_day: Vec<&Step> = steps.iter().filter(is_of_day).collect();
            let alike = of_day.iter().filter(|step| asked.is_met_by(step, texts)).count();
            if alike > 0 && alike == of_day.len() {
                met.insert(of_day[0].user);
            } else if alike > 0 {
                undecided.insert(of_day[0].user, of_day.iter().map(|step| step.at_ms).collect());
            }
        })
        .await?;
        met |= self.decided_by_log(asked, entity, &undecided).await?;
        Ok(met)
    }

    /// On which UTC day each of some people first streamed an entity.
    async fn days_begun(&self, entity: &EntityRef, people: &RoaringBitmap) -> Result<FxHashMap<u32, i64>, DbError> {
        let mut first_days = FxHashMap::default();
        let (Some(oldest_ms), Some(newest_ms)) = (self.watermark.oldest_ms(), self.watermark.newest_ms()) else {
            return Ok(first_days);
        };
        let step = usize::try_from(DAY_MS).expect("a day is a small positive number");
        let days: Vec<Window> = (Grain::Day.bucket_of(oldest_ms)..=newest_ms)
            .step_by(step)
            .map(|day| Window { from_ms: day, to_ms: day + DAY_MS })
            .collect();
        let mut waiting = people.clone();
        for (day, listeners) in days.iter().zip(self.people_within(&days, &Who::ListenersOf(entity.clone())).await?) {
            let new = &listeners & &waiting;
            waiting -= &new;
            first_days.extend(new.iter().map(|user| (user, day.from_ms)));
        }
        Ok(first_days)
    }

    /// Those whose first stream of the entity at one of their moments is as asked.
    async fn decided_by_log(
        &self,
        asked: &FirstStream,
        entity: &EntityRef,
        undecided: &FxHashMap<u32, Vec<i64>>,
    ) -> Result<RoaringBitmap, DbError> {
        let reader = self.database.reader();
        let moments: BTreeSet<i64> = undecided.values().flatten().copied().collect();
        let moments: Vec<i64> = moments.into_iter().collect();
        let mut firsts: HashMap<String, (i64, [Option<String>; 4])> = HashMap::new();
        for moments in moments.chunks(MOMENTS_AT_ONCE) {
            for event in events::list_at(reader, PLAYED, moments).await?.iter().filter(|one| self.is_heard(one, entity))
            {
                let Some(user_id) = event.user_id.as_deref() else { continue };
                let this = (event.key.occurred_at_ms, told(event).map(|text| text.map(str::to_owned)));
                let first = firsts.entry(user_id.to_owned()).or_insert_with(|| this.clone());
                if this < *first {
                    *first = this;
                }
            }
        }
        let ids: Vec<&str> = firsts.keys().map(String::as_str).collect();
        let mut met = RoaringBitmap::new();
        for ids in ids.chunks(MOMENTS_AT_ONCE) {
            for (id, number) in listeners::list_numbers(reader, People::Identified, ids).await? {
                let (_, told) = &firsts[&id];
                // Others streamed it at the same moments, whose first stream may be an earlier one.
                let is_met = asked.is_met(told.each_ref().map(|text| text.as_deref()));
                if is_met && undecided.contains_key(&number) {
                    met.insert(number);
                }
            }
        }
        Ok(met)
    }

    /// Whether an event is a stream of an entity by one person.
    fn is_heard(&self, event: &Event, entity: &EntityRef) -> bool {
        let Some(effect) = effect(event, &self.counting).filter(|_| event.count.is_none()) else { return false };
        let is_it = |kind, id: &std::sync::Arc<str>| {
            kind == entity.kind && self.merges.canonical(&EntityRef { kind, id: id.clone() }) == *entity
        };
        effect.counters[Counter::Streams] > 0
            && effect.credited(event).any(|credited| credited.is_whole && is_it(credited.kind, credited.id))
    }
}

/// Moments and ids that one statement names.
const MOMENTS_AT_ONCE: usize = 1_024;

fn all_plays_of(people: &RoaringBitmap) -> Walk {
    let event_types = Some(vec![PLAYED.to_owned()]);
    Walk { during: EVER, event_types, users: Some(people.clone()), with_several: false }
}
