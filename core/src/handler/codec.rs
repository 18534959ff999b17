//! From a payload's bytes to the type that a handler asks for.

use bytes::Bytes;

use super::Failure;

/// How a payload is read: the second parameter of [`Event`](super::Event) and [`Batch`](super::Batch).
///
/// - Each attempt decodes anew from the raw bytes, so that nothing an earlier attempt did to the value
///   is seen by a later one.
/// - The value owns all it holds: it may outlive the buffer.
/// - An error is never retried, whatever class it has: the event becomes a dead letter with its raw
///   bytes, told apart from a handler's own failures. The message is completed with the event's kind
///   and the name of the type.
///
/// A codec of one's own is a type without values:
///
/// ```
/// use bytes::Bytes;
/// use keylane::{Codec, Event, Failure};
///
/// /// Numbers as decimal text, one a line.
/// struct Lines;
///
/// impl Codec<Vec<u64>> for Lines {
///     fn decode(bytes: &Bytes) -> Result<Vec<u64>, Failure> {
///         let text = std::str::from_utf8(bytes)?;
///         Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
///     }
/// }
///
/// async fn measured(event: Event<Vec<u64>, Lines>) -> Result<(), Failure> {
///     println!("{} values", event.len());
///     Ok(())
/// }
/// # let _ = keylane::Routes::<()>::new().on("measured", measured);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't decode a payload to `{T}`",
    note = "`Json` (feature `json`) decodes what implements `serde::de::DeserializeOwned`; `Raw` gives `Bytes`",
    note = "for another format implement `Codec<{T}>` for a type of your own and name it: `Event<{T}, MyCodec>`"
)]
pub trait Codec<T> {
    /// Reads the whole payload.
    ///
    /// # Errors
    /// What is wrong with the bytes, and where.
    fn decode(bytes: &Bytes) -> Result<T, Failure>;
}

/// JSON by serde, with serde_json's own limit of 128 levels of depth. What [`Event`](super::Event) uses
/// when no codec is named; needs the feature `json`.
#[derive(Debug, Clone, Copy)]
pub struct Json;

/// No decoding: the payload's bytes as they are, shared and not copied.
#[derive(Debug, Clone, Copy)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn decode(bytes: &Bytes) -> Result<Bytes, Failure> {
        Ok(bytes.clone())
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Codec<T> for Json {
    fn decode(bytes: &Bytes) -> Result<T, Failure> {
        serde_json::from_slice(bytes).map_err(|error| Failure::new(with_path::<T>(bytes, &error)))
    }
}

/// Names the field where decoding stopped. Keeping track of it costs time, so the payload is decoded
/// a second time to learn it: what is well formed pays nothing.
#[cfg(feature = "json")]
fn with_path<T: serde::de::DeserializeOwned>(bytes: &Bytes, error: &serde_json::Error) -> String {
    let mut again = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut again) {
        Err(traced) if traced.path().iter().len() > 0 => format!("at `{}`: {error}", traced.path()),
        // At the top level, or only what follows the value is wrong.
        _ => error.to_string(),
    }
}

/// Decodes with `C`; a failure names the kind and the type.
pub(super) fn decode<T, C: Codec<T>>(kind: &str, bytes: &Bytes) -> Result<T, Failure> {
    C::decode(bytes).map_err(|failure| {
        let wanted = std::any::type_name::<T>();
        Failure::undecodable(cut(format!("payload of kind `{kind}` is not a `{wanted}`: {failure}")))
    })
}

/// No message is longer: a decoder may quote the payload, which is the sender's.
const MESSAGE_MAX: usize = 1024;

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::handler::FailureClass;

    #[derive(Debug, Deserialize)]
    struct Line {
        #[expect(dead_code, reason = "only its type matters")]
        cents: u64,
    }

    fn failure<T: serde::de::DeserializeOwned>(payload: &'static str) -> Failure {
        match decode::<T, Json>("order.paid", &Bytes::from_static(payload.as_bytes())) {
            Ok(_) => panic!("{payload} was decoded"),
            Err(failure) => failure,
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_kind_type_path_and_position() {
        let failure = failure::<Vec<Line>>(r#"[{"cents": 1}, {"cents": "two"}]"#);
        assert_eq!(failure.class(), FailureClass::Undecodable);
        let message = failure.to_string();
        for part in ["`order.paid`", "Line>`", "at `[1].cents`", "\"two\"", "line 1 column 30"] {
            assert!(message.contains(part), "{part} in: {message}");
        }
    }

    #[test]
    fn what_follows_the_value_is_refused() {
        let message = failure::<u64>("1 2").to_string();
        assert!(message.ends_with("trailing characters at line 1 column 3"), "{message}");
    }

    #[test]
    fn too_deep_is_undecodable_and_not_a_full_stack() {
        let deep: &'static str = "[".repeat(100_000).leak();
        let message = failure::<serde_json::Value>(deep).to_string();
        assert!(message.contains("recursion limit"), "{message}");
    }

    #[test]
    fn a_codec_s_error_is_undecodable_whatever_its_class() {
        struct Away;
        impl Codec<u8> for Away {
            fn decode(_: &Bytes) -> Result<u8, Failure> {
                Err(Failure::new("no schema").unavailable())
            }
        }
        let failure = decode::<u8, Away>("k", &Bytes::new()).expect_err("the codec failed");
        assert_eq!(failure.class(), FailureClass::Undecodable);
    }

    #[test]
    fn a_quoted_payload_is_cut() {
        let long: &'static str = format!("\"{}\"", "ä".repeat(5_000)).leak();
        let message = failure::<u64>(long).to_string();
        assert!(message.len() <= MESSAGE_MAX + '…'.len_utf8(), "{}", message.len());
    }
}
