//! What a commit tells the rest of the process.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    entity::{EntityKind, EntityRef},
    keeping::Keeping,
    realtime::{Play, PlaysOf},
};

/// When the oldest and the newest of some events happened; of what was changed, perhaps a quarter of an hour earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub oldest_ms: i64,
    pub newest_ms: i64,
}

/// Which entities' numbers a commit changed, and of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Entities(FxHashMap<EntityRef, Extent>),
    /// Too many to name, or unknown: anything may have changed.
    Everything {
        /// Of when; `None` where that is unknown, too.
        within: Option<Extent>,
    },
}

/// Word for other processes; each is small enough for a notification (PostgreSQL takes 8,000 bytes).
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Word {
    /// Plays of the last hour that a commit brought. They come before its [`CommitWord`].
    Plays(Vec<PlaysOf>),
    Commit(CommitWord),
    /// The catalogue, or a merge, has changed: look.
    Catalogue,
    /// Something of the past is let go of: look.
    Keeping,
}

/// What a commit changed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitWord {
    /// When the new events happened.
    pub extent: Extent,
    /// The changed entities; `None` where they are too many to name.
    entities: Option<Vec<(i16, String)>>,
    /// How many new events; `None` where an older version says the word.
    #[serde(default)]
    pub events: Option<usize>,
}

const WORD_ENTITIES_MAX: usize = 64;
const WORD_SIZE_BYTES_MAX: usize = 7_500;
/// Plays of one entity in one piece of a word: some 60 bytes each, beside an id of at most some 1,200.
const PIECE_PLAYS_MAX: usize = 64;

impl Word {
    /// Word that the catalogue has changed.
    pub fn of_catalogue() -> String {
        serde_json::to_string(&Self::Catalogue).unwrap_or_default()
    }

    /// Word that something of the past is let go of.
    pub fn of_keeping() -> String {
        serde_json::to_string(&Self::Keeping).unwrap_or_default()
    }

    /// Everything that a commit has to tell, in texts of one line.
    pub fn texts(extent: Extent, events: usize, changed: &Changed, plays: &[PlaysOf]) -> Vec<String> {
        let mut texts = Self::plays_texts(plays);
        texts.push(CommitWord { events: Some(events), ..CommitWord::new(extent, changed) }.into_text());
        texts
    }

    /// However much was played, each text is below the limit: entities with many plays come in pieces.
    fn plays_texts(plays: &[PlaysOf]) -> Vec<String> {
        let pieces = plays.iter().flat_map(|of| {
            let of_chunk = |plays: &[Play]| PlaysOf { entity: of.entity.clone(), plays: plays.to_vec() };
            of.plays.chunks(PIECE_PLAYS_MAX).map(of_chunk)
        });
        let mut texts: Vec<String> = Vec::new();
        for piece in pieces {
            let piece = serde_json::to_string(&piece).unwrap_or_default();
            match texts.last_mut() {
                Some(text) if text.len() + piece.len() < WORD_SIZE_BYTES_MAX => {
                    text.push(',');
                    text.push_str(&piece);
                }
                _ => texts.push(format!(r#"{{"Plays":[{piece}"#)),
            }
        }
        texts.iter_mut().for_each(|text| text.push_str("]}"));
        texts
    }
}

impl CommitWord {
    fn new(extent: Extent, changed: &Changed) -> Self {
        let entities = match changed {
            Changed::Entities(entities) if entities.len() <= WORD_ENTITIES_MAX => {
                Some(entities.keys().map(|entity| (entity.kind.code(), entity.id.to_string())).collect())
            }
            _ => None,
        };
        Self { extent, entities, events: None }
    }

    fn into_text(self) -> String {
        let shorter = Self { entities: None, ..self };
        let text = serde_json::to_string(&Word::Commit(self)).unwrap_or_default();
        if text.len() <= WORD_SIZE_BYTES_MAX {
            return text;
        }
        serde_json::to_string(&Word::Commit(shorter)).unwrap_or_default()
    }

    pub fn changed(self) -> Changed {
        let extent = self.extent;
        let entity = |(kind, id)| Some((EntityRef::new(EntityKind::from_code(kind)?, id), extent));
        let entities = self.entities.and_then(|entities| entities.into_iter().map(entity).collect());
        entities.map_or(Changed::Everything { within: Some(extent) }, Changed::Entities)
    }
}

/// Hears of every commit, its own and other processes', after it is durable.
pub trait CommitObserver: Send + Sync + 'static {
    fn committed(&self, changed: &Changed);

    /// Everything that was ever counted is gone; answers from before must not be given again.
    fn purged(&self) {}
}

pub type SharedObserver = Arc<dyn CommitObserver>;

/// When the oldest and the newest counted event happened, and what of that time is no longer all there.
#[derive(Debug)]
pub struct Watermark {
    oldest_ms: AtomicI64,
    newest_ms: AtomicI64,
    /// How often everything was forgotten.
    clears: AtomicU64,
    keeping: RwLock<Keeping>,
}

impl Default for Watermark {
    fn default() -> Self {
        Self {
            oldest_ms: AtomicI64::new(i64::MAX),
            newest_ms: AtomicI64::new(i64::MIN),
            clears: AtomicU64::new(0),
            keeping: RwLock::default(),
        }
    }
}

impl Watermark {
    pub fn extend(&self, extent: Extent) {
        self.oldest_ms.fetch_min(extent.oldest_ms, Ordering::AcqRel);
        self.newest_ms.fetch_max(extent.newest_ms, Ordering::AcqRel);
    }

    /// `None` while nothing has been counted.
    pub fn newest_ms(&self) -> Option<i64> {
        Some(self.newest_ms.load(Ordering::Acquire)).filter(|newest| *newest > i64::MIN)
    }

    pub fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Acquire)).filter(|oldest| *oldest < i64::MAX)
    }

    /// Knows nothing any more.
    pub fn clear(&self) {
        self.oldest_ms.store(i64::MAX, Ordering::Release);
        self.newest_ms.store(i64::MIN, Ordering::Release);
        self.clears.fetch_add(1, Ordering::AcqRel);
    }

    /// Whoever reads what is stored looks here before and after: what was read before everything was forgotten is not
    /// to be remembered.
    pub fn clears(&self) -> u64 {
        self.clears.load(Ordering::Acquire)
    }

    pub fn keeping(&self) -> Keeping {
        *self.keeping.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn keep(&self, keeping: Keeping) {
        *self.keeping.write().unwrap_or_else(PoisonError::into_inner) = keeping;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_commit_fit_into_notifications_and_say_everything() {
        let play = |number: u32| Play { at_s: 1_781_524_800, times: 1_000_000_000_000, listener: Some(number) };
        let entity = |number: u32| EntityRef::new(EntityKind::Song, format!("{number}{}", "\u{1}".repeat(199)));
        let mut told =
            vec![PlaysOf { entity: None, plays: (0..1_000).map(|number| play(u32::MAX - number)).collect() }];
        told.extend((0..100).map(|number| PlaysOf { entity: Some(entity(number)), plays: vec![play(number)] }));
        let extent = Extent { oldest_ms: 1, newest_ms: 2 };
        let changed = Changed::Entities((0..60).map(|number| (entity(number), extent)).collect());
        let mut heard: Vec<PlaysOf> = Vec::new();
        let mut commits = Vec::new();
        for text in Word::texts(extent, 7, &changed, &told) {
            assert!(text.len() <= 7_900 && !text.contains('\n'), "{} bytes: {text}", text.len());
            match serde_json::from_str(&text).unwrap() {
                Word::Commit(word) => commits.push((word.extent, word.events, word.changed())),
                Word::Plays(plays) => {
                    for piece in plays {
                        match heard.last_mut() {
                            Some(last) if last.entity == piece.entity => last.plays.extend(piece.plays),
                            _ => heard.push(piece),
                        }
                    }
                }
                Word::Catalogue | Word::Keeping => panic!("a commit says nothing of these"),
            }
        }
        assert_eq!(heard, told);
        // Sixty such long ids are too many for one word.
        assert_eq!(commits, [(extent, Some(7), Changed::Everything { within: Some(extent) })]);
        let few = Changed::Entities([(entity(1), extent), (entity(2), extent)].into_iter().collect());
        let [text] = &Word::texts(extent, 2, &few, &[])[..] else { panic!("one word") };
        let Word::Commit(word) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
        assert_eq!(word.changed(), few);
    }
}
