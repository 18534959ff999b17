//! Which handler gets which kind of event.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::erased::Erase;
use super::wrap::{self, Wrap};
use super::{BatchParts, Call, CallParts, IntoRoute, Next, Options, Outcome, Route, RouteTable, StoreNeed};
use crate::text::Text;

/// How many items a batch has at most where its route does not say.
pub const BATCH_MAX: usize = 100;

/// Which handler gets which kind of event, in one subscription.
///
/// `St` is the state that the handlers ask for by [`State`](super::State); with
/// [`with_state`](Self::with_state) it is given, and `Routes` (that is `Routes<()>`) are ready for the
/// runtime.
///
/// What is wrong with the routes (a kind routed twice, a batch of no items) is kept and reported when
/// the runtime is built, all of it at once.
#[must_use = "routes do nothing until a subscription gets them"]
pub struct Routes<St = ()> {
    entries: Vec<Entry<St>>,
    /// Innermost first.
    wraps: Vec<Wrap>,
    mistakes: Vec<String>,
}

/// Routes that are ready for a subscription: none of their handlers misses its state.
#[diagnostic::on_unimplemented(
    message = "these routes miss their state: they are `{Self}`",
    label = "routes without their state",
    note = "give it before a subscription gets the routes: `.with_state(..)`"
)]
pub trait IntoRouteTable {
    /// The routes as the runtime uses them.
    fn into_table(self) -> RouteTable;
}

impl IntoRouteTable for Routes {
    fn into_table(self) -> RouteTable {
        self.build()
    }
}

struct Entry<St> {
    /// `None`: every kind that has no own route.
    kind: Option<Text>,
    batch_max: Option<usize>,
    spawned: bool,
    timeout: Option<Duration>,
    stores: Vec<StoreNeed>,
    erase: Erase<St>,
}

impl<St: 'static> Routes<St> {
    /// No routes.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), wraps: Vec::new(), mistakes: Vec::new() }
    }

    /// Events of this kind go to `handler`, one at a time per key.
    pub fn on<H, Form>(self, kind: impl Into<Text>, handler: H) -> Self
    where
        H: IntoRoute<Form, St, CallParts>,
    {
        let (options, erase) = handler.into_route();
        self.add(Some(kind.into()), false, H::stores(), options, erase)
    }

    /// Events of this kind go to `handler` in batches: of one key in their order, and no other event
    /// of those keys runs meanwhile.
    pub fn on_batch<H, Form>(self, kind: impl Into<Text>, handler: H) -> Self
    where
        H: IntoRoute<Form, St, BatchParts>,
    {
        let (options, erase) = handler.into_route();
        self.add(Some(kind.into()), true, H::stores(), options, erase)
    }

    /// Events of every kind that has no route of its own go to `handler`; for sources whose events are
    /// all of one kind, or that carry none.
    pub fn all<H, Form>(self, handler: H) -> Self
    where
        H: IntoRoute<Form, St, CallParts>,
    {
        let (options, erase) = handler.into_route();
        self.add(None, false, H::stores(), options, erase)
    }

    /// The same in batches, which may hold events of several kinds.
    pub fn all_batches<H, Form>(self, handler: H) -> Self
    where
        H: IntoRoute<Form, St, BatchParts>,
    {
        let (options, erase) = handler.into_route();
        self.add(None, true, H::stores(), options, erase)
    }

    /// Puts middleware around all handlers of these routes, wherever it stands among them; around
    /// single events and batches alike. The last is the outermost.
    ///
    /// It runs inside the runtime's own guards: once for each attempt, within the timeout.
    ///
    /// ```
    /// use keylane::{Call, Next, Outcome, Routes};
    ///
    /// async fn told(call: Call, next: Next) -> Outcome {
    ///     let id = call.first().envelope.meta.id.clone();
    ///     let outcome = next.run(call).await;
    ///     println!("{id}: {outcome:?}");
    ///     outcome
    /// }
    ///
    /// let routes: Routes = Routes::new().wrap(told);
    /// ```
    pub fn wrap<W, Fut>(mut self, middleware: W) -> Self
    where
        W: Fn(Call, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.wraps.push(wrap::erase(middleware));
        self
    }

    /// Gives the handlers their state, cloned once for each route.
    pub fn with_state(self, state: St) -> Routes
    where
        St: Clone,
    {
        let entries = self.entries.into_iter().map(|entry| entry.with_state(state.clone())).collect();
        Routes { entries, wraps: self.wraps, mistakes: self.mistakes }
    }

    fn add(
        mut self,
        kind: Option<Text>,
        batch: bool,
        stores: Vec<StoreNeed>,
        options: Options,
        erase: Erase<St>,
    ) -> Self {
        let Options { spawned, timeout, batch_max } = options;
        self.note_mistakes(kind.as_ref(), batch, options);
        let batch_max = batch.then(|| batch_max.unwrap_or(BATCH_MAX));
        self.entries.push(Entry { kind, batch_max, spawned, timeout, stores, erase });
        self
    }

    fn note_mistakes(&mut self, kind: Option<&Text>, batch: bool, options: Options) {
        let name = named(kind);
        let mut note = |what: &str| self.mistakes.push(format!("{name} {what}"));
        if self.entries.iter().any(|entry| entry.kind.as_ref() == kind) {
            note("is routed twice; keep one handler for it");
        }
        if kind.is_some_and(|kind| kind.is_empty()) {
            note("is empty; use `all` for events that carry no kind");
        }
        if options.timeout.is_some_and(|limit| limit.is_zero()) {
            note("has a timeout of zero, in which nothing can run; leave it out for the subscription's");
        }
        match options.batch_max {
            Some(_) if !batch => {
                note("has `at_most` but no batches; route it by `on_batch` or `all_batches`")
            }
            Some(0) => note("has batches of at most 0 items; write at least 1"),
            _ => {}
        }
    }
}

impl Routes {
    /// The routes as the runtime uses them.
    #[must_use]
    pub fn build(self) -> RouteTable {
        let mut mistakes = self.mistakes;
        if self.entries.is_empty() {
            mistakes.push("there are no routes; add one by `on(kind, handler)` or `all(handler)`".to_owned());
        }
        let wraps = self.wraps;
        let mut table = RouteTable::new(mistakes);
        for entry in self.entries {
            for store in &entry.stores {
                table.need(*store, named(entry.kind.as_ref()));
            }
            let handler = wraps.iter().cloned().fold((entry.erase)(()), wrap::around);
            let Entry { batch_max, spawned, timeout, .. } = entry;
            table.put(entry.kind, Route { handler, batch_max, spawned, timeout });
        }
        table
    }
}

impl<St: 'static> Entry<St> {
    fn with_state(self, state: St) -> Entry<()> {
        let Self { kind, batch_max, spawned, timeout, stores, erase } = self;
        let handler = erase(state);
        Entry { kind, batch_max, spawned, timeout, stores, erase: Box::new(move |()| Arc::clone(&handler)) }
    }
}

/// A route in messages.
fn named(kind: Option<&Text>) -> String {
    kind.map_or_else(|| "the route for all kinds".to_owned(), |kind| format!("kind `{kind}`"))
}

impl<St: 'static> Default for Routes<St> {
    fn default() -> Self {
        Self::new()
    }
}

impl<St> fmt::Debug for Routes<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.entries.iter().map(|entry| entry.kind.as_deref().unwrap_or("*")).collect();
        f.debug_struct("Routes").field("kinds", &kinds).field("mistakes", &self.mistakes).finish()
    }
}
