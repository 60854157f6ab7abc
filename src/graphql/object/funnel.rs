//! How far users get.

use async_graphql::{Context, Enum, InputObject, SimpleObject};

use super::metrics::{Freshness, ratio};
use crate::{
    analytics::{self, FunnelBy, FunnelError, FunnelQuestion},
    domain::{entity, origin, window::Window},
    graphql::{
        context::ContextExt,
        error::ApiError,
        event_input::{PropertyMatch, properties, readable},
        input::{EntityRef, WindowInput, page_size},
        scalars::{CountryCode, Duration, Long},
    },
};

const STEPS_MAX: usize = 10;
/// The most parts that a funnel is told apart into.
const PARTS_MAX: usize = 200;
/// A year; attempts that may take longer are nobody's.
const WITHIN_MS_MAX: i64 = 366 * 86_400_000;

/// Which events are meant; all that is given has to hold.
///
/// With `entity` or `properties` the events themselves are read, within the budgets of `explore`: past one the answer is
/// the error BUDGET_EXCEEDED. Events that are no longer kept match neither. Steps of somebody who was erased stay; their
/// properties are empty and match nothing.
#[derive(Debug, Clone, InputObject)]
pub struct EventMatch {
    /// The type of event. One that never happened matches nothing.
    #[graphql(name = "type")]
    pub event_type: String,
    /// From this country.
    pub country: Option<CountryCode>,
    /// From this source, such as `search`.
    pub source: Option<String>,
    /// On this device.
    pub device: Option<String>,
    /// Of this genre.
    pub genre: Option<String>,
    /// About this song, album, playlist or artist, or what is merged into it, as in `EventFilter.entity`.
    pub entity: Option<EntityRef>,
    /// Whose properties equal all of these; at most 10.
    pub properties: Option<Vec<PropertyMatch>>,
}

impl EventMatch {
    fn parse(self, field: &str) -> Result<analytics::EventMatch, ApiError> {
        let at = |part: &str| format!("{field}.{part}");
        let told = |part: &str, text: String| readable(&at(part), text).map(|text| text.to_string());
        let text = |part: &str, text: Option<String>| text.map(|text| told(part, text)).transpose();
        let entity: Option<entity::EntityRef> = self.entity.map(Into::into);
        if let Some(entity) = &entity {
            readable(&at("entity.id"), entity.id.to_string())?;
        }
        let country = self.country.map(|country| country.parse(&at("country"))).transpose()?;
        let origin = [country.map(|code| code.to_string()), text("source", self.source)?, text("device", self.device)?];
        Ok(analytics::EventMatch {
            event_type: told("type", self.event_type)?,
            origin,
            genre: text("genre", self.genre)?,
            entity,
            properties: properties(&at("properties"), self.properties.unwrap_or_default())?,
        })
    }

    fn parse_all(list: Vec<Self>, field: &str) -> Result<Vec<analytics::EventMatch>, ApiError> {
        list.into_iter().map(|one| one.parse(field)).collect()
    }
}

/// In which order the steps have to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "analytics::FunnelOrder")]
pub enum FunnelOrder {
    /// One after the other; anything else may happen in between.
    Sequential,
    /// One after the other, with no other event of the user in between.
    Strict,
    /// In whatever order; the numbers of a step are then of those who did so many of the steps.
    Any,
}

/// What a funnel is told apart by: what the event of the first step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum FunnelDimension {
    /// Its country.
    Country,
    /// Where it was played from.
    Source,
    /// The device.
    Device,
    /// The genre.
    Genre,
}

impl From<FunnelDimension> for FunnelBy {
    fn from(by: FunnelDimension) -> Self {
        match by {
            FunnelDimension::Country => Self::Origin(origin::Dimension::Country),
            FunnelDimension::Source => Self::Origin(origin::Dimension::Source),
            FunnelDimension::Device => Self::Origin(origin::Dimension::Device),
            FunnelDimension::Genre => Self::Genre,
        }
    }
}

/// How many users got how far.
#[derive(SimpleObject)]
pub struct Funnel {
    /// Step by step.
    pub steps: Vec<FunnelStep>,
    /// The same by what `by` names, most users first, then by key; empty where it is left out.
    pub parts: Vec<FunnelPart>,
    /// How far the numbers can be trusted to be complete.
    pub freshness: Freshness,
}

/// Users whose first step said the same.
#[derive(SimpleObject)]
pub struct FunnelPart {
    /// What it said, such as `DE` or `search`; null where it said nothing.
    pub key: Option<String>,
    /// Step by step.
    pub steps: Vec<FunnelStep>,
}

/// Users who got to one step, each in their best attempt.
#[derive(SimpleObject)]
pub struct FunnelStep {
    /// The step's type of event; in any order, of the step of this place as asked.
    #[graphql(name = "type")]
    pub event_type: String,
    /// Distinct users who got here.
    pub users: Long,
    /// These divided by those of the first step, 0 to 1; null where nobody began.
    pub rate: Option<f64>,
    /// These divided by those of the step before, 0 to 1; of the first step 1; null where nobody got there.
    pub step_rate: Option<f64>,
    /// The median of the milliseconds since the step before; null where nobody got here.
    pub median_ms: Option<Long>,
    /// The median of the milliseconds since the first step; null where nobody got here.
    pub median_since_first_ms: Option<Long>,
}

/// What a client asks about.
pub struct AskedFunnel {
    pub steps: Vec<EventMatch>,
    pub exclude: Vec<EventMatch>,
    pub within: Duration,
    pub order: FunnelOrder,
    pub during: WindowInput,
    pub by: Option<FunnelDimension>,
    pub first: i32,
}

impl AskedFunnel {
    pub async fn answer(self, ctx: &Context<'_>) -> Result<Funnel, ApiError> {
        let first = page_size(self.first, PARTS_MAX)?;
        if !(2..=STEPS_MAX).contains(&self.steps.len()) {
            return Err(ApiError::invalid("steps", format!("must be 2 to {STEPS_MAX}, not {}", self.steps.len())));
        }
        if self.exclude.len() > STEPS_MAX {
            return Err(ApiError::invalid("exclude", format!("must be at most {STEPS_MAX}")));
        }
        let during: Window = ctx.analytics().window(self.during.parse()?, chrono_tz::Tz::UTC);
        let question = FunnelQuestion {
            steps: EventMatch::parse_all(self.steps, "steps")?,
            exclude: EventMatch::parse_all(self.exclude, "exclude")?,
            within_ms: within(self.within, "within")?,
            order: self.order.into(),
            during,
            by: self.by.map(Into::into),
        };
        let funnel = ctx.analytics().funnel(&question).await?;
        let steps = |reached: Vec<analytics::Reached>| FunnelStep::all(&question.steps, reached);
        let parts = funnel.parts.into_iter().take(first);
        Ok(Funnel {
            steps: steps(funnel.steps),
            parts: parts
                .map(|(key, reached)| FunnelPart { key: key.map(|key| key.to_string()), steps: steps(reached) })
                .collect(),
            freshness: Freshness::of(ctx.analytics(), during),
        })
    }
}

/// Checks how long something may take.
pub fn within(within: Duration, field: &str) -> Result<i64, ApiError> {
    if within.ms > WITHIN_MS_MAX {
        return Err(ApiError::invalid(field, "must be at most P366D"));
    }
    Ok(within.ms)
}

impl FunnelStep {
    fn all(steps: &[analytics::EventMatch], reached: Vec<analytics::Reached>) -> Vec<Self> {
        let users: Vec<u64> = reached.iter().map(|reached| reached.users).collect();
        let step = |(index, (step, reached)): (usize, (&analytics::EventMatch, analytics::Reached))| Self {
            event_type: step.event_type.clone(),
            users: Long::of(reached.users),
            rate: ratio(reached.users, users[0]),
            step_rate: ratio(reached.users, users[index.saturating_sub(1)]),
            median_ms: reached.since_previous_ms.map(Long::of),
            median_since_first_ms: reached.since_first_ms.map(Long::of),
        };
        steps.iter().zip(reached).enumerate().map(step).collect()
    }
}

impl From<FunnelError> for ApiError {
    fn from(error: FunnelError) -> Self {
        match error {
            FunnelError::Store(error) => error.into(),
            error => ApiError { field: Some("during".to_owned()), ..ApiError::new(error.kind(), error.to_string()) },
        }
    }
}
