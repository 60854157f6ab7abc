//! Who listens and from where: markets, breakdowns, the audience and how it overlaps.

use std::{cmp::Reverse, sync::Arc};

use async_graphql::{Context, SimpleObject};

use super::metrics::{Subject, UniqueCount, ratio};
use crate::{
    analytics::{self, AudienceQuestion, OriginNumbers, OriginsQuestion},
    domain::{
        counting::{Part, Parts},
        entity::EntityRef,
        folding,
        measure::Metric,
        origin::{Dimension, country_name},
        viewer::Role,
        window::{DAY_MS, Grain, Window},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        scalars::{CountryCode, Date, Long},
    },
};

/// The longest list of parts or markets: there are 249 countries.
pub const ORIGINS_MAX: usize = 300;

/// A part of a number that is broken down.
#[derive(Debug, Clone, SimpleObject)]
pub struct Share {
    /// The country's code, the source's or the device's name; `UNKNOWN` where events do not say; `OTHER` for what is
    /// told together because few people stand behind each part.
    pub key: String,
    /// The key for people to read.
    pub label: String,
    /// The part's value: a count, distinct people, or milliseconds of listening time.
    pub value: f64,
    /// Its part of the whole, 0 to 1. Of listeners, who may have used several: their part of all listeners.
    pub share: f64,
}

/// A country in which people listen.
#[derive(Debug, Clone, SimpleObject)]
pub struct Market {
    /// The country; null where plays do not say, and for small markets that are told together.
    pub country: Option<CountryCode>,
    /// Whether it is several small markets together: to artists, those of fewer than five people are.
    pub is_folded: bool,
    /// Distinct people with a stream there.
    pub listeners: UniqueCount,
    /// Streams there.
    pub streams: Long,
    /// Its part of all listeners of the window, 0 to 1. Who listened in two countries counts in both.
    pub listener_share: Option<f64>,
    /// Its part of all streams of the window, 0 to 1.
    pub stream_share: Option<f64>,
    /// The listener share divided by the country's part of the platform's listeners on the same UTC days: above 1,
    /// the music is more at home there than music is. Null where the country is not known. The platform's part is up to
    /// a minute old.
    pub affinity: Option<f64>,
}

/// From when on people count as what.
#[derive(Debug, Clone, Copy, SimpleObject)]
pub struct AudienceThresholds {
    /// Active streams in the stretch from which on a listener is moderate.
    pub moderate_min: i32,
    /// Active streams in the stretch from which on a listener is a super listener.
    pub super_min: i32,
    /// The stretch that makes people active, new, returning or reactivated, in days.
    pub active_days: i32,
    /// The stretch that makes people part of the audience, in days.
    pub audience_days: i32,
    /// Days without a stream after which somebody who comes back is reactivated.
    pub reactivated_days: i32,
}

/// The people who listened, at the end of a UTC day. Active, previously active and programmed listeners together are
/// the total; super, moderate and light listeners together are the active; new and returning together are everybody
/// of the last 28 days.
#[derive(Debug, Clone, SimpleObject)]
pub struct Audience {
    /// The last UTC day that is counted.
    pub on: Date,
    /// Distinct listeners of the 730 days.
    pub total: UniqueCount,
    /// Those with a stream from an active source in the last 28 days: artist or release page, search, own library or
    /// playlist.
    pub active: UniqueCount,
    /// Those who were active earlier in the 730 days and are not now.
    pub previously_active: UniqueCount,
    /// Those who were never active: the music was played to them.
    pub programmed: UniqueCount,
    /// Active listeners with many active streams in the 28 days; how many is in `thresholds`.
    pub super_listeners: UniqueCount,
    /// Active listeners between light and super.
    pub moderate: UniqueCount,
    /// Active listeners with few active streams.
    pub light: UniqueCount,
    /// Listeners of the last 28 days whose first stream ever lies in them.
    pub new_listeners: UniqueCount,
    /// Listeners of the last 28 days with an earlier stream.
    pub returning: UniqueCount,
    /// Those of the returning who had not listened in the 90 days before they came back.
    pub reactivated: UniqueCount,
    /// From when on people count as what.
    pub thresholds: AudienceThresholds,
}

/// How many of two artists' listeners are the same people.
#[derive(Debug, Clone, SimpleObject)]
pub struct Overlap {
    /// Distinct people who streamed both. For admins; null for the artist.
    pub shared: Option<UniqueCount>,
    /// They as a part of this artist's listeners, 0 to 1; null without listeners, and for the artist where the shared
    /// are fewer than five.
    pub share_of_this: Option<f64>,
    /// They as a part of the other artist's listeners, likewise.
    pub share_of_that: Option<f64>,
}

pub fn is_admin(ctx: &Context<'_>) -> bool {
    ctx.viewer().is_some_and(|viewer| viewer.role == Role::Admin)
}

async fn origins(
    ctx: &Context<'_>,
    entity: &EntityRef,
    by: Dimension,
    window: Window,
    people: Parts,
) -> Result<Vec<OriginNumbers>, ApiError> {
    let is_folded = !is_admin(ctx);
    let people = if is_folded { Parts::ALL } else { people };
    let question = OriginsQuestion { entity: entity.clone(), by, window, people };
    let numbers = ctx.loader().load_one(question).await?.unwrap_or_default();
    Ok(if is_folded { folding::fold(numbers, ctx.analytics().shown_people_min()) } else { numbers })
}

/// A metric by a dimension, highest first; what is folded or unknown comes last.
pub async fn breakdown(
    ctx: &Context<'_>,
    entity: &EntityRef,
    by: Dimension,
    metric: Metric,
    window: Window,
    first: usize,
) -> Result<Vec<Share>, ApiError> {
    let mut numbers = origins(ctx, entity, by, window, metric.need().parts).await?;
    numbers.retain(|origin| origin.value_of(metric) != 0);
    numbers.sort_by_key(|origin| (origin.value.is_none(), Reverse(origin.value_of(metric)), origin.value.clone()));
    let whole = match metric {
        Metric::Listeners => OriginNumbers::everybody(&numbers),
        Metric::Counter(_) => numbers.iter().map(|origin| origin.value_of(metric)).sum(),
    };
    let share = |origin: &OriginNumbers| {
        let value = origin.value_of(metric);
        let (key, label) = names(origin, by);
        Share { key, label, value: value as f64, share: ratio(value, whole).unwrap_or(0.0) }
    };
    Ok(numbers.iter().take(first).map(share).collect())
}

fn names(origin: &OriginNumbers, by: Dimension) -> (String, String) {
    match &origin.value {
        None if origin.is_folded => ("OTHER".to_owned(), "Other".to_owned()),
        None => ("UNKNOWN".to_owned(), "Unknown".to_owned()),
        Some(country) if by == Dimension::Country => (country.to_string(), country_name(country).to_owned()),
        Some(word) => {
            let mut letters = word.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            (word.to_string(), first + &letters.as_str().replace('_', " "))
        }
    }
}

/// Markets by listeners, then streams.
pub async fn markets(
    ctx: &Context<'_>,
    entity: &EntityRef,
    window: Window,
    first: usize,
) -> Result<Vec<Market>, ApiError> {
    let numbers = origins(ctx, entity, Dimension::Country, window, Parts::of(&[Part::Listener])).await?;
    let is_provisional = window.to_ms > ctx.analytics().now_ms();
    let markets = ctx.analytics().markets(numbers, window).await?;
    let market = |market: analytics::Market| Market {
        country: market.country.map(|country| CountryCode(country.to_string())),
        is_folded: market.is_folded,
        listeners: UniqueCount::exact(market.listeners, is_provisional),
        streams: Long::of(market.streams),
        listener_share: market.listener_share,
        stream_share: market.stream_share,
        affinity: market.affinity,
    };
    Ok(markets.into_iter().take(first).map(market).collect())
}

/// The UTC day that a question about a date means; today if left out.
pub fn day_of(ctx: &Context<'_>, on: Option<Date>) -> Result<i64, ApiError> {
    let today = Grain::Day.bucket_of(ctx.analytics().now_ms());
    let Some(Date(date)) = on else { return Ok(today) };
    let day = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    if day > today {
        return Err(ApiError::invalid("on", "lies in the future; ask for today or a day before"));
    }
    Ok(day)
}

/// The audience at the end of a day; nothing where it is of one country and too few people to be shown.
pub async fn audience(
    ctx: &Context<'_>,
    entity: &EntityRef,
    country: Option<Arc<str>>,
    on: Option<Date>,
) -> Result<Option<Audience>, ApiError> {
    let day = day_of(ctx, on)?;
    let is_small_secret = country.is_some() && !is_admin(ctx);
    let question = AudienceQuestion { entity: entity.clone(), country, day };
    let audience = ctx.loader().load_one(question).await?.unwrap_or_default();
    if is_small_secret && audience.total < ctx.analytics().shown_people_min() {
        return Ok(None);
    }
    let is_provisional = day + DAY_MS > ctx.analytics().now_ms();
    let people = |count: u64| UniqueCount::exact(count, is_provisional);
    let thresholds = ctx.analytics().audience_thresholds();
    Ok(Some(Audience {
        on: Date::at(day),
        total: people(audience.total),
        active: people(audience.active),
        previously_active: people(audience.previously_active),
        programmed: people(audience.programmed),
        super_listeners: people(audience.super_listeners),
        moderate: people(audience.moderate),
        light: people(audience.light),
        new_listeners: people(audience.new),
        returning: people(audience.returning),
        reactivated: people(audience.reactivated),
        thresholds: AudienceThresholds {
            moderate_min: i32::try_from(thresholds.moderate_min).unwrap_or(i32::MAX),
            super_min: i32::try_from(thresholds.super_min).unwrap_or(i32::MAX),
            active_days: analytics::ACTIVE_DAYS as i32,
            audience_days: analytics::AUDIENCE_DAYS as i32,
            reactivated_days: analytics::REACTIVATED_DAYS as i32,
        },
    }))
}

/// How an artist's listeners overlap with another's.
pub async fn overlap(
    ctx: &Context<'_>,
    these: &EntityRef,
    those: &EntityRef,
    window: Window,
) -> Result<Overlap, ApiError> {
    let overlap = ctx.analytics().overlap(these, those, window).await?;
    let is_provisional = window.to_ms > ctx.analytics().now_ms();
    let is_shown = is_admin(ctx) || overlap.shared == 0 || overlap.shared >= ctx.analytics().shown_people_min();
    let share = |whole: u64| ratio(overlap.shared as i64, whole as i64).filter(|_| is_shown);
    Ok(Overlap {
        shared: is_admin(ctx).then(|| UniqueCount::exact(overlap.shared, is_provisional)),
        share_of_this: share(overlap.these),
        share_of_that: share(overlap.those),
    })
}

/// A rolling stretch of whole UTC days that ends with a day.
pub fn days_to(day: i64, days: i64) -> Window {
    Window { from_ms: day + DAY_MS - days * DAY_MS, to_ms: day + DAY_MS }
}

/// Follows minus unfollows from the beginning to the end of a day.
pub async fn followers(ctx: &Context<'_>, subject: Subject, day: i64) -> Result<Long, ApiError> {
    use crate::domain::{counting::Counter, measure::Need};

    let need = Need { counters: [Counter::Follows, Counter::Unfollows].into_iter().collect(), ..Need::default() };
    let window = Window { from_ms: ctx.analytics().first_day().min(day), to_ms: day + DAY_MS };
    let measures = ctx.loader().load_one(subject.key(ctx, window, need)).await?.unwrap_or_default();
    Ok(Long::of(measures.counters[Counter::Follows] - measures.counters[Counter::Unfollows]))
}
