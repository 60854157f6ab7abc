//! Single events: pages of them, and as they are committed.

use std::sync::Arc;

use async_graphql::{Context, ID, Json, Object, SimpleObject};

use super::{
    entity::{Album, Artist, Playlist, Song},
    measurable::Measurable,
    ranking::{AskedPage, PageInfo, PageInput},
};
use crate::{
    analytics::{self, EventPart, EventQuestion, SeenEvent, Way},
    db::queries::event_list::End,
    domain::{
        catalogue::CatalogueEntry,
        counting::deed_of,
        entity::{EntityKind, EntityRef},
        event::EventKey,
        event_filter::concerned,
        money::decimal_text,
    },
    graphql::{
        context::ContextExt,
        cursor::{event_cursor, parse_event_cursor},
        error::ApiError,
        scalars::{CountryCode, CurrencyCode, DateTime, Decimal, Long},
    },
};

/// An amount in one currency.
#[derive(Debug, Clone, SimpleObject)]
pub struct Money {
    /// How much.
    pub amount: Decimal,
    /// Of which currency.
    pub currency: CurrencyCode,
}

#[derive(Debug, Clone)]
pub struct Event(pub Arc<SeenEvent>);

/// Something that happened, as it was received; it never changes.
///
/// Artists see the events of their catalogue without what says who it was: ids of people, properties and the sender
/// are null to them, and so are countries, sources, devices that too few of their people share in the time asked about.
#[Object]
impl Event {
    /// The sender's id of the event. To artists, a stable name that says nothing.
    async fn id(&self) -> ID {
        ID(self.0.event.event_id.clone())
    }

    /// What happened, as a dotted name such as `track.played`.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        &self.0.event.event_type
    }

    /// When it happened.
    async fn occurred_at(&self) -> DateTime {
        DateTime::at(self.0.event.key.occurred_at_ms)
    }

    /// When we received it.
    async fn received_at(&self) -> DateTime {
        DateTime::at(self.0.event.received_at_ms)
    }

    /// The signed-in person it is about; null where nobody was. For admins and the person;
    /// null to artists.
    async fn user_id(&self) -> Option<ID> {
        self.0.event.user_id.as_deref().map(|id| ID(id.to_owned()))
    }

    /// What stands for the person to this artist: always the same for one person, another for each artist, and no way
    /// back to who it is. Null where the event names nobody, and to admins.
    async fn pseudonym(&self) -> Option<ID> {
        self.0.pseudonym.clone().map(ID)
    }

    /// The person it is about while they were not signed in. For admins and the person; null to
    /// artists.
    async fn anonymous_id(&self) -> Option<ID> {
        self.0.event.anonymous_id.as_deref().map(|id| ID(id.to_owned()))
    }

    /// What it is about first of all: the song of a play, the album that was liked. Null where it names nothing.
    async fn entity(&self, ctx: &Context<'_>) -> Result<Option<Measurable>, ApiError> {
        let of_deed = deed_of(&self.0.event).and_then(|(_, kind)| kind);
        let entity = of_deed.into_iter().chain(EntityKind::ALL).find_map(|kind| self.about(kind));
        Ok(find(ctx, entity).await?.map(Measurable::from))
    }

    /// The song it is about.
    async fn song(&self, ctx: &Context<'_>) -> Result<Option<Song>, ApiError> {
        Ok(find(ctx, self.about(EntityKind::Song)).await?.map(Song))
    }

    /// The album it is about, or that the song was played from; of a play, the song's album, where the catalogue said
    /// which that is.
    async fn album(&self, ctx: &Context<'_>) -> Result<Option<Album>, ApiError> {
        Ok(find(ctx, self.about(EntityKind::Album)).await?.map(Album))
    }

    /// The playlist it is about, or that the song was played from.
    async fn playlist(&self, ctx: &Context<'_>) -> Result<Option<Playlist>, ApiError> {
        Ok(find(ctx, self.about(EntityKind::Playlist)).await?.map(Playlist))
    }

    /// The first artist whom it counts for: by what the catalogue said when it was committed, otherwise the one it names.
    async fn artist(&self, ctx: &Context<'_>) -> Result<Option<Artist>, ApiError> {
        Ok(find(ctx, self.about(EntityKind::Artist)).await?.map(Artist))
    }

    /// The genre it was sent with. To artists, only one that the catalogue shows of the song or album; otherwise null.
    async fn genre(&self) -> Option<&str> {
        self.0.event.genre.as_deref()
    }

    /// Where it happened. To artists, null where fewer than five of their people (or as many as the operator has
    /// chosen) were there: in the quarter-hours asked about or, where these are more, in the last 28 days of them.
    async fn country(&self) -> Option<CountryCode> {
        self.0.event.country.clone().map(CountryCode)
    }

    /// Where it was played from: search, artist_page, editorial_playlist, radio, … To artists, null where few of their
    /// people came from there, as with `country`.
    async fn listening_source(&self) -> Option<&str> {
        self.0.event.listening_source.as_deref()
    }

    /// What it was played on. To artists, null where few of their people use it, as with `country`.
    async fn device(&self) -> Option<&str> {
        self.0.event.device.as_deref()
    }

    /// How long was heard, in milliseconds.
    async fn played_ms(&self) -> Option<Long> {
        self.0.event.played_ms.map(Long::of)
    }

    /// How long the song is, in milliseconds, as the event says.
    async fn duration_ms(&self) -> Option<Long> {
        self.0.event.duration_ms.map(Long::of)
    }

    /// Whether a person ended the play, as the event says.
    async fn ended_by_user(&self) -> Option<bool> {
        self.0.event.ended_by_user
    }

    /// How many such events it stands for; null for one.
    async fn count(&self) -> Option<Long> {
        self.0.event.count.map(Long::of)
    }

    /// The amount that it names, such as an order's.
    async fn amount(&self) -> Option<Money> {
        let (minor, currency) = self.0.event.amount_minor.zip(self.0.event.currency.as_ref())?;
        Some(Money { amount: Decimal(decimal_text(minor, currency)), currency: CurrencyCode(currency.clone()) })
    }

    /// Anything else that was sent, as a JSON object. For admins and the person; null to artists.
    async fn properties(&self) -> Option<Json<serde_json::Value>> {
        let properties = self.0.event.properties.as_deref()?;
        serde_json::from_str(properties).ok().map(Json)
    }

    /// Who sent it: the source of their token. For admins and the person; null to artists.
    async fn source(&self) -> Option<&str> {
        self.0.is_whole.then_some(&*self.0.event.source)
    }
}

impl Event {
    fn about(&self, kind: EntityKind) -> Option<EntityRef> {
        let id = concerned(&self.0.event, kind).next()?;
        Some(EntityRef { kind, id: id.clone() })
    }
}

async fn find(ctx: &Context<'_>, entity: Option<EntityRef>) -> Result<Option<CatalogueEntry>, ApiError> {
    let Some(entity) = entity else { return Ok(None) };
    Ok(Some(ctx.loader().load_one(entity.clone()).await?.unwrap_or_else(|| CatalogueEntry::bare(entity))))
}

/// An event at its place.
#[derive(Clone, SimpleObject)]
pub struct EventEdge {
    /// Where a page goes on, given as `after`, or ends, given as `before`. It names a place, not an event, and stays
    /// good when the event goes away.
    pub cursor: String,
    /// The event.
    pub node: Event,
}

/// How many events there are.
#[derive(Debug, Clone, Copy, SimpleObject)]
pub struct EventCount {
    /// How many; at least so many, where it is not exact.
    pub value: Long,
    /// Whether all were counted: false past 10,000, and where the log was not read to its end.
    pub is_exact: bool,
}

/// A page of events.
pub struct EventConnection {
    question: EventQuestion,
    pub edges: Vec<EventEdge>,
    pub page_info: PageInfo,
}

impl EventConnection {
    pub async fn count(&self, ctx: &Context<'_>) -> Result<EventCount, ApiError> {
        let analytics::EventCount { value, is_exact } = ctx.analytics().count_events(&self.question).await?;
        Ok(EventCount { value: Long::of(value), is_exact })
    }
}

/// A page of events, newest first; those of one millisecond in an order that stays.
///
/// A page holds fewer than asked for, or none, where the log was read as far as one answer may: then there is a next
/// page (or a previous one), and its cursor goes on from there.
#[Object]
impl EventConnection {
    /// The page's events with their places.
    async fn edges(&self) -> &[EventEdge] {
        &self.edges
    }

    /// The page's events alone.
    async fn nodes(&self) -> Vec<Event> {
        self.edges.iter().map(|edge| edge.node.clone()).collect()
    }

    /// Where the page lies.
    async fn page_info(&self) -> &PageInfo {
        &self.page_info
    }

    /// How many events there are that fit the filter, on all pages. Counted when it is selected.
    #[graphql(complexity = "500")]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<EventCount, ApiError> {
        self.count(ctx).await
    }
}

/// Events that were just committed.
#[derive(SimpleObject)]
pub struct LiveEvents {
    /// When this was sent.
    pub at: DateTime,
    /// What was committed and fits the filter, at most 100 at once, in the order of commits: newest last.
    pub events: Vec<Event>,
    /// How many events were committed since the message before that nobody looked at, whether they fit the filter or not,
    /// because this client, or the server, could not keep up. Beside another process that writes to the same SQLite file,
    /// at least so many.
    pub skipped: Long,
}

/// A page of the events that are asked for; of one user's, with the part of the trail that led to them.
pub async fn page(
    ctx: &Context<'_>,
    question: EventQuestion,
    page: PageInput,
) -> Result<(EventConnection, Option<Way>), ApiError> {
    let pseudonyms = ctx.analytics().pseudonyms().await?;
    // Everything that was asked for, and who asks.
    let list = format!("{question:?}");
    let (part, is_backward) = match page.parse("this list", |text| parse_event_cursor(text, &list, pseudonyms))? {
        AskedPage::Forward(size, beyond) => (EventPart { from: End::Newest, beyond, size }, false),
        AskedPage::Backward(size, beyond) => (EventPart { from: End::Oldest, beyond, size }, true),
    };
    let found = ctx.analytics().events(&question, part).await?;
    let cursor = |key: EventKey| event_cursor(&list, key, pseudonyms);
    let edge = |(key, seen)| EventEdge { cursor: cursor(key), node: Event(Arc::new(seen)) };
    let mut edges: Vec<EventEdge> = found.events.into_iter().map(edge).collect();
    // Where going on in this direction begins.
    let further = found.stopped_at.map(cursor).or_else(|| edges.last().map(|edge| edge.cursor.clone()));
    let nearest = edges.first().map(|edge| edge.cursor.clone());
    let has_nearer = part.beyond.is_some();
    let page_info = if is_backward {
        edges.reverse();
        PageInfo {
            has_next_page: has_nearer,
            has_previous_page: found.has_more,
            start_cursor: further,
            end_cursor: nearest,
        }
    } else {
        PageInfo {
            has_next_page: found.has_more,
            has_previous_page: has_nearer,
            start_cursor: nearest,
            end_cursor: further,
        }
    };
    Ok((EventConnection { question, edges, page_info }, found.way))
}
