//! The commands.

use async_graphql::{Context, ID, Object};

use super::{
    catalogue_input::{CatalogInput, MergeInput, UnmergeInput},
    context::ContextExt,
    error::ApiError,
    guard::Allow,
    input::{EntityKind, EventInput, PurgeInput},
    object::{
        catalogue::{CatalogResult, MergePayload, UpsertCatalogPayload},
        event::{PurgePayload, RecordEventsPayload},
        privacy::EraseUserPayload,
        recommendation::{self, DismissPayload, RestorePayload},
        user::require_own,
    },
    recommendation_input::{DismissalInput, RestoreInput},
    scalars::Long,
};
use crate::domain::{catalogue::CatalogueEntry, entity::EntityRef, error::ErrorKind};

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

    /// Says what songs, albums, playlists and artists are. It wins over what events told and tell, decides whom
    /// events count for from now on, and changes nothing that is counted. Each entry is stored whole or rejected;
    /// sent again it changes nothing. For services and admins.
    #[graphql(guard = "Allow::Ingest")]
    async fn upsert_catalog(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Up to 1,000 entries.")] input: CatalogInput,
    ) -> Result<UpsertCatalogPayload, ApiError> {
        let mut places = Vec::new();
        let mut changes = Vec::new();
        for entry in input.decode() {
            places.push((entry.kind, entry.index, entry.change.entity.id.to_string()));
            changes.push(entry.change);
        }
        let outcomes = ctx.catalogue().upsert(changes).await?;
        let results = places.into_iter().zip(outcomes);
        let results = results.map(|((kind, index, id), outcome)| CatalogResult::of(kind, index, id, outcome));
        Ok(results.collect::<Vec<_>>().into())
    }

    /// Reads two ids as one thing from now on: numbers of all time are added up, listeners united, and asking for
    /// one answers the other. Events go on counting under the id they name, so that `unmergeEntities` takes it
    /// back whole. For admins.
    #[graphql(guard = "Allow::Admin")]
    async fn merge_entities(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which two.")] input: MergeInput,
    ) -> Result<MergePayload, ApiError> {
        ctx.catalogue().merge(input.kind.into(), &input.from_id, &input.into_id).await?;
        merged(ctx, input.kind, input.from_id).await
    }

    /// Takes a person out of everything that is known under their id: their events lose the id, the free properties and
    /// what else could lead to them; the id is unknown from then on. Totals, distinct people and journeys stay what they
    /// were, and events that are sent again are known. It is done as a whole or not at all, while events come in. For
    /// themselves, with a listener's token, and for admins.
    #[graphql(guard = "Allow::Public")]
    async fn erase_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user's id.")] id: ID,
    ) -> Result<EraseUserPayload, ApiError> {
        require_own(ctx.require_viewer()?, &id)?;
        let erased = ctx.privacy().erase(&id).await?;
        Ok(EraseUserPayload { id, status: erased.into(), events: Long::of(erased.unwrap_or(0)) })
    }

    /// Notes that a listener does not want to be recommended something, or an artist with everything that is theirs: not for
    /// them, not as similar, not in their playlists; until it expires, or is taken back. Said again it replaces what was
    /// said before. For themselves, with a listener's token, and for admins.
    #[graphql(guard = "Allow::Public")]
    async fn dismiss_recommendation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What, and for how long.")] input: DismissalInput,
    ) -> Result<DismissPayload, ApiError> {
        recommendation::dismiss(ctx, input).await
    }

    /// Takes a dismissal back; where there was none, nothing changes. For themselves, with a listener's token, and for
    /// admins.
    #[graphql(guard = "Allow::Public")]
    async fn restore_recommendation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What was dismissed.")] input: RestoreInput,
    ) -> Result<RestorePayload, ApiError> {
        recommendation::restore(ctx, input).await
    }

    /// Takes a merge back: both are again what their own events say. Where there was none, nothing changes.
    /// For admins.
    #[graphql(guard = "Allow::Admin")]
    async fn unmerge_entities(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one was merged.")] input: UnmergeInput,
    ) -> Result<MergePayload, ApiError> {
        ctx.catalogue().unmerge(input.kind.into(), &input.from_id).await?;
        merged(ctx, input.kind, input.from_id).await
    }

    /// Removes every event and all that was counted from them, so that a developer begins anew; what waits to be stored
    /// at that moment is stored after it. Only while the service runs in development mode (`DEVELOPMENT=true`, or
    /// `serve --demo`). For admins.
    #[graphql(guard = "Allow::Admin")]
    async fn purge(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "That it is meant, and how much.")] input: PurgeInput,
    ) -> Result<PurgePayload, ApiError> {
        if !ctx.is_development() {
            let message = "the service does not run in development mode: it is started with DEVELOPMENT=true or --demo";
            return Err(ApiError::new(ErrorKind::Forbidden, message));
        }
        if input.confirm != PURGE_CONFIRMED {
            return Err(ApiError::invalid("confirm", format!("must be {PURGE_CONFIRMED:?}: everything will be gone")));
        }
        let events = ctx.ingest().purge(input.catalogue).await?;
        ctx.catalogue().refresh().await?;
        Ok(PurgePayload { events: Long::of(events) })
    }
}

/// What has to be said to have everything removed.
const PURGE_CONFIRMED: &str = "purge";

async fn merged(ctx: &Context<'_>, kind: EntityKind, from_id: ID) -> Result<MergePayload, ApiError> {
    let entity = EntityRef::new(kind.into(), from_id.0);
    let entry = ctx.loader().load_one(entity.clone()).await?.unwrap_or_else(|| CatalogueEntry::bare(entity));
    Ok(MergePayload { entity: entry.into() })
}
