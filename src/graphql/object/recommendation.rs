//! What is recommended, why, and how well it foretells.

use async_graphql::{Context, Enum, ID, SimpleObject};

use super::{measurable::Measurable, user::require_own};
use crate::{
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
        viewer::Role,
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::page_size,
        recommendation_input::{
            AssistedPlaylistInput, DismissalInput, RECOMMENDED_MAX, RecommendationInput, RestoreInput,
        },
        scalars::{DateTime, Long},
    },
    recommend::{self, SimilarQuestion, evaluate},
};

/// How a recommendation comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "recommend::ReasonKind")]
pub enum ReasonKind {
    /// The same people listen to it.
    ListenedTogether,
    /// The same people listen to it as to what the listener liked, saved, shared, followed, bought or put into a playlist.
    LikedSimilar,
    /// It is streamed much, and has a genre of it.
    SameGenre,
    /// It is streamed much: in the genres that were asked for, in the listener's country, or anywhere.
    Popular,
}

/// Why something is recommended.
#[derive(Debug, Clone, SimpleObject)]
pub struct Reason {
    /// How it comes about.
    pub kind: ReasonKind,
    /// What it follows from, the strongest first: of the listener's own, without what they dismissed, or of the seeds; for
    /// what is similar, that itself. Empty where it follows from nothing of that.
    pub because: Vec<Measurable>,
}

/// Something that is recommended.
#[derive(Debug, Clone, SimpleObject)]
pub struct Recommendation {
    /// What it is.
    pub node: Measurable,
    /// How much speaks for it, 0 to 1. Of what is similar, the cosine of both one's listeners by what they did, with 4
    /// added to the divisor; of recommendations and playlists, beside the best of them. 0 where it does not follow from
    /// who listened.
    pub score: f64,
    /// Distinct listeners whom it has in common with what speaks most for it. 0 where they are fewer than five, or as many
    /// as the operator has chosen.
    pub support: Long,
    /// Why it is recommended.
    pub reason: Reason,
}

impl From<recommend::Recommendation> for Recommendation {
    fn from(recommended: recommend::Recommendation) -> Self {
        Self {
            node: recommended.entry.into(),
            score: recommended.score,
            support: Long::of(u64::from(recommended.support)),
            reason: Reason {
                kind: recommended.reason.into(),
                because: recommended.because.into_iter().map(Into::into).collect(),
            },
        }
    }
}

fn all(recommended: Vec<recommend::Recommendation>) -> Vec<Recommendation> {
    recommended.into_iter().map(Into::into).collect()
}

/// What is like something.
pub async fn similar(
    ctx: &Context<'_>,
    to: &CatalogueEntry,
    first: i32,
    is_other_artists: bool,
) -> Result<Vec<Recommendation>, ApiError> {
    let first = page_size(first, RECOMMENDED_MAX)?;
    let question =
        SimilarQuestion { entity: to.entity.clone(), first, is_other_artists, user_id: own_id(ctx).map(str::to_owned) };
    Ok(all(ctx.loader().load_one(question).await?.unwrap_or_default()))
}

/// The user that the viewer is.
fn own_id<'a>(ctx: &'a Context<'_>) -> Option<&'a str> {
    ctx.viewer().filter(|viewer| viewer.role == Role::Listener).and_then(|viewer| viewer.subject.as_deref())
}

/// Whom something is about: somebody the viewer may ask about, or the viewer.
fn user_id(ctx: &Context<'_>, given: Option<ID>) -> Result<Option<String>, ApiError> {
    let viewer = ctx.require_viewer()?;
    match given {
        Some(id) if id.is_empty() => Err(ApiError::invalid("userId", "is empty")),
        Some(id) => require_own(viewer, &id).map(|()| Some(id.0)),
        None => Ok(own_id(ctx).map(str::to_owned)),
    }
}

fn required_user_id(ctx: &Context<'_>, given: Option<ID>) -> Result<String, ApiError> {
    user_id(ctx, given)?.ok_or_else(|| ApiError::invalid("userId", "is needed with a token that is no listener's"))
}

/// What a user may like next.
pub async fn for_you(
    ctx: &Context<'_>,
    user_id: &str,
    input: Option<RecommendationInput>,
) -> Result<Vec<Recommendation>, ApiError> {
    require_own(ctx.require_viewer()?, user_id)?;
    if user_id.is_empty() {
        return Err(ApiError::invalid("userId", "is empty"));
    }
    let asked = input.unwrap_or_default().parse()?;
    Ok(all(ctx.recommender().for_you(user_id, &asked).await?))
}

/// Songs that go with a playlist.
#[derive(SimpleObject)]
pub struct AssistedPlaylist {
    /// The songs in the order in which to listen to them: the best first, but no two of one artist in a row where that can
    /// be avoided.
    pub entries: Vec<Recommendation>,
    /// How long they are altogether, in milliseconds, as far as anybody said.
    pub duration_ms: Long,
    /// Why there are fewer than asked for; null where there are as many.
    pub shortfall: Option<String>,
}

/// Makes or continues a playlist.
pub async fn assist(ctx: &Context<'_>, input: AssistedPlaylistInput) -> Result<AssistedPlaylist, ApiError> {
    let user_id = user_id(ctx, input.user_id.clone())?;
    let (ids, of) = input.seeds()?;
    let (seeds, unknown) = ctx.recommender().find_seeds(&ids, of).await?;
    // Everything else is looked at before anything is said of the seeds' names.
    let order = input.parse(seeds, user_id)?;
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.iter().map(|id| format!("{id:?}")).collect();
        return Err(ApiError::invalid("seeds", format!("the catalogue does not know {}", unknown.join(", "))));
    }
    let recommend::AssistedPlaylist { songs, duration_ms, shortfall } = ctx.recommender().assist(&order).await?;
    Ok(AssistedPlaylist { entries: all(songs), duration_ms: Long::of(duration_ms), shortfall })
}

/// Something that a listener does not want to be recommended.
#[derive(SimpleObject)]
pub struct Dismissal {
    /// What it is; of an artist, everything that is theirs.
    pub node: Measurable,
    /// When it was dismissed.
    pub dismissed_at: DateTime,
    /// When it ends; null if never.
    pub expires_at: Option<DateTime>,
}

/// What a user does not want to be recommended.
pub async fn dismissals(ctx: &Context<'_>, user_id: &str) -> Result<Vec<Dismissal>, ApiError> {
    let dismissals = ctx.recommender().dismissals(user_id).await?;
    let mut entries = ctx.loader().load_many(dismissals.iter().map(|dismissal| dismissal.entity.clone())).await?;
    let dismissed = |dismissal: recommend::Dismissal| {
        let recommend::Dismissal { entity, dismissed_at_ms, expires_at_ms } = dismissal;
        let entry = entries.remove(&entity).unwrap_or_else(|| CatalogueEntry::bare(entity));
        Dismissal {
            node: entry.into(),
            dismissed_at: DateTime::at(dismissed_at_ms),
            expires_at: expires_at_ms.map(DateTime::at),
        }
    };
    Ok(dismissals.into_iter().map(dismissed).collect())
}

/// The outcome of a dismissal.
#[derive(SimpleObject)]
pub struct DismissPayload {
    /// What is dismissed now.
    pub dismissal: Dismissal,
}

/// Notes a dismissal.
pub async fn dismiss(ctx: &Context<'_>, input: DismissalInput) -> Result<DismissPayload, ApiError> {
    let user_id = required_user_id(ctx, input.user_id)?;
    let expires_at_ms = input.expires_at.map(|at| at.ms("expiresAt")).transpose()?;
    if expires_at_ms.is_some_and(|at_ms| at_ms <= ctx.analytics().now_ms()) {
        return Err(ApiError::invalid("expiresAt", "must lie in the future; leave it out for ever"));
    }
    let entity = EntityRef::from(input.entity);
    let Some(entry) = ctx.loader().load_one(entity.clone()).await? else {
        return Err(ApiError::invalid("entity", format!("no {} has this id", entity.kind.word())));
    };
    let noted = ctx.recommender().dismiss(&user_id, entity, expires_at_ms).await?;
    let dismissal = Dismissal {
        node: entry.into(),
        dismissed_at: DateTime::at(noted.dismissed_at_ms),
        expires_at: noted.expires_at_ms.map(DateTime::at),
    };
    Ok(DismissPayload { dismissal })
}

/// The outcome of taking a dismissal back.
#[derive(SimpleObject)]
pub struct RestorePayload {
    /// Whether it was dismissed.
    pub was_dismissed: bool,
}

/// Takes a dismissal back.
pub async fn restore(ctx: &Context<'_>, input: RestoreInput) -> Result<RestorePayload, ApiError> {
    let user_id = required_user_id(ctx, input.user_id)?;
    let was_dismissed = ctx.recommender().restore(&user_id, &input.entity.into()).await?;
    Ok(RestorePayload { was_dismissed })
}

/// How well one method foretells. All are means over the listeners who turned to something new.
#[derive(SimpleObject)]
pub struct MethodQuality {
    /// Which method; the first one is what is served.
    pub method: String,
    /// The part of what a listener turned to that is in the first 20, 0 to 1.
    pub recall20: f64,
    /// What the first 10 gain of the most that they could, each found one discounted by the logarithm of its place, 0 to 1.
    pub ndcg10: f64,
    /// The same of the first 100.
    pub ndcg100: f64,
    /// The part of everything that at least two listeners know that is among anybody's first 10, 0 to 1.
    pub coverage10: f64,
    /// How little known the first 10 are: the mean of -log2 of the part of listeners who know each.
    pub novelty10: f64,
}

/// How well recommendations foretold what listeners turned to: what happened before a day was to foretell what they turned
/// to from then on.
#[derive(SimpleObject)]
pub struct RecommendationQuality {
    /// When it was measured.
    pub measured_at: DateTime,
    /// The first instant that was to be foretold.
    pub split_at: DateTime,
    /// Listeners who turned to something new.
    pub listeners: Long,
    /// Everything that could be recommended.
    pub items: Long,
    /// What is served, then the methods that it is compared with.
    pub methods: Vec<MethodQuality>,
}

/// What was measured last.
pub async fn quality(ctx: &Context<'_>, of: EntityKind) -> Result<Option<RecommendationQuality>, ApiError> {
    let measured = ctx.recommender().quality(of).await?;
    let of_method = |quality: evaluate::Quality| MethodQuality {
        method: quality.method,
        recall20: quality.recall_20,
        ndcg10: quality.ndcg_10,
        ndcg100: quality.ndcg_100,
        coverage10: quality.coverage_10,
        novelty10: quality.novelty_10,
    };
    Ok(measured.map(|(measured_at_ms, measured)| RecommendationQuality {
        measured_at: DateTime::at(measured_at_ms),
        split_at: DateTime::at(measured.split_ms),
        listeners: Long::of(measured.listeners as u64),
        items: Long::of(measured.items as u64),
        methods: measured.methods.into_iter().map(of_method).collect(),
    }))
}
