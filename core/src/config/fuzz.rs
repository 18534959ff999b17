//! Bodies for fuzz targets and property tests: whatever the bytes, nothing panics.

use std::io;

use super::{Catalog, Config, Locator, Lookup, NoKeys, Period, Size, Source, Start};

/// Any text as a configuration. Variables and files come from nowhere, so that the same bytes do the
/// same everywhere.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let catalog = Catalog::new().store::<NoKeys>("memory").broker::<NoKeys, NoKeys>("memory");
    let env = |name: &str| (!name.contains('X')).then(|| name.to_lowercase());
    let file = |_: &std::path::Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let lookup = Lookup { env: &env, file: &file };
    for source in [Source::text("fuzz", text), Source::text("fuzz", text).table("keylane")] {
        if let Err(error) = Config::parse_with(source, &catalog, &lookup) {
            let _ = format!("{error} {error:?}");
        }
    }
}

/// Any text as a duration: what can be read, reads back from what it prints.
pub fn period(bytes: &[u8]) {
    reads_back::<Period>(bytes);
}

/// Any text as a size: what can be read, reads back from what it prints.
pub fn size(bytes: &[u8]) {
    reads_back::<Size>(bytes);
}

/// Any text as a locator or a start: what can be read, reads back from what it prints.
pub fn event_text(bytes: &[u8]) {
    reads_back::<Locator>(bytes);
    reads_back::<Start>(bytes);
}

fn reads_back<T: std::str::FromStr + ToString + PartialEq>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse().is_ok_and(|again: T| again == value), "does not read back");
    }
}
