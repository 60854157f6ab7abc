//! Why a group-by is not answered.

use std::{sync::Arc, time::Duration};

use crate::{analytics::log::LogError, db::DbError, domain::error::ErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    #[error(
        "would read more than {limit} events, the budget of rows; about {asked} happened: ask for a shorter window, \
         name fewer types, or group and filter so that stored sums suffice, as by one of type, song, artist, country, \
         source or device"
    )]
    TooManyRows { asked: i64, limit: usize },
    #[error(
        "gives more than {limit} groups, the budget of groups: group by fewer dimensions or longer buckets, or filter"
    )]
    TooManyGroups { limit: usize },
    #[error("took longer than {limit:?}, the budget of time: ask for a shorter window, or name fewer types")]
    TooSlow { limit: Duration },
    #[error("more than {limit} works belong to this catalogue: group by artist, or ask about one song or album")]
    TooManyWorks { limit: usize },
    #[error(
        "amounts in {} and {} are in one group, and currencies are never added together: group by the property \
         currency, or filter by it", .currencies[0], .currencies[1]
    )]
    MixedCurrencies { currencies: [Arc<str>; 2] },
    #[error("the numbers cannot be read")]
    Store(#[from] DbError),
}

impl ExploreError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyRows { .. }
            | Self::TooManyGroups { .. }
            | Self::TooSlow { .. }
            | Self::TooManyWorks { .. } => ErrorKind::BudgetExceeded,
            Self::MixedCurrencies { .. } => ErrorKind::InvalidInput,
            Self::Store(error) if error.is_transient() => ErrorKind::Unavailable,
            Self::Store(_) => ErrorKind::Internal,
        }
    }

    /// The argument to change.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::TooManyRows { .. } | Self::TooSlow { .. } => Some("during"),
            Self::TooManyGroups { .. } | Self::TooManyWorks { .. } => Some("by"),
            Self::MixedCurrencies { .. } => Some("measures"),
            Self::Store(_) => None,
        }
    }
}

impl From<LogError> for ExploreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::TooManyRows { read, limit } => Self::TooManyRows { asked: read as i64, limit },
            LogError::TooSlow { limit } => Self::TooSlow { limit },
            LogError::Store(error) => Self::Store(error),
        }
    }
}
