//! Songs, albums, playlists and artists.

use std::sync::Arc;

use async_graphql::{Context, ID, Object};

use super::{
    catalogue::Credit,
    chart::{self, ChartEntry},
    metrics::{Metrics, Subject, UniqueCount, need_of},
    people::{self, Audience, Market, Overlap, Share},
    ranking::{Rank, RankedAlbum, RankedSong, require_rankable},
    realtime::Realtime,
    recommendation::{self, Recommendation},
    release::{self, ReleaseComparison},
    retention::{AskedRetention, FirstStream, RetentionMode, RetentionTable},
    timeline::{Timeline, bucket_estimate, cut},
    works::AskedWorks,
};
use crate::{
    analytics::Who,
    domain::{
        catalogue::CatalogueEntry,
        counting::Part,
        entity::{EntityKind, EntityRef},
        measure::Metric as DomainMetric,
        ranking::{Among, RankingQuestion},
        viewer::Viewer,
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        guard::forbidden,
        input::{Cadence, Dimension, Granularity, Metric, WindowInput, page_size},
        scalars::{CountryCode, Date, Long, TimeZone},
    },
};

/// The days of monthly listeners.
const MONTH_DAYS: i64 = 28;

/// Whether everything about an entry is open to the viewer: it is theirs, or they are an admin. A playlist's
/// songs are many artists'; its private numbers are nobody's but the platform's.
pub fn is_own(viewer: Option<&Viewer>, entry: &CatalogueEntry) -> bool {
    viewer.is_some_and(|viewer| viewer.owns(None) || entry.owners.iter().any(|owner| viewer.owns(Some(owner))))
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
    country: Option<CountryCode>,
) -> Result<Metrics, ApiError> {
    let window = ctx.analytics().window(during.parse()?, zone.0);
    Metrics::load(ctx, subject(ctx, entry, country)?, window, need_of(&ctx.field())).await
}

/// Whose numbers are asked for. Those of one country are for the owner and admins.
fn subject(ctx: &Context<'_>, entry: &CatalogueEntry, country: Option<CountryCode>) -> Result<Subject, ApiError> {
    let is_own = is_own(ctx.viewer(), entry);
    let country = country.map(|country| country.parse("country")).transpose()?;
    if country.is_some() && !is_own {
        return Err(forbidden(ctx.require_viewer()?, "a country's part"));
    }
    Ok(Subject { entity: entry.entity.clone(), country, is_own })
}

fn timeline(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    during: WindowInput,
    every: Granularity,
    zone: TimeZone,
    country: Option<CountryCode>,
) -> Result<Timeline, ApiError> {
    let (window, buckets) = cut(ctx, during, every, zone)?;
    Ok(Timeline { subject: subject(ctx, entry, country)?, every, zone, window, buckets })
}

fn realtime(ctx: &Context<'_>, entry: &CatalogueEntry) -> Realtime {
    Realtime::now(ctx, Some(&entry.entity), is_own(ctx.viewer(), entry))
}

/// Makes object types of catalogue entries, each of its attributes, its name and its own fields. The fields in the
/// first braces, those of `Measurable`, are everybody's.
///
/// Every token of an object comes from the same place, its `#[Object]` included: what a field costs is an expression
/// over names that only that place knows.
macro_rules! measurables {
    (@one { $($common:tt)* } [$($attributes:tt)*] $name:ident { $($own:tt)* }) => {
        #[derive(Debug, Clone)]
        pub struct $name(pub CatalogueEntry);

        $($attributes)*
        impl $name {
            $($common)*
            $($own)*
        }
    };
    ($common:tt $($attributes:tt $name:ident $own:tt)*) => {
        $(measurables! { @one $common $attributes $name $own })*
    };
}

impl TimeZone {
    pub const UTC: TimeZone = TimeZone(chrono_tz::Tz::UTC);
}

measurables! {
    {
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
            #[graphql(desc = "Only what happened in this country; for the artist and admins.")]
            country: Option<CountryCode>,
        ) -> Result<Metrics, ApiError> {
            metrics(ctx, &self.0, during, time_zone, country).await
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
            #[graphql(desc = "Only what happened in this country; for the artist and admins.")]
            country: Option<CountryCode>,
        ) -> Result<Timeline, ApiError> {
            timeline(ctx, &self.0, during, every, time_zone, country)
        }

        /// The newest charts that it was on, the newest first: of the whole platform, or of one genre or country; none
        /// for playlists.
        #[graphql(complexity = "10 + first.clamp(0, 200) as usize * child_complexity")]
        pub async fn chart_history(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "Which charts.", default_with = "Cadence::Weekly")] cadence: Cadence,
            #[graphql(desc = "The charts of this genre.")] genre: Option<String>,
            #[graphql(desc = "The charts of this country.")] country: Option<CountryCode>,
            #[graphql(desc = "How many, 1 to 200.", default = 12)] first: i32,
        ) -> Result<Vec<ChartEntry>, ApiError> {
            chart::history(ctx, &self.0.entity, cadence, genre, country, first).await
        }

        /// What the same people listen to, of the same kind, the most alike first. `score` is the cosine of what its and
        /// their listeners took to (likes, saves and streams to the end weigh more than streams, skips less), with 4 added
        /// to the divisor. What fewer than five listeners have in common (or as many as the operator has chosen) is left
        /// out. Where that is not enough, what was streamed most in seven days of its genres follows, then of all, with
        /// score 0. Of what is told by listening, as far as the last run of the job; without what the listener who asks
        /// has dismissed.
        #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
        pub async fn similar(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
            #[graphql(desc = "Whether works of the same artists are left out.", default = false)]
            other_artists: bool,
        ) -> Result<Vec<Recommendation>, ApiError> {
            recommendation::similar(ctx, &self.0, first, other_artists).await
        }

        /// What happens to it right now. Plays are for listeners too, listeners for the artist and admins.
        pub async fn realtime(&self, ctx: &Context<'_>) -> Realtime {
            realtime(ctx, &self.0)
        }

        /// Distinct listeners of the 28 UTC days that end with a day.
        #[graphql(complexity = "5 + child_complexity")]
        pub async fn monthly_listeners(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "The last of the days; today, whose number is provisional, if left out.")]
            on: Option<Date>,
        ) -> Result<UniqueCount, ApiError> {
            monthly_listeners(ctx, &self.0, on).await
        }

        /// A metric by country, source or device, highest first. For the artist and admins. To artists, parts
        /// behind which fewer than five people stand are told together as `OTHER`.
        #[graphql(complexity = "30 + child_complexity")]
        pub async fn breakdown(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "By what.")] by: Dimension,
            #[graphql(desc = "Which metric.", default_with = "Metric::Streams")] of: Metric,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")]
            during: WindowInput,
            #[graphql(desc = "How many parts, 1 to 300.", default = 10)] first: i32,
        ) -> Result<Vec<Share>, ApiError> {
            breakdown(ctx, &self.0, by, of, during, first).await
        }

        /// The countries in which people listen: by listeners, then streams. For the artist and admins. To
        /// artists, countries of fewer than five people are told together.
        #[graphql(complexity = "30 + child_complexity")]
        pub async fn top_markets(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")]
            during: WindowInput,
            #[graphql(desc = "How many, 1 to 300.", default = 10)] first: i32,
        ) -> Result<Vec<Market>, ApiError> {
            top_markets(ctx, &self.0, during, first).await
        }

        /// The people who listened, at the end of a UTC day. For the artist and admins. Null for artists who ask
        /// about a country with fewer than five people.
        #[graphql(complexity = "50 + child_complexity")]
        pub async fn audience(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "The last day; today, whose numbers are provisional, if left out.")]
            on: Option<Date>,
            #[graphql(desc = "Only what people heard in this country.")] country: Option<CountryCode>,
        ) -> Result<Option<Audience>, ApiError> {
            let subject = own_subject(ctx, &self.0, country)?;
            people::audience(ctx, &subject.entity, subject.country, on).await
        }

        /// Which listeners come back: cohorts by the period of their first stream. For the artist and admins.
        #[graphql(complexity = "100 + bucket_estimate(&during, cohort_by).saturating_mul(child_complexity) / 10")]
        #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
        pub async fn retention(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "The cohorts of the periods that begin in it.", default_with = "WindowInput::days(84)")]
            during: WindowInput,
            #[graphql(desc = "How long a period is, a day or more.", default_with = "Granularity::Week")]
            cohort_by: Granularity,
            #[graphql(desc = "When somebody has come back.", default_with = "RetentionMode::OnPeriod")]
            mode: RetentionMode,
            #[graphql(desc = "How many periods after a cohort's own, 1 to 100.", default = 12)] periods: i32,
            #[graphql(desc = "Only people who began so; for artists nobody where these are fewer than five (or as many as the operator has chosen).")]
            first_stream: Option<FirstStream>,
            #[graphql(desc = "The zone whose calendar cuts the periods.", default_with = "TimeZone::UTC")]
            time_zone: TimeZone,
        ) -> Result<RetentionTable, ApiError> {
            let who = Who::ListenersOf(own_subject(ctx, &self.0, None)?.entity);
            let (start, back, zone) = (who.clone(), who, time_zone);
            AskedRetention { start, back, cohort_by, during, mode, periods, zone, first_stream }.answer(ctx).await
        }

        /// Where it stands among all of its kind, in the order of `ranking`. Metrics that are not public are for
        /// admins: it compares everybody.
        #[graphql(complexity = "50 + child_complexity")]
        pub async fn rank(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "By which metric.", default_with = "Metric::Streams")] by: Metric,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(7)")] during: WindowInput,
        ) -> Result<Rank, ApiError> {
            let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
            let (of, by) = (self.0.entity.kind, require_rankable(ctx, by)?);
            let question = RankingQuestion { of, by, window, among: Among::default() };
            Ok(Rank { question, entity: self.0.entity.clone() })
        }
    }

    [/// A song.
    #[Object]] Song {
        /// Its main artist, the first where there are several; null while neither the catalogue nor an event named one.
        async fn artist(&self, ctx: &Context<'_>) -> Result<Option<Artist>, ApiError> {
            related(ctx, EntityKind::Artist, self.0.artist_id(), Artist).await
        }

        /// All its main artists, in the catalogue's order. Each of them has every count whole.
        async fn artists(&self, ctx: &Context<'_>) -> Result<Vec<Artist>, ApiError> {
            artists(ctx, self.0.main_artist_ids()).await
        }

        /// Everybody who takes part, main artists first, then remixers, then featured artists.
        async fn credits(&self, ctx: &Context<'_>) -> Result<Vec<Credit>, ApiError> {
            credits(ctx, &self.0).await
        }

        /// The album it is on; null while neither the catalogue nor an event named one.
        async fn album(&self, ctx: &Context<'_>) -> Result<Option<Album>, ApiError> {
            related(ctx, EntityKind::Album, self.0.album_id.as_ref(), Album).await
        }

        /// Its genres in alphabetical order: the catalogue's, or else the first that an event named.
        async fn genres(&self) -> Vec<&str> {
            self.0.genres.iter().map(|genre| &**genre).collect()
        }

        /// How long it is, in milliseconds; null while nobody said.
        async fn duration_ms(&self) -> Option<Long> {
            self.0.duration_ms.map(Long::of)
        }

        /// The day it was released; null while the catalogue does not say.
        async fn released_on(&self) -> Option<Date> {
            self.0.released_on.map(Date)
        }

        /// How it took off: streams and listeners by day since it was first streamed, beside its artist's earlier
        /// songs; null while nobody has streamed it. For everybody.
        #[graphql(complexity = "50 + days.clamp(0, 365) as usize * child_complexity / 2")]
        async fn release_curve(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "How many days from the first, 1 to 365.", default = 28)] days: i32,
        ) -> Result<Option<ReleaseComparison>, ApiError> {
            release::comparison(ctx, &self.0, days).await
        }
    }

    [/// An album or other release.
    #[Object]] Album {
        /// Its main artist, the first where there are several; null while neither the catalogue nor an event named one.
        async fn artist(&self, ctx: &Context<'_>) -> Result<Option<Artist>, ApiError> {
            related(ctx, EntityKind::Artist, self.0.artist_id(), Artist).await
        }

        /// All its main artists, in the catalogue's order. Each of them has every count whole.
        async fn artists(&self, ctx: &Context<'_>) -> Result<Vec<Artist>, ApiError> {
            artists(ctx, self.0.main_artist_ids()).await
        }

        /// Everybody who takes part, main artists first, then remixers, then featured artists.
        async fn credits(&self, ctx: &Context<'_>) -> Result<Vec<Credit>, ApiError> {
            credits(ctx, &self.0).await
        }

        /// Its genres in alphabetical order: the catalogue's, or else those that events named with its songs, up to 20.
        async fn genres(&self) -> Vec<&str> {
            self.0.genres.iter().map(|genre| &**genre).collect()
        }

        /// The day it was released; null while the catalogue does not say.
        async fn released_on(&self) -> Option<Date> {
            self.0.released_on.map(Date)
        }

        /// The songs that the catalogue has on it, by all that happened to them: highest first, ties by listeners, then
        /// id; songs with nothing are left out.
        #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
        async fn songs(
            &self,
            ctx: &Context<'_>,
            #[graphql(
                desc = "By which metric. Those that are not public are for the artist, who sees their own songs, and admins.",
                default_with = "Metric::Streams"
            )]
            by: Metric,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
            #[graphql(desc = "How many, 1 to 100.", default = 20)] first: i32,
        ) -> Result<Vec<RankedSong>, ApiError> {
            AskedWorks { by, during, first }.songs(ctx, &self.0).await
        }

        /// How it took off: streams and listeners by day since it was first streamed, beside its artist's earlier
        /// albums; null while nobody has streamed it. For everybody.
        #[graphql(complexity = "50 + days.clamp(0, 365) as usize * child_complexity / 2")]
        async fn release_curve(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "How many days from the first, 1 to 365.", default = 28)] days: i32,
        ) -> Result<Option<ReleaseComparison>, ApiError> {
            release::comparison(ctx, &self.0, days).await
        }
    }

    [/// A playlist.
    #[Object]] Playlist {
        /// The songs that the catalogue was given for it, wherever they were played: highest first, ties by listeners,
        /// then id; songs with nothing are left out. Empty while the catalogue was given none: events that add a song
        /// do not say which are still in it.
        #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
        async fn songs(
            &self,
            ctx: &Context<'_>,
            #[graphql(
                desc = "By which metric. Those that are not public are for admins.",
                default_with = "Metric::Streams"
            )]
            by: Metric,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
            #[graphql(desc = "How many, 1 to 100.", default = 20)] first: i32,
        ) -> Result<Vec<RankedSong>, ApiError> {
            AskedWorks { by, during, first }.songs(ctx, &self.0).await
        }
    }

    [/// An artist, with everything credited to them.
    #[Object]] Artist {
        /// Counters of what they are featured on, over a window: plays and the rest of songs and albums of others,
        /// whole, and not part of `metrics`. Public counters are for listeners too, the rest belongs to the main
        /// artists of many works and is for admins.
        pub async fn featured_metrics(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
            #[graphql(desc = "The zone that calendar periods are meant in.", default_with = "TimeZone::UTC")]
            time_zone: TimeZone,
        ) -> Result<Metrics, ApiError> {
            let window = ctx.analytics().window(during.parse()?, time_zone.0);
            let entity = EntityRef { kind: EntityKind::FeaturedArtist, id: self.0.entity.id.clone() };
            let is_own = ctx.viewer().is_some_and(|viewer| viewer.owns(None));
            let subject = Subject { entity, country: None, is_own };
            Metrics::load(ctx, subject, window, need_of(&ctx.field())).await
        }

        /// Their genres in alphabetical order: the catalogue's, or else those that events named with their songs, up
        /// to 20.
        async fn genres(&self) -> Vec<&str> {
            self.0.genres.iter().map(|genre| &**genre).collect()
        }

        /// How many follow them at the end of a UTC day: follows minus unfollows since the beginning. For everybody.
        #[graphql(complexity = "10")]
        async fn followers(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "The day; today, as far as it has come, if left out.")] on: Option<Date>,
        ) -> Result<Long, ApiError> {
            let day = people::day_of(ctx, on)?;
            people::followers(ctx, subject(ctx, &self.0, None)?, day).await
        }

        /// How many of their listeners are another artist's too. For the artist, who sees shares, and admins; null
        /// where the other artist is not known.
        #[graphql(complexity = "60 + child_complexity")]
        async fn audience_overlap(
            &self,
            ctx: &Context<'_>,
            #[graphql(desc = "The other artist's id.")] with: ID,
            #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        ) -> Result<Option<Overlap>, ApiError> {
            let these = own_subject(ctx, &self.0, None)?.entity;
            let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
            let Some(other) = find_entry(ctx, &EntityRef::new(EntityKind::Artist, with.0)).await? else {
                return Ok(None);
            };
            people::overlap(ctx, &these, &other.entity, window).await.map(Some)
        }

        /// Their songs, highest first, ties by listeners, then id; songs with nothing are left out. Theirs is what has
        /// them as a main artist or remixer.
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
            AskedWorks { by, during, first }.songs(ctx, &self.0).await
        }

        /// Their albums, highest first, ties by listeners, then id; albums with nothing are left out. Theirs is what
        /// has them as a main artist or remixer.
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
            AskedWorks { by, during, first }.albums(ctx, &self.0).await
        }
    }
}

/// Whose numbers are asked for, where they are for the owner and admins alone.
fn own_subject(ctx: &Context<'_>, entry: &CatalogueEntry, country: Option<CountryCode>) -> Result<Subject, ApiError> {
    let subject = subject(ctx, entry, country)?;
    if !subject.is_own {
        return Err(forbidden(ctx.require_viewer()?, "this field"));
    }
    Ok(subject)
}

async fn monthly_listeners(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    on: Option<Date>,
) -> Result<UniqueCount, ApiError> {
    let window = people::days_to(people::day_of(ctx, on)?, MONTH_DAYS);
    let need = DomainMetric::Listeners.need();
    let metrics = Metrics::load(ctx, subject(ctx, entry, None)?, window, need).await?;
    Ok(UniqueCount::exact(metrics.measures.people.of(Part::Listener), window.to_ms > ctx.analytics().now_ms()))
}

async fn breakdown(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    by: Dimension,
    of: Metric,
    during: WindowInput,
    first: i32,
) -> Result<Vec<Share>, ApiError> {
    let entity = own_subject(ctx, entry, None)?.entity;
    let first = page_size(first, people::ORIGINS_MAX)?;
    let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
    people::breakdown(ctx, &entity, by.into(), of.into(), window, first).await
}

async fn top_markets(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    during: WindowInput,
    first: i32,
) -> Result<Vec<Market>, ApiError> {
    let entity = own_subject(ctx, entry, None)?.entity;
    let first = page_size(first, people::ORIGINS_MAX)?;
    let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
    people::markets(ctx, &entity, window, first).await
}

async fn related<T>(
    ctx: &Context<'_>,
    kind: EntityKind,
    id: Option<&Arc<str>>,
    make: impl Fn(CatalogueEntry) -> T,
) -> Result<Option<T>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    Ok(find_entry(ctx, &EntityRef { kind, id: id.clone() }).await?.map(make))
}

async fn artists(ctx: &Context<'_>, ids: impl Iterator<Item = &Arc<str>>) -> Result<Vec<Artist>, ApiError> {
    let artists: Vec<EntityRef> = ids.map(|id| EntityRef { kind: EntityKind::Artist, id: id.clone() }).collect();
    let mut entries = ctx.loader().load_many(artists.iter().cloned()).await?;
    let entry = |artist| entries.remove(&artist).unwrap_or_else(|| CatalogueEntry::bare(artist));
    Ok(artists.into_iter().map(entry).map(Artist).collect())
}

async fn credits(ctx: &Context<'_>, entry: &CatalogueEntry) -> Result<Vec<Credit>, ApiError> {
    let artists = artists(ctx, entry.credits.iter().map(|credit| &credit.artist_id)).await?;
    let roles = entry.credits.iter().map(|credit| credit.role.into());
    Ok(artists.into_iter().zip(roles).map(|(artist, role)| Credit { artist, role }).collect())
}
