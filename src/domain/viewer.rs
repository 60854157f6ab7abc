//! Who asks, and what they may know.

use std::collections::BTreeSet;

/// What a token lets its bearer be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Admin,
    Artist,
    Listener,
    Service,
}

impl Role {
    pub const ALL: [Role; 4] = [Self::Admin, Self::Artist, Self::Listener, Self::Service];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Artist => "artist",
            Self::Listener => "listener",
            Self::Service => "service",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// The bearer of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    pub role: Role,
    /// Who it is; absent where an answer is shared among everybody of one [`Scope`].
    pub subject: Option<String>,
    /// The artists whose catalogue is the bearer's own. Empty unless the role is artist.
    pub artists: BTreeSet<String>,
    /// Whose event ids these are: events of two sources never meet, even under one id.
    pub source: String,
    pub expires_at_s: i64,
}

/// What an answer can depend on, apart from the question. Viewers of one scope share computations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    role: Role,
    artists: BTreeSet<String>,
}

impl Viewer {
    /// Whether everything about this artist's catalogue is open to the viewer.
    pub fn owns(&self, artist_id: Option<&str>) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Artist => artist_id.is_some_and(|id| self.artists.contains(id)),
            Role::Listener | Role::Service => false,
        }
    }

    /// Whether everything about this user is open to the viewer.
    pub fn is_or_looks_after(&self, user_id: &str) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Listener => self.subject.as_deref() == Some(user_id),
            Role::Artist | Role::Service => false,
        }
    }

    pub fn scope(&self) -> Scope {
        Scope { role: self.role, artists: self.artists.clone() }
    }
}

impl Scope {
    /// A viewer that stands for everybody of this scope: it has no subject, so nothing personal can
    /// enter an answer that is shared.
    pub fn viewer(&self, expires_at_s: i64) -> Viewer {
        Viewer { role: self.role, subject: None, artists: self.artists.clone(), source: String::new(), expires_at_s }
    }
}
