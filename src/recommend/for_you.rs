//! What a listener may like next.

use std::{collections::HashSet, sync::Arc};

use super::{
    Failed, Recommendation, Recommender,
    assisted::Seeded,
    history::History,
    pick::{Looked, Mix, Picker, Rules},
    popular::{GENRES_MAX, Popular},
};
use crate::{
    analytics::KnownUser,
    db::{DbError, queries::recommendations},
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ForYou {
    pub of: EntityKind,
    pub first: usize,
    /// Only what has one of these genres; anything where there are none.
    pub genres: Vec<Arc<str>>,
    pub excludes_known: bool,
    /// From 0, what many know, to 1, what few do.
    pub discovery: f32,
    /// Of songs and albums at most so many of one artist.
    pub per_artist_max: usize,
}

/// So many artists, albums and playlists each stand for the songs of whom no song is known.
const SEEDS_MAX: usize = 5;
/// So much of a history says which genres a listener likes.
const GENRES_FROM: usize = 20;

impl Recommender {
    /// What somebody may like next, by all that they did up to now; for whom nothing is known, what is popular. The same
    /// question gets the same answer until something happens.
    pub async fn for_you(&self, user_id: &str, asked: &ForYou) -> Result<Vec<Recommendation>, Failed> {
        let user = self.analytics.find_user(user_id).await?;
        let history = async {
            match &user {
                Some(user) => self.history(user, asked.of).await,
                None => Ok(History::default()),
            }
        };
        let (history, dismissed) = tokio::try_join!(history, self.dismissed(user_id))?;
        let mut picker = Picker::new(Rules {
            genres: asked.genres.clone(),
            known: if asked.excludes_known { history.others.clone() } else { Default::default() },
            per_artist_max: (asked.of != EntityKind::Artist).then_some(asked.per_artist_max),
            dismissed,
            ..Rules::default()
        });
        let Seeded { mut telling, stand_for, .. } = match &user {
            Some(user) => self.telling(user, &history, asked.of).await?,
            None => Seeded::default(),
        };
        // What is not to be recommended recommends nothing either.
        let refused = picker.rules.dismissed.entities();
        let refused = recommendations::list_item_numbers(self.database.reader(), &refused).await?;
        telling.retain(|telling| !refused.values().any(|item| *item == telling.item));
        let strongest: Vec<u32> = telling.iter().take(GENRES_FROM).map(|telling| telling.item).collect();
        let mut told = self.told(telling, asked.discovery, 1).await?;
        if asked.excludes_known {
            told.candidates.retain(|candidate| !history.has(candidate.item));
        }
        let mut looked = Looked::naming(stand_for);
        let mix = Mix { known_share: None, is_known: |_| false };
        let taken = self.take(&told, &mut looked, &mut picker, mix, asked.first).await?;
        let mut recommended = self.explained(&looked, &picker, &taken);
        if recommended.len() < asked.first {
            let popular = self.popular_for(user.as_ref(), &strongest, &history, asked).await?;
            if asked.excludes_known {
                picker.rules.known.extend(self.known(&history).await?);
            }
            self.fill_up(&popular, &mut looked, &mut picker, &mut recommended, asked.first).await?;
        }
        Ok(recommended)
    }

    /// What tells what a listener may like next. Of songs, where no song does: those of the albums, playlists and artists
    /// that they took to.
    async fn telling(&self, user: &KnownUser, history: &History, of: EntityKind) -> Result<Seeded, Failed> {
        let now_ms = self.clock.now_ms();
        let telling = history.telling(now_ms);
        if of != EntityKind::Song || !telling.is_empty() {
            return Ok(Seeded { telling, ..Seeded::default() });
        }
        let mut seeds = Vec::new();
        for kind in [EntityKind::Album, EntityKind::Playlist, EntityKind::Artist] {
            let history = self.history(user, kind).await?;
            let items: Vec<u32> = history.telling(now_ms).iter().take(SEEDS_MAX).map(|telling| telling.item).collect();
            let named = self.entities_of(&items).await?;
            seeds.extend(items.iter().filter_map(|item| named.get(item).cloned()));
            seeds.extend(sorted(&history.others).into_iter().take(SEEDS_MAX));
        }
        self.seeded(&seeds, true).await
    }

    /// Everything of a history by name.
    pub(super) async fn known(&self, history: &History) -> Result<Vec<EntityRef>, DbError> {
        let items: Vec<u32> = history.items.iter().map(|(item, _)| *item).collect();
        Ok(self.entities_of(&items).await?.into_values().chain(history.others.iter().cloned()).collect())
    }

    /// Where to look for what is popular: in the genres that were asked for or that the listener likes most, then in their
    /// country.
    async fn popular_for(
        &self,
        user: Option<&KnownUser>,
        strongest: &[u32],
        history: &History,
        asked: &ForYou,
    ) -> Result<Popular, DbError> {
        let country = match user {
            Some(user) => self.last_country(user).await?,
            None => None,
        };
        if !asked.genres.is_empty() {
            let genres = asked.genres.iter().map(|genre| (genre.clone(), None)).collect();
            return Ok(Popular { of: asked.of, genres, country });
        }
        let mut looked = Looked::default();
        self.look_up(&mut looked, strongest.to_vec()).await?;
        let others: Vec<EntityRef> = sorted(&history.others).into_iter().take(GENRES_FROM).collect();
        let others = self.catalogue_entries(&others).await?;
        let liked = strongest.iter().filter_map(|item| looked.entry(*item)).chain(&others);
        Ok(Popular { of: asked.of, genres: likeliest_genres(liked), country })
    }
}

fn sorted(entities: &HashSet<EntityRef>) -> Vec<EntityRef> {
    let mut sorted: Vec<EntityRef> = entities.iter().cloned().collect();
    sorted.sort_unstable();
    sorted
}

/// The genres that most of some things have, each with the first thing that has it; of equals the one met first.
pub fn likeliest_genres<'a>(
    entries: impl Iterator<Item = &'a CatalogueEntry>,
) -> Vec<(Arc<str>, Option<CatalogueEntry>)> {
    let mut genres: Vec<(usize, Arc<str>, CatalogueEntry)> = Vec::new();
    for entry in entries {
        for genre in &entry.genres {
            match genres.iter_mut().find(|(_, known, _)| known == genre) {
                Some((count, ..)) => *count += 1,
                None => genres.push((1, genre.clone(), entry.clone())),
            }
        }
    }
    genres.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    genres.into_iter().take(GENRES_MAX).map(|(_, genre, entry)| (genre, Some(entry))).collect()
}
