//! The polling thread: it alone polls, assigns and pauses, and does little for each record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keylane::broker::Start;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use tokio::sync::{mpsc, oneshot};

use super::assignment::Assignment;
use super::inbox::Inbox;
use super::member::Member;
use crate::delivery::Copier;
use crate::error::{Verdict, verdict};

/// How long a poll waits when there is nothing; also how soon a command is seen then.
const IDLE: Duration = Duration::from_millis(10);

/// How long nobody may pull before fetching is stopped and polling goes on without records. Stopping
/// throws away what was fetched ahead; not polling keeps the group waiting for an answer.
const STALLED: Duration = Duration::from_secs(1);

/// The most records in one hand-over to the inbox.
const PORTION_RECORDS: usize = 4096;

/// What the handle asks of the thread.
#[derive(Debug)]
pub(super) struct StartCommand {
    pub(super) starts: Vec<Start>,
    pub(super) done: oneshot::Sender<Result<(), KafkaError>>,
}

/// The thread's own state.
pub(super) struct Poller {
    pub(super) consumer: Arc<BaseConsumer<Member>>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) assignment: Assignment,
    pub(super) commands: mpsc::Receiver<StartCommand>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) copier: Copier,
    /// Since when the inbox has been full.
    pub(super) full: Option<Instant>,
    /// An error after which nothing may be delivered was seen.
    pub(super) broken: bool,
}

impl Poller {
    /// Polls until it is told to stop.
    pub(super) fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            while let Ok(StartCommand { starts, done }) = self.commands.try_recv() {
                drop(done.send(self.assignment.start(&self.consumer, &self.inbox, &starts)));
            }
            self.assignment.serve(&self.consumer, &self.inbox);
            let stalled = self.stalled();
            self.assignment.halt(&self.consumer, &self.inbox, stalled);
            if self.full.is_some() && !stalled {
                self.inbox.wait_for_room(IDLE);
            } else {
                self.fill();
            }
        }
        self.assignment.give_up(&self.consumer);
    }

    /// Whether nobody has pulled for long. Ends only when half of the inbox is free, so that stopping
    /// and going on don't alternate.
    fn stalled(&mut self) -> bool {
        let was = self.full.is_some_and(|since| since.elapsed() >= STALLED);
        let full = if was { !self.inbox.is_half_empty() } else { self.inbox.is_full() };
        if !full {
            self.full = None;
        } else if self.full.is_none() {
            self.full = Some(Instant::now());
        }
        was && full
    }

    /// Moves what librdkafka has to the inbox, waiting a little for the first record.
    fn fill(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        let portion = self.inbox.portion();
        let mut wait = IDLE;
        while self.copier.bytes() <= portion && self.copier.records() < PORTION_RECORDS {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let expected = self.assignment.expect(message.partition(), message.offset());
                    if let (Some((partition, epoch, offset)), false) = (expected, self.broken) {
                        self.copier.push(partition, epoch, offset, &message);
                    }
                }
                Some(Err(cause)) => {
                    // What was read before the error stands before it.
                    self.hand_over();
                    self.judge(cause);
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if self.copier.records() > 0 {
            self.inbox.put(self.copier.runs());
        }
    }

    fn judge(&mut self, cause: KafkaError) {
        match verdict(&cause) {
            // The first one says why it ended; nothing may cover it.
            _ if self.broken => {}
            Verdict::Mended => tracing::debug!(error = %cause, "kafka: passing trouble"),
            Verdict::Passing | Verdict::Gone => self.inbox.fault(cause),
            Verdict::Final => {
                self.broken = true;
                self.inbox.fault(cause);
            }
        }
    }
}
