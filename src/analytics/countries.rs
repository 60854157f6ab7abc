//! What every entity of a kind had in each country over some UTC days: piece by piece of the id space, for charts.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{Analytics, days::Asked, people::size};
use crate::{
    audience::day::{EntityDay, Wanted},
    db::{
        DbError,
        queries::{audience, chart_totals::IdRange},
    },
    domain::{
        counting::{Counter, Part, Parts},
        entity::{EntityKind, EntityRef},
        origin::Dimension,
    },
};

/// A pass over all entities of a kind and their UTC days.
pub struct CountryPass {
    of: EntityKind,
    days: Vec<i64>,
    /// What is merged, and what has facts that no stored day holds yet: it is read by itself, with all that belongs to
    /// it.
    pub apart: Vec<EntityRef>,
    /// The ids of all that.
    passed_over: HashSet<Arc<str>>,
}

/// One entity in one country.
pub struct InCountry {
    pub id: Arc<str>,
    pub country: Arc<str>,
    pub streams: i64,
    /// Streams of known people.
    known_streams: i64,
    /// Everybody who took a part, once for each day and origin.
    people: Vec<(Part, u32)>,
}

impl InCountry {
    /// Its listeners, and how many people stand behind its numbers at least.
    pub fn listeners_and_size(&self) -> (u64, u64) {
        let mut parts: [RoaringBitmap; Part::COUNT] = Default::default();
        self.people.iter().for_each(|(part, person)| {
            parts[*part as usize].insert(*person);
        });
        (parts[Part::Listener as usize].len(), size(&parts, self.streams, self.known_streams))
    }
}

impl Analytics {
    /// Begins a pass. What is open is looked at before any stored day.
    pub fn country_pass(&self, of: EntityKind, days: &[i64]) -> CountryPass {
        let asked: HashSet<i64> = days.iter().copied().collect();
        let has_open = |entity: &EntityRef| !self.open_audience.facts(entity).days().is_disjoint(&asked);
        let open = self.open_audience.entities().into_iter().filter(|entity| entity.kind == of && has_open(entity));
        let apart: BTreeSet<EntityRef> =
            open.map(|entity| self.merges.canonical(&entity)).chain(self.merges.list_united(of)).collect();
        let members = apart.iter().flat_map(|entity| self.merges.members(entity));
        let passed_over = members.map(|member| member.id).collect();
        CountryPass { of, days: days.to_vec(), apart: apart.into_iter().collect(), passed_over }
    }

    /// Everything in a range of ids that is not read apart, by country; in no order. One statement a day.
    pub async fn in_countries(&self, pass: &CountryPass, range: &IdRange) -> Result<Vec<InCountry>, DbError> {
        let mut sums = Sums::default();
        let wanted = Wanted::of(Dimension::Country, Parts::ALL);
        for day in &pass.days {
            for row in audience::list_cells(self.database.scanner(), *day, pass.of, range).await? {
                if !pass.passed_over.contains(&row.entity.id) {
                    let day = EntityDay::read(&row.cells, None, wanted);
                    sums.add(&row.entity.id, &day.map_err(|_| DbError::Corrupt("an entity's day"))?);
                }
            }
        }
        Ok(sums.0.into_values().collect())
    }

    /// Some of what is read apart, by country; in no order.
    pub async fn apart_in_countries(&self, pass: &CountryPass, some: &[EntityRef]) -> Result<Vec<InCountry>, DbError> {
        let mut asked = Asked::by(Dimension::Country, Parts::ALL);
        let keys = some.iter().flat_map(|entity| pass.days.iter().map(|day| (entity.clone(), *day)));
        asked.cells.extend(keys);
        let mut sums = Sums::default();
        for ((entity, _), day) in self.days(asked).await?.cells {
            sums.add(&entity.id, &day);
        }
        Ok(sums.0.into_values().collect())
    }
}

#[derive(Default)]
struct Sums(FxHashMap<(Arc<str>, Arc<str>), InCountry>);

impl Sums {
    fn add(&mut self, id: &Arc<str>, day: &EntityDay) {
        for cell in day.cells(Dimension::Country) {
            let Some(country) = day.text(cell) else { continue };
            let new = || InCountry {
                id: id.clone(),
                country: country.clone(),
                streams: 0,
                known_streams: 0,
                people: Vec::new(),
            };
            let sum = self.0.entry((id.clone(), country.clone())).or_insert_with(new);
            sum.streams += cell.total.counters[Counter::Streams];
            for part in Part::ALL {
                let people = cell.people(part);
                sum.people.extend(people.iter().map(|person| (part, person.number)));
                if matches!(part, Part::Listener | Part::AnonymousListener) {
                    sum.known_streams += people.iter().map(|person| i64::from(person.times)).sum::<i64>();
                }
            }
        }
    }
}
