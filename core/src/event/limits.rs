//! What an event may measure, checked before anything of it is kept or understood.

use std::fmt;

use super::Record;
use super::flaw::Flaw;
use crate::config::LimitsConfig;

/// The limits of a subscription's events. One that is over a limit becomes a dead letter with its raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The greatest body, in bytes; for a structured CloudEvent that is the whole of it.
    pub payload_max: usize,
    /// The most headers.
    pub headers_max: usize,
    /// All headers together, names and values, in bytes.
    pub header_bytes_max: usize,
    /// How deep a JSON body may be nested. A structured CloudEvent counts as one level itself.
    pub depth_max: u32,
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest id, and the longest kind, in bytes.
    pub id_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(&LimitsConfig::default())
    }
}

impl Limits {
    /// The limits that a subscription's configuration sets.
    #[must_use]
    pub fn of(config: &LimitsConfig) -> Self {
        Self {
            payload_max: config.payload_max.as_usize(),
            headers_max: config.headers_max as usize,
            header_bytes_max: config.header_bytes_max.as_usize(),
            depth_max: config.depth_max,
            key_bytes_max: config.key_bytes_max.as_usize(),
            id_bytes_max: config.id_bytes_max.as_usize(),
        }
    }

    /// What can be told of a record before it is understood: sizes, the number of headers, depth.
    pub(super) fn check(&self, record: &Record) -> Result<(), Flaw> {
        at_most("headers", record.headers.len(), self.headers_max, "headers_max")?;
        at_most("bytes of headers", record.headers.bytes(), self.header_bytes_max, "header_bytes_max")?;
        at_most("bytes of payload", record.payload.len(), self.payload_max, "payload_max")?;
        self.depth(&record.payload)
    }

    pub(super) fn depth(&self, payload: &[u8]) -> Result<(), Flaw> {
        json_depth(payload, self.depth_max).map_err(|deep| Flaw::over(format!("{deep}, `depth_max`")))
    }

    pub(super) fn key(&self, key: &[u8]) -> Result<(), Flaw> {
        at_most("bytes of key", key.len(), self.key_bytes_max, "key_bytes_max")
    }

    pub(super) fn id(&self, length: usize) -> Result<(), Flaw> {
        at_most("bytes of id", length, self.id_bytes_max, "id_bytes_max")
    }

    pub(super) fn kind(&self, kind: &[u8]) -> Result<(), Flaw> {
        at_most("bytes of kind", kind.len(), self.id_bytes_max, "id_bytes_max")
    }
}

fn at_most(what: &str, measured: usize, max: usize, name: &str) -> Result<(), Flaw> {
    if measured <= max {
        return Ok(());
    }
    Err(Flaw::over(format!("{measured} {what}, more than the {max} of `{name}`")))
}

/// JSON is nested deeper than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDeep {
    /// The depth allowed.
    pub max: u32,
    /// At which byte it was passed.
    pub at: usize,
}

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON nested deeper at byte {} than the {} levels allowed", self.at, self.max)
    }
}

impl std::error::Error for TooDeep {}

/// Refuses JSON that nests objects and arrays deeper than `max`, without recursion and without memory.
///
/// What does not start with `{` or `[`, or shows before it is too deep that it is no JSON, passes: no
/// JSON decoder goes deeper into it either, and a binary payload may start with any byte.
///
/// # Errors
/// Where it is too deep.
pub fn json_depth(bytes: &[u8], max: u32) -> Result<(), TooDeep> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    if !start.is_some_and(|at| opens(bytes[at])) {
        return Ok(());
    }
    // Counting brackets is many times faster than telling those in strings apart, and for nearly every
    // payload enough.
    if brackets(bytes) <= max as usize {
        return Ok(());
    }
    scan(bytes, max)
}

/// Counted in pieces that a byte can count, which is what lets the compiler take many bytes at a time.
fn brackets(bytes: &[u8]) -> usize {
    let piece = |piece: &[u8]| piece.iter().map(|byte| u8::from(opens(*byte))).sum::<u8>();
    bytes.chunks(255).map(|bytes| usize::from(piece(bytes))).sum()
}

/// `[` and `{` differ in one bit.
const fn opens(byte: u8) -> bool {
    byte & 0xDF == b'['
}

fn scan(bytes: &[u8], max: u32) -> Result<(), TooDeep> {
    let mut depth: u32 = 0;
    let mut in_string = false;
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return Err(TooDeep { max, at });
                }
            }
            b'}' | b']' if depth > 0 => depth -= 1,
            b'"' => in_string = true,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            b'0'..=b'9' | b'a'..=b'z' | b'+' | b'-' | b'.' | b'E' => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_strings() {
        for (json, depth) in [
            ("", 0),
            ("1", 0),
            ("{}", 1),
            (r#" {"a":[1,{"b":"[[[["}]} "#, 3),
            (r#"["\"[[[", []]"#, 2),
            (r#"["\\", [[]]]"#, 3),
            ("[[],[],[[]]]", 3),
        ] {
            assert_eq!(json_depth(json.as_bytes(), depth), Ok(()), "{json}");
            if depth > 0 {
                assert!(json_depth(json.as_bytes(), depth - 1).is_err(), "{json}");
            }
        }
    }

    #[test]
    fn a_million_brackets_are_too_deep() {
        let bomb = vec![b'['; 1_000_000];
        assert_eq!(json_depth(&bomb, 64), Err(TooDeep { max: 64, at: 64 }));
        let bomb = r#"{"a":"#.repeat(1_000_000);
        assert_eq!(json_depth(bomb.as_bytes(), 64), Err(TooDeep { max: 64, at: 64 * 5 }));
    }

    #[test]
    fn what_is_no_json_is_nobodys_depth() {
        let mut binary = vec![b'[', 0x00];
        binary.extend([b'{'; 1000]);
        assert_eq!(json_depth(&binary, 64), Ok(()));
        assert_eq!(json_depth(&[b'x'; 1000], 1), Ok(()));
    }
}
