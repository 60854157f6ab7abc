//! How a song or an album took off.

use async_graphql::{Context, SimpleObject};

use super::{measurable::Measurable, metrics::UniqueCount, works::entries_of};
use crate::{
    analytics::{RELEASE_DAYS_MAX, ReleaseQuestion},
    domain::{
        catalogue::CatalogueEntry,
        entity::EntityKind,
        window::{DAY_MS, Grain},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        scalars::{Date, Long},
    },
};

/// A release beside the earlier ones of its artist.
#[derive(Debug, Clone, SimpleObject)]
pub struct ReleaseComparison {
    /// Its own curve.
    pub curve: ReleaseCurve,
    /// Those of the same kind that its first main artist released before it, as far as they were first streamed on an
    /// earlier UTC day: the newest five, the newest first. Theirs is what has them as a main artist or remixer.
    pub earlier: Vec<ReleaseCurve>,
}

/// What a release had reached after each day.
#[derive(Debug, Clone, SimpleObject)]
pub struct ReleaseCurve {
    /// The song or album.
    pub node: Measurable,
    /// The UTC day of its first stream: day 0. A late event of an earlier day moves it.
    pub first_streamed_on: Date,
    /// Day after day from day 0, up to today: days that have not begun are left out.
    pub points: Vec<ReleasePoint>,
}

/// What a release had reached by the end of a UTC day.
#[derive(Debug, Clone, SimpleObject)]
pub struct ReleasePoint {
    /// How many days after that of the first stream, which is 0.
    pub day: i32,
    /// The UTC day.
    pub on: Date,
    /// Whether the day has ended; the last point's may not have, and its numbers are those so far.
    pub is_complete: bool,
    /// All streams from day 0 to the end of the day: of an album, those of its songs wherever played.
    pub streams: Long,
    /// Those of an album's streams that were played from it; null for songs.
    pub direct_streams: Option<Long>,
    /// Distinct signed-in listeners from day 0 to the end of the day.
    pub listeners: UniqueCount,
}

/// The curves of a song or an album; nothing where it was never streamed.
pub async fn comparison(
    ctx: &Context<'_>,
    entry: &CatalogueEntry,
    days: i32,
) -> Result<Option<ReleaseComparison>, ApiError> {
    let days = usize::try_from(days).ok().filter(|days| (1..=RELEASE_DAYS_MAX).contains(days));
    let days = days.ok_or_else(|| ApiError::invalid("days", format!("must be between 1 and {RELEASE_DAYS_MAX}")))?;
    let question = ReleaseQuestion { entity: entry.entity.clone(), artist_id: entry.artist_id().cloned(), days };
    let Some(releases) = ctx.loader().load_one(question).await? else { return Ok(None) };
    let curves: Vec<_> = std::iter::once(releases.own).chain(releases.earlier).collect();
    let entries = entries_of(ctx, curves.iter().map(|curve| &curve.entity)).await?;
    let mut curves = curves.into_iter().zip(entries).map(|(curve, entry)| ReleaseCurve::of(ctx, curve, entry));
    Ok(curves.next().map(|curve| ReleaseComparison { curve, earlier: curves.collect() }))
}

impl ReleaseCurve {
    fn of(ctx: &Context<'_>, curve: crate::analytics::ReleaseCurve, entry: CatalogueEntry) -> Self {
        let today = Grain::Day.bucket_of(ctx.analytics().now_ms());
        let is_album = entry.entity.kind == EntityKind::Album;
        let points = (0..).zip(&curve.points).map(|(number, point)| {
            let day = curve.first_day + i64::from(number) * DAY_MS;
            ReleasePoint {
                day: number,
                on: Date::at(day),
                is_complete: day < today,
                streams: Long::of(point.streams),
                direct_streams: is_album.then(|| Long::of(point.direct_streams)),
                listeners: UniqueCount::exact(point.listeners, day == today),
            }
        });
        Self { first_streamed_on: Date::at(curve.first_day), points: points.collect(), node: entry.into() }
    }
}
