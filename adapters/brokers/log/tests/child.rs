//! A real second process on the same file.

use std::process::{Command, Stdio};

use crate::fixture::*;

const PATH: &str = "KEYLANE_LOG_TEST_CHILD";
const COUNT: usize = 200;

/// The child's part: publishes one record at a time. Without a file to publish to there is nothing to do.
#[tokio::test]
async fn the_child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let env = keylane::Env::tokio();
    let database = keylane_sqlite::Database::open(path, &env).await.unwrap();
    let log = keylane_log::LogBroker::over(database, config(4), &env).await.unwrap();
    for n in 0..COUNT {
        publish_all(&log, vec![to("s", &format!("child-{}", n % 10), n)]).await;
    }
}

#[tokio::test]
async fn two_processes_append_to_one_file_and_a_reader_misses_nothing() {
    let file = File::new();
    let log = file.open(config(4)).await;
    log.create_stream("s", some(4)).await.unwrap();
    let consumer = reader(&log, spec("s", "g")).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::the_child"])
        .env(PATH, file.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let publishing = async {
        for n in 0..COUNT {
            publish_all(&log, vec![to("s", &format!("here-{}", n % 10), n)]).await;
        }
    };
    let (deliveries, ()) = tokio::join!(take(&consumer, 2 * COUNT, 50), publishing);
    assert!(child.wait().unwrap().success());
    for origin in ["child", "here"] {
        for key in (0..10).map(|n| format!("{origin}-{n}")) {
            let of_key = deliveries.iter().filter(|d| d.record.key.as_deref() == Some(key.as_bytes()));
            let numbers: Vec<u32> = of_key.map(|d| text(d).parse().unwrap()).collect();
            assert_eq!(numbers.len(), COUNT / 10);
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        }
    }
}
