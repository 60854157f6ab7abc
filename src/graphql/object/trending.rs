//! What is heard more than usual.

use std::sync::Arc;

use async_graphql::{Context, SimpleObject};

use super::{measurable::Measurable, works::entries_of};
use crate::{
    analytics::{TRENDING_MAX, Trending, TrendingQuestion},
    domain::{trend, viewer::Role},
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{EntityKind, TrendPeriod, page_size},
        scalars::{CountryCode, Long},
    },
};

/// Something that is heard more than usual.
#[derive(Debug, Clone, SimpleObject)]
pub struct TrendingItem {
    /// The logarithm to base 2 of `timesUsual`: 1 is twice the usual, 3 is eight times.
    pub score: f64,
    /// Why it trends: how many times its usual velocity the present one is. Velocities are streams a day, of each
    /// person at most 3 on a UTC day, that count half after a half-life: of 12 hours against 7 days (DAY), of 1 day
    /// against 14 (WEEK), of 4 days against 56 (MONTH). A day's streams are taken as spread evenly over what has
    /// passed of it, and forgotten after 8 half-lives. 5 streams a day are added to both velocities. Streams of which
    /// nobody is known, and totals of older systems, are left out.
    pub times_usual: f64,
    /// Distinct signed-in listeners on the UTC days that the last two fast half-lives touch: with fewer than 5
    /// nothing is listed.
    pub listeners: Long,
    /// What it is.
    pub node: Measurable,
}

/// What a client asks for.
pub struct Asked {
    pub of: EntityKind,
    pub period: TrendPeriod,
    pub genre: Option<String>,
    pub country: Option<CountryCode>,
    pub first: i32,
}

pub async fn trending(ctx: &Context<'_>, asked: Asked) -> Result<Vec<TrendingItem>, ApiError> {
    let first = page_size(asked.first, TRENDING_MAX)?;
    let country = asked.country.map(|country| country.parse("country")).transpose()?;
    let is_admin = ctx.require_viewer()?.role == Role::Admin;
    // A country's numbers are shown where enough people stand behind them.
    let shown_min = if country.is_some() && !is_admin { ctx.analytics().shown_people_min() } else { 0 };
    let question = TrendingQuestion {
        of: asked.of.into(),
        period: asked.period.into(),
        genre: asked.genre.map(Arc::from),
        country,
        listeners_min: shown_min.max(trend::LISTENERS_MIN),
    };
    let listed = ctx.analytics().trending(question).await?;
    let listed = &listed[..first.min(listed.len())];
    let entries = entries_of(ctx, listed.iter().map(|trending| &trending.entity)).await?;
    let item = |(trending, entry): (&Trending, _)| TrendingItem {
        score: trending.trend.score(),
        times_usual: trending.trend.times_usual(),
        listeners: Long::of(trending.listeners),
        node: Measurable::from(entry),
    };
    Ok(listed.iter().zip(entries).map(item).collect())
}
