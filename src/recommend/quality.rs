//! How well recommendations foretell what this platform's own listeners turn to.

use serde::{Deserialize, Serialize};

use super::{
    Recommender,
    evaluate::{self, Quality, Split},
    gather::{Listened, place_of},
    taste::Deeds,
};
use crate::{
    db::{DbError, queries::recommendations},
    domain::entity::EntityKind,
};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct QualityOrder {
    pub of: EntityKind,
    /// Recommendations are made from what happened before, and are to foretell what listeners turned to from then on.
    pub split_ms: i64,
}

/// What was measured, and of whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub split_ms: i64,
    /// Listeners who turned to anything new, of whom so many were measured.
    pub listeners: usize,
    pub items: usize,
    pub methods: Vec<Quality>,
}

/// So many listeners are measured at most, chosen by their numbers: more change the third place of no number.
const LISTENERS_MAX: usize = 10_000;

impl Recommender {
    /// Measures what is served beside the other methods, and keeps the result. `None` where nobody turned to anything new
    /// behind the split.
    pub async fn measure(
        &self,
        order: QualityOrder,
        on_method: impl FnMut(&Quality) + Send + 'static,
    ) -> Result<Option<Measured>, DbError> {
        let place = place_of(order.of);
        let liked = |list: Vec<(u32, Deeds)>| -> Vec<(u32, f32)> {
            let points = list.into_iter().map(|(item, deeds)| (item, deeds.points()));
            points.filter(|(_, points)| *points > 0.0).collect()
        };
        let (mut known, mut turned_to) = (Vec::new(), Vec::new());
        let see = |Listened { mut settled, mut recent, .. }: Listened| {
            let (before, after) = (std::mem::take(&mut settled.0[place]), std::mem::take(&mut recent.0[place]));
            if !before.is_empty() {
                known.push(liked(before));
                turned_to.push(after.into_iter().map(|(item, _)| item).collect::<Vec<_>>());
            }
        };
        self.gather(order.split_ms, see).await?;
        let measured = tokio::task::spawn_blocking(move || {
            let split = Split::numbered(&known, &turned_to, LISTENERS_MAX);
            let listeners = split.wanted_count.iter().filter(|count| **count > 0).count();
            let methods = if listeners > 0 { evaluate::table(&split, true, on_method) } else { Vec::new() };
            Measured { split_ms: order.split_ms, listeners, items: split.known.width(), methods }
        });
        let measured = measured.await.expect("measuring does not panic");
        if measured.listeners == 0 {
            return Ok(None);
        }
        let text = serde_json::to_string(&measured).expect("numbers can always be written");
        recommendations::put_quality(self.database.writer(), order.of, self.clock.now_ms(), &text).await?;
        Ok(Some(measured))
    }

    /// What was measured last, and when.
    pub async fn quality(&self, of: EntityKind) -> Result<Option<(i64, Measured)>, DbError> {
        let found = recommendations::find_quality(self.database.reader(), of).await?;
        let read = |(at_ms, text): (i64, String)| {
            let measured = serde_json::from_str(&text).map_err(|_| DbError::Corrupt("what was measured"))?;
            Ok((at_ms, measured))
        };
        found.map(read).transpose()
    }
}
