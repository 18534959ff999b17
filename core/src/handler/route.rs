//! How one route wants to be run.

use std::fmt;
use std::time::Duration;

use super::HandlerForm;

/// Options for one route: `.on("report.due", route(report).spawned().timeout(..))`.
///
/// ```
/// use std::time::Duration;
/// use keylane::{Batch, Failure, RawEvent, Routes, handler::{Raw, route}};
/// # use bytes::Bytes;
///
/// async fn report(_event: RawEvent) -> Result<(), Failure> { Ok(()) }
/// async fn seats(_seats: Batch<Bytes, Raw>) -> Result<(), Failure> { Ok(()) }
///
/// let routes: Routes = Routes::new()
///     .on("report.due", route(report).spawned().timeout(Duration::from_secs(60)))
///     .on_batch("seat.taken", route(seats).at_most(500));
/// ```
pub fn route<H>(handler: H) -> RouteWith<H> {
    RouteWith { handler, options: Options::default() }
}

/// A handler with options for its route; made by [`route`].
#[derive(Clone, Copy)]
#[must_use]
pub struct RouteWith<H> {
    handler: H,
    options: Options,
}

impl<H> RouteWith<H> {
    /// Each call gets a task of its own, for a handler that computes for long between two awaits.
    /// Others are polled where their lane is, which is cheaper.
    pub fn spawned(mut self) -> Self {
        self.options.spawned = true;
        self
    }

    /// A call takes no longer; past it, its future is dropped at its next await and the attempt has
    /// failed. In place of the subscription's own limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// A batch has no more items than this; for batch handlers, in place of
    /// [`BATCH_MAX`](super::BATCH_MAX).
    pub fn at_most(mut self, items: usize) -> Self {
        self.options.batch_max = Some(items);
        self
    }
}

/// What a route says of how it wants to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    pub(super) spawned: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) batch_max: Option<usize>,
}

/// The form of a handler with options.
#[derive(Debug)]
pub struct WithForm<Form>(std::marker::PhantomData<Form>);

impl<Form, H: HandlerForm<Form>> HandlerForm<WithForm<Form>> for RouteWith<H> {
    type Kernel = H::Kernel;
    type Args = H::Args;
    type Running = H::Running;

    fn split(self) -> (H::Kernel, Options) {
        let (kernel, inner) = self.handler.split();
        let Options { spawned, timeout, batch_max } = self.options;
        let options = Options {
            spawned: spawned || inner.spawned,
            timeout: timeout.or(inner.timeout),
            batch_max: batch_max.or(inner.batch_max),
        };
        (kernel, options)
    }

    fn start(kernel: &H::Kernel, args: H::Args) -> H::Running {
        H::start(kernel, args)
    }
}

impl<H> fmt::Debug for RouteWith<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteWith").field(&self.options).finish()
    }
}
