//! The commands.

use async_graphql::{Context, Object};

use super::{
    context::ContextExt, error::ApiError, guard::Allow, input::EventInput, object::event::RecordEventsPayload,
};

pub struct Mutation;

/// The commands.
#[Object]
impl Mutation {
    /// Stores events and counts them, each once whatever happens on the way, and answers when they are
    /// durable. A rejected event does not affect its neighbours. For services and admins.
    #[graphql(guard = "Allow::Ingest")]
    async fn record_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Up to 5,000 events.")] input: Vec<EventInput>,
    ) -> Result<RecordEventsPayload, ApiError> {
        let source = ctx.require_viewer()?.source.as_str().into();
        let decoded = input.into_iter().map(EventInput::decode).collect();
        Ok(ctx.ingest().record(decoded, &source).await?.into())
    }
}
