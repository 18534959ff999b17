//! Maps whose hasher is seeded from the environment: keys are hostile input, and a simulation must
//! visit them in the same order twice.

use super::Env;

/// A hash map with a hasher from [`Env::hasher`].
#[expect(
    clippy::disallowed_types,
    reason = "this is the one place that names the std type, with a seeded hasher"
)]
pub type Map<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

/// A hash set with a hasher from [`Env::hasher`].
#[expect(
    clippy::disallowed_types,
    reason = "this is the one place that names the std type, with a seeded hasher"
)]
pub type Set<K> = std::collections::HashSet<K, ahash::RandomState>;

impl Env {
    /// A hasher with fresh seeds of this environment.
    #[must_use]
    pub fn hasher(&self) -> ahash::RandomState {
        ahash::RandomState::with_seeds(self.random(), self.random(), self.random(), self.random())
    }

    /// An empty [`Map`].
    #[must_use]
    pub fn map<K, V>(&self) -> Map<K, V> {
        Map::with_hasher(self.hasher())
    }

    /// An empty [`Set`].
    #[must_use]
    pub fn set<K>(&self) -> Set<K> {
        Set::with_hasher(self.hasher())
    }
}
