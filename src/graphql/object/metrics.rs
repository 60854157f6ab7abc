//! Counters of one entity over one window.

use std::sync::Arc;

use async_graphql::{Context, Object, SelectionField, SimpleObject};

use crate::{
    analytics::Analytics,
    domain::{
        counting::{Counter, MoneyCounters, Part, Parts},
        entity::EntityRef,
        measure::{Crowd, MeasureKey, Measures, Need},
        money::decimal_text,
        viewer::Role,
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
    /// How many they are.
    pub value: Long,
    /// Whether the number is exact, so that `lower` and `upper` are the value too.
    pub is_exact: bool,
    /// At least so many.
    pub lower: Long,
    /// At most so many.
    pub upper: Long,
    /// Whether the stretch that is counted is still open, so that the number can still grow.
    pub is_provisional: bool,
}

impl UniqueCount {
    /// The size of a set.
    pub fn exact(count: impl TryInto<i64>, is_provisional: bool) -> Self {
        let value = Long::of(count);
        Self { value, is_exact: true, lower: value, upper: value, is_provisional }
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

/// Whose numbers are asked for.
#[derive(Debug, Clone)]
pub struct Subject {
    pub entity: EntityRef,
    /// Only what happened there.
    pub country: Option<Arc<str>>,
    /// Whether the viewer sees everything about this entity.
    pub is_own: bool,
}

impl Subject {
    /// The question about this subject; where small numbers of people are withheld it asks for their size too.
    pub fn key(&self, ctx: &Context<'_>, window: Window, mut need: Need) -> MeasureKey {
        need.crowd.size |= self.withholds(ctx);
        MeasureKey { entity: self.entity.clone(), window, country: self.country.clone(), need }
    }

    /// The answer as the viewer may see it: nothing where fewer people than are shown stand behind it.
    pub fn shown(&self, ctx: &Context<'_>, window: Window, measures: Measures) -> Metrics {
        let is_small = measures.people.size < ctx.analytics().shown_people_min();
        let is_withheld = self.withholds(ctx) && is_small && !measures.is_nothing();
        let measures = if is_withheld { Measures::default() } else { measures };
        Metrics { subject: self.clone(), window, is_withheld, measures }
    }

    fn withholds(&self, ctx: &Context<'_>) -> bool {
        self.country.is_some() && ctx.viewer().is_none_or(|viewer| viewer.role != Role::Admin)
    }
}

/// Counters of one entity over one window, as far as the viewer may see them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub subject: Subject,
    pub window: Window,
    pub is_withheld: bool,
    pub measures: Measures,
}

/// Which parts of the answer a selection of `Metrics` fields needs.
pub fn need_of(metrics: &SelectionField<'_>) -> Need {
    metrics.selection_set().map(|field| need_of_field(field.name())).fold(Need::default(), Need::union)
}

fn need_of_field(name: &str) -> Need {
    let counters = |counters: &[Counter]| Need { counters: counters.iter().copied().collect(), ..Need::default() };
    let parts = |parts: &[Part]| Need { parts: Parts::of(parts), ..Need::default() };
    let crowd = |crowd: Crowd| Need { crowd, ..Need::default() };
    match name {
        "plays" => counters(&[Counter::Plays]),
        "streams" => counters(&[Counter::Streams]),
        "directStreams" => counters(&[Counter::DirectStreams]),
        "skips" => counters(&[Counter::Skips]),
        "listeningTimeMs" => counters(&[Counter::ListeningMs]),
        "likes" => counters(&[Counter::Likes]),
        "unlikes" => counters(&[Counter::Unlikes]),
        "netLikes" => counters(&[Counter::Likes, Counter::Unlikes]),
        "shares" => counters(&[Counter::Shares]),
        "saves" => counters(&[Counter::Saves]),
        "unsaves" => counters(&[Counter::Unsaves]),
        "netSaves" => counters(&[Counter::Saves, Counter::Unsaves]),
        "playlistAdds" => counters(&[Counter::PlaylistAdds]),
        "follows" => counters(&[Counter::Follows]),
        "unfollows" => counters(&[Counter::Unfollows]),
        "netFollows" => counters(&[Counter::Follows, Counter::Unfollows]),
        "purchases" => counters(&[Counter::Purchases]),
        "refunds" => counters(&[Counter::Refunds]),
        "skipRate" => counters(&[Counter::Skips, Counter::Streams]),
        "completionRate" => counters(&[Counter::CompletedPlays, Counter::MeasuredPlays]),
        "revenue" => Need { money: true, ..Need::default() },
        "listeners" => parts(&[Part::Listener]),
        "anonymousListeners" => parts(&[Part::AnonymousListener]),
        "averageDailyListeners" => crowd(Crowd { daily: true, ..Crowd::default() }),
        "streamsPerListener" => counters(&[Counter::Streams]).union(parts(&[Part::Listener])),
        "likers" => parts(&[Part::Liker]),
        "sharers" => parts(&[Part::Sharer]),
        "savers" => parts(&[Part::Saver]),
        "playlistAdders" => parts(&[Part::Adder]),
        "saveRate" => parts(&[Part::Saver, Part::Listener]),
        "shareRate" => parts(&[Part::Sharer, Part::Listener]),
        "intentRate" => parts(&[Part::Listener]).union(crowd(Crowd { intending: true, ..Crowd::default() })),
        _ => Need::default(),
    }
}

impl Metrics {
    /// Loads what the selection asks about a subject and window.
    pub async fn load(ctx: &Context<'_>, subject: Subject, window: Window, need: Need) -> Result<Self, ApiError> {
        let measures = ctx.loader().load_one(subject.key(ctx, window, need)).await?.unwrap_or_default();
        Ok(subject.shown(ctx, window, measures))
    }

    fn people(&self, ctx: &Context<'_>, part: Part) -> UniqueCount {
        UniqueCount::exact(self.measures.people.of(part), self.window.to_ms > ctx.analytics().now_ms())
    }

    fn count(&self, counter: Counter) -> Long {
        Long::of(self.measures.counters[counter])
    }

    fn net(&self, given: Counter, taken_back: Counter) -> Long {
        Long::of(self.measures.counters[given] - self.measures.counters[taken_back])
    }

    fn of_listeners(&self, part: i64) -> Option<f64> {
        ratio(part, self.measures.people.of(Part::Listener))
    }
}

/// Counters of one entity over one window: the same type for totals, timeline points, previous periods
/// and live updates. Events count in the window in which they happened, at once when they are acknowledged.
#[Object]
impl Metrics {
    /// What was counted: the window that was asked for, widened to whole quarter-hours. Where an operator keeps whole
    /// hours only of days long past, an hour of theirs is counted if it begins in the window; people, and what is of one
    /// country, are counted by quarter-hours all the same.
    async fn span(&self, ctx: &Context<'_>) -> TimeSpan {
        match self.subject.country {
            Some(_) => self.window.into(),
            None => ctx.analytics().counted_within(self.window).into(),
        }
    }

    /// Playback reports of any length.
    async fn plays(&self) -> Long {
        self.count(Counter::Plays)
    }

    /// Plays of 30 seconds and more, or of unknown length.
    async fn streams(&self) -> Long {
        self.count(Counter::Streams)
    }

    /// Streams played from this very album; `streams` of an album are those of its songs, wherever played.
    /// Only albums have them: 0 of anything else.
    async fn direct_streams(&self) -> Long {
        self.count(Counter::DirectStreams)
    }

    /// Plays that a person ended before 30 seconds. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn skips(&self) -> Long {
        self.count(Counter::Skips)
    }

    /// Time heard in milliseconds, of each play at most the song's length. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn listening_time_ms(&self) -> Long {
        self.count(Counter::ListeningMs)
    }

    /// Distinct identified people with at least one stream. Never summed over windows: a union of sets.
    #[graphql(complexity = "5 + child_complexity")]
    async fn listeners(&self, ctx: &Context<'_>) -> UniqueCount {
        self.people(ctx, Part::Listener)
    }

    /// Distinct anonymous ids with at least one stream: people who were not signed in. Never part of `listeners`.
    /// For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5 + child_complexity")]
    async fn anonymous_listeners(&self, ctx: &Context<'_>) -> UniqueCount {
        self.people(ctx, Part::AnonymousListener)
    }

    /// Listeners of a UTC day, on average over all UTC days of the window that have begun; null where none has.
    /// Days on which nobody listened count too.
    #[graphql(complexity = "5")]
    async fn average_daily_listeners(&self, ctx: &Context<'_>) -> Option<f64> {
        let to_ms = self.window.to_ms.min(ctx.analytics().now_ms());
        let days = Window { to_ms, ..self.window }.touched_days();
        (days > 0 && !self.is_withheld).then(|| self.measures.people.daily_listeners as f64 / days as f64)
    }

    /// Likes given, of the thing itself or of a work of the artist; those taken back are not subtracted.
    async fn likes(&self) -> Long {
        self.count(Counter::Likes)
    }

    /// Likes taken back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn unlikes(&self) -> Long {
        self.count(Counter::Unlikes)
    }

    /// Likes given minus likes taken back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn net_likes(&self) -> Long {
        self.net(Counter::Likes, Counter::Unlikes)
    }

    /// Distinct people who liked. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5 + child_complexity")]
    async fn likers(&self, ctx: &Context<'_>) -> UniqueCount {
        self.people(ctx, Part::Liker)
    }

    /// Shares of the thing itself or of a work of the artist.
    async fn shares(&self) -> Long {
        self.count(Counter::Shares)
    }

    /// Distinct people who shared. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5 + child_complexity")]
    async fn sharers(&self, ctx: &Context<'_>) -> UniqueCount {
        self.people(ctx, Part::Sharer)
    }

    /// Saves to a library; those taken back are not subtracted.
    async fn saves(&self) -> Long {
        self.count(Counter::Saves)
    }

    /// Saves taken back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn unsaves(&self) -> Long {
        self.count(Counter::Unsaves)
    }

    /// Saves minus saves taken back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn net_saves(&self) -> Long {
        self.net(Counter::Saves, Counter::Unsaves)
    }

    /// Distinct people who saved. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5 + child_complexity")]
    async fn savers(&self, ctx: &Context<'_>) -> UniqueCount {
        self.people(ctx, Part::Saver)
    }

    /// Additions of the song, of a song of the artist, or to the playlist.
    async fn playlist_adds(&self) -> Long {
        self.count(Counter::PlaylistAdds)
    }

    /// Distinct people who added to a playlist. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5 + child_complexity")]
    async fn playlist_adders(&self, ctx: &Context<'_>) -> UniqueCount {
        self.people(ctx, Part::Adder)
    }

    /// Follows; unfollows are not subtracted. Only artists are followed.
    async fn follows(&self) -> Long {
        self.count(Counter::Follows)
    }

    /// Unfollows. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn unfollows(&self) -> Long {
        self.count(Counter::Unfollows)
    }

    /// Follows minus unfollows: the flow within the window; `Artist.followers` is the stock. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn net_follows(&self) -> Long {
        self.net(Counter::Follows, Counter::Unfollows)
    }

    /// Orders paid; those paid back are not subtracted. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn purchases(&self) -> Long {
        self.count(Counter::Purchases)
    }

    /// Orders paid back. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn refunds(&self) -> Long {
        self.count(Counter::Refunds)
    }

    /// Money by currency, in the order of their codes; empty where none was moved. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5 + child_complexity")]
    async fn revenue(&self) -> Vec<Revenue> {
        revenue(&self.measures.money)
    }

    /// Streams divided by listeners; null without listeners.
    async fn streams_per_listener(&self) -> Option<f64> {
        self.of_listeners(self.measures.counters[Counter::Streams])
    }

    /// Distinct people who saved, divided by listeners; null without listeners. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5")]
    async fn save_rate(&self) -> Option<f64> {
        self.of_listeners(self.measures.people.of(Part::Saver))
    }

    /// Distinct people who shared, divided by listeners; null without listeners. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5")]
    async fn share_rate(&self) -> Option<f64> {
        self.of_listeners(self.measures.people.of(Part::Sharer))
    }

    /// Distinct people who saved or added to a playlist, divided by listeners; null without listeners. For the
    /// artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }", complexity = "5")]
    async fn intent_rate(&self) -> Option<f64> {
        self.of_listeners(i64::try_from(self.measures.people.intending).unwrap_or(i64::MAX))
    }

    /// Skips divided by skips and streams together, 0 to 1; null without either. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn skip_rate(&self) -> Option<f64> {
        let skips = self.measures.counters[Counter::Skips];
        ratio(skips, skips + self.measures.counters[Counter::Streams])
    }

    /// Plays of which 90 % and more was heard, divided by plays whose length is known, 0 to 1; null
    /// without such plays. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.subject.is_own }")]
    async fn completion_rate(&self) -> Option<f64> {
        let counters = &self.measures.counters;
        ratio(counters[Counter::CompletedPlays], counters[Counter::MeasuredPlays])
    }

    /// The window of the same length immediately before.
    #[graphql(complexity = "5 + child_complexity")]
    async fn previous(&self, ctx: &Context<'_>) -> Result<Metrics, ApiError> {
        let need = need_of(&ctx.field());
        Metrics::load(ctx, self.subject.clone(), self.window.previous(), need).await
    }

    /// Whether the numbers are withheld, and all 0: they are of one country, and fewer than five people stand behind
    /// them. Admins see them all the same.
    async fn is_withheld(&self) -> bool {
        self.is_withheld
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.window)
    }
}

/// A part of a whole; nothing without a whole.
/// Money by currency, as it is shown: what was given away is none.
pub fn revenue(money: &[(String, MoneyCounters)]) -> Vec<Revenue> {
    let amount = |minor, currency: &str| Decimal(decimal_text(minor, currency));
    let of_currency = |(currency, money): &(String, MoneyCounters)| Revenue {
        currency: CurrencyCode(currency.clone()),
        amount: amount(money.gross_minor - money.refunded_minor, currency),
        gross: amount(money.gross_minor, currency),
        refunded: amount(money.refunded_minor, currency),
    };
    let is_some = |(_, money): &&(String, MoneyCounters)| money.gross_minor != 0 || money.refunded_minor != 0;
    money.iter().filter(is_some).map(of_currency).collect()
}

pub fn ratio(part: impl Into<i128>, whole: impl Into<i128>) -> Option<f64> {
    let (part, whole) = (part.into(), whole.into());
    (whole != 0).then(|| part as f64 / whole as f64)
}
