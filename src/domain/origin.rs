//! Where a play or another act came from: its country, its source, its device.

/// What numbers are broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Dimension {
    Country,
    Source,
    Device,
}

impl Dimension {
    pub const ALL: [Dimension; 3] = [Self::Country, Self::Source, Self::Device];
}

/// A country's ISO 3166-1 alpha-2 code in capitals; `None` where it is not one.
pub fn country_code(code: &str) -> Option<String> {
    let code = code.to_ascii_uppercase();
    (code.len() == 2 && celes::Country::from_alpha2(&code).is_ok()).then_some(code)
}

/// A country's name in English; the code itself where it is not one.
pub fn country_name(code: &str) -> &str {
    celes::Country::from_alpha2(code).map_or(code, |country| country.long_name)
}

/// How a listener came to a song: because they chose it, or because it was played to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum SourceClass {
    /// The artist's or the release's page, search, the listener's own library and playlists.
    Active,
    /// Editorial and algorithmic playlists, radio, autoplay, somebody else's playlist.
    Programmed,
    /// Anything else, and plays that do not say.
    #[default]
    Other,
}

impl SourceClass {
    pub const ALL: [SourceClass; 3] = [Self::Active, Self::Programmed, Self::Other];

    /// The class of an event's `source`.
    pub fn of(source: Option<&str>) -> Self {
        match source {
            Some(
                "artist_page" | "album_page" | "release_page" | "song_page" | "search" | "library" | "own_library"
                | "own_playlist",
            ) => Self::Active,
            Some(
                "editorial"
                | "editorial_playlist"
                | "algorithmic"
                | "algorithmic_playlist"
                | "radio"
                | "autoplay"
                | "playlist"
                | "user_playlist"
                | "other_playlist",
            ) => Self::Programmed,
            _ => Self::Other,
        }
    }
}
