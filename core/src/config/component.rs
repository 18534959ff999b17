//! What a part of the configuration is: keys, docs, defaults and ranges, in one place.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problems;
use super::schema;
use super::section::Section;

/// A part of the configuration that owns its keys: one struct, in one file.
///
/// - The fields are the keys, their doc comments the reference, `Default` the defaults.
/// - `#[serde(deny_unknown_fields, default)]` stands on it; no `flatten`, no `untagged`.
/// - Ranges of numbers and lengths are `#[schemars(range(…))]` and `#[schemars(length(…))]`, of
///   [`Period`](super::Period) and [`Size`](super::Size)
///   `#[schemars(extend("x-minimum" = "1s", "x-maximum" = "10m"))]`: the reference shows them and
///   they are enforced from there.
/// - A required key is named by `#[schemars(extend("required" = ["source"]))]` on the struct.
/// - What no range can say, [`check`](Component::check) says.
pub trait Component: DeserializeOwned + JsonSchema + Default + Send + 'static {
    /// Finds what is wrong between keys, such as a least delay above the greatest. It runs only when
    /// every value can be read.
    fn check(&self, found: &mut Findings) {
        let _ = found;
    }
}

/// What [`Component::check`] found.
#[derive(Debug, Default)]
pub struct Findings {
    prefix: String,
    list: Vec<(String, String)>,
}

impl Findings {
    /// `key` (dotted, from the component's own table) is wrong: `what` says why and, after a
    /// semicolon, what to write instead.
    pub fn wrong(&mut self, key: &str, what: impl Into<String>) {
        self.list.push((format!("{}{key}", self.prefix), what.into()));
    }

    /// What `check` finds stands below `table`.
    pub fn under(&mut self, table: &str, check: impl FnOnce(&mut Self)) {
        let outer = self.prefix.len();
        self.prefix.push_str(table);
        self.prefix.push('.');
        check(self);
        self.prefix.truncate(outer);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Key and fault of each finding.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(key, what)| (key.as_str(), what.as_str()))
    }
}

/// A [`Component`] as the [`Catalog`](super::Catalog) knows it: without its type.
#[derive(Clone, Copy)]
pub struct Shape {
    schema: fn() -> Value,
    probe: fn(&Section, &mut Problems),
}

impl Shape {
    /// The shape of `T`.
    #[must_use]
    pub fn of<T: Component>() -> Self {
        Self { schema: schema_of::<T>, probe: |section, problems| drop(section.take::<T>(problems)) }
    }

    pub(super) fn schema(self) -> Value {
        (self.schema)()
    }

    /// Reads the section only to find what is wrong with it, before anything is connected.
    pub(super) fn probe(self, section: &Section, problems: &mut Problems) {
        (self.probe)(section, problems);
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shape")
    }
}

/// The schema of `T`, plain: inlined, without what TOML can't have.
pub(super) fn schema_of<T: Component>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    schema::plain(&mut value);
    value
}

/// An adapter's part that has no keys.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoKeys {}

impl Component for NoKeys {}
