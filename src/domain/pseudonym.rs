//! What stands for people and events where their own ids are not shown.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Makes names that nobody can take back without this database's secret.
#[derive(Clone)]
pub struct Pseudonyms {
    secret: [u8; 32],
}

/// What a name is made for: equal ids of two purposes have nothing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    User,
    AnonymousUser,
    Event,
    Cursor,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::AnonymousUser => "anonymous user",
            Self::Event => "event",
            Self::Cursor => "cursor",
        }
    }
}

impl Pseudonyms {
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// What an artist gets to see instead of an id: 128 bits in hex, always the same, and another for each artist, so
    /// that two of them cannot find out whom they have in common.
    pub fn of(&self, artist_id: &str, purpose: Purpose, id: &[u8]) -> String {
        let digest = self.digest(&[purpose.word().as_bytes(), artist_id.as_bytes(), id]);
        digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A hash as it may be handed out: it leads back to us, and tells nobody whose it is. The hash itself would:
    /// whoever guesses what it was made from can see that they guessed right.
    pub fn seal(&self, hash: [u8; 16]) -> [u8; 16] {
        (0..ROUNDS).fold(hash, |block, round| {
            let (left, right) = halves(block);
            joined(right, left ^ self.round(round, right))
        })
    }

    /// The hash that was sealed.
    pub fn open(&self, sealed: [u8; 16]) -> [u8; 16] {
        (0..ROUNDS).rev().fold(sealed, |block, round| {
            let (left, right) = halves(block);
            joined(right ^ self.round(round, left), left)
        })
    }

    fn round(&self, round: u8, half: u64) -> u64 {
        let digest = self.digest(&[Purpose::Cursor.word().as_bytes(), &[round], &half.to_be_bytes()]);
        halves(digest[..16].try_into().expect("a digest has more than 16 bytes")).0
    }

    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length will do");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Four make a Feistel network of a keyed hash a permutation that looks random from both sides (Luby and Rackoff).
const ROUNDS: u8 = 4;

fn halves(block: [u8; 16]) -> (u64, u64) {
    let whole = u128::from_be_bytes(block);
    ((whole >> 64) as u64, whole as u64)
}

fn joined(left: u64, right: u64) -> [u8; 16] {
    (u128::from(left) << 64 | u128::from(right)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_secret_artist_purpose_and_id_and_by_nothing_else() {
        let pseudonyms = Pseudonyms::new([1; 32]);
        let name = pseudonyms.of("artist-1", Purpose::User, b"anna");
        assert_eq!(name, Pseudonyms::new([1; 32]).of("artist-1", Purpose::User, b"anna"));
        assert_eq!(name.len(), 32);
        for other in [
            Pseudonyms::new([2; 32]).of("artist-1", Purpose::User, b"anna"),
            pseudonyms.of("artist-2", Purpose::User, b"anna"),
            pseudonyms.of("artist-1", Purpose::AnonymousUser, b"anna"),
            pseudonyms.of("artist-1", Purpose::User, b"ann"),
            pseudonyms.of("artist-1a", Purpose::User, b"nna"),
        ] {
            assert_ne!(name, other);
        }
    }

    #[test]
    fn what_is_sealed_can_be_opened_and_looks_like_something_else() {
        let pseudonyms = Pseudonyms::new([7; 32]);
        for hash in [[0; 16], [255; 16], *b"0123456789abcdef"] {
            let sealed = pseudonyms.seal(hash);
            assert_ne!(sealed, hash);
            assert_eq!(pseudonyms.open(sealed), hash);
            assert_ne!(Pseudonyms::new([8; 32]).seal(hash), sealed);
        }
        assert_ne!(pseudonyms.seal([0; 16])[..8], pseudonyms.seal([1; 16])[..8]);
    }
}
