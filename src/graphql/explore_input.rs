//! What a group-by is asked with, and the valid question that it becomes.

use std::{collections::BTreeSet, sync::Arc};

use async_graphql::{Context, Enum, ID, InputObject, Json, MaybeUndefined};

use super::{
    context::ContextExt,
    error::ApiError,
    event_input::{PropertyMatch, readable, types},
    guard::forbidden,
    input::{EntityRef, Granularity, WindowInput, page_size},
    object::{entity::is_own_entity, timeline::cut},
    scalars::{CountryCode, TimeZone},
};
use crate::{
    analytics::{self, ExploreQuestion, Key, NumberOf, OrderBy, Statistic},
    domain::{
        counting::Counter,
        entity,
        origin::Dimension,
        property::PropertyPath,
        viewer::{Role, Viewer},
    },
};

const MEASURES_MAX: usize = 10;
const DIMENSIONS_MAX: usize = 3;
const PROPERTIES_MAX: usize = 10;
const ROWS_MAX: usize = 1_000;

/// What a group's number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Measure {
    /// Events; one with `count` is so many. Column `count`.
    Count,
    /// Plays of 30 seconds and more, or of unknown length. Column `streams`.
    Streams,
    /// Playback reports of any length. Column `plays`.
    Plays,
    /// Plays that a person ended before 30 seconds. Column `skips`.
    Skips,
    /// Time heard in milliseconds, of each play at most the song's length. Column `listeningTimeMs`.
    ListeningTime,
    /// Likes given, without those taken back subtracted. Column `likes`.
    Likes,
    /// Shares. Column `shares`.
    Shares,
    /// Saves to a library, without those taken back subtracted. Column `saves`.
    Saves,
    /// Distinct signed-in users who did any of the events; an event with `count` is nobody's. Column `uniqueUsers`.
    UniqueUsers,
    /// How many events have a number in `property`. Column `numbers:` and the property.
    Numbers,
    /// The sum of these numbers; null without any. Column `sum:` and the property.
    Sum,
    /// Their mean; null without any. Column `avg:` and the property.
    Avg,
    /// The smallest. Column `min:` and the property.
    Min,
    /// The largest. Column `max:` and the property.
    Max,
    /// The number below or at which `percentile` of them lie: exact, by nearest rank, so it is one of them. Column
    /// `p95:` and the property.
    Percentile,
}

/// One number of each row.
#[derive(Debug, Clone, InputObject)]
pub struct ExploreMeasure {
    /// What it is.
    pub measure: Measure,
    /// Where events have the number that is summed, averaged or ranked: a property, with dots one inside others
    /// (`timing.total`), or one of an event's own numbers `playedMs`, `durationMs` and `amount`. What is no number is
    /// passed over. Each event gives its number once, whatever its `count`. Amounts are in units of their currency.
    pub property: Option<String>,
    /// 0 to 1, of PERCENTILE: 0.5 is the median.
    pub percentile: Option<f64>,
}

/// By what rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ExploreKey {
    /// The type of event. Column `type`.
    Type,
    /// The song that events name. Columns `song` and `songTitle`.
    Song,
    /// The album: of a play, the one that the catalogue has the song on. Columns `album` and `albumTitle`.
    Album,
    /// Each main artist and remixer; an event of two counts in both rows. Columns `artist` and `artistTitle`.
    Artist,
    /// The country's code. Column `country`.
    Country,
    /// How listeners came to it. Column `source`.
    Source,
    /// What it was played on. Column `device`.
    Device,
    /// The genre that events were sent with. Column `genre`.
    Genre,
    /// The signed-in user; null for everybody else. For admins. Column `user`.
    User,
    /// The hour of the zone's clock, 0 to 23. Column `hourOfDay`.
    HourOfDay,
    /// The zone's day of the week, from 1 for Monday to 7. Column `weekday`.
    Weekday,
    /// A text, number or boolean among the events' properties: column `properties.` and its path. For admins. Or
    /// `currency`, the event's own, for anybody: column `currency`.
    Property,
}

/// One column by which rows are told apart.
#[derive(Debug, Clone, InputObject)]
pub struct ExploreDimension {
    /// By what.
    pub of: ExploreKey,
    /// Which property, of PROPERTY; with dots one inside others. Lists, objects and what is absent are null.
    pub property: Option<String>,
}

/// Which events are counted: those that are as everything says that is given here.
#[derive(Debug, Clone, Default, InputObject)]
pub struct ExploreFilter {
    /// Of any of these types; 1 to 50.
    pub types: Option<Vec<String>>,
    /// Of this song, album or playlist, or what is merged into it. Of an artist: their catalogue, that is what is
    /// credited to them as main artist or remixer; by song or album, their works with all that was counted for these.
    /// For artists, of what is theirs.
    pub entity: Option<EntityRef>,
    /// From this country.
    pub country: Option<CountryCode>,
    /// From this source.
    pub source: Option<String>,
    /// On this device.
    pub device: Option<String>,
    /// Sent with this genre.
    pub genre: Option<String>,
    /// Of this signed-in user. For admins.
    pub user_id: Option<ID>,
    /// Whose properties equal all of these; at most 10. For admins, except the path `currency`, which is the event's own.
    pub property_equals: Option<Vec<PropertyMatch>>,
}

/// Which way rows are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum SortDirection {
    /// The lowest, the earliest, first.
    Asc,
    /// The highest, the latest, first.
    Desc,
}

/// By which column rows are put in order. Nulls come last; rows that are equal there go by time, then by what they are
/// told apart by.
#[derive(Debug, Clone, InputObject)]
pub struct ExploreOrder {
    /// The column's name as in the answer's `columns`; not a title.
    pub column: String,
    /// Which way.
    #[graphql(default_with = "SortDirection::Desc")]
    pub direction: SortDirection,
}

/// The arguments of a group-by.
pub struct AskedExplore {
    pub measures: Vec<ExploreMeasure>,
    pub by: Vec<ExploreDimension>,
    pub every: Option<Granularity>,
    pub filter: ExploreFilter,
    pub during: WindowInput,
    pub zone: TimeZone,
    pub order: Option<ExploreOrder>,
    pub first: i32,
}

/// A valid question, and what its columns are called.
pub struct NamedQuestion {
    pub question: ExploreQuestion,
    /// The names of `by`, and those of `measures`.
    pub keys: Vec<String>,
    pub measures: Vec<String>,
}

/// The column of time buckets.
pub const TIME: &str = "time";
/// The event's own fields that are asked for like properties.
const CURRENCY: &str = "currency";
const OWN_NUMBERS: [&str; 3] = ["playedMs", "durationMs", "amount"];

impl AskedExplore {
    /// The valid question of this viewer.
    pub async fn ask(self, ctx: &Context<'_>) -> Result<NamedQuestion, ApiError> {
        let viewer = ctx.require_viewer()?;
        check_number("measures", self.measures.len(), 1, MEASURES_MAX)?;
        check_number("by", self.by.len(), 0, DIMENSIONS_MAX)?;
        let first = page_size(self.first, ROWS_MAX)?;
        let (keys, by) = unzip(self.by.iter().map(key))?;
        let (names, measures) = unzip(self.measures.iter().map(measure))?;
        let columns: Vec<&String> = keys.iter().chain(&names).collect();
        if let Some(twice) = columns.iter().enumerate().find(|(place, name)| columns[..*place].contains(name)) {
            return Err(ApiError::invalid("measures", format!("and by give the column {:?} twice; ask once", twice.1)));
        }
        let order = order(self.order, self.every.is_some(), &keys, &names)?;
        let (window, buckets) = match self.every {
            Some(every) => cut(ctx, self.during, every, self.zone).map(|(window, buckets)| (window, Some(buckets)))?,
            None => (ctx.analytics().window(self.during.parse()?, self.zone.0), None),
        };
        let entity: Option<entity::EntityRef> = self.filter.entity.clone().map(Into::into);
        if let Some(entity) = &entity {
            readable("where.entity.id", entity.id.to_string())?;
            if !is_own_entity(ctx, entity).await? {
                return Err(forbidden(viewer, "the catalogue that `where.entity` names"));
            }
        }
        if viewer.role != Role::Admin {
            refuse_people(viewer, &by, &measures, &self.filter)?;
        }
        let (artist, entity) = match entity {
            Some(entity) if entity.kind == entity::EntityKind::Artist => (Some(entity.id), None),
            entity => (None, entity),
        };
        let question = ExploreQuestion {
            measures,
            by,
            buckets,
            zone: self.zone.0,
            filter: self.filter.parse(entity)?,
            window,
            artists: artist.map(|id| BTreeSet::from([id])).or_else(|| own_artists(viewer)),
            order,
            first,
            is_folded: viewer.role != Role::Admin,
        };
        Ok(NamedQuestion { question, keys, measures: names })
    }
}

fn own_artists(viewer: &Viewer) -> Option<BTreeSet<Arc<str>>> {
    (viewer.role != Role::Admin).then(|| viewer.artists.iter().map(|id| Arc::from(id.as_str())).collect())
}

/// What tells single people, or may hold what is told of them, is not for artists.
fn refuse_people(
    viewer: &Viewer,
    by: &[Key],
    measures: &[analytics::Measure],
    filter: &ExploreFilter,
) -> Result<(), ApiError> {
    let of_property = by.iter().any(|key| matches!(key, Key::Property(_)))
        || measures.iter().any(|it| matches!(it, analytics::Measure::Statistic(_, NumberOf::Property(_))))
        || filter.property_equals.iter().flatten().any(|asked| asked.path != CURRENCY);
    if by.contains(&Key::User) || filter.user_id.is_some() {
        return Err(forbidden(viewer, "asking by user"));
    }
    if of_property {
        return Err(forbidden(viewer, "asking for properties of events, which may be personal,"));
    }
    Ok(())
}

impl ExploreFilter {
    fn parse(self, entity: Option<entity::EntityRef>) -> Result<analytics::ExploreFilter, ApiError> {
        let text = |field: &str, text: Option<String>| text.map(|text| readable(field, text)).transpose();
        let mut filter = analytics::ExploreFilter {
            types: self.types.map(types).transpose()?,
            entity,
            country: self.country.map(|country| country.parse("where.country")).transpose()?,
            source: text("where.source", self.source)?,
            device: text("where.device", self.device)?,
            genre: text("where.genre", self.genre)?,
            user_id: text("where.userId", self.user_id.map(|id| id.0))?,
            ..Default::default()
        };
        if filter.user_id.as_deref().is_some_and(|id| id.starts_with('\u{1}')) {
            return Err(ApiError::invalid("where.userId", "is nobody's: ids do not begin with U+0001"));
        }
        let asked = self.property_equals.unwrap_or_default();
        check_number("where.propertyEquals", asked.len(), 0, PROPERTIES_MAX)?;
        for asked in asked {
            if asked.path == CURRENCY {
                let MaybeUndefined::Value(Json(serde_json::Value::String(code))) = asked.value else {
                    let message = "must be an ISO 4217 code such as EUR: currency is the event's own";
                    return Err(ApiError::invalid("where.propertyEquals.value", message));
                };
                filter.currency = Some(readable("where.propertyEquals.value", code)?);
            } else {
                filter.properties.push(asked.parse("where.propertyEquals")?);
            }
        }
        Ok(filter)
    }
}

fn check_number(field: &str, number: usize, min: usize, max: usize) -> Result<(), ApiError> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    Err(ApiError::invalid(field, format!("holds {number}, and must hold {min} to {max}")))
}

fn unzip<T>(named: impl Iterator<Item = Result<(String, T), ApiError>>) -> Result<(Vec<String>, Vec<T>), ApiError> {
    Ok(named.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

fn path(field: &str, path: &str) -> Result<PropertyPath, ApiError> {
    PropertyPath::new(path).map_err(|error| ApiError::invalid(field, error.to_string()))
}

/// The column's name, and by what it tells rows apart.
fn key(dimension: &ExploreDimension) -> Result<(String, Key), ApiError> {
    let (name, key) = match (dimension.of, &dimension.property) {
        (ExploreKey::Property, None) => return Err(ApiError::invalid("by.property", "is missing: name the property")),
        (ExploreKey::Property, Some(property)) if property == CURRENCY => (CURRENCY, Key::Currency),
        (ExploreKey::Property, Some(property)) if OWN_NUMBERS.contains(&&**property) => {
            let message = format!("{property} is a number of the event itself: measure it, or group by its currency");
            return Err(ApiError::invalid("by.property", message));
        }
        (ExploreKey::Property, Some(property)) => {
            return Ok((format!("properties.{property}"), Key::Property(path("by.property", property)?)));
        }
        (_, Some(_)) => return Err(ApiError::invalid("by.property", "is only for PROPERTY; leave it out")),
        (ExploreKey::Type, None) => ("type", Key::Type),
        (ExploreKey::Song, None) => ("song", Key::Entity(entity::EntityKind::Song)),
        (ExploreKey::Album, None) => ("album", Key::Entity(entity::EntityKind::Album)),
        (ExploreKey::Artist, None) => ("artist", Key::Entity(entity::EntityKind::Artist)),
        (ExploreKey::Country, None) => ("country", Key::Origin(Dimension::Country)),
        (ExploreKey::Source, None) => ("source", Key::Origin(Dimension::Source)),
        (ExploreKey::Device, None) => ("device", Key::Origin(Dimension::Device)),
        (ExploreKey::Genre, None) => ("genre", Key::Genre),
        (ExploreKey::User, None) => ("user", Key::User),
        (ExploreKey::HourOfDay, None) => ("hourOfDay", Key::HourOfDay),
        (ExploreKey::Weekday, None) => ("weekday", Key::Weekday),
    };
    Ok((name.to_owned(), key))
}

/// The column's name, and what it holds.
fn measure(asked: &ExploreMeasure) -> Result<(String, analytics::Measure), ApiError> {
    if asked.measure != Measure::Percentile && asked.percentile.is_some() {
        return Err(ApiError::invalid("measures.percentile", "is only for PERCENTILE; leave it out"));
    }
    let (statistic, name) = match asked.measure {
        Measure::Numbers => (Statistic::Numbers, "numbers".to_owned()),
        Measure::Sum => (Statistic::Sum, "sum".to_owned()),
        Measure::Avg => (Statistic::Mean, "avg".to_owned()),
        Measure::Min => (Statistic::Min, "min".to_owned()),
        Measure::Max => (Statistic::Max, "max".to_owned()),
        Measure::Percentile => {
            let part = asked.percentile.filter(|part| (0.0..=1.0).contains(part));
            let message = "must be between 0 and 1: 0.95 for the 95th percentile";
            let part = part.ok_or_else(|| ApiError::invalid("measures.percentile", message))?;
            // As it was written: 0.29 of a hundred is 29, though as floats it is a little less.
            (Statistic::Percentile(part), format!("p{}", (part * 1e8).round() / 1e6))
        }
        plain => return counted(plain, asked.property.is_some()),
    };
    let property = asked.property.as_deref();
    let property = property.ok_or_else(|| ApiError::invalid("measures.property", "is missing: name the property"))?;
    let number = match property {
        "playedMs" => NumberOf::PlayedMs,
        "durationMs" => NumberOf::DurationMs,
        "amount" => NumberOf::Amount,
        CURRENCY => return Err(ApiError::invalid("measures.property", "currency is no number; measure the amount")),
        other => NumberOf::Property(path("measures.property", other)?),
    };
    Ok((format!("{name}:{property}"), analytics::Measure::Statistic(statistic, number)))
}

/// A measure that needs no property.
fn counted(measure: Measure, has_property: bool) -> Result<(String, analytics::Measure), ApiError> {
    let (name, counter) = match measure {
        Measure::Streams => ("streams", Counter::Streams),
        Measure::Plays => ("plays", Counter::Plays),
        Measure::Skips => ("skips", Counter::Skips),
        Measure::ListeningTime => ("listeningTimeMs", Counter::ListeningMs),
        Measure::Likes => ("likes", Counter::Likes),
        Measure::Shares => ("shares", Counter::Shares),
        Measure::Saves => ("saves", Counter::Saves),
        _ => ("count", Counter::Events),
    };
    if has_property {
        return Err(ApiError::invalid("measures.property", "is not for measures that count; leave it out"));
    }
    if measure == Measure::UniqueUsers {
        return Ok(("uniqueUsers".to_owned(), analytics::Measure::UniqueUsers));
    }
    Ok((name.to_owned(), analytics::Measure::Counter(counter)))
}

/// The columns by which rows are ordered: left out, by time and then with the highest of the first measure first.
fn order(
    asked: Option<ExploreOrder>,
    has_time: bool,
    keys: &[String],
    measures: &[String],
) -> Result<Vec<(OrderBy, bool)>, ApiError> {
    let Some(ExploreOrder { column, direction }) = asked else {
        let time = has_time.then_some((OrderBy::Time, false));
        return Ok(time.into_iter().chain([(OrderBy::Measure(0), true)]).collect());
    };
    let place = |names: &[String]| names.iter().position(|name| *name == column);
    let time = Some(OrderBy::Time).filter(|_| has_time && column == TIME);
    let by = time.or_else(|| place(keys).map(OrderBy::Key)).or_else(|| place(measures).map(OrderBy::Measure));
    let by = by.ok_or_else(|| {
        let time = has_time.then_some(TIME);
        let columns: Vec<&str> = time.into_iter().chain(keys.iter().chain(measures).map(String::as_str)).collect();
        ApiError::invalid("orderBy.column", format!("is none of the columns: {}", columns.join(", ")))
    })?;
    Ok(vec![(by, direction == SortDirection::Desc)])
}
