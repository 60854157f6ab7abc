//! What a listener may like next.

use std::{collections::HashMap, sync::Arc};

use super::{
    Failed, Recommendation, Recommender,
    history::History,
    pick::{Looked, Picker, Rules},
    popular::{GENRES_MAX, Popular},
};
use crate::{
    analytics::KnownUser,
    db::DbError,
    domain::{catalogue::CatalogueEntry, entity::EntityKind},
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
            dismissed,
            excluded: if asked.excludes_known { history.others.clone() } else { Default::default() },
            per_artist_max: (asked.of != EntityKind::Artist).then_some(asked.per_artist_max),
            ..Rules::default()
        });
        let telling = history.telling(self.clock.now_ms());
        let mut told = self.told(telling, asked.discovery).await?;
        if asked.excludes_known {
            told.candidates.retain(|candidate| !history.has(candidate.item));
        }
        let mut looked = Looked::default();
        let taken = self.take(&told, &mut looked, &mut picker, |item| history.has(item), asked.first).await?;
        let mut recommended = self.explained(&told, &looked, &taken);
        if recommended.len() < asked.first {
            let popular = self.popular_for(user.as_ref(), &history, asked).await?;
            if asked.excludes_known {
                let known: Vec<u32> = history.items.iter().map(|(item, _)| *item).collect();
                picker.rules.excluded.extend(self.entities_of(&known).await?.into_values());
            }
            self.fill_up(&popular, &mut looked, &mut picker, &mut recommended, asked.first).await?;
        }
        Ok(recommended)
    }

    /// Where to look for what is popular: in the genres that were asked for or that the listener likes most, else in
    /// their country.
    async fn popular_for(
        &self,
        user: Option<&KnownUser>,
        history: &History,
        asked: &ForYou,
    ) -> Result<Popular, DbError> {
        let mut popular = Popular { of: asked.of, genres: Vec::new(), country: None };
        if let Some(user) = user.filter(|_| history.is_empty()) {
            popular.country = self.last_country(user).await?;
        }
        if !asked.genres.is_empty() {
            popular.genres = asked.genres.iter().map(|genre| (genre.clone(), None)).collect();
            return Ok(popular);
        }
        let strongest = history.telling(self.clock.now_ms());
        let strongest: Vec<u32> = strongest.iter().take(GENRES_FROM).map(|telling| telling.item).collect();
        let mut looked = Looked::default();
        self.look_up(&mut looked, strongest.clone(), &HashMap::new()).await?;
        popular.genres = likeliest_genres(strongest.iter().filter_map(|item| looked.entry(*item)));
        Ok(popular)
    }
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
