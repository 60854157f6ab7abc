//! Which events a client asks for, and whether they may.

use std::{collections::BTreeSet, sync::Arc};

use async_graphql::{Context, ID, InputObject, Json, MaybeUndefined};

use super::{
    context::ContextExt,
    error::ApiError,
    guard::forbidden,
    input::{EntityRef, WindowInput},
    object::entity::is_own_entity,
    scalars::CountryCode,
};
use crate::{
    analytics::EventQuestion,
    domain::{
        entity,
        event_filter::{EventFilter, EventScope},
        property::{self, PropertyError},
        viewer::{Role, Viewer},
    },
};

/// The most types, and the most properties, that one filter names.
const TYPES_MAX: usize = 50;
const PROPERTIES_MAX: usize = 10;

/// Which events: those that are as everything says that is given here.
#[derive(Debug, Clone, Default, InputObject)]
#[graphql(name = "EventFilter")]
pub struct EventFilterInput {
    /// Of any of these types; 1 to 50.
    pub types: Option<Vec<String>>,
    /// Of this signed-in user. For admins.
    pub user_id: Option<ID>,
    /// About this song, album, playlist or artist, or what is merged into it. An artist's events are those that
    /// are credited to them, as main artist, remixer or featured, by what the catalogue said when they were committed,
    /// and otherwise those that name them; a play is its song's album's likewise. Artists ask about their own.
    pub entity: Option<EntityRef>,
    /// That happened in this stretch, to the millisecond: nothing is widened here. Periods are those of UTC.
    pub during: Option<WindowInput>,
    /// That were sent with this genre. To artists, only where the catalogue shows it of the song or album.
    pub genre: Option<String>,
    /// From this country. To artists, only where enough of their people are there, see `Event.country`.
    pub country: Option<CountryCode>,
    /// Whose properties equal all of these; at most 10. For admins.
    pub property_equals: Option<Vec<PropertyMatch>>,
}

/// A property that has to equal a value.
#[derive(Debug, Clone, InputObject)]
pub struct PropertyMatch {
    /// Which property; with dots, one inside others: `plan.name`. A path to nothing, to an object or to a list matches
    /// no event, and a key that holds a dot cannot be named.
    pub path: String,
    /// A text, a number, true, false or null; null matches a property that is given as null.
    pub value: MaybeUndefined<Json<serde_json::Value>>,
}

impl PropertyMatch {
    /// The valid question; `field` is where it stands.
    pub fn parse(self, field: &str) -> Result<property::PropertyMatch, ApiError> {
        let value = match self.value {
            MaybeUndefined::Undefined => {
                let message = "is missing: send a text, a number, true, false or null";
                return Err(ApiError::invalid(&format!("{field}.value"), message));
            }
            MaybeUndefined::Null => serde_json::Value::Null,
            MaybeUndefined::Value(Json(value)) => value,
        };
        property::PropertyMatch::new(&self.path, value).map_err(|error| {
            let part = if error == PropertyError::Path { "path" } else { "value" };
            ApiError::invalid(&format!("{field}.{part}"), error.to_string())
        })
    }
}

impl EventFilterInput {
    /// The valid question of this viewer.
    pub async fn ask(self, ctx: &Context<'_>) -> Result<EventQuestion, ApiError> {
        let viewer = ctx.require_viewer()?;
        let is_admin = viewer.role == Role::Admin;
        if !is_admin && self.user_id.is_some() {
            return Err(forbidden(viewer, "asking for one user's events"));
        }
        if !is_admin && self.property_equals.is_some() {
            return Err(forbidden(viewer, "asking for properties of events"));
        }
        let filter = self.parse()?;
        if let Some(entity) = &filter.entity
            && !is_own_entity(ctx, entity).await?
        {
            return Err(forbidden(viewer, "the list of this entity's events"));
        }
        Ok(EventQuestion { filter, scope: scope(viewer) })
    }

    /// The valid question of who may see everything about this user.
    pub fn ask_of(self, user_id: &Arc<str>) -> Result<EventQuestion, ApiError> {
        if self.user_id.is_some() {
            return Err(ApiError::invalid("where.userId", "is the user whose activity this is; leave it out"));
        }
        let filter = EventFilter { user_id: Some(user_id.clone()), ..self.parse()? };
        Ok(EventQuestion { filter, scope: EventScope::Everything })
    }

    fn parse(self) -> Result<EventFilter, ApiError> {
        let text = |field: &str, text: Option<String>| text.map(|text| readable(field, text)).transpose();
        let entity: Option<entity::EntityRef> = self.entity.map(Into::into);
        if let Some(entity) = &entity {
            readable("where.entity.id", entity.id.to_string())?;
        }
        Ok(EventFilter {
            types: self.types.map(types).transpose()?,
            user_id: text("where.userId", self.user_id.map(|id| id.0))?,
            entity,
            during: self.during.map(WindowInput::parse_exactly).transpose()?,
            genre: text("where.genre", self.genre)?,
            country: self.country.map(|country| country.parse("where.country")).transpose()?,
            properties: properties("where.propertyEquals", self.property_equals.unwrap_or_default())?,
        })
    }
}

fn scope(viewer: &Viewer) -> EventScope {
    match viewer.role {
        Role::Admin => EventScope::Everything,
        _ => EventScope::Artists(viewer.artists.clone()),
    }
}

/// Types of events; some, and not too many.
pub fn types(types: Vec<String>) -> Result<BTreeSet<Arc<str>>, ApiError> {
    if types.is_empty() || types.len() > TYPES_MAX {
        let message = format!("must name 1 to {TYPES_MAX} types; leave it out for all");
        return Err(ApiError::invalid("where.types", message));
    }
    types.into_iter().map(|name| readable("where.types", name)).collect()
}

/// Properties that all have to equal something; `field` is where they stand.
pub fn properties(field: &str, matches: Vec<PropertyMatch>) -> Result<Vec<property::PropertyMatch>, ApiError> {
    if matches.len() > PROPERTIES_MAX {
        return Err(ApiError::invalid(field, format!("must name at most {PROPERTIES_MAX} properties")));
    }
    matches.into_iter().map(|asked| asked.parse(field)).collect()
}

/// A text that an event can have, and that every database takes.
pub fn readable(field: &str, text: String) -> Result<Arc<str>, ApiError> {
    if text.contains('\0') {
        return Err(ApiError::invalid(field, "holds the character NUL (U+0000); remove it"));
    }
    Ok(text.into())
}
