//! Lists of works: an artist's songs and albums, the songs of an album or a playlist.

use async_graphql::Context;

use super::{
    entity::{Album, Song, is_own},
    ranking::{RankedAlbum, RankedSong},
};
use crate::{
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
        measure,
        ranking::{Among, RankingQuestion},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        guard::forbidden,
        input::{Metric, WindowInput, page_size},
    },
};

/// The most works listed at once.
const WORKS_MAX: usize = 100;

type Placed = (i32, f64, CatalogueEntry);

/// Which works, and by what.
pub struct AskedWorks {
    pub by: Metric,
    pub during: WindowInput,
    pub first: i32,
}

impl AskedWorks {
    /// The songs of an artist, an album or a playlist.
    pub async fn songs(self, ctx: &Context<'_>, of: &CatalogueEntry) -> Result<Vec<RankedSong>, ApiError> {
        let ranked = self.top(ctx, of, EntityKind::Song).await?;
        let song = |(position, value, entry)| RankedSong { position, value, song: Song(entry) };
        Ok(ranked.into_iter().map(song).collect())
    }

    /// The albums of an artist.
    pub async fn albums(self, ctx: &Context<'_>, of: &CatalogueEntry) -> Result<Vec<RankedAlbum>, ApiError> {
        let ranked = self.top(ctx, of, EntityKind::Album).await?;
        let album = |(position, value, entry)| RankedAlbum { position, value, album: Album(entry) };
        Ok(ranked.into_iter().map(album).collect())
    }

    async fn top(self, ctx: &Context<'_>, of: &CatalogueEntry, kind: EntityKind) -> Result<Vec<Placed>, ApiError> {
        let by: measure::Metric = self.by.into();
        if !by.is_public() && !is_own(ctx.viewer(), of) {
            return Err(forbidden(ctx.require_viewer()?, "this metric"));
        }
        let first = page_size(self.first, WORKS_MAX)?;
        let window = ctx.analytics().window(self.during.parse()?, chrono_tz::Tz::UTC);
        let question = RankingQuestion { of: kind, by, window, among: Among::default() };
        // Whose the works are is known of those that are listed: private numbers of others are left out of all.
        let is_of_some = !by.is_public() && ctx.viewer().is_none_or(|viewer| !viewer.owns(None));
        // As many for everybody, so that lists of all lengths are one.
        let depth = if is_of_some { usize::MAX } else { WORKS_MAX };
        let list = ctx.analytics().top_works(&of.entity, &question, depth).await?;
        let ranked = ctx.analytics().ranked(&list, 0..if is_of_some { list.len } else { first }).await?;
        let entries = entries_of(ctx, ranked.iter().map(|ranked| &ranked.entity)).await?;
        let listed = ranked.iter().zip(entries).filter(|(_, entry)| !is_of_some || is_own(ctx.viewer(), entry));
        Ok((1..).zip(listed).take(first).map(|(place, (ranked, entry))| (place, ranked.value as f64, entry)).collect())
    }
}

/// The catalogue's entries of entities, in their order.
pub async fn entries_of(
    ctx: &Context<'_>,
    entities: impl Iterator<Item = &EntityRef> + Clone,
) -> Result<Vec<CatalogueEntry>, ApiError> {
    let entities = entities.cloned();
    let mut entries = ctx.loader().load_many(entities.clone()).await?;
    Ok(entities.map(|entity| entries.remove(&entity).unwrap_or_else(|| CatalogueEntry::bare(entity))).collect())
}
