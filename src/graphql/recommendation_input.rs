//! What clients ask about recommendations, and the valid questions it becomes.

use std::sync::Arc;

use async_graphql::{ID, InputObject};

use super::{
    error::ApiError,
    input::{EntityKind, EntityRef, page_size_of},
    scalars::{DateTime, Long},
};
use crate::{
    domain::{entity, entity::EntityRef as Entity},
    recommend::{AssistedOrder, ForYou},
};

/// The most that is recommended at once.
pub const RECOMMENDED_MAX: usize = 100;
/// The most songs of an assisted playlist.
const PLAYLIST_MAX: usize = 500;
const PER_ARTIST_MAX: usize = 500;
const GENRES_MAX: usize = 20;
const SEEDS_MAX: usize = 100;
const EXCLUDED_MAX: usize = 1_000;

/// What to recommend to a listener.
#[derive(Debug, Clone, InputObject)]
pub struct RecommendationInput {
    /// Which kind of entity.
    #[graphql(default_with = "EntityKind::Song")]
    pub of: EntityKind,
    /// How many, 1 to 100.
    #[graphql(default = 20)]
    pub first: i32,
    /// Only what has one of these genres, written as the catalogue writes them, at most 20; playlists have none.
    pub genres: Option<Vec<String>>,
    /// Whether what the listener listened to already, or said anything about, is left out.
    #[graphql(default = true)]
    pub exclude_known: bool,
    /// From 0, what many listen to, to 1, what few do.
    #[graphql(default = 0.5)]
    pub discovery: f64,
    /// Of songs and albums at most so many of one artist, 1 to 500.
    #[graphql(default = 3)]
    pub max_per_artist: i32,
}

impl Default for RecommendationInput {
    fn default() -> Self {
        Self { of: EntityKind::Song, first: 20, genres: None, exclude_known: true, discovery: 0.5, max_per_artist: 3 }
    }
}

impl RecommendationInput {
    pub fn parse(self) -> Result<ForYou, ApiError> {
        let genres = self.genres.unwrap_or_default();
        if genres.len() > GENRES_MAX {
            return Err(ApiError::invalid("genres", format!("holds {}, the limit is {GENRES_MAX}", genres.len())));
        }
        if !genres.is_empty() && self.of == EntityKind::Playlist {
            return Err(ApiError::invalid("genres", "playlists have none; leave it out"));
        }
        Ok(ForYou {
            of: self.of.into(),
            first: page_size_of("first", self.first, RECOMMENDED_MAX)?,
            genres: genres.into_iter().map(Arc::from).collect(),
            excludes_known: self.exclude_known,
            discovery: fraction("discovery", self.discovery)? as f32,
            per_artist_max: page_size_of("maxPerArtist", self.max_per_artist, PER_ARTIST_MAX)?,
        })
    }
}

/// A playlist to be made, or to be continued.
#[derive(Debug, Clone, InputObject)]
pub struct AssistedPlaylistInput {
    /// What it is made from, 1 to 100 ids of songs, artists, albums and playlists. Songs among the seeds, on albums and in
    /// playlists are not in the answer, which continues them; an artist's may be.
    pub seeds: Vec<ID>,
    /// What all seeds are; if left out, each is the first of a song, an artist, an album and a playlist that the catalogue
    /// knows under its id.
    pub seeds_are: Option<EntityKind>,
    /// How many songs, 1 to 500.
    #[graphql(default = 25)]
    pub length: i32,
    /// At most so many of one artist, 1 to 500.
    #[graphql(default = 3)]
    pub max_per_artist: i32,
    /// From 0, what many listen to, to 1, what few do.
    #[graphql(default = 0.5)]
    pub discovery: f64,
    /// Ids of songs, albums and artists to be left out, of albums and artists everything on them or theirs; at most 1,000.
    /// Unknown ones leave nothing out.
    pub exclude: Option<Vec<ID>>,
    /// The listener it is for, whose dismissals are respected: the one who asks, with a listener's token. Others are for
    /// admins.
    pub user_id: Option<ID>,
    /// Which part the listener knows already: 0 nothing, 1 everything, between as far as there are enough of both; if left
    /// out, as it comes.
    pub known_share: Option<f64>,
    /// How long it may be altogether, in milliseconds; songs of which nobody said how long they are stay out then.
    pub max_duration_ms: Option<Long>,
}

impl AssistedPlaylistInput {
    /// The ids of the seeds, and what all of them are.
    pub fn seeds(&self) -> Result<(Vec<Arc<str>>, Option<entity::EntityKind>), ApiError> {
        page_size_of("seeds", i32::try_from(self.seeds.len()).unwrap_or(i32::MAX), SEEDS_MAX)
            .map_err(|_| ApiError::invalid("seeds", format!("must be 1 to {SEEDS_MAX} ids")))?;
        let ids = self.seeds.iter().map(|id| Arc::from(id.as_str())).collect();
        Ok((ids, self.seeds_are.map(Into::into)))
    }

    /// What is asked for, made from `seeds` for `user_id`.
    pub fn parse(self, seeds: Vec<Entity>, user_id: Option<String>) -> Result<AssistedOrder, ApiError> {
        let excluded = self.exclude.unwrap_or_default();
        if excluded.len() > EXCLUDED_MAX {
            return Err(ApiError::invalid(
                "exclude",
                format!("holds {} ids, the limit is {EXCLUDED_MAX}", excluded.len()),
            ));
        }
        if self.known_share.is_some() && user_id.is_none() {
            return Err(ApiError::invalid(
                "knownShare",
                "needs a listener: ask with a listener's token, or give userId",
            ));
        }
        let duration_max_ms = self.max_duration_ms.map(|Long(ms)| ms);
        if duration_max_ms.is_some_and(|ms| ms < 1) {
            return Err(ApiError::invalid("maxDurationMs", "must be at least 1"));
        }
        Ok(AssistedOrder {
            seeds,
            length: page_size_of("length", self.length, PLAYLIST_MAX)?,
            per_artist_max: page_size_of("maxPerArtist", self.max_per_artist, PER_ARTIST_MAX)?,
            discovery: fraction("discovery", self.discovery)? as f32,
            excluded_ids: excluded.iter().map(|id| Arc::from(id.as_str())).collect(),
            user_id,
            known_share: self.known_share.map(|share| fraction("knownShare", share)).transpose()?,
            duration_max_ms,
        })
    }
}

/// What a listener does not want to be recommended.
#[derive(Debug, Clone, InputObject)]
pub struct DismissalInput {
    /// What: a song, a playlist; an album, with its songs; or an artist, with everything that is theirs.
    pub entity: EntityRef,
    /// Who: the listener who asks, if left out. Others are for admins.
    pub user_id: Option<ID>,
    /// When it ends; never, if left out.
    pub expires_at: Option<DateTime>,
}

/// What a listener may be recommended again.
#[derive(Debug, Clone, InputObject)]
pub struct RestoreInput {
    /// What was dismissed.
    pub entity: EntityRef,
    /// Who: the listener who asks, if left out. Others are for admins.
    pub user_id: Option<ID>,
}

fn fraction(field: &str, value: f64) -> Result<f64, ApiError> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(ApiError::invalid(field, "must be between 0 and 1")) }
}
