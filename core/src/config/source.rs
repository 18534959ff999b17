//! Where the text of a configuration comes from.

use std::path::Path;

use super::document::TEXT_MAX;
use crate::error::{Error, ErrorKind};

/// A configuration's text with a name for messages; all of it, or one table of a larger file.
#[derive(Clone)]
pub struct Source {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) table: Option<String>,
}

impl Source {
    /// The file at `path`.
    ///
    /// # Errors
    /// It can't be read.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refuse = |what: &str| Error::new(ErrorKind::Config, format!("{}: {what}", path.display()));
        let size = std::fs::metadata(path).map_or(0, |file| file.len());
        if size > TEXT_MAX as u64 {
            return Err(refuse("larger than a configuration may be, 1MiB"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| {
            refuse("can't be read; give the path of the configuration, from the folder the service starts in")
                .with_source(error)
        })?;
        Ok(Self::text(path.display().to_string(), text))
    }

    /// Text that is already here; `name` stands for the file in messages.
    #[must_use]
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), table: None }
    }

    /// Only the table `[name]` of it, such as `keylane`: the rest belongs to the service, and is
    /// neither checked nor interpolated.
    #[must_use]
    pub fn table(mut self, name: &str) -> Self {
        self.table = Some(name.to_owned());
        self
    }
}

/// Names the file only: its text may hold secrets.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.name)
    }
}
