//! How much a listener took to something, by what they did with it.

/// What one listener did with one thing, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deeds {
    pub streams: u32,
    /// Streams of which at least 90 % was heard.
    pub completed: u32,
    pub skips: u32,
    /// Likes less what was taken back.
    pub likes: i32,
    /// Saves, additions to playlists, follows and purchases, less what was taken back.
    pub keeps: i32,
}

/// A stream.
const STREAM: f32 = 1.0;
/// What a stream is more worth that was heard to its end.
const COMPLETED: f32 = 0.5;
/// Little: whoever skips knows it, and does not want it now.
const SKIP: f32 = 0.1;
/// As much as two streams to the end: said, not just done.
const LIKE: f32 = 3.0;
const KEEP: f32 = 3.0;

impl Deeds {
    /// What the deeds come to. More of them are more, without an end.
    pub fn points(&self) -> f32 {
        let likes = LIKE * self.likes.clamp(0, 1) as f32;
        let keeps = KEEP * self.keeps.clamp(0, 1) as f32;
        STREAM * self.streams as f32 + COMPLETED * self.completed as f32 + SKIP * self.skips as f32 + likes + keeps
    }
}

/// What counts of points where listeners are compared: the first ones most, for a hundred streams of one song do not
/// make two listeners more alike than ten do.
pub fn weight(points: f32) -> f32 {
    points / (points + 1.0)
}

/// What counts of each of a listener's points where the next thing is sought for them: half for having been heard at
/// all, half by how much, beside what they usually listen to.
pub fn strengths(points: &[f32]) -> Vec<f32> {
    let mut sorted = points.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0).max(f32::MIN_POSITIVE);
    points.iter().map(|points| 0.5 + points / (points + usual)).collect()
}
