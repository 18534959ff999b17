//! Why a record is no event: how it dies and what to tell people.

use crate::store::Death;

/// Why a record is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) death: Death,
    pub(super) why: String,
}

impl Flaw {
    /// It is over a limit.
    pub(super) fn over(why: impl Into<String>) -> Self {
        Self { death: Death::OverLimit, why: why.into() }
    }

    /// It can't be read.
    pub(super) fn undecodable(why: impl Into<String>) -> Self {
        Self { death: Death::Undecodable, why: why.into() }
    }
}

/// So much of a foreign text as a message may quote: it may be long, or hold anything.
pub(super) fn quoted(text: &[u8]) -> String {
    const SHOWN: usize = 40;
    let more = if text.len() > SHOWN { "…" } else { "" };
    format!("`{}{more}`", text[..text.len().min(SHOWN)].escape_ascii())
}
