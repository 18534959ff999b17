//! A whole runtime on the log: what can't be read of one partition halts that one alone (rule L2).

use keylane::memory::Memory;
use keylane::store::{ReadFrom, Scope};
use keylane::{Effects, Failure, Handle, RawEvent, Routes, Runtime, State, Tx};
use keylane_log::{Log, LogBroker, LogConfig, partition_of};
use keylane_sqlite::Sqlite;
use tokio::sync::watch;

use crate::fixture::*;

/// Waits for the gate where its payload says so, and writes its payload down.
async fn note(
    event: RawEvent,
    State(gate): State<watch::Sender<bool>>,
    mut fx: Effects<Memory>,
) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&event).into_owned();
    fx.commit_with(text.clone(), async |mut tx: Tx<Memory>, text: String| {
        tx.append("rows", text);
        tx.done()
    });
    if text.starts_with("slow") {
        drop(gate.subscribe().wait_for(|open| *open).await);
    }
    Ok(())
}

async fn start(file: &File, memory: &Memory, gate: &watch::Sender<bool>) -> Handle {
    // Two events at a time: while both run, nothing is pulled.
    let toml = format!(
        "[store.memory]\n[broker.main.log]\npath = {:?}\n[runtime]\nsession = \"3s\"\ngrace = \"1s\"\n\
         handover_max = \"4s\"\n[subscription.billing]\nsource = \"s\"\nconcurrency = 2\nbudget = {{ messages_max = 2 }}\n\
         [subscription.billing.event]\nkind = \"const:order\"\n\
         [subscription.billing.retry]\non_exhausted = \"skip\"\n",
        file.path().display().to_string()
    );
    let routes = Routes::new().all(note).with_state(gate.clone());
    let runtime = Runtime::from_text(&toml).store(memory.clone()).broker(Log::on(Sqlite));
    runtime.subscription("billing", routes).start().await.unwrap()
}

/// A key of that partition.
fn key(partition: u32) -> String {
    let of = |key: &String| partition_of(key.as_bytes(), some(2)) == partition;
    (0..).map(|n| n.to_string()).find(of).unwrap()
}

async fn publish_to(log: &LogBroker, partition: u32, texts: &[&str]) {
    for text in texts {
        publish_all(log, vec![to("s", &key(partition), text)]).await;
    }
}

/// Until all of these are written; others may be.
async fn until_written(memory: &Memory, texts: &[&str]) {
    let all = async {
        loop {
            let rows = memory.rows("rows").await;
            if texts.iter().all(|text| rows.iter().any(|row| row[..] == *text.as_bytes())) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("written in time");
}

async fn until_halted(handle: &Handle, partitions: &[u32]) {
    let halted = async {
        while handle.halted().iter().map(|halted| halted.partition).collect::<Vec<_>>() != partitions {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, halted).await.expect("halted, or not, in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_a_reader_that_retention_overtakes_halts_its_partition_and_no_other() {
    let file = File::new();
    let log = file.open(LogConfig { keep_records: Some(3), ..config(2) }).await;
    publish_to(&log, 0, &["a1"]).await;
    publish_to(&log, 1, &["b1"]).await;
    let (memory, gate) = (Memory::new(), watch::Sender::new(false));
    let handle = start(&file, &memory, &gate).await;
    until_written(&memory, &["a1", "b1"]).await;
    publish_to(&log, 0, &["slow-a"]).await;
    publish_to(&log, 1, &["slow-b"]).await;
    let both = async {
        while gate.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("both run");

    publish_to(&log, 0, &["a3", "a4", "a5", "a6", "a7"]).await;
    assert!(log.sweep().await.unwrap() > 0);
    gate.send_replace(true);
    until_halted(&handle, &[0]).await;
    assert!(handle.is_running() && !handle.ready());
    publish_to(&log, 1, &["b3"]).await;
    until_written(&memory, &["slow-a", "slow-b", "b3"]).await;

    let scope = Scope { subscription: "billing".into(), broker: "main".into(), source: "s".into() };
    handle.admin().reposition(scope, Some(0), ReadFrom::Earliest).await.unwrap();
    until_halted(&handle, &[]).await;
    until_written(&memory, &["a5", "a6", "a7"]).await;
    let rows = memory.rows("rows").await;
    assert!(!rows.iter().any(|row| &row[..] == b"a3"), "nobody has it any more: {rows:?}");
    handle.shutdown();
    handle.join().await.unwrap();
}
