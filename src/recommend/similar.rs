//! What is like something.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    Failed, ReasonKind, Recommendation, Recommender,
    dismissals::Dismissed,
    neighbours::{self, Neighbour},
    pick::{Looked, Picker, Rules, at_first, owners},
    popular::Popular,
};
use crate::{
    db::queries::recommendations,
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

/// What is like what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimilarQuestion {
    pub entity: EntityRef,
    pub first: usize,
    /// Whether works of the same artists are left out.
    pub is_other_artists: bool,
    /// Whose dismissals are left out.
    pub user_id: Option<String>,
}

impl Recommender {
    /// What is like each of some things. What fewer people have in common with it than are ever told is left out; where
    /// nothing, or not enough, is known, what is popular of its genres follows, then what is popular.
    pub async fn similar(
        &self,
        questions: &[SimilarQuestion],
    ) -> Result<HashMap<SimilarQuestion, Vec<Recommendation>>, Failed> {
        let merges = self.analytics.merges();
        let entities: HashSet<EntityRef> =
            questions.iter().map(|question| merges.canonical(&question.entity)).collect();
        let entities = Vec::from_iter(entities);
        let reader = self.database.reader();
        let entries = self.catalogue_entries(&entities).await?;
        let entries: HashMap<&EntityRef, CatalogueEntry> = entities.iter().zip(entries).collect();
        let numbers = recommendations::list_item_numbers(reader, &entities).await?;
        let items: Vec<u32> = numbers.values().copied().collect();
        let lists: FxHashMap<u32, Vec<u8>> = if items.is_empty() {
            FxHashMap::default()
        } else {
            recommendations::list_neighbours(reader, &items).await?.into_iter().collect()
        };
        let shown_min = self.analytics.shown_people_min();
        let neighbours_of = |question: &SimilarQuestion| -> Vec<Neighbour> {
            let number = numbers.get(&merges.canonical(&question.entity));
            let list = number.and_then(|number| lists.get(number)).into_iter().flat_map(|list| neighbours::read(list));
            list.filter(|neighbour| u64::from(neighbour.support) >= shown_min).collect()
        };
        let neighbours: Vec<Vec<Neighbour>> = questions.iter().map(neighbours_of).collect();
        // For all questions at once; more only of those of which much is left out.
        let mut looked = Looked::default();
        let first = questions.iter().zip(&neighbours).flat_map(|(question, neighbours)| {
            neighbours.iter().take(at_first(question.first)).map(|neighbour| neighbour.item)
        });
        self.look_up(&mut looked, first.collect()).await?;
        let mut dismissed: HashMap<&str, Dismissed> = HashMap::new();
        let mut answers = HashMap::with_capacity(questions.len());
        for (question, neighbours) in questions.iter().zip(&neighbours) {
            let to = &entries[&merges.canonical(&question.entity)];
            let mut rules = Rules { excluded: HashSet::from([to.entity.clone()]), ..Rules::default() };
            if question.is_other_artists {
                let artist = |id: &Arc<str>| EntityRef { kind: EntityKind::Artist, id: id.clone() };
                rules.excluded.extend(owners(to).map(artist));
            }
            if let Some(user_id) = &question.user_id {
                if !dismissed.contains_key(&**user_id) {
                    dismissed.insert(user_id, self.dismissed(user_id).await?);
                }
                rules.dismissed = dismissed[&**user_id].clone();
            }
            let similar = self.similar_to(question, to, neighbours, &mut looked, Picker::new(rules)).await?;
            answers.insert(question.clone(), similar);
        }
        Ok(answers)
    }

    async fn similar_to(
        &self,
        question: &SimilarQuestion,
        to: &CatalogueEntry,
        neighbours: &[Neighbour],
        looked: &mut Looked,
        mut picker: Picker,
    ) -> Result<Vec<Recommendation>, Failed> {
        let mut similar = Vec::with_capacity(question.first);
        for some in neighbours.chunks(at_first(question.first)) {
            if similar.len() >= question.first {
                break;
            }
            let items = some.iter().map(|neighbour| neighbour.item).collect();
            self.look_up(looked, items).await?;
            for neighbour in some {
                let entry = looked.entry(neighbour.item).filter(|_| similar.len() < question.first);
                let Some(entry) = entry.filter(|entry| picker.takes(entry)) else { continue };
                similar.push(Recommendation {
                    entry: entry.clone(),
                    score: f64::from(neighbour.score),
                    support: neighbour.support,
                    reason: ReasonKind::ListenedTogether,
                    because: vec![to.clone()],
                });
            }
        }
        let genres = to.genres.iter().map(|genre| (genre.clone(), Some(to.clone()))).collect();
        let popular = Popular { of: to.entity.kind, genres, country: None };
        self.fill_up(&popular, looked, &mut picker, &mut similar, question.first).await?;
        Ok(similar)
    }
}
