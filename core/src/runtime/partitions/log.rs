//! Whether a log may be read on: a position, or an operator's order, held against what it has now (rule L2).

use crate::broker::Bounds;
use crate::error::{Error, ErrorKind};
use crate::store::{Position, ReadFrom};

/// What the message of every halted partition ends with.
pub(crate) const REMEDY: &str = "find out why, then say where to read on with `Admin::reposition`";

/// The offset that an operator's order means in this log.
pub(super) fn ordered(order: ReadFrom, bounds: &Bounds) -> Result<u64, Error> {
    match order {
        ReadFrom::Earliest => Ok(bounds.low),
        ReadFrom::Latest => Ok(bounds.high),
        ReadFrom::Offset(offset) if (bounds.low..=bounds.high).contains(&offset) => Ok(offset),
        ReadFrom::Offset(offset) => {
            let Bounds { low, high, .. } = bounds;
            let what =
                format!("the partition is to be read from offset {offset}, and the log has {low} to {high}");
            Err(Error::new(ErrorKind::LogChanged, format!("{what}; {REMEDY}")))
        }
    }
}

/// Rule L2: another identity, a log that ends below the position or begins above it, is not gone on with.
pub(super) fn same_log(position: &Position, bounds: &Bounds) -> Result<(), Error> {
    let changed = |what: String| Err(Error::new(ErrorKind::LogChanged, format!("{what}; {REMEDY}")));
    if let (Some(known), Some(found)) = (&position.identity, &bounds.identity)
        && known != found
    {
        return changed(format!("the log is another one: its identity was {known:?} and is {found:?}"));
    }
    if bounds.high < position.base {
        return changed(format!(
            "the log ends at offset {}, below the position {}",
            bounds.high, position.base
        ));
    }
    if bounds.low > position.base {
        let lost = bounds.low - position.base;
        return changed(format!(
            "the log begins at offset {}, above the position {}: {lost} offsets expired before they were handled",
            bounds.low, position.base
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    fn bounds(low: u64, high: u64, identity: &'static str) -> Bounds {
        Bounds { low, high, identity: Some(Text::from_static(identity)), partitions: 1 }
    }

    #[test]
    fn l2_an_order_holds_only_within_the_log() {
        let bounds = bounds(3, 9, "a");
        assert_eq!(ordered(ReadFrom::Earliest, &bounds).unwrap(), 3);
        assert_eq!(ordered(ReadFrom::Latest, &bounds).unwrap(), 9);
        for (offset, fine) in [(2, false), (3, true), (9, true), (10, false)] {
            assert_eq!(ordered(ReadFrom::Offset(offset), &bounds).is_ok(), fine, "{offset}");
        }
        let error = ordered(ReadFrom::Offset(10), &bounds).unwrap_err();
        assert!(error.to_string().contains("has 3 to 9"), "{error}");
    }

    #[test]
    fn l2_a_log_that_changed_is_refused() {
        let position = Position { base: 10, identity: Some(Text::from_static("a")), ..Position::default() };
        for (found, fine) in [
            (bounds(0, 10, "a"), true),
            (bounds(10, 99, "a"), true),
            (bounds(0, 9, "a"), false),
            (bounds(11, 99, "a"), false),
            (bounds(0, 99, "b"), false),
        ] {
            assert_eq!(same_log(&position, &found).is_ok(), fine, "{found:?}");
        }
        let unknown = Bounds { identity: None, ..bounds(0, 99, "b") };
        assert!(same_log(&position, &unknown).is_ok(), "a broker that can't say is believed");
    }
}
