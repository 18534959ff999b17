//! The store's contract, twice: workers of one process, and workers of different processes on one file.
//! And what SQLite alone must answer for: writes of handlers that do what they must not, and what stays in the file.
#![expect(clippy::unwrap_used, reason = "a fault of the stage is a failed test")]

mod leases;
mod one_file;
mod writes;

use one_file::OneFile;

mod one_process {
    keylane::store_conformance!(super::OneFile::new(false).await);
}

mod two_processes {
    keylane::store_conformance!(super::OneFile::new(true).await);
}
