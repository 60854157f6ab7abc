//! Counters of one entity over one window.

use async_graphql::{Context, Object, SelectionField, SimpleObject};

use crate::{
    analytics::Analytics,
    domain::{
        counting::Counter,
        entity::EntityRef,
        measure::{MeasureKey, Measures, Need, UniqueCount as DomainUniqueCount},
        money::decimal_text,
        window::Window,
    },
    graphql::{
        context::ContextExt,
        definitions,
        error::ApiError,
        guard::OwnerOnly,
        scalars::{CurrencyCode, DateTime, Decimal, Long},
    },
};

/// A half-open stretch of time [from, to).
#[derive(Debug, Clone, SimpleObject)]
pub struct TimeSpan {
    /// The first instant that is included.
    pub from: DateTime,
    /// The first instant that is not included any more.
    pub to: DateTime,
}

impl From<Window> for TimeSpan {
    fn from(window: Window) -> Self {
        Self { from: DateTime::at(window.from_ms), to: DateTime::at(window.to_ms) }
    }
}

/// How far the numbers can be trusted to be complete.
#[derive(Debug, Clone, SimpleObject)]
pub struct Freshness {
    /// When the newest counted event of the platform happened; null while nothing has been counted.
    /// Whatever was acknowledged before the question is counted.
    pub as_of: Option<DateTime>,
    /// Whether the window is still open, so that the numbers can still grow.
    pub is_provisional: bool,
    /// The version of the definitions that the numbers follow, as in `Query.definitions`.
    pub definitions_version: &'static str,
}

impl Freshness {
    pub fn of(analytics: &Analytics, window: Window) -> Self {
        Self {
            as_of: analytics.newest_event_ms().map(DateTime::at),
            is_provisional: window.to_ms > analytics.now_ms(),
            definitions_version: definitions::version(),
        }
    }
}

/// A number of distinct people.
#[derive(Debug, Clone, SimpleObject)]
pub struct UniqueCount {
    /// How many are certain: equal to `lower`.
    pub value: Long,
    /// Whether the number is exact. Whole UTC days are, and whole hours of the last 72; a window that
    /// cuts through an older day is known within bounds.
    pub is_exact: bool,
    /// At least so many.
    pub lower: Long,
    /// At most so many.
    pub upper: Long,
}

impl From<DomainUniqueCount> for UniqueCount {
    fn from(count: DomainUniqueCount) -> Self {
        Self {
            value: Long::of(count.lower),
            is_exact: count.is_exact(),
            lower: Long::of(count.lower),
            upper: Long::of(count.upper),
        }
    }
}

/// Money in one currency; currencies are never added together.
#[derive(Debug, Clone, SimpleObject)]
pub struct Revenue {
    /// The currency of all three amounts.
    pub currency: CurrencyCode,
    /// What remains: gross minus refunded.
    pub amount: Decimal,
    /// What was paid.
    pub gross: Decimal,
    /// What was paid back.
    pub refunded: Decimal,
}

/// Counters of one entity over one window: the same type for totals, timeline points, previous periods
/// and live updates. Every number counts events by the time they happened, and is fresh at once.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub entity: EntityRef,
    pub window: Window,
    /// Whether the viewer sees everything about this entity.
    pub is_own: bool,
    pub measures: Measures,
}

/// Which parts of the answer a selection of `Metrics` fields needs.
pub fn need_of(metrics: &SelectionField<'_>) -> Need {
    let mut need = Need::default();
    for field in metrics.selection_set() {
        let counters: &[Counter] = match field.name() {
            "plays" => &[Counter::Plays],
            "streams" => &[Counter::Streams],
            "skips" => &[Counter::Skips],
            "listeningTimeMs" => &[Counter::ListeningMs],
            "likes" => &[Counter::Likes],
            "unlikes" => &[Counter::Unlikes],
            "shares" => &[Counter::Shares],
            "saves" => &[Counter::Saves],
            "unsaves" => &[Counter::Unsaves],
            "playlistAdds" => &[Counter::PlaylistAdds],
            "follows" => &[Counter::Follows],
            "unfollows" => &[Counter::Unfollows],
            "purchases" => &[Counter::Purchases],
            "refunds" => &[Counter::Refunds],
            "skipRate" => &[Counter::Skips, Counter::Streams],
            "completionRate" => &[Counter::CompletedPlays, Counter::MeasuredPlays],
            "streamsPerListener" => {
                need.listeners = true;
                &[Counter::Streams]
            }
            "listeners" => {
                need.listeners = true;
                &[]
            }
            "revenue" => {
                need.money = true;
                &[]
            }
            _ => &[],
        };
        counters.iter().for_each(|counter| need.counters.insert(*counter));
    }
    need
}

impl Metrics {
    /// Loads what the selection asks about an entity and window.
    pub async fn load(
        ctx: &Context<'_>,
        entity: EntityRef,
        window: Window,
        is_own: bool,
        need: Need,
    ) -> Result<Self, ApiError> {
        let key = MeasureKey { entity: entity.clone(), window, need };
        let measures = ctx.loader().load_one(key).await?.unwrap_or_default();
        Ok(Self { entity, window, is_own, measures })
    }

    fn count(&self, counter: Counter) -> Long {
        Long::of(self.measures.counters[counter])
    }

    fn ratio(&self, part: i64, whole: i64) -> Option<f64> {
        (whole != 0).then(|| part as f64 / whole as f64)
    }
}

/// Counters of one entity over one window: the same type for totals, timeline points, previous periods
/// and live updates. Events count in the window in which they happened, at once when they are acknowledged.
#[Object]
impl Metrics {
    /// What was counted: the window that was asked for, widened to whole quarter-hours.
    async fn span(&self) -> TimeSpan {
        self.window.into()
    }

    /// Playback reports of any length.
    async fn plays(&self) -> Long {
        self.count(Counter::Plays)
    }

    /// Plays of 30 seconds and more, or of unknown length.
    async fn streams(&self) -> Long {
        self.count(Counter::Streams)
    }

    /// Plays that a person ended before 30 seconds. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn skips(&self) -> Long {
        self.count(Counter::Skips)
    }

    /// Time heard in milliseconds, of each play at most the song's length. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn listening_time_ms(&self) -> Long {
        self.count(Counter::ListeningMs)
    }

    /// Distinct identified people with at least one stream. Never summed over windows: a union of sets.
    #[graphql(complexity = "5 + child_complexity")]
    async fn listeners(&self) -> UniqueCount {
        self.measures.listeners.unwrap_or(DomainUniqueCount { lower: 0, upper: 0 }).into()
    }

    /// Likes given, of the thing itself or of a work of the artist; those taken back are not subtracted.
    async fn likes(&self) -> Long {
        self.count(Counter::Likes)
    }

    /// Likes taken back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn unlikes(&self) -> Long {
        self.count(Counter::Unlikes)
    }

    /// Shares of the thing itself or of a work of the artist.
    async fn shares(&self) -> Long {
        self.count(Counter::Shares)
    }

    /// Saves to a library; those taken back are not subtracted.
    async fn saves(&self) -> Long {
        self.count(Counter::Saves)
    }

    /// Saves taken back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn unsaves(&self) -> Long {
        self.count(Counter::Unsaves)
    }

    /// Additions of the song, of a song of the artist, or to the playlist.
    async fn playlist_adds(&self) -> Long {
        self.count(Counter::PlaylistAdds)
    }

    /// Follows; unfollows are not subtracted. Only artists are followed.
    async fn follows(&self) -> Long {
        self.count(Counter::Follows)
    }

    /// Unfollows. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn unfollows(&self) -> Long {
        self.count(Counter::Unfollows)
    }

    /// Orders paid; those paid back are not subtracted. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn purchases(&self) -> Long {
        self.count(Counter::Purchases)
    }

    /// Orders paid back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn refunds(&self) -> Long {
        self.count(Counter::Refunds)
    }

    /// Money by currency, in the order of their codes; empty where none was moved. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }", complexity = "5 + child_complexity")]
    async fn revenue(&self) -> Vec<Revenue> {
        let amount = |minor, currency: &str| Decimal(decimal_text(minor, currency));
        self.measures
            .money
            .iter()
            .map(|(currency, money)| Revenue {
                currency: CurrencyCode(currency.clone()),
                amount: amount(money.gross_minor - money.refunded_minor, currency),
                gross: amount(money.gross_minor, currency),
                refunded: amount(money.refunded_minor, currency),
            })
            .collect()
    }

    /// Streams divided by listeners; null without listeners.
    async fn streams_per_listener(&self) -> Option<f64> {
        let listeners = self.measures.listeners.map_or(0, |listeners| listeners.lower);
        self.ratio(self.measures.counters[Counter::Streams], i64::try_from(listeners).unwrap_or(i64::MAX))
    }

    /// Skips divided by skips and streams together, 0 to 1; null without either. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn skip_rate(&self) -> Option<f64> {
        let skips = self.measures.counters[Counter::Skips];
        self.ratio(skips, skips + self.measures.counters[Counter::Streams])
    }

    /// Plays of which 90 % and more was heard, divided by plays whose length is known, 0 to 1; null
    /// without such plays. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn completion_rate(&self) -> Option<f64> {
        let counters = &self.measures.counters;
        self.ratio(counters[Counter::CompletedPlays], counters[Counter::MeasuredPlays])
    }

    /// The window of the same length immediately before.
    #[graphql(complexity = "5 + child_complexity")]
    async fn previous(&self, ctx: &Context<'_>) -> Result<Metrics, ApiError> {
        let need = need_of(&ctx.field());
        Metrics::load(ctx, self.entity.clone(), self.window.previous(), self.is_own, need).await
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.window)
    }
}
