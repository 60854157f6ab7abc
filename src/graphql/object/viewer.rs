//! Who asks.

use async_graphql::{Context, Enum, Object};

use super::{entity::Artist, user::User};
use crate::{
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
        viewer,
    },
    graphql::{context::ContextExt, error::ApiError, scalars::DateTime},
};

/// What a token lets its bearer be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "viewer::Role")]
pub enum Role {
    /// Sees everything.
    Admin,
    /// Sees everything about their own catalogue, and what is public of the rest.
    Artist,
    /// Sees what is public.
    Listener,
    /// Sends events and sees nothing.
    Service,
}

/// The bearer of the token.
pub struct Viewer(pub viewer::Viewer);

/// The bearer of the token.
#[Object]
impl Viewer {
    /// What the token lets its bearer be.
    async fn role(&self) -> Role {
        self.0.role.into()
    }

    /// Whom the token was made for.
    async fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// The artists whose catalogue is the bearer's own; empty unless the role is ARTIST.
    async fn artists(&self, ctx: &Context<'_>) -> Result<Vec<Artist>, ApiError> {
        let entities = self.0.artists.iter().map(|id| EntityRef::new(EntityKind::Artist, id.as_str()));
        let mut entries = ctx.loader().load_many(entities.clone()).await?;
        Ok(entities
            .map(|entity| Artist(entries.remove(&entity).unwrap_or_else(|| CatalogueEntry::bare(entity))))
            .collect())
    }

    /// The user that a listener's token was made for; null for other roles, and while no event named them.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>, ApiError> {
        match (self.0.role, &self.0.subject) {
            (viewer::Role::Listener, Some(subject)) => User::find(ctx, subject).await,
            _ => Ok(None),
        }
    }

    /// When the token stops working.
    async fn token_expires_at(&self) -> DateTime {
        DateTime::at(self.0.expires_at_s.saturating_mul(1_000))
    }
}
