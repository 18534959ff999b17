//! "Did you mean": the valid name nearest to what was written.

/// Names longer than this are no misspelling of ours.
const NAME_MAX: usize = 64;
/// So many names are listed when none is near.
const LISTED_MAX: usize = 24;

/// What to write instead of `name`: the nearest valid name, or all of them.
pub(super) fn remedy<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> String {
    let valid: Vec<_> = valid.into_iter().collect();
    match nearest(name, &valid) {
        Some(near) => format!("did you mean `{near}`?"),
        None if valid.is_empty() => "nothing is valid here".to_owned(),
        None => format!("write {}", any_of(valid)),
    }
}

/// `a`, `a` or `b`, `a`, `b` or `c`.
pub(super) fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [..] if names.len() > LISTED_MAX => format!("{}, …", names[..LISTED_MAX].join(", ")),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A third of the letters may differ, counting swapped neighbours once; a part of a name counts too.
fn nearest<'a>(name: &str, valid: &[&'a str]) -> Option<&'a str> {
    if name.len() > NAME_MAX {
        return None;
    }
    let written = name.to_lowercase().replace('-', "_");
    let distance = |other: &str| match other {
        _ if written == other => 0,
        _ if written.len() >= 4 && (other.contains(&written) || written.contains(other)) => 1,
        _ => strsim::damerau_levenshtein(&written, other),
    };
    let near = valid.iter().map(|other| (distance(other), *other)).min()?;
    (near.0 <= near.1.len().max(written.len()) / 3).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let valid = ["attempts_max", "delay", "delay_max", "in_lane_max", "on_exhausted"];
        for (written, found) in [
            ("atempts_max", Some("attempts_max")),
            ("attempts", Some("attempts_max")),
            ("max_attempts", None),
            ("dealy", Some("delay")),
            ("delay-max", Some("delay_max")),
            ("ON_EXHAUSTED", Some("on_exhausted")),
            ("backoff", None),
            ("d", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &valid), found, "{written}");
        }
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(any_of(["a"]), "`a`");
        assert_eq!(any_of(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(remedy("zebra", []), "nothing is valid here");
    }
}
