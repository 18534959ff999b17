//! The runtime's own error: what went wrong, where, what to do, and whether trying again can help.
//!
//! The class is set where the error is born; foreign errors appear only as `source`. What a *handler*
//! returns is [`Failure`](crate::Failure), another thing.

use std::error::Error as StdError;
use std::fmt;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration or the wiring is wrong; nothing was started.
    Config,
    /// Configured, but this adapter can't do it.
    Unsupported,
    /// The broker refused or failed.
    Broker,
    /// The store refused or failed.
    Store,
    /// This worker's session was taken over; it may commit nothing more.
    SessionLost,
    /// The commit may or may not have happened; see rule U1.
    Unknown,
    /// The log below the stored position is not the one that was read (rule L2).
    LogChanged,
    /// A stored or received value can't be read.
    Corrupt,
    /// A limit in time was passed.
    Timeout,
    /// A subscription stopped, because it was told to stop at an event that can't be handled.
    Stopped,
    /// The thing asked of is closed or closing.
    Closed,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It may pass by itself; try again after a while.
    Transient,
    /// It will fail again until somebody changes something.
    Permanent,
}

/// An error of the runtime or an adapter.
///
/// `Display` is one line. `Debug` is the full readable report with every source, because that is
/// what a `main` that returns `Result<(), Error>` prints.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    class: Class,
    what: String,
    report: Option<String>,
    context: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `what` is a lowercase fragment that says what, where and what to do.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        let class = match kind {
            ErrorKind::Broker | ErrorKind::Store | ErrorKind::Timeout | ErrorKind::Unknown => {
                Class::Transient
            }
            _ => Class::Permanent,
        };
        Self(Box::new(Inner {
            kind,
            class,
            what: what.into(),
            report: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// The same error with another class than its kind usually has.
    #[must_use]
    pub fn with_class(mut self, class: Class) -> Self {
        self.0.class = class;
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with what `Debug` shows in place of the one line, where there is more to say.
    #[must_use]
    pub fn with_report(mut self, report: impl Into<String>) -> Self {
        self.0.report = Some(report.into());
        self
    }

    /// The same error with one more line of where it happened, outermost last.
    #[must_use]
    pub fn context(mut self, place: impl Into<String>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// True when trying again can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.class == Class::Transient
    }
}

impl Error {
    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        for place in self.0.context.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(what)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, self.0.report.as_ref().unwrap_or(&self.0.what))?;
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
