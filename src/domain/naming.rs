//! Stable ids for things that are known by their name only.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::entity::EntityKind;

/// A name as the catalogue keeps it: NFC, trimmed, runs of white space folded to one blank, case kept.
pub fn normalized(name: &str) -> String {
    let composed: String = name.nfc().collect();
    let mut folded = String::with_capacity(composed.len());
    for word in composed.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}

/// The id of a thing known by name: `n-` and 128 bits of a hash over its kind, the id of what it
/// belongs to (a song's or an album's artist; empty for an artist) and its normalized name.
pub fn id_from_name(kind: EntityKind, owner_id: &str, normalized_name: &str) -> Arc<str> {
    let digest = hash128(&[kind.word(), owner_id, normalized_name]);
    let mut id = String::with_capacity(34);
    id.push_str("n-");
    for byte in digest {
        id.push_str(&format!("{byte:02x}"));
    }
    id.into()
}

/// 128 bits over several strings; their lengths are hashed too, so that ("ab", "c") is not ("a", "bc").
pub fn hash128(parts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_white_space_and_compose_but_keep_case() {
        for (sent, kept) in [
            ("  Bad   Omens ", "Bad Omens"),
            ("Beyonce\u{301}", "Beyonc\u{e9}"),
            ("a\tb\u{a0}c", "a b c"),
            ("ABBA", "ABBA"),
            ("   ", ""),
        ] {
            assert_eq!(normalized(sent), kept, "{sent:?}");
        }
    }

    #[test]
    fn ids_from_names_differ_by_kind_and_owner() {
        let song = id_from_name(EntityKind::Song, "artist-1", "Intro");
        assert_eq!(song, id_from_name(EntityKind::Song, "artist-1", "Intro"));
        assert_ne!(song, id_from_name(EntityKind::Song, "artist-2", "Intro"));
        assert_ne!(song, id_from_name(EntityKind::Album, "artist-1", "Intro"));
        assert_eq!(song.len(), 34);
    }
}
