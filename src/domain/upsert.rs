//! Judging what the catalogue's owner says: an entry is taken whole or refused with a reason.

use std::{collections::HashSet, sync::Arc};

use super::{
    catalogue::{CREDITS_MAX, Change, EntryChange, GENRES_MAX, PLAYLIST_SONGS_MAX},
    credit::CreditRole,
    entity::{EntityKind, EntityRef},
    event::{LENGTH_MS_MAX, RejectCode, Rejection, TITLE_LENGTH_MAX, check_text, invalid, missing, title},
    merge::Merges,
};

impl EntryChange {
    /// Checks every field, normalizes titles, and takes empty lists for words that are taken back.
    pub fn judge(mut self, id_length_max: usize, merges: &Merges) -> Result<EntryChange, Rejection> {
        let id = self.entity.id.to_string();
        self.check(id_length_max, merges).map_err(|rejection| Rejection { id: Some(id), ..rejection })?;
        Ok(self)
    }

    fn check(&mut self, id_length_max: usize, merges: &Merges) -> Result<(), Rejection> {
        check_text("id", &self.entity.id, id_length_max)?;
        if let Change::Set(text) = &self.title {
            check_text("title", text, TITLE_LENGTH_MAX)?;
            if let Some(title) = title("title", Some(text))? {
                self.title = Change::Set(title);
            }
        }
        for (field, id) in [("albumId", &self.album_id), ("ownerId", &self.owner_id)] {
            if let Change::Set(id) = id {
                check_text(field, id, id_length_max)?;
            }
        }
        if self.duration_ms.value().is_some_and(|length| !(0..=LENGTH_MS_MAX).contains(length)) {
            return Err(invalid("durationMs", format!("must be between 0 and {LENGTH_MS_MAX} milliseconds (30 days)")));
        }
        self.check_credits(id_length_max, merges)?;
        self.check_lists(id_length_max)
    }

    fn check_credits(&mut self, id_length_max: usize, merges: &Merges) -> Result<(), Rejection> {
        let Change::Set(credits) = &mut self.credits else { return Ok(()) };
        if credits.is_empty() {
            self.credits = Change::Clear;
            return Ok(());
        }
        check_count("credits", credits.len(), CREDITS_MAX)?;
        let mut artists = HashSet::new();
        for credit in &*credits {
            check_text("credits.artistId", &credit.artist_id, id_length_max)?;
            // Who is in twice, if under two ids that are read as one, would be counted twice.
            if !artists.insert(merges.canonical(&EntityRef { kind: EntityKind::Artist, id: credit.artist_id.clone() }))
            {
                let message = format!("name {:?} twice; give each artist one role", credit.artist_id);
                return Err(invalid("credits", message));
            }
        }
        if !credits.iter().any(|credit| credit.role == CreditRole::Main) {
            return Err(missing("credits", "at least one artist has to be MAIN"));
        }
        // Stable: among those of a role, the order is the sender's.
        credits.sort_by_key(|credit| match credit.role {
            CreditRole::Main => 0,
            CreditRole::Remixer => 1,
            CreditRole::Featured => 2,
        });
        Ok(())
    }

    fn check_lists(&mut self, id_length_max: usize) -> Result<(), Rejection> {
        for (field, list, count_max) in
            [("genres", &mut self.genres, GENRES_MAX), ("songIds", &mut self.song_ids, PLAYLIST_SONGS_MAX)]
        {
            let Change::Set(texts) = list else { continue };
            check_count(field, texts.len(), count_max)?;
            texts.iter().try_for_each(|text| check_text(field, text, id_length_max))?;
            if texts.is_empty() {
                *list = Change::Clear;
            }
        }
        if let Change::Set(genres) = &mut self.genres {
            let mut seen: HashSet<Arc<str>> = HashSet::new();
            genres.retain(|genre| seen.insert(genre.clone()));
        }
        Ok(())
    }
}

fn check_count(field: &str, count: usize, max: usize) -> Result<(), Rejection> {
    if count > max {
        return Err(Rejection::new(RejectCode::TooLarge, field, format!("holds {count}, the limit is {max}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{credit::Credit, merge::Merge};

    fn credit(artist_id: &str, role: CreditRole) -> Credit {
        Credit { artist_id: artist_id.into(), role }
    }

    fn entry() -> EntryChange {
        EntryChange::bare(EntityRef::new(EntityKind::Song, "s"))
    }

    #[test]
    fn entries_are_refused_with_the_field_that_is_wrong() {
        use CreditRole::*;
        let merges = Merges::default();
        merges.replace(vec![Merge { from: EntityRef::new(EntityKind::Artist, "b"), into_id: "a".into() }]);
        let ids = |count: usize| Change::Set((0..count).map(|id| Arc::from(id.to_string())).collect());
        for (change, field, code) in [
            (EntryChange { entity: EntityRef::new(EntityKind::Song, ""), ..entry() }, "id", "INVALID_VALUE"),
            (EntryChange { title: Change::Set(" ".into()), ..entry() }, "title", "INVALID_VALUE"),
            (EntryChange { title: Change::Set("x".repeat(1_001).into()), ..entry() }, "title", "TOO_LONG"),
            (EntryChange { album_id: Change::Set("x\0".into()), ..entry() }, "albumId", "INVALID_CHARACTER"),
            (EntryChange { owner_id: Change::Set("x".repeat(201).into()), ..entry() }, "ownerId", "TOO_LONG"),
            (EntryChange { duration_ms: Change::Set(-1), ..entry() }, "durationMs", "INVALID_VALUE"),
            (EntryChange { genres: ids(21), ..entry() }, "genres", "TOO_LARGE"),
            (EntryChange { song_ids: ids(10_001), ..entry() }, "songIds", "TOO_LARGE"),
            (EntryChange { credits: Change::Set(vec![credit("a", Featured)]), ..entry() }, "credits", "MISSING_FIELD"),
            (
                EntryChange { credits: Change::Set(vec![credit("a", Main), credit("b", Featured)]), ..entry() },
                "credits",
                "INVALID_VALUE",
            ),
        ] {
            let rejection = change.judge(200, &merges).unwrap_err();
            assert_eq!((rejection.field.as_deref(), rejection.code.code()), (Some(field), code));
        }
    }

    #[test]
    fn main_artists_come_first_and_empty_lists_take_the_word_back() {
        use CreditRole::*;
        let credits = vec![credit("f", Featured), credit("r", Remixer), credit("b", Main), credit("a", Main)];
        let change = EntryChange {
            title: Change::Set(" A  title".into()),
            credits: Change::Set(credits),
            genres: Change::Set(vec!["pop".into(), "rock".into(), "pop".into()]),
            song_ids: Change::Set(Vec::new()),
            ..entry()
        };
        let change = change.judge(200, &Merges::default()).unwrap();
        let order: Vec<&str> = change.credits.value().unwrap().iter().map(|credit| &*credit.artist_id).collect();
        assert_eq!(order, ["b", "a", "r", "f"]);
        assert_eq!(change.title, Change::Set("A title".into()));
        assert_eq!(change.genres.value().unwrap().len(), 2);
        assert!(change.song_ids.is_clear());
    }
}
