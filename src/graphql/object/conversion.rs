//! What clicks lead to.

use async_graphql::{Context, Object, SimpleObject};

use super::{
    event_list::Money,
    metrics::{Freshness, Revenue, UniqueCount, ratio, revenue},
    timeline::cut,
};
use crate::{
    analytics::{EventMatch, FunnelOrder, FunnelQuestion},
    domain::{
        counting::{Counter, MoneyCounters, Part, Parts},
        entity::EntityRef,
        measure::{MeasureKey, Measures, Need},
        money::decimal_text,
        window::{self, Window},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{Granularity, WindowInput},
        scalars::{CurrencyCode, DateTime, Decimal, Long, TimeZone},
    },
};

/// Which types of events are meant.
#[derive(Clone)]
pub struct ConversionEvents {
    pub click: String,
    pub conversion: String,
    pub sale: String,
}

impl ConversionEvents {
    /// Sales that are taken back: of `order.paid`, `order.refunded`.
    fn refund(&self) -> String {
        let subject = self.sale.split('.').next().unwrap_or_default();
        format!("{subject}.refunded")
    }
}

/// What was counted of one window.
struct Counted {
    clicks: Measures,
    conversions: Measures,
    sales: Measures,
    refunds: Measures,
}

impl Counted {
    async fn load(ctx: &Context<'_>, of: &ConversionEvents, windows: &[Window]) -> Result<Vec<Self>, ApiError> {
        let key = |event_type: &str, window: &Window| {
            let need = Need {
                counters: [Counter::Events].into_iter().collect(),
                money: true,
                parts: Parts::of(&[Part::Actor]),
                ..Need::default()
            };
            MeasureKey { entity: EntityRef::event_type(event_type), window: *window, country: None, need }
        };
        let keys = |window: &Window| [&*of.click, &of.conversion, &of.sale, &of.refund()].map(|of| key(of, window));
        let answers = ctx.loader().load_many(windows.iter().flat_map(keys)).await?;
        let of_window = |window: &Window| {
            let [clicks, conversions, sales, refunds] =
                keys(window).map(|key| answers.get(&key).cloned().unwrap_or_default());
            Self { clicks, conversions, sales, refunds }
        };
        Ok(windows.iter().map(of_window).collect())
    }

    /// Sales by currency, with what was paid back.
    fn money(&self) -> Vec<(String, MoneyCounters)> {
        let mut money = self.sales.money.clone();
        for (currency, refunds) in &self.refunds.money {
            let refunded_minor = refunds.gross_minor.saturating_add(refunds.refunded_minor);
            let refunded = MoneyCounters { refunded_minor, ..MoneyCounters::default() };
            match money.binary_search_by(|(known, _)| known.cmp(currency)) {
                Ok(place) => money[place].1.add(&refunded),
                Err(place) => money.insert(place, (currency.clone(), refunded)),
            }
        }
        money
    }

    fn average_order_value(&self) -> Vec<Money> {
        let average = |(currency, money): &(String, MoneyCounters)| {
            let payments = Some(money.payments).filter(|payments| *payments > 0)?;
            // To the nearest minor unit.
            let minor = (i128::from(money.gross_minor) * 2 + i128::from(payments)).div_euclid(i128::from(payments) * 2);
            let amount = Decimal(decimal_text(i64::try_from(minor).unwrap_or(i64::MAX), currency));
            Some(Money { amount, currency: CurrencyCode(currency.clone()) })
        };
        self.sales.money.iter().filter_map(average).collect()
    }
}

fn events(measures: &Measures) -> i64 {
    measures.counters[Counter::Events]
}

/// Clicks, conversions and sales of a window.
pub struct Conversion {
    window: Window,
    every: Granularity,
    zone: TimeZone,
    buckets: Vec<Window>,
    of: ConversionEvents,
    within_ms: i64,
    counted: Counted,
}

/// The same of one bucket.
#[derive(SimpleObject)]
pub struct ConversionPoint {
    /// When the bucket begins.
    pub start: DateTime,
    /// When it ends; not included.
    pub end: DateTime,
    /// Whether the bucket is a whole calendar bucket that has ended: not cut by the window, not still growing.
    pub is_complete: bool,
    /// Clicks in it.
    pub clicks: Long,
    /// Conversions in it.
    pub conversions: Long,
    /// Sales in it.
    pub sales: Long,
    /// Conversions divided by clicks; null without clicks.
    pub conversion_rate: Option<f64>,
    /// Money of its sales by currency, in the order of their codes.
    pub revenue: Vec<Revenue>,
    /// The mean of its sales' amounts by currency, to the nearest minor unit.
    pub average_order_value: Vec<Money>,
}

impl Conversion {
    pub async fn load(
        ctx: &Context<'_>,
        of: ConversionEvents,
        within_ms: i64,
        during: WindowInput,
        every: Granularity,
        zone: TimeZone,
    ) -> Result<Self, ApiError> {
        let (window, buckets) = cut(ctx, during, every, zone)?;
        let counted = Counted::load(ctx, &of, &[window]).await?.remove(0);
        Ok(Self { window, every, zone, buckets, of, within_ms, counted })
    }

    fn users(&self, ctx: &Context<'_>, measures: &Measures) -> UniqueCount {
        UniqueCount::exact(measures.people.of(Part::Actor), self.window.to_ms > ctx.analytics().now_ms())
    }
}

/// What clicks lead to. Events with `count` stand for so many; users are those with a `userId`.
#[Object]
impl Conversion {
    /// Clicks: events of the type `clickEvent`.
    async fn clicks(&self) -> Long {
        Long::of(events(&self.counted.clicks))
    }

    /// Distinct users who clicked.
    async fn clickers(&self, ctx: &Context<'_>) -> UniqueCount {
        self.users(ctx, &self.counted.clicks)
    }

    /// Conversions: events of the type `conversionEvent`.
    async fn conversions(&self) -> Long {
        Long::of(events(&self.counted.conversions))
    }

    /// Distinct users who converted, be it after a click or not.
    async fn converters(&self, ctx: &Context<'_>) -> UniqueCount {
        self.users(ctx, &self.counted.conversions)
    }

    /// Sales: events of the type `saleEvent`.
    async fn sales(&self) -> Long {
        Long::of(events(&self.counted.sales))
    }

    /// Distinct users who bought.
    async fn buyers(&self, ctx: &Context<'_>) -> UniqueCount {
        self.users(ctx, &self.counted.sales)
    }

    /// Conversions divided by clicks; null without clicks, and more than 1 where most convert without one.
    async fn conversion_rate(&self) -> Option<f64> {
        ratio(events(&self.counted.conversions), events(&self.counted.clicks))
    }

    /// Distinct users who converted within `attributedWithin` after a click of the window, divided by distinct users who
    /// clicked in it, 0 to 1; null without any.
    #[graphql(complexity = "100")]
    async fn user_conversion_rate(&self, ctx: &Context<'_>) -> Result<Option<f64>, ApiError> {
        let step = |event_type: &str| EventMatch { event_type: event_type.to_owned(), ..EventMatch::default() };
        let question = FunnelQuestion {
            steps: vec![step(&self.of.click), step(&self.of.conversion)],
            exclude: Vec::new(),
            within_ms: self.within_ms,
            order: FunnelOrder::Sequential,
            during: self.window,
            by: None,
        };
        let funnel = ctx.analytics().funnel(&question).await?;
        Ok(ratio(funnel.steps[1].users, funnel.steps[0].users))
    }

    /// Money of the sales by currency, in the order of their codes, never added across currencies; refunds are events of
    /// the type that has `refunded` in place of the last words of `saleEvent`, such as `order.refunded`.
    async fn revenue(&self) -> Vec<Revenue> {
        revenue(&self.counted.money())
    }

    /// The mean of the sales' amounts by currency, to the nearest minor unit; without sales that name no amount.
    async fn average_order_value(&self) -> Vec<Money> {
        self.counted.average_order_value()
    }

    /// Distinct users who bought more than once in the window, divided by all who bought, 0 to 1; null without any.
    #[graphql(complexity = "100")]
    async fn repeat_rate(&self, ctx: &Context<'_>) -> Result<Option<f64>, ApiError> {
        let (all, repeating) = ctx.analytics().repeating_users(&self.of.sale, self.window).await?;
        Ok(ratio(repeating, all))
    }

    /// Bucket by bucket, oldest first.
    #[graphql(complexity = "20 + child_complexity")]
    async fn points(&self, ctx: &Context<'_>) -> Result<Vec<ConversionPoint>, ApiError> {
        let counted = Counted::load(ctx, &self.of, &self.buckets).await?;
        let granularity: window::Granularity = self.every.into();
        let now_ms = ctx.analytics().now_ms();
        let point = |(window, counted): (&Window, Counted)| ConversionPoint {
            start: DateTime::at(window.from_ms),
            end: DateTime::at(window.to_ms),
            is_complete: granularity.is_complete(*window, now_ms, self.zone.0),
            clicks: Long::of(events(&counted.clicks)),
            conversions: Long::of(events(&counted.conversions)),
            sales: Long::of(events(&counted.sales)),
            conversion_rate: ratio(events(&counted.conversions), events(&counted.clicks)),
            revenue: revenue(&counted.money()),
            average_order_value: counted.average_order_value(),
        };
        Ok(self.buckets.iter().zip(counted).map(point).collect())
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.window)
    }
}
