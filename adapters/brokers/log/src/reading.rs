//! What one consumer is reading: per partition where it stands, under which epoch, and what was fetched
//! and not handed out yet. No I/O here; the consumer brings pages and takes deliveries.

use std::collections::VecDeque;

use keylane::Error;
use keylane::broker::{Change, Partition, Start};
use keylane::delivery::{Delivery, Place, Ticket};

use crate::chunk::ChunkReader;
use crate::error::{expired, malformed};
use crate::page::{Chunk, Ends};
use crate::stream::Stream;

/// All partitions of a stream, as one consumer reads them.
#[derive(Debug)]
pub(crate) struct Readings {
    stream: Stream,
    parts: Vec<Part>,
    /// Which partition is served first at the next turn.
    turn: usize,
    /// All were paused together, also those that are started later.
    all_paused: bool,
}

#[derive(Debug, Default)]
struct Part {
    /// Belongs to this member: only then it may be read.
    assigned: bool,
    /// Until it is resumed or, unless all were paused, started anew.
    paused: bool,
    /// Of the last start, until the partition is someone else's: bases of another epoch are stale.
    epoch: Option<u64>,
    reading: Option<Reading>,
}

/// A started partition.
#[derive(Debug)]
struct Reading {
    epoch: u64,
    /// The next offset to hand out.
    next: u64,
    /// The next offset to fetch.
    fetched: u64,
    /// The end as last seen.
    end: u64,
    chunks: VecDeque<Loaded>,
    /// Why nothing can be read behind these.
    broken: Option<Error>,
}

#[derive(Debug)]
struct Loaded {
    reader: ChunkReader,
    left: u64,
    bytes: usize,
}

/// A page to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    pub partition: Partition,
    pub epoch: u64,
    pub from: u64,
}

impl Readings {
    pub(crate) fn new(stream: Stream) -> Self {
        let parts = (0..stream.partitions.get()).map(|_| Part::default()).collect();
        Self { stream, parts, turn: 0, all_paused: false }
    }

    pub(crate) fn assign(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(*partition as usize) {
                part.assigned = true;
            }
        }
    }

    /// Stops reading these and forgets what was fetched of them; their bases are still welcome.
    pub(crate) fn stop(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(*partition as usize) {
                part.assigned = false;
                part.reading = None;
            }
        }
    }

    /// These are someone else's: stops reading them, and takes no more bases.
    pub(crate) fn part_with(&mut self, partitions: &[Partition]) {
        self.stop(partitions);
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(*partition as usize) {
                part.epoch = None;
            }
        }
    }

    /// Begins to read, if the partition is (still) this member's; else nothing happens: that it was
    /// lost meanwhile is told by a change of its own. Nor does it where a later claim reads already. True when it
    /// began.
    pub(crate) fn start(&mut self, start: Start) -> bool {
        let Start { epoch, offset, .. } = start;
        let part = self.parts.get_mut(start.partition as usize);
        let Some(part) = part.filter(|part| part.assigned && part.epoch.is_none_or(|known| known <= epoch))
        else {
            return false;
        };
        let chunks = VecDeque::new();
        part.epoch = Some(epoch);
        part.paused = self.all_paused;
        part.reading =
            Some(Reading { epoch, next: offset, fetched: offset, end: offset, chunks, broken: None });
        true
    }

    pub(crate) fn pause(&mut self, partitions: Option<&[Partition]>, paused: bool) {
        if partitions.is_none() {
            self.all_paused = paused;
        }
        for (partition, part) in (0..).zip(&mut self.parts) {
            if partitions.is_none_or(|some| some.contains(&partition)) {
                part.paused = paused;
            }
        }
    }

    /// The epoch under which a partition is or was last read, while it is this member's.
    pub(crate) fn epoch(&self, partition: Partition) -> Option<u64> {
        self.parts.get(partition as usize)?.epoch
    }

    /// Bytes that were fetched and not handed out.
    pub(crate) fn buffered(&self) -> usize {
        let readings = self.parts.iter().filter_map(|part| part.reading.as_ref());
        readings.flat_map(|reading| &reading.chunks).map(|chunk| chunk.bytes).sum()
    }

    /// At most `credits` deliveries of what was fetched, about equally many of each partition: the more
    /// keys at hand, the more can run at once.
    pub(crate) fn take(&mut self, credits: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        self.take_into(credits, &mut deliveries);
        deliveries
    }

    /// A partition that can't be read on, all before that handed out; each once.
    pub(crate) fn take_broken(&mut self) -> Option<Change> {
        let broken = |part: &&mut Part| {
            part.reading.as_ref().is_some_and(|reading| reading.broken.is_some() && reading.chunks.is_empty())
        };
        let (at, part) = (0..).zip(&mut self.parts).find(|(_, part)| broken(part))?;
        let Reading { epoch, broken, .. } = part.reading.take()?;
        Some(Change::Broken { partition: at, epoch, error: broken? })
    }

    /// A page that was wanted can't be had.
    pub(crate) fn breaks(&mut self, want: Want, error: Error) {
        if let Some(reading) = self.reading_of(want) {
            reading.broken = Some(error);
        }
    }

    /// The pages that are known to be there and have run out here.
    pub(crate) fn wanted(&self) -> Vec<Want> {
        let of = |at: usize| {
            let reading = self.active(at)?;
            let wanted =
                reading.chunks.is_empty() && reading.end > reading.fetched && reading.broken.is_none();
            let partition = Partition::try_from(at).ok()?;
            wanted.then_some(Want { partition, epoch: reading.epoch, from: reading.fetched })
        };
        self.in_turn().filter_map(of).collect()
    }

    /// Whether anything is being read, so that it makes sense to look for more.
    pub(crate) fn any_active(&self) -> bool {
        (0..self.parts.len()).any(|at| self.active(at).is_some())
    }

    /// Notes how far the partitions reach now. One that retention overtook is broken (rule L2): going on would be a
    /// silent gap. True when there is something to take.
    pub(crate) fn observe(&mut self, ends: &[Ends]) -> bool {
        let mut overtaken = false;
        for ends in ends {
            let Some(part) = self.parts.get_mut(ends.partition as usize).filter(|part| !part.paused) else {
                continue;
            };
            let Some(reading) = &mut part.reading else { continue };
            if reading.fetched < ends.low && reading.broken.is_none() {
                reading.broken = Some(expired(&self.stream, ends.partition, reading.fetched, ends.low));
                overtaken = true;
            }
            reading.end = ends.next;
        }
        overtaken
    }

    /// Takes in a page, unless the partition was stopped or started anew since it was wanted. Where retention
    /// overtook it (rule L2), or the page can't be read, the partition is broken from there on.
    pub(crate) fn install(&mut self, want: Want, page: Vec<Chunk>) {
        let stream = self.stream.clone();
        if let Some(reading) = self.reading_of(want)
            && let Err(error) = reading.append(&stream, want.partition, page)
        {
            reading.broken = Some(error);
        }
    }

    /// The reading that a page was wanted for, if it is still the same.
    fn reading_of(&mut self, want: Want) -> Option<&mut Reading> {
        let reading = self.parts.get_mut(want.partition as usize)?.reading.as_mut()?;
        ((reading.epoch, reading.fetched) == (want.epoch, want.from)).then_some(reading)
    }

    fn take_into(&mut self, credits: usize, deliveries: &mut Vec<Delivery>) {
        let ready: Vec<usize> = self.in_turn().filter(|at| self.ready(*at)).collect();
        self.turn = self.turn.wrapping_add(1);
        for (served, at) in ready.iter().enumerate() {
            let share = (credits - deliveries.len()).div_ceil(ready.len() - served);
            self.take_of(*at, share, deliveries);
        }
        // What the later ones could not use, the earlier ones may.
        for at in ready {
            self.take_of(at, credits - deliveries.len(), deliveries);
        }
    }

    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (turn, count) = (self.turn, self.parts.len());
        (0..count).map(move |at| (at + turn % count) % count)
    }

    fn active(&self, at: usize) -> Option<&Reading> {
        self.parts[at].reading.as_ref().filter(|_| !self.parts[at].paused)
    }

    fn ready(&self, at: usize) -> bool {
        self.active(at).is_some_and(|reading| !reading.chunks.is_empty())
    }

    fn take_of(&mut self, at: usize, count: usize, deliveries: &mut Vec<Delivery>) {
        let Self { stream, parts, .. } = self;
        if let (Some(reading), Ok(partition)) = (&mut parts[at].reading, Partition::try_from(at))
            && let Err(damaged) = reading.take(stream, partition, count, deliveries)
        {
            // What was taken before it must not be lost, nor anything behind it be delivered.
            reading.chunks.clear();
            reading.broken = Some(damaged);
        }
    }
}

impl Reading {
    fn append(&mut self, stream: &Stream, partition: Partition, page: Vec<Chunk>) -> Result<(), Error> {
        if page.is_empty() {
            // Let go of since the end was seen: the next look at the ends says so.
            self.end = self.fetched;
        }
        for chunk in page {
            if chunk.first > self.fetched {
                return Err(expired(stream, partition, self.fetched, chunk.first));
            }
            let passed = self.fetched - chunk.first;
            let damaged = |_| malformed(stream, partition, chunk.first);
            let bytes = chunk.body.len();
            let mut reader = ChunkReader::new(chunk.body).map_err(damaged)?;
            reader.skip(passed).map_err(damaged)?;
            let left = chunk.count.saturating_sub(passed);
            self.chunks.push_back(Loaded { reader, left, bytes });
            self.fetched += left;
        }
        self.end = self.end.max(self.fetched);
        Ok(())
    }

    fn take(
        &mut self,
        stream: &Stream,
        partition: Partition,
        count: usize,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Error> {
        let until = deliveries.len() + count;
        while deliveries.len() < until
            && let Some(chunk) = self.chunks.front_mut()
        {
            if chunk.left == 0 {
                self.chunks.pop_front();
                continue;
            }
            let damaged = || malformed(stream, partition, self.next);
            let record = chunk.reader.next().ok().flatten().ok_or_else(damaged)?;
            let place = Place { partition, epoch: self.epoch, offset: self.next };
            let ticket = Ticket::new(self.next);
            deliveries.push(Delivery { record, place, attempt: None, ticket });
            chunk.left -= 1;
            self.next += 1;
        }
        if self.chunks.front().is_some_and(|chunk| chunk.left == 0) {
            self.chunks.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
