//! Folds events into what they add to the rollups and to the audience: one row a key, whatever the batch's size.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    audience::{
        fact::{Fact, OriginNumbers, PartTaken, Sums, Texts},
        segment,
        trail::{ObjectNumbers, Step},
    },
    db::queries::rollups::{MoneyRow, RollupRow},
    domain::{
        commit::Extent,
        counting::{Counter, Counters, CountingRules, Effect, MoneyCounters, Occurrence, Part, effect},
        entity::{EntityKind, EntityRef},
        event::Event,
        object::{Object, object_of, write_name},
        realtime::{Play, PlaysOf},
        window::Grain,
    },
};

/// The sum of what a batch of events adds.
#[derive(Debug, Default)]
pub struct Deltas {
    /// What the facts' origins and currencies, and the steps' texts and names, are numbered by.
    texts: Texts,
    /// By quarter-hour and origin. A batch holds few quarters and many entities, most of which have one fact.
    facts: FxHashMap<EntityRef, Facts>,
    /// What users did, in the order of the events.
    steps: Vec<Step>,
    /// Where names of what they were done to are put together.
    name: String,
    /// Types of events that were met, so that each is written once.
    event_types: FxHashSet<Arc<str>>,
    /// Since when plays are kept one by one; they are not where it is left out.
    plays_since_ms: Option<i64>,
    /// Such plays by whom they are credited to; `None` is the platform, which has each once.
    plays: FxHashMap<Option<EntityRef>, Vec<Play>>,
}

/// One entity's facts. Most entities have one, a type of event as many as there are origins.
#[derive(Debug, Default)]
struct Facts {
    list: Vec<Fact>,
    /// Where in the list; of many alone.
    places: FxHashMap<(i64, OriginNumbers), usize>,
}

/// Of more facts the places are kept.
const FACTS_SOUGHT_MAX: usize = 16;

impl Facts {
    fn find(&mut self, quarter_ms: i64, origin: OriginNumbers) -> Option<&mut Fact> {
        if self.list.len() > FACTS_SOUGHT_MAX {
            return self.places.get(&(quarter_ms, origin)).map(|place| &mut self.list[*place]);
        }
        // Batches are sorted by time, so the last quarter is nearly always the one.
        self.list.iter_mut().rev().find(|fact| fact.quarter_ms == quarter_ms && fact.origin == origin)
    }

    fn push(&mut self, fact: Fact) {
        let place = |(place, fact): (usize, &Fact)| ((fact.quarter_ms, fact.origin), place);
        match self.list.len() {
            // Most have one: without this a list begins with room for four.
            0 => self.list.reserve_exact(1),
            FACTS_SOUGHT_MAX => self.places = self.list.iter().enumerate().map(place).collect(),
            _ => {}
        }
        if self.list.len() >= FACTS_SOUGHT_MAX {
            self.places.insert((fact.quarter_ms, fact.origin), self.list.len());
        }
        self.list.push(fact);
    }
}

impl Deltas {
    /// Deltas that keep plays since a moment one by one, for [`Self::take_plays`].
    pub fn keeping_plays_since(from_ms: i64) -> Self {
        Self { plays_since_ms: Some(from_ms), ..Self::default() }
    }

    /// Adds an event; `number_of` gives the number that stands for its person in that part. Those without one are
    /// in no set.
    pub fn add(&mut self, event: &Event, rules: &CountingRules, number_of: impl Fn(&Event, Part) -> Option<u32>) {
        let occurrence = Occurrence::of(event);
        let taken = |part: Option<Part>| {
            part.and_then(|part| number_of(event, part).map(|person| PartTaken { part, person, times: 1 }))
        };
        let quarter_ms = Grain::Quarter.bucket_of(event.key.occurred_at_ms);
        let origin =
            [&event.country, &event.listening_source, &event.device].map(|text| self.texts.number(text.as_deref()));
        let currency = event.currency.as_deref().map(|currency| self.texts.number(Some(currency)));
        let money = |money| currency.filter(|_| money != MoneyCounters::default()).map(|currency| (currency, money));
        let event_type = self.event_type(&event.event_type);
        let (happened, actor) = (&occurrence.counters, taken(occurrence.part));
        self.add_to(event_type, (quarter_ms, origin), happened, money(occurrence.money), actor);
        let effect = effect(event, rules);
        if let Some(user) = number_of(event, Part::Actor) {
            self.add_step(event, effect.as_ref(), user, origin);
        }
        let mut whole = effect.map(|effect| effect.counters).unwrap_or_default();
        whole.add(happened);
        let moved = effect.and_then(|effect| money(effect.money));
        let part = effect.and_then(|effect| taken(effect.part));
        self.add_to(EntityRef::platform(), (quarter_ms, origin), &whole, moved, part);
        let Some(effect) = effect else { return };
        let play = self.recent_play(event, &effect, &number_of);
        self.keep_play(None, play);
        for credited in effect.credited(event) {
            let entity = EntityRef { kind: credited.kind, id: credited.id.clone() };
            self.keep_play(Some(&entity), play.filter(|_| credited.is_whole));
            let part = part.filter(|_| credited.is_whole);
            self.add_to(entity, (quarter_ms, origin), &credited.counters, moved, part);
        }
    }

    fn add_step(&mut self, event: &Event, effect: Option<&Effect>, user: u32, origin: OriginNumbers) {
        let object = effect.and_then(|effect| object_of(event, effect));
        let object = object.map_or_else(ObjectNumbers::default, |object| self.object_numbers(&object));
        self.steps.push(Step {
            user,
            at_ms: event.key.occurred_at_ms,
            event_type: self.texts.number(Some(&event.event_type)),
            is_stream: effect.is_some_and(|effect| effect.part == Some(Part::Listener)),
            is_several: event.count.is_some(),
            origin,
            genre: self.texts.number(event.genre.as_deref()),
            object,
        });
    }

    fn object_numbers(&mut self, object: &Object<'_>) -> ObjectNumbers {
        let mut number = |kind, id: &str| {
            write_name(kind, id, &mut self.name);
            self.texts.number(Some(&self.name))
        };
        ObjectNumbers {
            entity: object.entity.map_or(0, |(kind, id)| number(kind, id)),
            playlist: object.playlist.map_or(0, |id| number(EntityKind::Playlist, id)),
            heard: object.heard,
            times: object.times,
        }
    }

    fn event_type(&mut self, name: &str) -> EntityRef {
        if let Some(id) = self.event_types.get(name) {
            return EntityRef { kind: EntityKind::EventType, id: id.clone() };
        }
        let event_type = EntityRef::event_type(name);
        self.event_types.insert(event_type.id.clone());
        event_type
    }

    /// An event's plays, where they are to be kept. Whoever is known by name listens to them, be it a stream or not.
    fn recent_play(
        &self,
        event: &Event,
        effect: &Effect,
        number_of: impl Fn(&Event, Part) -> Option<u32>,
    ) -> Option<Play> {
        let at_ms = event.key.occurred_at_ms;
        let times = effect.counters[Counter::Plays];
        if times == 0 || self.plays_since_ms.is_none_or(|since_ms| at_ms < since_ms) {
            return None;
        }
        let is_known = event.user_id.is_some() && event.count.is_none();
        let listener = is_known.then(|| number_of(event, Part::Listener)).flatten();
        Some(Play { at_s: at_ms.div_euclid(1_000), times, listener })
    }

    fn keep_play(&mut self, of: Option<&EntityRef>, play: Option<Play>) {
        if let Some(play) = play {
            self.plays.entry(of.cloned()).or_default().push(play);
        }
    }

    /// Takes out the plays that were kept one by one, the platform's first.
    pub fn take_plays(&mut self) -> Vec<PlaysOf> {
        let mut plays: Vec<PlaysOf> = self.plays.drain().map(|(entity, plays)| PlaysOf { entity, plays }).collect();
        plays.sort_by_key(|of| of.entity.is_some());
        plays
    }

    fn add_to(
        &mut self,
        entity: EntityRef,
        (quarter_ms, origin): (i64, OriginNumbers),
        counters: &Counters,
        money: Option<(u32, MoneyCounters)>,
        taken: Option<PartTaken>,
    ) {
        let facts = self.facts.entry(entity).or_default();
        match facts.find(quarter_ms, origin) {
            Some(fact) => fact.add(counters, money, taken),
            None => {
                let sums = Sums { counters: *counters, money: money.into_iter().collect() };
                facts.push(Fact { quarter_ms, origin, sums, people: taken.into_iter().collect() });
            }
        }
    }

    /// Each entity, and the first and the last quarter-hour that something is added to.
    pub fn extents(&self) -> FxHashMap<EntityRef, Extent> {
        let extent = |facts: &[Fact]| {
            let quarters = || facts.iter().map(|fact| fact.quarter_ms);
            Some(Extent { oldest_ms: quarters().min()?, newest_ms: quarters().max()? })
        };
        self.facts.iter().filter_map(|(entity, facts)| Some((entity.clone(), extent(&facts.list)?))).collect()
    }

    /// What the facts are numbered by, and each entity's facts.
    pub fn facts(&self) -> (&Texts, impl Iterator<Item = (&EntityRef, &[Fact])>) {
        (&self.texts, self.facts.iter().map(|(entity, facts)| (entity, &facts.list[..])))
    }

    /// All facts and steps in their durable form; nothing where there are none.
    pub fn segment(&self) -> Option<Vec<u8>> {
        let (texts, facts) = self.facts();
        (!self.facts.is_empty()).then(|| segment::encode(texts, facts, &self.steps))
    }

    /// Counter rows of both grains, sorted by key.
    pub fn rollup_rows(&self) -> Vec<RollupRow> {
        // Entities come in order, so that within a bucket their rows do, too.
        let mut rows: BTreeMap<(Grain, i64), Vec<RollupRow>> = BTreeMap::new();
        for (entity, facts) in self.sorted() {
            for fact in facts {
                for grain in [Grain::Quarter, Grain::Day] {
                    let bucket = grain.bucket_of(fact.quarter_ms);
                    let rows = rows.entry((grain, bucket)).or_default();
                    match rows.last_mut() {
                        Some(last) if last.entity == *entity => last.counters.add(&fact.sums.counters),
                        _ => {
                            rows.push(RollupRow { grain, bucket, entity: entity.clone(), counters: fact.sums.counters })
                        }
                    }
                }
            }
        }
        rows.into_values().flatten().collect()
    }

    /// Money rows of both grains, sorted by key.
    pub fn money_rows(&self) -> Vec<MoneyRow> {
        let mut sums: BTreeMap<(Grain, i64, EntityRef, Arc<str>), MoneyCounters> = BTreeMap::new();
        for (entity, facts) in &self.facts {
            for fact in &facts.list {
                for (currency, money) in &fact.sums.money {
                    let currency = self.texts.text(*currency).expect("money comes with its currency");
                    for grain in [Grain::Quarter, Grain::Day] {
                        let key = (grain, grain.bucket_of(fact.quarter_ms), entity.clone(), currency.clone());
                        sums.entry(key).or_default().add(money);
                    }
                }
            }
        }
        sums.into_iter()
            .map(|((grain, bucket, entity, currency), money)| MoneyRow { grain, bucket, entity, currency, money })
            .collect()
    }

    fn sorted(&self) -> Vec<(&EntityRef, &[Fact])> {
        let mut facts: Vec<_> = self.facts.iter().map(|(entity, facts)| (entity, &facts.list[..])).collect();
        facts.sort_unstable_by_key(|(entity, _)| *entity);
        facts
    }
}
