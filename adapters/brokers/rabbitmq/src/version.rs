//! Which release a server is. The client library reads it and tells nobody, so it is asked for by hand: the server says it
//! in the first frame, to anyone.

use futures_util::{AsyncReadExt, AsyncWriteExt};
use keylane::Error;

use crate::error;

/// What opens the protocol.
const HELLO: &[u8] = b"AMQP\x00\x00\x09\x01";

/// The first frame is some hundred bytes; more than this is no frame of a server's.
const FRAME_MAX: usize = 64 * 1024;

/// A release, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

/// Asks over a connection that is good for nothing else afterwards.
pub(crate) async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> Result<Version, Error> {
    let failed = |cause: std::io::Error| {
        error::transient("asking a rabbitmq server for its release").with_source(cause)
    };
    stream.write_all(HELLO).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.map_err(failed)?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let nonsense = || error::permanent("what answers at the uri of rabbitmq does not tell its release");
    if size > FRAME_MAX {
        return Err(nonsense());
    }
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame).await.map_err(failed)?;
    told(&frame).ok_or_else(nonsense)
}

/// The entry `version`, a long text, of the server's table of properties.
fn told(frame: &[u8]) -> Option<Version> {
    const ENTRY: &[u8] = b"\x07versionS";
    let at = frame.windows(ENTRY.len()).position(|part| part == ENTRY)? + ENTRY.len();
    let length = frame.get(at..at + 4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let text = std::str::from_utf8(frame.get(at + 4..at + 4 + length)?).ok()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some(Version(numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: &str) -> Vec<u8> {
        let mut frame =
            b"\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x40\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS"
                .to_vec();
        frame.extend(u32::try_from(version.len()).unwrap().to_be_bytes());
        frame.extend(version.as_bytes());
        frame
    }

    #[test]
    fn a_release_is_its_first_two_numbers() {
        assert_eq!(told(&frame("3.10.8")), Some(Version(3, 10)));
        assert_eq!(told(&frame("4.3.0-rc.1")), Some(Version(4, 3)));
        assert!(Version(3, 13) < Version(4, 0) && Version(4, 10) > Version(4, 3));
        for broken in [frame(""), frame("four"), frame("4"), frame("4.0")[..40].to_vec()] {
            assert_eq!(told(&broken), None);
        }
    }
}
