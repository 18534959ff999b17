//! What is the memory queues' own, beyond the contracts: connections that end, the line, and who gets what.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use keylane::broker::{
    Broker, Capabilities, Change, Consumer, ConsumerSpec, Outgoing, Pulled, Reset, Settles,
};
use keylane::config::Section;
use keylane::delivery::{Delivery, Settlement};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker, MemoryQueues, Queued};
use keylane::{Env, Error, ErrorKind, Failure, RawEvent, Routes, Runtime};

use super::clock::Virtual;

const QUEUE: &str = "orders";

/// A server with one queue.
struct Yard {
    server: MemoryQueues,
    env: Env,
}

impl Yard {
    /// With these messages in the queue.
    async fn with(texts: &[&'static str]) -> Self {
        let yard = Self { server: MemoryQueues::new(), env: Env::new(Virtual::new()) };
        yard.server.create(QUEUE);
        yard.publish(texts).await;
        yard
    }

    async fn publish(&self, texts: &[&'static str]) {
        let worker = self.server.worker(&self.env);
        let publisher = worker.publisher().await.expect("the server is there");
        let outgoing =
            |text: &&'static str| Outgoing { target: QUEUE.to_owned(), record: Record::new(*text) };
        for result in publisher.publish(texts.iter().map(outgoing).collect()).await {
            result.expect("a record is taken");
        }
    }

    /// A worker with one consumer.
    async fn consumer(&self, unsettled_max: usize) -> (Arc<dyn Broker>, Arc<dyn Consumer>) {
        let broker = self.server.worker(&self.env);
        let spec = ConsumerSpec {
            subscription: "s".into(),
            source: QUEUE.into(),
            group: "g".into(),
            reset: Reset::Earliest,
            unsettled_max,
            prefetch_bytes_max: 1024,
            settings: Default::default(),
        };
        let consumer = broker.consumer(spec).await.expect("the queue is there");
        (broker, consumer)
    }

    /// What a pull that waits brings in the end, without hanging when it is never woken.
    async fn woken(&self, waits: impl Future<Output = Result<Pulled, Error>>) -> Pulled {
        let pulled = self.env.timeout("a pull that waits", Duration::from_secs(60), waits).await;
        pulled.expect("it is woken").expect("it brings something")
    }

    fn counts(&self) -> (usize, usize) {
        let Queued { ready, unsettled, .. } = self.server.queued(QUEUE).expect("the queue is there");
        (ready, unsettled)
    }
}

/// What is there now; nothing of it is waited for.
fn take(consumer: &Arc<dyn Consumer>, credits: usize) -> Vec<Delivery> {
    match consumer.pull(credits).now_or_never() {
        None => Vec::new(),
        Some(Ok(Pulled::Deliveries(deliveries))) => deliveries,
        Some(other) => panic!("deliveries or nothing, not {other:?}"),
    }
}

fn voided(consumer: &Arc<dyn Consumer>) -> u64 {
    match consumer.pull(9).now_or_never() {
        Some(Ok(Pulled::Change(Change::Void { epoch }))) => epoch,
        other => panic!("a void first, not {other:?}"),
    }
}

fn texts(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(text).collect()
}

fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.record.payload).expect("these tests publish text")
}

/// Settles all alike; how many of them the broker no longer knew.
async fn settle(consumer: &Arc<dyn Consumer>, deliveries: Vec<Delivery>, settlement: Settlement) -> usize {
    let batch = deliveries.into_iter().map(|delivery| delivery.settle(settlement)).collect();
    consumer.settle(batch).await.expect("a settlement is taken").len()
}

#[tokio::test]
async fn two_consumers_share_and_neither_has_more_than_its_share_unsettled() {
    let yard = Yard::with(&["0", "1", "2", "3", "4", "5"]).await;
    let ((_one, one), (_two, two)) = (yard.consumer(2).await, yard.consumer(3).await);
    let of_one = take(&one, 9);
    assert_eq!((texts(&of_one), texts(&take(&one, 9))), (vec!["0", "1"], vec![]));
    let of_two = take(&two, 1);
    assert_eq!((texts(&of_two), texts(&take(&two, 9))), (vec!["2"], vec!["3", "4"]));
    assert_eq!((yard.counts(), take(&two, 9).len()), ((1, 5), 0));

    // The pull that waits for room has it as soon as something is settled, of whatever kind.
    let mut waits = one.pull(9).boxed();
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!(settle(&one, of_one, Settlement::Ack).await, 0);
    let Pulled::Deliveries(next) = yard.woken(waits).await else { panic!("the next delivery") };
    assert_eq!((texts(&next), yard.counts()), (vec!["5"], (0, 4)));
    let places: Vec<_> = next.iter().chain(&of_two).map(|delivery| delivery.place).collect();
    assert_eq!(
        places.iter().map(|place| (place.partition, place.epoch, place.offset)).collect::<Vec<_>>(),
        [(0, 1, 2), (0, 1, 0)]
    );
}

#[tokio::test]
async fn what_is_given_back_stands_in_its_old_place() {
    let yard = Yard::with(&["0", "1", "2", "3"]).await;
    let ((_one, one), (_two, two)) = (yard.consumer(9).await, yard.consumer(9).await);
    let mut first = take(&one, 3);
    let (last, middle) = (first.split_off(2), first.split_off(1));
    assert_eq!(settle(&one, last, Settlement::Release).await, 0);
    assert_eq!(settle(&one, middle, Settlement::Release).await, 0);
    yard.publish(&["4"]).await;
    let again = take(&two, 9);
    assert_eq!(texts(&again), ["1", "2", "3", "4"]);
    assert_eq!(again.iter().map(|delivery| delivery.attempt.unwrap()).collect::<Vec<_>>(), [2, 2, 1, 1]);
    assert_eq!(yard.server.queued(QUEUE).unwrap(), Queued { ready: 0, unsettled: 5, redelivered: 2 });
    yard.server.cut_consumer(QUEUE, yard.server.consumers(QUEUE)[1]);
    assert_eq!(settle(&one, first, Settlement::Release).await, 0);
    assert_eq!(texts(&take(&one, 9)), ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_cut_gives_back_at_once_and_is_told_before_the_next_delivery() {
    let yard = Yard::with(&["0", "1", "2"]).await;
    let ((_one, one), (_two, two)) = (yard.consumer(2).await, yard.consumer(9).await);
    let held = take(&one, 2);
    yard.server.cut_consumer(QUEUE, yard.server.consumers(QUEUE)[0]);
    assert_eq!(yard.counts(), (3, 0));
    assert_eq!(texts(&take(&two, 1)), ["0"], "it goes to another consumer, which heard of no cut");
    yard.server.cut(QUEUE);
    assert_eq!(yard.server.consumers(QUEUE), [0; 0]);
    assert_eq!((voided(&one), voided(&two)), (2, 2), "two cuts of one connection end it once");
    let again = take(&one, 9);
    assert_eq!(texts(&again), ["0", "1"], "the old ones take no room");
    let place = again[0].place;
    assert_eq!((place.epoch, place.offset, again[0].attempt), (2, 2, Some(3)));
    assert_eq!(settle(&one, held, Settlement::Ack).await, 2, "stale");
    assert_eq!(yard.counts(), (1, 2));
}

#[tokio::test]
async fn stale_tickets_are_lost_and_change_nothing() {
    let yard = Yard::with(&["0", "1", "2"]).await;
    let (_worker, one) = yard.consumer(9).await;
    for settlement in [Settlement::Ack, Settlement::Reject, Settlement::Release] {
        let stale = take(&one, 9);
        let numbers: Vec<u64> = stale.iter().map(|delivery| delivery.ticket.number()).collect();
        yard.server.cut(QUEUE);
        let batch = stale.into_iter().map(|delivery| delivery.settle(settlement)).collect();
        assert_eq!(one.settle(batch).await.unwrap(), numbers, "before the consumer connects anew");
        assert_eq!(yard.counts(), (3, 0), "{settlement:?}");

        voided(&one);
        let stale = take(&one, 9);
        yard.server.cut(QUEUE);
        voided(&one);
        let mut mixed = take(&one, 9);
        let fresh = mixed.split_off(2);
        assert_eq!(settle(&one, stale, settlement).await, 3, "they settle none of the new ones");
        assert_eq!(yard.counts(), (0, 3), "{settlement:?}");
        assert_eq!(settle(&one, fresh, Settlement::Release).await, 0);
        assert_eq!(settle(&one, mixed, Settlement::Release).await, 0);
    }
}

#[tokio::test]
async fn a_pull_that_waits_hears_of_the_cut_also_while_paused() {
    let yard = Yard::with(&[]).await;
    let (_worker, one) = yard.consumer(9).await;
    one.pause(None);
    let mut waits = one.pull(9).boxed();
    assert!(waits.as_mut().now_or_never().is_none());
    yard.publish(&["0"]).await;
    assert!(waits.as_mut().now_or_never().is_none());
    yard.server.cut(QUEUE);
    assert!(matches!(yard.woken(waits).await, Pulled::Change(Change::Void { epoch: 2 })));
    let mut waits = one.pull(9).boxed();
    assert!(waits.as_mut().now_or_never().is_none(), "a pause outlives the connection");
    one.resume(None);
    assert!(matches!(yard.woken(waits).await, Pulled::Deliveries(one) if texts(&one) == ["0"]));
}

#[tokio::test]
async fn a_crash_gives_back_and_so_does_the_close_of_a_worker() {
    let yard = Yard::with(&["0", "1", "2"]).await;
    let ((crashes, one), (closes, two), (_left, three)) =
        (yard.consumer(1).await, yard.consumer(1).await, yard.consumer(9).await);
    let held = (take(&one, 9), take(&two, 9));
    assert_eq!(texts(&take(&three, 9)), ["2"]);
    let mut waits = three.pull(9).boxed();
    assert!(waits.as_mut().now_or_never().is_none());
    drop((crashes, one));
    assert!(
        matches!(yard.woken(waits).await, Pulled::Deliveries(of) if texts(&of) == ["0"] && of[0].attempt == Some(2))
    );
    closes.close().await;
    assert_eq!(texts(&take(&three, 9)), ["1"]);
    assert_eq!(two.pull(1).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(settle(&two, held.1, Settlement::Ack).await, 1);
    assert_eq!(
        (yard.counts(), yard.server.consumers(QUEUE).len()),
        ((0, 3), 1),
        "a closed one does not come back"
    );
}

#[tokio::test]
async fn rejected_is_gone_and_a_delay_is_refused() {
    let yard = Yard::with(&["0", "1"]).await;
    let (broker, one) = yard.consumer(9).await;
    let mut both = take(&one, 2);
    let first = both.remove(0);
    let batch = vec![
        first.settle(Settlement::Ack),
        both.remove(0).settle(Settlement::RetryLater(Duration::from_secs(1))),
    ];
    assert_eq!(one.settle(batch).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(yard.counts(), (0, 2), "none of that batch was settled");
    yard.server.cut(QUEUE);
    voided(&one);
    assert_eq!(settle(&one, take(&one, 2), Settlement::Reject).await, 0);
    assert_eq!(yard.counts(), (0, 0));
    let Capabilities { partitions, ordered, settles, attempts, delay, .. } = one.capabilities();
    assert_eq!((partitions, ordered, settles, attempts, delay), (false, false, Settles::Each, true, None));
    let none = Section::parse("").unwrap();
    assert_eq!(broker.capabilities(&none).unwrap(), one.capabilities());
}

#[tokio::test]
async fn a_server_that_goes_away_ends_its_connections_and_keeps_its_messages() {
    let yard = Yard::with(&["0", "1"]).await;
    let (worker, one) = yard.consumer(9).await;
    let held = take(&one, 9);
    yard.server.set_away(true);
    assert!(one.pull(1).await.unwrap_err().is_transient());
    assert_eq!(settle(&one, held, Settlement::Ack).await, 2);
    let outgoing = Outgoing { target: QUEUE.to_owned(), record: Record::new("2") };
    let refused = worker.publisher().await.unwrap().publish(vec![outgoing]).await.pop().unwrap();
    assert!(refused.unwrap_err().is_transient());
    yard.server.set_away(false);
    assert_eq!((yard.counts(), voided(&one)), ((2, 0), 2));
    assert_eq!(texts(&take(&one, 9)), ["0", "1"]);

    // Deleted and made anew: another queue, another connection.
    yard.server.delete(QUEUE);
    let gone = one.pull(1).await.unwrap_err();
    assert!(!gone.is_transient() && gone.to_string().contains(QUEUE), "{gone}");
    yard.server.create(QUEUE);
    assert_eq!((voided(&one), yard.counts()), (3, (0, 0)));
}

#[tokio::test]
async fn a_service_names_both_kinds_of_memory_broker() {
    let toml = r#"
        [store.memory]
        [broker.logs.memory]
        [broker.queues.memory_queues]
        [subscription.emails]
        broker = "queues"
        source = "orders"
    "#;
    let routes = Routes::new().all(async |_: RawEvent| Ok::<(), Failure>(()));
    let runtime = Runtime::from_text(toml).store(Memory::new()).broker(MemoryBroker::new());
    runtime.broker(MemoryQueues::new()).subscription("emails", routes).check_only().expect("it is all there");
}
