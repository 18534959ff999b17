//! Which file a path names: two names of one file must not become two writers.

use std::path::{Path, PathBuf};

use keylane::{Error, ErrorKind};

/// The path with its folder's symbolic links resolved, and its own where the file exists.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, Error> {
    refuse_without_file(path)?;
    if let Ok(whole) = path.canonicalize() {
        return if whole.is_file() { Ok(whole) } else { Err(config(path, "is not a file")) };
    }
    let name = path.file_name().ok_or_else(|| config(path, "does not end in a file name"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().map_err(|error| {
        config(path, "lies in a folder that can't be opened; create the folder first").with_source(error)
    })?;
    Ok(folder.join(name))
}

/// SQLite takes some names for something else than a file; nothing in them would outlive the process.
fn refuse_without_file(path: &Path) -> Result<(), Error> {
    let name = path.as_os_str();
    if name.is_empty() {
        return Err(config(path, "is empty; name a file"));
    }
    if name == ":memory:" {
        return Err(config(path, "would be lost with the process; name a file, or use the `memory` store"));
    }
    if name.as_encoded_bytes().starts_with(b"file:") {
        return Err(config(path, "is a URI; write the plain path of a file"));
    }
    Ok(())
}

fn config(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("sqlite path \"{}\" {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_files_are_refused_with_the_remedy() {
        for (path, remedy) in
            [("", "name a file"), (":memory:", "`memory` store"), ("file:a.db?mode=memory", "plain path")]
        {
            let error = canonical(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(remedy), "{error}");
        }
        let missing = canonical(Path::new("no/such/folder/app.db")).unwrap_err();
        assert!(missing.to_string().contains("create the folder"), "{missing}");
    }

    #[test]
    fn two_names_of_one_file_are_one_path() {
        let folder = tempfile::tempdir().unwrap();
        let plain = canonical(&folder.path().join("app.db")).unwrap();
        let round = folder.path().join("..").join(folder.path().file_name().unwrap()).join("app.db");
        assert_eq!(canonical(&round).unwrap(), plain);
    }
}
