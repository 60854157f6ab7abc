//! The durable form of one commit's listeners: sets of one entity and hour, numbers delta-coded.

use crate::domain::{
    entity::{EntityKind, EntityRef},
    window::HOUR_MS,
};

/// New listeners of one entity in one hour, ascending and distinct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSet {
    pub entity: EntityRef,
    /// The hour's start in epoch milliseconds.
    pub hour_ms: i64,
    pub listeners: Vec<u32>,
}

/// One commit's new (set, listener) pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment(pub Vec<SegmentSet>);

/// The bytes are not a segment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a segment of listeners cannot be read")]
pub struct UnreadableSegment;

impl Segment {
    /// Sets from who listened in which hour, in any order and as often as they did.
    pub fn of<'a>(listens: impl Iterator<Item = (&'a EntityRef, Vec<(i64, u32)>)>) -> Self {
        let mut sets = Vec::new();
        for (entity, mut listens) in listens {
            listens.sort_unstable();
            listens.dedup();
            sets.extend(listens.chunk_by(|one, next| one.0 == next.0).map(|same_hour| SegmentSet {
                entity: entity.clone(),
                hour_ms: same_hour[0].0,
                listeners: same_hour.iter().map(|(_, listener)| *listener).collect(),
            }));
        }
        Self(sets)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 24);
        for set in &self.0 {
            bytes.push(u8::try_from(set.entity.kind.code()).expect("kinds are small numbers"));
            write_number(&mut bytes, set.entity.id.len() as u64);
            bytes.extend_from_slice(set.entity.id.as_bytes());
            // Zig-zag: hours before 1970 are negative.
            let hour = set.hour_ms / HOUR_MS;
            write_number(&mut bytes, ((hour << 1) ^ (hour >> 63)) as u64);
            write_number(&mut bytes, set.listeners.len() as u64);
            let mut last = 0;
            for listener in &set.listeners {
                write_number(&mut bytes, u64::from(listener - last));
                last = *listener;
            }
        }
        bytes
    }

    pub fn decode(mut bytes: &[u8]) -> Result<Self, UnreadableSegment> {
        let mut sets = Vec::new();
        while let Some((kind, rest)) = bytes.split_first() {
            bytes = rest;
            let kind = EntityKind::from_code(i16::from(*kind)).ok_or(UnreadableSegment)?;
            let id_length = usize::try_from(read_number(&mut bytes)?).map_err(|_| UnreadableSegment)?;
            let (id, rest) = bytes.split_at_checked(id_length).ok_or(UnreadableSegment)?;
            bytes = rest;
            let id = std::str::from_utf8(id).map_err(|_| UnreadableSegment)?;
            let hour = read_number(&mut bytes)?;
            let hour = (hour >> 1) as i64 ^ -((hour & 1) as i64);
            let count = read_number(&mut bytes)?;
            let mut listeners = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(bytes.len()));
            let mut last = 0_u32;
            for _ in 0..count {
                let delta = u32::try_from(read_number(&mut bytes)?).map_err(|_| UnreadableSegment)?;
                last = last.checked_add(delta).ok_or(UnreadableSegment)?;
                listeners.push(last);
            }
            sets.push(SegmentSet { entity: EntityRef::new(kind, id), hour_ms: hour * HOUR_MS, listeners });
        }
        Ok(Self(sets))
    }
}

/// Seven bits a byte, lowest first; the eighth says that more follow.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, UnreadableSegment> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(UnreadableSegment)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(UnreadableSegment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn segments_survive_encoding(
            sets in prop::collection::vec(
                (0..4_usize, "[a-zé]{0,20}", -10_000_i64..1_000_000, prop::collection::btree_set(any::<u32>(), 0..50)),
                0..20,
            )
        ) {
            let segment = Segment(
                sets.into_iter()
                    .map(|(kind, id, hour, listeners)| SegmentSet {
                        entity: EntityRef::new(EntityKind::ALL[kind], id),
                        hour_ms: hour * HOUR_MS,
                        listeners: listeners.into_iter().collect(),
                    })
                    .collect(),
            );
            prop_assert_eq!(Segment::decode(&segment.encode()), Ok(segment));
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Segment::decode(&bytes);
        }
    }
}
