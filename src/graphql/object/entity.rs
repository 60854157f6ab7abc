//! Songs, albums, playlists and artists.

// Two fields of the interface have arguments of the same name; the lint takes these for one attribute's.
#![allow(clippy::duplicated_attributes)]

use async_graphql::{Context, ID, Interface, Object};

use super::{
    metrics::{Metrics, need_of},
    ranking::{RankedAlbum, RankedSong},
    realtime::Realtime,
    timeline::{BUCKETS_MAX, Timeline},
};
use crate::{
    analytics::{RankedEntity, RankingQuestion},
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
        viewer::Viewer,
        window::{DAY_MS, HOUR_MS},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        guard::forbidden,
        input::{Granularity, Metric, WindowInput, page_size},
        scalars::{Long, TimeZone},
    },
};

/// The most works of one artist listed at once.
const WORKS_MAX: usize = 100;

/// Whether everything about an entry is open to the viewer: it is theirs, or they are an admin.
fn is_own(viewer: Option<&Viewer>, entry: &CatalogueEntry) -> bool {
    let owner = match entry.entity.kind {
        EntityKind::Artist => Some(&entry.entity.id),
        EntityKind::Song | EntityKind::Album => entry.artist_id.as_ref(),
        // A playlist's songs are many artists'; its private numbers are nobody's but the platform's.
        EntityKind::Playlist => None,
    };
    viewer.is_some_and(|viewer| viewer.owns(owner.map(|id| &**id)))
}

/// Whether everything about an entity is open to the viewer, by what the catalogue knows of it.
pub async fn is_own_entity(ctx: &Context<'_>, entity: &EntityRef) -> Result<bool, ApiError> {
    let entry = find_entry(ctx, entity).await?.unwrap_or_else(|| CatalogueEntry::bare(entity.clone()));
    Ok(is_own(ctx.viewer(), &entry))
}

async fn find_entry(ctx: &Context<'_>, entity: &EntityRef) -> Result<Option<CatalogueEntry>, ApiError> {
    ctx.loader().load_one(entity.clone()).await
}

async fn metrics(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    during: WindowInput,
    zone: TimeZone,
) -> Result<Metrics, ApiError> {
    let window = ctx.analytics().window(during.parse()?, zone.0);
    let is_own = is_own(ctx.viewer(), entry);
    Metrics::load(ctx, entry.entity.clone(), window, is_own, need_of(&ctx.field())).await
}

/// About how many buckets a timeline will have; what it costs follows from it.
fn bucket_estimate(during: &WindowInput, every: Granularity) -> usize {
    let length_ms = match during {
        WindowInput::Last(duration) => duration.ms,
        WindowInput::Period(period) => period.length_ms_max(),
        WindowInput::Between(span) => {
            let ends = span.from.readable_ms().zip(span.to.readable_ms());
            ends.map_or(0, |(from_ms, to_ms)| to_ms.saturating_sub(from_ms))
        }
    };
    let bucket_ms = match every {
        Granularity::Hour => HOUR_MS,
        Granularity::Day => DAY_MS,
        Granularity::Week => 7 * DAY_MS,
        Granularity::Month => 28 * DAY_MS,
        Granularity::Year => 365 * DAY_MS,
    };
    usize::try_from(length_ms / bucket_ms + 1).unwrap_or(0).min(BUCKETS_MAX)
}

fn timeline(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    during: WindowInput,
    every: Granularity,
    zone: TimeZone,
) -> Result<Timeline, ApiError> {
    let window = ctx.analytics().window(during.parse()?, zone.0);
    let granularity: crate::domain::window::Granularity = every.into();
    let buckets = granularity.cut(window, zone.0, BUCKETS_MAX).ok_or_else(|| {
        let message = format!("gives more than {BUCKETS_MAX} buckets; ask for a shorter window or longer buckets");
        ApiError::invalid("every", message)
    })?;
    Ok(Timeline { entity: entry.entity.clone(), is_own: is_own(ctx.viewer(), entry), every, zone, window, buckets })
}

fn realtime(ctx: &Context<'_>, entry: &CatalogueEntry) -> Realtime {
    Realtime::now(ctx, Some(&entry.entity), is_own(ctx.viewer(), entry))
}

/// Makes an object type of a catalogue entry: the fields of `Measurable`, and its own.
macro_rules! measurable {
    ($(#[$doc:meta])* impl $name:ident { $($own:tt)* }) => {
        #[derive(Debug, Clone)]
        pub struct $name(pub CatalogueEntry);

        $(#[$doc])*
        #[Object]
        impl $name {
            /// The platform's own id, or a stable id made from the name where events gave no other.
            pub async fn id(&self) -> ID {
                ID(self.0.entity.id.to_string())
            }

            /// Its title or name; null while the catalogue does not know it.
            pub async fn title(&self) -> Option<&str> {
                self.0.title.as_deref()
            }

            /// Its counters over a window. Public counters are for listeners too, the rest for the artist
            /// and admins.
            pub async fn metrics(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")]
                during: WindowInput,
                #[graphql(desc = "The zone that calendar periods are meant in.", default_with = "TimeZone::UTC")]
                time_zone: TimeZone,
            ) -> Result<Metrics, ApiError> {
                metrics(ctx, &self.0, during, time_zone).await
            }

            /// Its counters bucket by bucket.
            #[graphql(complexity = "10 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
            pub async fn timeline(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")]
                during: WindowInput,
                #[graphql(desc = "The buckets' length.", default_with = "Granularity::Day")]
                every: Granularity,
                #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
                time_zone: TimeZone,
            ) -> Result<Timeline, ApiError> {
                timeline(ctx, &self.0, during, every, time_zone)
            }

            /// What happens to it right now. Plays are for listeners too, listeners for the artist and admins.
            pub async fn realtime(&self, ctx: &Context<'_>) -> Realtime {
                realtime(ctx, &self.0)
            }

            $($own)*
        }
    };
}

impl TimeZone {
    pub const UTC: TimeZone = TimeZone(chrono_tz::Tz::UTC);
}

measurable! {
    /// A song.
    impl Song {
        /// Its main artist, as far as events named one.
        async fn artist(&self, ctx: &Context<'_>) -> Result<Option<Artist>, ApiError> {
            related(ctx, EntityKind::Artist, self.0.artist_id.as_ref(), Artist).await
        }

        /// Its album, as far as events named one.
        async fn album(&self, ctx: &Context<'_>) -> Result<Option<Album>, ApiError> {
            related(ctx, EntityKind::Album, self.0.album_id.as_ref(), Album).await
        }

        /// Its genres, as far as events named any.
        async fn genres(&self) -> Vec<&str> {
            self.0.genre.as_deref().into_iter().collect()
        }

        /// How long it is, in milliseconds; null while no event said.
        async fn duration_ms(&self) -> Option<Long> {
            self.0.duration_ms.map(Long::of)
        }
    }
}

measurable! {
    /// An album or other release.
    impl Album {
        /// Its main artist, as far as events named one.
        async fn artist(&self, ctx: &Context<'_>) -> Result<Option<Artist>, ApiError> {
            related(ctx, EntityKind::Artist, self.0.artist_id.as_ref(), Artist).await
        }
    }
}

measurable! {
    /// A playlist.
    impl Playlist {}
}

#[derive(Debug, Clone)]
pub struct Artist(pub CatalogueEntry);

/// An artist, with everything credited to them.
// Written out: a cost that follows a page's length cannot come from inside `measurable!`.
#[Object]
impl Artist {
    /// The platform's own id, or a stable id made from the name where events gave no other.
    pub async fn id(&self) -> ID {
        ID(self.0.entity.id.to_string())
    }

    /// Its title or name; null while the catalogue does not know it.
    pub async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    /// Its counters over a window. Public counters are for listeners too, the rest for the artist
    /// and admins.
    pub async fn metrics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The zone that calendar periods are meant in.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<Metrics, ApiError> {
        metrics(ctx, &self.0, during, time_zone).await
    }

    /// Its counters bucket by bucket.
    #[graphql(complexity = "10 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    pub async fn timeline(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The buckets' length.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<Timeline, ApiError> {
        timeline(ctx, &self.0, during, every, time_zone)
    }

    /// What happens to it right now. Plays are for listeners too, listeners for the artist and admins.
    pub async fn realtime(&self, ctx: &Context<'_>) -> Realtime {
        realtime(ctx, &self.0)
    }

    /// Their songs, highest first, ties by id; songs with nothing are left out.
    #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
    async fn top_songs(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "By which metric. Those that are not public are for the artist and admins.",
            default_with = "Metric::Streams"
        )]
        by: Metric,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<RankedSong>, ApiError> {
        let ranked = top_works(ctx, &self.0, EntityKind::Song, by, during, first).await?;
        Ok(ranked
            .into_iter()
            .map(|(position, value, entry)| RankedSong { position, value, song: Song(entry) })
            .collect())
    }

    /// Their albums, highest first, ties by id; albums with nothing are left out.
    #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
    async fn top_albums(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "By which metric. Those that are not public are for the artist and admins.",
            default_with = "Metric::Streams"
        )]
        by: Metric,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<RankedAlbum>, ApiError> {
        let ranked = top_works(ctx, &self.0, EntityKind::Album, by, during, first).await?;
        Ok(ranked
            .into_iter()
            .map(|(position, value, entry)| RankedAlbum { position, value, album: Album(entry) })
            .collect())
    }
}

async fn related<T>(
    ctx: &Context<'_>,
    kind: EntityKind,
    id: Option<&std::sync::Arc<str>>,
    make: impl Fn(CatalogueEntry) -> T,
) -> Result<Option<T>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    Ok(find_entry(ctx, &EntityRef { kind, id: id.clone() }).await?.map(make))
}

async fn top_works(
    ctx: &Context<'_>,
    artist: &CatalogueEntry,
    kind: EntityKind,
    by: Metric,
    during: WindowInput,
    first: i32,
) -> Result<Vec<(i32, f64, CatalogueEntry)>, ApiError> {
    let metric: crate::domain::measure::Metric = by.into();
    if !metric.is_public() && !is_own(ctx.viewer(), artist) {
        return Err(forbidden(ctx.require_viewer()?, "this metric"));
    }
    let first = page_size(first, WORKS_MAX)?;
    let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
    // As many for everybody, so that lists of all lengths are one.
    let question = RankingQuestion { of: kind, by: metric, window, depth: WORKS_MAX };
    let ranked = ctx.analytics().top_works(&artist.entity.id, question).await?;
    let ranked = &ranked[..first.min(ranked.len())];
    let entries = entries_of(ctx, ranked).await?;
    Ok((1..)
        .zip(ranked)
        .zip(entries)
        .map(|((position, ranked), entry)| (position, ranked.value as f64, entry))
        .collect())
}

/// The catalogue's entries of ranked entities, in their order.
pub async fn entries_of(ctx: &Context<'_>, ranked: &[RankedEntity]) -> Result<Vec<CatalogueEntry>, ApiError> {
    let entities = ranked.iter().map(|ranked| ranked.entity.clone());
    let mut entries = ctx.loader().load_many(entities.clone()).await?;
    Ok(entities.map(|entity| entries.remove(&entity).unwrap_or_else(|| CatalogueEntry::bare(entity))).collect())
}

/// What can be measured: songs, albums, playlists, artists.
#[derive(Debug, Clone, Interface)]
#[graphql(
    field(name = "id", ty = "ID", desc = "The platform's own id, or a stable id made from the name."),
    field(name = "title", ty = "Option<&str>", desc = "Its title or name; null while the catalogue does not know it."),
    field(
        name = "metrics",
        ty = "Metrics",
        desc = "Its counters over a window.",
        arg(
            name = "during",
            ty = "WindowInput",
            default_with = "WindowInput::days(28)",
            desc = "Which stretch of time."
        ),
        arg(
            name = "time_zone",
            ty = "TimeZone",
            default_with = "TimeZone::UTC",
            desc = "The zone that calendar periods are meant in."
        )
    ),
    field(
        name = "timeline",
        ty = "Timeline",
        desc = "Its counters bucket by bucket.",
        arg(
            name = "during",
            ty = "WindowInput",
            default_with = "WindowInput::days(28)",
            desc = "Which stretch of time."
        ),
        arg(name = "every", ty = "Granularity", default_with = "Granularity::Day", desc = "The buckets' length."),
        arg(
            name = "time_zone",
            ty = "TimeZone",
            default_with = "TimeZone::UTC",
            desc = "The zone whose calendar cuts the buckets."
        )
    ),
    field(name = "realtime", ty = "Realtime", desc = "What happens to it right now.")
)]
pub enum Measurable {
    Song(Song),
    Album(Album),
    Playlist(Playlist),
    Artist(Artist),
}

impl From<CatalogueEntry> for Measurable {
    fn from(entry: CatalogueEntry) -> Self {
        match entry.entity.kind {
            EntityKind::Song => Song(entry).into(),
            EntityKind::Album => Album(entry).into(),
            EntityKind::Playlist => Playlist(entry).into(),
            EntityKind::Artist => Artist(entry).into(),
        }
    }
}
