//! What a run costs: time on the wall, CPU time of the whole process, memory.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What a stretch of a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Of all threads of this process, the client library's included.
    pub(crate) cpu: Duration,
}

/// A stretch that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    began: Instant,
    cpu: Duration,
}

impl Stretch {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), cpu: cpu() }
    }

    pub(crate) fn end(&self) -> Cost {
        Cost { wall: self.began.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// The threads that a run has: as many as there are processors.
pub(crate) fn threads() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// CPU time that this process has used.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The most memory that this process ever held, in bytes, as the kernel counts it.
pub(crate) fn rss_peak() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib =
        line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("/proc/self/status has no line VmHWM"))
}
