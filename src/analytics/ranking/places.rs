//! Where something stands in a ranking, without listing it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{Analytics, RankedEntity, RankingList, TIES_MAX, Totals, entities};
use crate::{
    db::{
        DbError,
        queries::rankings::{self, Sought, Standing, Tally},
    },
    domain::{counting::Counter, entity::EntityRef, ranking::RankingQuestion},
};

/// An entity, and a ranking of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlaceKey {
    pub question: RankingQuestion,
    pub entity: EntityRef,
}

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1; `None` while it has nothing.
    pub position: Option<i64>,
    /// How many are ranked.
    pub of: i64,
}

/// An entity, and a ranking in which only its place is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PositionKey {
    pub question: RankingQuestion,
    pub entity: EntityRef,
}

/// How far a list is asked for that positions are looked up in: where leaders tell it, it is cheap.
const LOOKED_UP_DEPTH: usize = 100;
/// A list of everything: whoever reads every entity to find one's place keeps them together.
const EVERYTHING: usize = usize::MAX;

impl Analytics {
    /// Where entities stand: the positions that they have in the whole ranking. Entities are what they are read as.
    ///
    /// Source: for a counter, one pass over the sums for all entities of a question, and the listeners of those tied
    /// with them. By listeners, and of one country, every entity is read; the list is kept like a ranking.
    pub async fn places(&self, keys: &[PlaceKey]) -> Result<HashMap<PlaceKey, Place>, Arc<DbError>> {
        let mut by_question: HashMap<&RankingQuestion, Vec<EntityRef>> = HashMap::new();
        for PlaceKey { question, entity } in keys {
            by_question.entry(question).or_default().push(entity.clone());
        }
        let mut places = HashMap::with_capacity(keys.len());
        for (question, entities) in by_question {
            let (positions, of) = match self.summed(question) {
                Some(counter) => self.count_places(question, counter, &entities).await?,
                None => self.look_places_up(question, &entities).await?,
            };
            for entity in entities {
                // An event in between can move it past the last that were counted.
                let position = positions.get(&entity).map(|position| (*position).min(of.max(1)));
                places.insert(PlaceKey { question: question.clone(), entity }, Place { position, of });
            }
        }
        Ok(places)
    }

    /// The positions of entities in rankings, from 1; `None` while they have nothing.
    ///
    /// Source: where the leaders of days tell the beginning of a ranking, that, and [`Self::places`] only for those
    /// who are not in it but have something.
    pub async fn positions(&self, keys: &[PositionKey]) -> Result<HashMap<PositionKey, Option<i64>>, Arc<DbError>> {
        let mut by_question: HashMap<&RankingQuestion, Vec<EntityRef>> = HashMap::new();
        for PositionKey { question, entity } in keys {
            by_question.entry(question).or_default().push(entity.clone());
        }
        let mut positions: HashMap<PositionKey, Option<i64>> = keys.iter().map(|key| (key.clone(), None)).collect();
        for (question, entities) in by_question {
            let key = |entity| PositionKey { question: question.clone(), entity };
            let (told, untold) = self.told_positions(question, entities).await?;
            positions.extend(told.into_iter().map(|(entity, position)| (key(entity), Some(position))));
            let keys = untold.into_iter().map(|entity| PlaceKey { question: question.clone(), entity });
            let places = self.places(&keys.collect::<Vec<_>>()).await?;
            positions.extend(places.into_iter().map(|(place_key, place)| (key(place_key.entity), place.position)));
        }
        Ok(positions)
    }

    /// The positions that the leaders of days tell, and those who have something but whose position they do not.
    async fn told_positions(
        &self,
        question: &RankingQuestion,
        entities: Vec<EntityRef>,
    ) -> Result<(HashMap<EntityRef, i64>, Vec<EntityRef>), DbError> {
        let Some(counter) = self.summed(question) else { return Ok((HashMap::new(), entities)) };
        let Some(ranked) = self.beginning(question, counter, LOOKED_UP_DEPTH).await? else {
            return Ok((HashMap::new(), entities));
        };
        let list = RankingList::beginning(question.clone(), ranked);
        let told = positions_of(self.places_in(&list, &entities.iter().collect()).await?);
        let untold: Vec<EntityRef> = entities.into_iter().filter(|entity| !told.contains_key(entity)).collect();
        let untold = self.values(question, &untold).await?.into_iter().map(|ranked| ranked.entity).collect();
        Ok((told, untold))
    }

    pub(super) async fn compute_totals(&self, question: &RankingQuestion) -> Result<Totals, DbError> {
        match self.summed(question) {
            Some(counter) => {
                let tally = self.tally(question, counter, &[]).await?;
                Ok(Totals { count: tally.count, sum: Some(tally.sum) })
            }
            None => Ok(Totals::of(question, &self.rank_by_reading(question, EVERYTHING).await?)),
        }
    }

    async fn tally(&self, question: &RankingQuestion, counter: Counter, sought: &[Sought]) -> Result<Tally, DbError> {
        let buckets = self.narrowed(question.window).buckets();
        rankings::tally(self.database.reader(), self.sums(question, counter, &buckets), sought).await
    }

    async fn look_places_up(
        &self,
        question: &RankingQuestion,
        entities: &[EntityRef],
    ) -> Result<(HashMap<EntityRef, i64>, i64), Arc<DbError>> {
        let list = self.ranking(question, EVERYTHING).await?;
        let places = self.places_in(&list, &entities.iter().collect::<HashSet<_>>()).await?;
        Ok((positions_of(places), i64::try_from(list.len).unwrap_or(i64::MAX)))
    }

    async fn count_places(
        &self,
        question: &RankingQuestion,
        counter: Counter,
        entities: &[EntityRef],
    ) -> Result<(HashMap<EntityRef, i64>, i64), DbError> {
        let mut by_value: BTreeMap<Reverse<i64>, Vec<EntityRef>> = BTreeMap::new();
        for RankedEntity { entity, value } in self.values(question, entities).await? {
            by_value.entry(Reverse(value)).or_default().push(entity);
        }
        by_value.values_mut().for_each(|entities| entities.sort_unstable());
        let sought = |(value, entities): (&Reverse<i64>, &Vec<EntityRef>)| Sought {
            value: value.0,
            ids: entities.iter().map(|entity| entity.id.to_string()).collect(),
        };
        let sought: Vec<Sought> = by_value.iter().map(sought).collect();
        let tally = self.tally(question, counter, &sought).await?;
        let before = self.before_tied(question, counter, &sought, &tally.standings).await?;
        let mut positions = HashMap::new();
        for (entities, standing) in by_value.into_values().zip(&tally.standings) {
            for (entity, before_by_id) in entities.into_iter().zip(&standing.before) {
                let before = before.get(&entity).unwrap_or(before_by_id);
                let position = standing.above + before + 1;
                positions.insert(entity, position);
            }
        }
        Ok((positions, tally.count))
    }

    /// Of entities that are tied with few enough, how many of the same value come before them.
    async fn before_tied(
        &self,
        question: &RankingQuestion,
        counter: Counter,
        sought: &[Sought],
        standings: &[Standing],
    ) -> Result<HashMap<EntityRef, i64>, DbError> {
        let is_in_order =
            |standing: &Standing| usize::try_from(standing.tied).is_ok_and(|tied| (2..=TIES_MAX).contains(&tied));
        let in_order = sought.iter().zip(standings).filter(|(_, standing)| is_in_order(standing));
        let values: Vec<i64> = in_order.map(|(sought, _)| sought.value).collect();
        let buckets = self.narrowed(question.window).buckets();
        let ranked = self.sums(question, counter, &buckets);
        let tied = entities(question.of, rankings::list_at(self.database.reader(), ranked, &values).await?);
        let tied_entities: Vec<EntityRef> = tied.iter().map(|ranked| ranked.entity.clone()).collect();
        let listeners = self.listeners(question, &tied_entities).await?;
        let mut by_value: HashMap<i64, Vec<EntityRef>> = HashMap::new();
        tied.into_iter().for_each(|ranked| by_value.entry(ranked.value).or_default().push(ranked.entity));
        let mut before = HashMap::new();
        for mut entities in by_value.into_values() {
            entities.sort_unstable_by_key(|entity| {
                (Reverse(listeners.get(entity).copied().unwrap_or(0)), entity.id.clone())
            });
            before.extend((0..).zip(entities).map(|(place, entity)| (entity, place)));
        }
        Ok(before)
    }
}

fn positions_of(places: HashMap<EntityRef, usize>) -> HashMap<EntityRef, i64> {
    places.into_iter().map(|(entity, place)| (entity, i64::try_from(place + 1).unwrap_or(i64::MAX))).collect()
}
