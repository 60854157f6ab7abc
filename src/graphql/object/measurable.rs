//! What songs, albums, playlists and artists have in common.

// Two fields of the interface have arguments of the same name; the lint takes these for one attribute's.
#![allow(clippy::duplicated_attributes)]

use async_graphql::{ID, Interface};

use super::{
    chart::ChartEntry,
    entity::{Album, Artist, Playlist, Song},
    metrics::{Metrics, UniqueCount},
    people::{Audience, Market, Share},
    ranking::Rank,
    realtime::Realtime,
    recommendation::Recommendation,
    timeline::Timeline,
};
use crate::{
    domain::{catalogue::CatalogueEntry, entity::EntityKind},
    graphql::{
        input::{Cadence, Dimension, Granularity, Metric, WindowInput},
        scalars::{CountryCode, Date, TimeZone},
    },
};

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
        ),
        arg(
            name = "country",
            ty = "Option<CountryCode>",
            desc = "Only what happened in this country; for the artist and admins."
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
        ),
        arg(
            name = "country",
            ty = "Option<CountryCode>",
            desc = "Only what happened in this country; for the artist and admins."
        )
    ),
    field(
        name = "monthly_listeners",
        ty = "UniqueCount",
        desc = "Distinct listeners of the 28 UTC days that end with a day.",
        arg(
            name = "on",
            ty = "Option<Date>",
            desc = "The last of the days; today, whose number is provisional, if left out."
        )
    ),
    field(
        name = "breakdown",
        ty = "Vec<Share>",
        desc = "A metric by country, source or device, highest first. For the artist and admins.",
        arg(name = "by", ty = "Dimension", desc = "By what."),
        arg(name = "of", ty = "Metric", default_with = "Metric::Streams", desc = "Which metric."),
        arg(
            name = "during",
            ty = "WindowInput",
            default_with = "WindowInput::days(28)",
            desc = "Which stretch of time."
        ),
        arg(name = "first", ty = "i32", default = 10, desc = "How many parts, 1 to 300.")
    ),
    field(
        name = "top_markets",
        ty = "Vec<Market>",
        desc = "The countries in which people listen. For the artist and admins.",
        arg(
            name = "during",
            ty = "WindowInput",
            default_with = "WindowInput::days(28)",
            desc = "Which stretch of time."
        ),
        arg(name = "first", ty = "i32", default = 10, desc = "How many, 1 to 300.")
    ),
    field(
        name = "audience",
        ty = "Option<Audience>",
        desc = "The people who listened, at the end of a UTC day. For the artist and admins.",
        arg(
            name = "on",
            ty = "Option<Date>",
            desc = "The last day; today, whose numbers are provisional, if left out."
        ),
        arg(name = "country", ty = "Option<CountryCode>", desc = "Only what people heard in this country.")
    ),
    field(
        name = "rank",
        ty = "Rank",
        desc = "Where it stands among all of its kind. Metrics that are not public are for admins.",
        arg(name = "by", ty = "Metric", default_with = "Metric::Streams", desc = "By which metric."),
        arg(
            name = "during",
            ty = "WindowInput",
            default_with = "WindowInput::days(7)",
            desc = "Which stretch of time."
        )
    ),
    field(
        name = "chart_history",
        ty = "Vec<ChartEntry>",
        desc = "The newest charts that it was on, the newest first: of the whole platform, or of one genre or country; none for playlists.",
        arg(name = "cadence", ty = "Cadence", default_with = "Cadence::Weekly", desc = "Which charts."),
        arg(name = "genre", ty = "Option<String>", desc = "The charts of this genre."),
        arg(name = "country", ty = "Option<CountryCode>", desc = "The charts of this country."),
        arg(name = "first", ty = "i32", default = 12, desc = "How many, 1 to 200.")
    ),
    field(
        name = "similar",
        ty = "Vec<Recommendation>",
        desc = "What the same people listen to, of the same kind, the most alike first.",
        arg(name = "first", ty = "i32", default = 10, desc = "How many, 1 to 100."),
        arg(
            name = "other_artists",
            ty = "bool",
            default = false,
            desc = "Whether works of the same artists are left out."
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
            _ => Artist(entry).into(),
        }
    }
}
