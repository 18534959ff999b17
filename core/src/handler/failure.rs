//! What a handler returns when it did not succeed.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What kind of failure it is: the retry guard's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// It may pass; try again after the subscription's delay, or after the one given here.
    Transient {
        /// A delay that the other side asked for.
        after: Option<Duration>,
    },
    /// Trying again can't help.
    Permanent,
    /// The payload is not what the handler's argument says: permanent, and dead-lettered as such.
    Undecodable,
    /// Something that the handler depends on is away: costs no attempt, counts for the circuit.
    Unavailable {
        /// A delay that the other side asked for.
        after: Option<Duration>,
    },
}

/// What a handler returns when it did not succeed. Any error converts to it, as a transient one:
///
/// ```
/// use keylane::Failure;
/// fn parse(text: &str) -> Result<u32, Failure> {
///     if text.is_empty() {
///         return Err(Failure::new("an order without a total").permanent());
///     }
///     Ok(text.parse()?)
/// }
/// assert!(parse("").is_err());
/// ```
#[derive(Clone)]
pub struct Failure {
    class: FailureClass,
    /// Outermost first; kept as text, because it is stored and sent across processes.
    chain: Arc<[String]>,
}

impl Failure {
    /// A transient failure that says `what`.
    pub fn new(what: impl Into<String>) -> Self {
        Self { class: FailureClass::Transient { after: None }, chain: Arc::from([what.into()]) }
    }

    /// The same, but trying again can't help: the event becomes a dead letter.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.class = FailureClass::Permanent;
        self
    }

    /// The same, but the fault is a dependency's: costs no attempt.
    #[must_use]
    pub fn unavailable(mut self) -> Self {
        self.class = FailureClass::Unavailable { after: self.after() };
        self
    }

    /// The same, but try again only after this long. A permanent failure stays permanent.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.class = match self.class {
            FailureClass::Transient { .. } => FailureClass::Transient { after: Some(delay) },
            FailureClass::Unavailable { .. } => FailureClass::Unavailable { after: Some(delay) },
            permanent => permanent,
        };
        self
    }

    /// The payload can't be decoded: a permanent failure that is told apart from a handler's own.
    pub fn undecodable(what: impl Into<String>) -> Self {
        let mut failure = Self::new(what);
        failure.class = FailureClass::Undecodable;
        failure
    }

    /// Its class.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        self.class
    }

    /// The messages of the error and its sources, outermost first.
    #[must_use]
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    fn after(&self) -> Option<Duration> {
        match self.class {
            FailureClass::Transient { after } | FailureClass::Unavailable { after } => after,
            FailureClass::Permanent | FailureClass::Undecodable => None,
        }
    }
}

/// No chain is longer; a cycle of sources must not fill the memory.
const CHAIN_MAX: usize = 16;

impl<E> From<E> for Failure
where
    E: StdError + Send + Sync + 'static,
{
    fn from(error: E) -> Self {
        let mut chain = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source.filter(|_| chain.len() < CHAIN_MAX) {
            chain.push(cause.to_string());
            source = cause.source();
        }
        Self { class: FailureClass::Transient { after: None }, chain: chain.into() }
    }
}

/// Extends results: the class of an error in a few letters.
pub trait ResultExt<T> {
    /// The error is permanent: trying again can't help.
    ///
    /// # Errors
    /// The same error, as a permanent [`Failure`].
    fn permanent(self) -> Result<T, Failure>;

    /// The error is a dependency's: costs no attempt.
    ///
    /// # Errors
    /// The same error, as an unavailable [`Failure`].
    fn unavailable(self) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> ResultExt<T> for Result<T, E> {
    fn permanent(self) -> Result<T, Failure> {
        self.map_err(|error| error.into().permanent())
    }

    fn unavailable(self) -> Result<T, Failure> {
        self.map_err(|error| error.into().unavailable())
    }
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        self.class == other.class && self.chain == other.chain
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.class)
    }
}
