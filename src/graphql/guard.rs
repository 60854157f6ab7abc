//! Who may read a field. The README's table says the same, and a test compares the two for every field.

use async_graphql::{Context, Guard, Result};

use super::{context::ContextExt, error::ApiError};
use crate::domain::{
    error::ErrorKind,
    viewer::{Role, Viewer},
};

/// A rule for a field that does not depend on whose data it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Anybody with a valid token.
    AnyToken,
    /// What the platform shows in public: listeners, artists, admins.
    Public,
    /// What is an artist's own, and nobody else's: artists, admins.
    Owners,
    /// Sending events and the catalogue: services and admins.
    Ingest,
    /// What is about the platform as a whole, or changes how everybody's numbers are read: admins.
    Admin,
}

impl Guard for Allow {
    async fn check(&self, ctx: &Context<'_>) -> Result<()> {
        let viewer = ctx.require_viewer()?;
        let is_allowed = match self {
            Self::AnyToken => true,
            Self::Public => matches!(viewer.role, Role::Listener | Role::Artist | Role::Admin),
            Self::Owners => matches!(viewer.role, Role::Artist | Role::Admin),
            Self::Ingest => matches!(viewer.role, Role::Service | Role::Admin),
            Self::Admin => viewer.role == Role::Admin,
        };
        if is_allowed { Ok(()) } else { Err(forbidden(viewer, "this field").into()) }
    }
}

/// What is open only to the artist whose catalogue it is about, and to admins.
#[derive(Debug, Clone, Copy)]
pub struct OwnerOnly {
    pub is_own: bool,
}

impl Guard for OwnerOnly {
    async fn check(&self, ctx: &Context<'_>) -> Result<()> {
        let viewer = ctx.require_viewer()?;
        if self.is_own { Ok(()) } else { Err(forbidden(viewer, "this number").into()) }
    }
}

/// The refusal of something that the viewer's role does not see.
pub fn forbidden(viewer: &Viewer, what: &str) -> ApiError {
    let message = match viewer.role {
        Role::Service => "a service token may only send events and the catalogue".to_owned(),
        role => format!("{what} is not open to this {} token", role.word()),
    };
    ApiError::new(ErrorKind::Forbidden, message)
}
