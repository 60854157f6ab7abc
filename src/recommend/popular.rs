//! What most people listen to now: for whom nothing better is known.

use std::sync::Arc;

use super::{Failed, Recommender};
use crate::domain::{
    catalogue::CatalogueEntry,
    counting::Counter,
    entity::{EntityKind, EntityRef},
    measure::Metric,
    ranking::{Among, RankingQuestion},
    window::{DAY_MS, Grain, Window},
};

/// The days up to now whose streams say what is popular.
const DAYS: i64 = 7;
/// How far down it is looked.
const DEPTH: usize = 200;
/// So many genres are looked at, at most.
pub const GENRES_MAX: usize = 3;

/// Where to look for what is popular.
#[derive(Debug)]
pub struct Popular {
    pub of: EntityKind,
    /// The genres, and what each is taken from; nothing where it was asked for.
    pub genres: Vec<(Arc<str>, Option<CatalogueEntry>)>,
    pub country: Option<Arc<str>>,
}

impl Popular {
    /// One place after the other; with what a genre is taken from.
    pub fn steps(&self) -> impl Iterator<Item = (Among, Option<&CatalogueEntry>)> {
        let of_genre = |genre: &Arc<str>| Among { genre: Some(genre.clone()), ..Among::default() };
        let genres = self.genres.iter().take(GENRES_MAX);
        let genres = genres.map(move |(genre, because)| (of_genre(genre), because.as_ref()));
        let country = self.country.iter().map(|country| Among { country: Some(country.clone()), ..Among::default() });
        genres.chain(country.chain([Among::default()]).map(|among| (among, None)))
    }
}

impl Recommender {
    /// What was streamed most in the last seven days, today among them; ever, where there was nothing.
    pub(super) async fn popular(&self, (of, among): &(EntityKind, Among)) -> Result<Vec<EntityRef>, Failed> {
        let to_ms = Grain::Day.bucket_of(self.clock.now_ms()) + DAY_MS;
        // Of few people in one country it would be told what they listen to.
        let people_min = if among.country.is_some() { self.analytics.shown_people_min() } else { 0 };
        let among = Among { people_min, ..among.clone() };
        for from_ms in [to_ms - DAYS * DAY_MS, self.analytics.first_day().min(to_ms)] {
            let window = Window { from_ms, to_ms };
            let by = Metric::Counter(Counter::Streams);
            let question = RankingQuestion { of: *of, by, window, among: among.clone() };
            let list = self.analytics.ranking(&question, DEPTH).await?;
            let ranked = self.analytics.ranked(&list, 0..DEPTH).await?;
            if !ranked.is_empty() {
                return Ok(ranked.into_iter().map(|ranked| ranked.entity).collect());
            }
        }
        Ok(Vec::new())
    }
}
