//! A file that is not whole: an error that names the place, never silence and never a gap.

use keylane::broker::{Broker, Pulled, Start};
use keylane::{Error, ErrorKind};
use keylane_log::LogBroker;
use keylane_sqlite::Database;

use crate::fixture::*;

/// A log of three records, each in a row of its own, on which a statement has done its harm.
async fn damaged(file: &File, harm: &'static str) -> LogBroker {
    let database = Database::open_apart(file.path(), &file.env).await.unwrap();
    let log = LogBroker::over(database.clone(), config(1), &file.env).await.unwrap();
    for n in 0..3 {
        publish_all(&log, vec![to("s", "k", n)]).await;
    }
    let mut writer = database.write().await.unwrap();
    sqlx::query(harm).execute(&mut *writer).await.unwrap();
    writer.commit().await.unwrap();
    log
}

async fn pulled(log: &LogBroker) -> Error {
    let consumer = log.consumer(spec("s", "g")).await.unwrap();
    assigned(&consumer).await;
    consumer.start(vec![Start { partition: 0, offset: 0, epoch: 1 }]).await.unwrap();
    loop {
        if let Pulled::Change(change) = pull(&consumer, 10).await.unwrap() {
            return broken(change);
        }
    }
}

#[tokio::test]
async fn a_missing_row_is_not_skipped() {
    let file = File::new();
    let log = damaged(&file, "DELETE FROM keylane_log_chunks WHERE first = 1").await;
    let error = pulled(&log).await;
    assert_eq!(error.kind(), ErrorKind::LogChanged);
    assert!(error.to_string().contains("s/0"), "{error}");
}

#[tokio::test]
async fn a_missing_end_is_not_waited_for() {
    let file = File::new();
    let log = damaged(&file, "DELETE FROM keylane_log_chunks WHERE first = 2").await;
    let error = pulled(&log).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("s/0/2"), "{error}");
}

#[tokio::test]
async fn a_row_that_is_no_chunk_is_told() {
    for harm in [
        "UPDATE keylane_log_chunks SET body = x'02' WHERE first = 1",
        "UPDATE keylane_log_chunks SET body = x'' WHERE first = 1",
        "UPDATE keylane_log_chunks SET body = substr(body, 1, length(body) - 1) WHERE first = 1",
        "UPDATE keylane_log_chunks SET count = 2 WHERE first = 1",
    ] {
        let file = File::new();
        let log = damaged(&file, harm).await;
        assert_eq!(pulled(&log).await.kind(), ErrorKind::Corrupt, "{harm}");
    }
}
