//! What goes with a playlist.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    Failed, Recommendation, Recommender,
    for_you::likeliest_genres,
    history::{History, Telling},
    pick::{Looked, Mix, Picker, Refusal, Rules, owners},
    popular::Popular,
};
use crate::{
    db::{
        DbError,
        queries::{catalogue, recommendations},
    },
    domain::{
        catalogue::CatalogueEntry,
        counting::Counter,
        entity::{EntityKind, EntityRef},
        measure::Metric,
        ranking::{Among, RankingQuestion},
        window::{DAY_MS, Grain, Window},
    },
};

/// Of an artist so many songs, those streamed most, say what goes with them.
const SONGS_OF_ARTIST: usize = 10;
/// Of an album or a playlist so many songs do.
const SONGS_OF_LIST: usize = 200;

/// What a playlist is made from.
#[derive(Debug, Clone)]
pub struct AssistedOrder {
    /// Songs, albums, artists and playlists.
    pub seeds: Vec<EntityRef>,
    pub length: usize,
    pub per_artist_max: usize,
    /// From 0, what many know, to 1, what few do.
    pub discovery: f32,
    /// Neither these nor what is theirs or on them; whatever kind the id is of.
    pub excluded_ids: Vec<Arc<str>>,
    /// Whose dismissals are respected, and who knows what.
    pub user_id: Option<String>,
    /// Which part the listener knows already, 0 to 1; as it comes where it is left out.
    pub known_share: Option<f64>,
    pub duration_max_ms: Option<i64>,
}

/// Songs that go with the seeds, in the order in which to listen to them.
#[derive(Debug, Clone)]
pub struct AssistedPlaylist {
    pub songs: Vec<Recommendation>,
    pub duration_ms: i64,
    /// Why there are fewer than asked for.
    pub shortfall: Option<String>,
}

/// Songs that say what goes with the seeds.
#[derive(Default)]
pub struct Seeded {
    pub telling: Vec<Telling>,
    /// Which seed each stands for.
    pub stand_for: HashMap<u32, CatalogueEntry>,
    /// What is in the playlist already.
    pub songs: HashSet<EntityRef>,
}

impl Recommender {
    /// The entities that some ids stand for: of each the first of a song, an artist, an album and a playlist that the
    /// catalogue knows, or of one kind alone; and the ids that it does not know.
    pub async fn find_seeds(
        &self,
        ids: &[Arc<str>],
        of: Option<EntityKind>,
    ) -> Result<(Vec<EntityRef>, Vec<Arc<str>>), DbError> {
        let kinds = match of {
            Some(kind) => vec![kind],
            None => vec![EntityKind::Song, EntityKind::Artist, EntityKind::Album, EntityKind::Playlist],
        };
        let all = ids.iter().flat_map(|id| kinds.iter().map(|kind| EntityRef { kind: *kind, id: id.clone() }));
        let known = self.analytics.entries(&all.collect::<Vec<_>>()).await?;
        let (mut seeds, mut unknown) = (Vec::new(), Vec::new());
        for id in ids {
            let mut of_id = kinds.iter().map(|kind| EntityRef { kind: *kind, id: id.clone() });
            match of_id.find_map(|entity| known.get(&entity)) {
                Some(entry) => seeds.push(entry.entity.clone()),
                None => unknown.push(id.clone()),
            }
        }
        Ok((seeds, unknown))
    }

    /// Songs that go with the seeds. What fewer people have in common with them than are ever told tells nothing: whoever asks
    /// need not be anybody of them.
    pub async fn assist(&self, order: &AssistedOrder) -> Result<AssistedPlaylist, Failed> {
        let Seeded { telling, stand_for, songs } = self.seeded(&order.seeds, false).await?;
        let user = match &order.user_id {
            Some(user_id) => self.analytics.find_user(user_id).await?,
            None => None,
        };
        let history = match &user {
            Some(user) if order.known_share.is_some() => self.history(user, EntityKind::Song).await?,
            _ => History::default(),
        };
        let dismissed = match &order.user_id {
            Some(user_id) => self.dismissed(user_id).await?,
            None => Default::default(),
        };
        let merges = self.analytics.merges();
        let of_any_kind = |id: &Arc<str>| {
            let kinds = [EntityKind::Song, EntityKind::Album, EntityKind::Artist];
            kinds.map(|kind| merges.canonical(&EntityRef { kind, id: id.clone() }))
        };
        let few = u32::try_from(self.analytics.shown_people_min()).unwrap_or(u32::MAX);
        let told = self.told(telling, order.discovery, few).await?;
        let mut picker = Picker::new(Rules {
            dismissed,
            excluded: songs.into_iter().chain(order.excluded_ids.iter().flat_map(of_any_kind)).collect(),
            per_artist_max: Some(order.per_artist_max),
            duration_max_ms: order.duration_max_ms,
            ..Rules::default()
        });
        let mut looked = Looked::naming(stand_for);
        let mix = Mix { known_share: order.known_share, is_known: |item| history.has(item) };
        let taken = self.take(&told, &mut looked, &mut picker, mix, order.length).await?;
        let mut songs = self.explained(&looked, &picker, &taken);
        // What is popular may be known or not; where that is all or nothing, it has to be right.
        if songs.len() < order.length && order.known_share != Some(1.0) {
            if order.known_share == Some(0.0) {
                picker.rules.known.extend(self.known(&history).await?);
            }
            let entries = self.catalogue_entries(&order.seeds).await?;
            let popular = Popular { of: EntityKind::Song, genres: likeliest_genres(entries.iter()), country: None };
            self.fill_up(&popular, &mut looked, &mut picker, &mut songs, order.length).await?;
        }
        let shortfall = (songs.len() < order.length).then(|| shortfall(&picker, songs.len(), order.length));
        Ok(AssistedPlaylist { songs: arranged(songs), duration_ms: picker.duration_ms, shortfall })
    }

    /// Songs that stand for some things; whether somebody said that they like these.
    pub(super) async fn seeded(&self, seeds: &[EntityRef], is_said: bool) -> Result<Seeded, Failed> {
        let mut seeded = Seeded::default();
        let mut strengths: HashMap<EntityRef, (f32, CatalogueEntry)> = HashMap::new();
        for (seed, entry) in seeds.iter().zip(self.catalogue_entries(seeds).await?) {
            let songs = self.songs_of(seed).await?;
            if seed.kind != EntityKind::Artist {
                seeded.songs.extend(songs.iter().cloned());
            }
            // A seed says as much as another, however many songs it has.
            let strength = 1.0 / songs.len().max(1) as f32;
            for song in songs {
                strengths.entry(song).or_insert_with(|| (0.0, entry.clone())).0 += strength;
            }
        }
        let songs: Vec<EntityRef> = strengths.keys().cloned().collect();
        let numbers = recommendations::list_item_numbers(self.database.reader(), &songs).await?;
        for (song, number) in numbers {
            let (strength, entry) = &strengths[&song];
            seeded.telling.push(Telling { item: number, strength: *strength, is_said });
            seeded.stand_for.insert(number, entry.clone());
        }
        seeded.telling.sort_unstable_by_key(|telling| telling.item);
        Ok(seeded)
    }

    /// The songs that a seed stands for, by what they are read as.
    async fn songs_of(&self, seed: &EntityRef) -> Result<Vec<EntityRef>, Failed> {
        let (reader, merges) = (self.database.reader(), self.analytics.merges());
        let members = merges.members(seed);
        let ids: Vec<&str> = members.iter().map(|member| &*member.id).collect();
        let songs = match seed.kind {
            EntityKind::Song => vec![seed.clone()],
            EntityKind::Playlist => catalogue::list_songs_in(reader, &ids).await?,
            EntityKind::Album => catalogue::list_songs_on(reader, &ids, SONGS_OF_LIST as u64).await?,
            _ => {
                let to_ms = Grain::Day.bucket_of(self.clock.now_ms()) + DAY_MS;
                let window = Window { from_ms: self.analytics.first_day().min(to_ms), to_ms };
                let by = Metric::Counter(Counter::Streams);
                let question = RankingQuestion { of: EntityKind::Song, by, window, among: Among::default() };
                let top = self.analytics.top_works(seed, &question, SONGS_OF_ARTIST).await?;
                let top = self.analytics.ranked(&top, 0..SONGS_OF_ARTIST).await?;
                top.into_iter().map(|ranked| ranked.entity).collect()
            }
        };
        let mut songs: Vec<EntityRef> = songs.iter().map(|song| merges.canonical(song)).collect();
        songs.sort_unstable();
        songs.dedup();
        Ok(songs)
    }
}

/// Why there are fewer songs than asked for.
fn shortfall(picker: &Picker, count: usize, length: usize) -> String {
    let reasons = [
        (Refusal::Excluded, "in the seeds or in exclude"),
        (Refusal::Known, "known already"),
        (Refusal::Dismissed, "dismissed"),
        (Refusal::ArtistIsFull, "past maxPerArtist"),
        (Refusal::TooLong, "too long for maxDurationMs"),
        (Refusal::OfUnknownLength, "of unknown length, which maxDurationMs keeps out"),
    ];
    let counted = reasons.iter().map(|(refusal, why)| (picker.refused(*refusal), why)).filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted.map(|(count, why)| format!("{count} {why}")).collect();
    let kept_out = if counted.is_empty() { String::new() } else { format!("; kept out: {}", counted.join(", ")) };
    format!("{count} of {length} songs: no more are known to go with the seeds, or popular{kept_out}")
}

/// The best first, but no two of one artist in a row where that can be avoided.
fn arranged(songs: Vec<Recommendation>) -> Vec<Recommendation> {
    let artists: Vec<Option<Arc<str>>> = songs.iter().map(|song| owners(&song.entry).next().cloned()).collect();
    let order = apart(&artists);
    let mut songs: Vec<Option<Recommendation>> = songs.into_iter().map(Some).collect();
    order.into_iter().filter_map(|place| songs[place].take()).collect()
}

/// An order of places in which no two that have the same follow each other, if there is one; otherwise as few as can be.
/// What comes first goes first wherever that leaves a way.
fn apart(of: &[Option<Arc<str>>]) -> Vec<usize> {
    let mut left: FxHashMap<&Arc<str>, usize> = FxHashMap::default();
    of.iter().flatten().for_each(|artist| *left.entry(artist).or_default() += 1);
    let mut rest: Vec<usize> = (0..of.len()).collect();
    let mut order = Vec::with_capacity(of.len());
    let mut last: Option<&Arc<str>> = None;
    while !rest.is_empty() {
        let after = rest.len() - 1;
        // Whoever has the most of what is left: where it is more than every other place, it has to go now.
        let most = left.iter().max_by_key(|(_, count)| **count).map(|(artist, count)| (*artist, *count));
        let differs = |place: &usize| of[*place].is_none() || of[*place].as_ref() != last;
        let leaves_a_way = |place: &usize| {
            let own = of[*place].as_ref();
            let fits = |(artist, count): (&Arc<str>, usize)| {
                if Some(artist) == own { 2 * (count - 1) <= after } else { count <= after.div_ceil(2) }
            };
            let own_fits = own.is_none_or(|own| fits((own, left[own])));
            own_fits && most.is_none_or(fits)
        };
        let of_most = |place: &usize| most.is_some_and(|(artist, _)| of[*place].as_ref() == Some(artist));
        let chosen = rest
            .iter()
            .position(|place| differs(place) && leaves_a_way(place))
            .or_else(|| rest.iter().position(|place| differs(place) && of_most(place)))
            .or_else(|| rest.iter().position(differs))
            .unwrap_or(0);
        let place = rest.remove(chosen);
        last = of[place].as_ref();
        if let Some(count) = last.and_then(|artist| left.get_mut(artist)) {
            *count -= 1;
        }
        order.push(place);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_of_one_artist_follow_each_other_where_that_can_be_avoided(artists in prop::collection::vec(0..4_u8, 0..14)) {
            let of: Vec<Option<Arc<str>>> =
                artists.iter().map(|artist| (*artist > 0).then(|| artist.to_string().into())).collect();
            let order = apart(&of);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..of.len()).collect::<Vec<_>>());
            let in_a_row = order.windows(2).filter(|two| of[two[0]].is_some() && of[two[0]] == of[two[1]]).count();
            // Of n things of one artist, n - 1 gaps have to be filled by others.
            let most = (1..4_u8).map(|artist| artists.iter().filter(|one| **one == artist).count()).max().unwrap_or(0);
            let others = of.len() - most;
            prop_assert_eq!(in_a_row, most.saturating_sub(others + 1));
        }
    }

    #[test]
    fn the_best_stay_first_where_that_leaves_a_way() {
        let of = |artists: &str| -> Vec<usize> {
            apart(&artists.chars().map(|artist| Some(artist.to_string().into())).collect::<Vec<_>>())
        };
        assert_eq!(of("abcabc"), [0, 1, 2, 3, 4, 5]);
        assert_eq!(of("aabb"), [0, 2, 1, 3]);
        assert_eq!(of("abbb"), [1, 0, 2, 3]);
    }
}
