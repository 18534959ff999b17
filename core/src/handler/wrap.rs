//! The service's own middleware: one function around every handler.

use std::fmt;
use std::sync::Arc;

use super::{AnyHandler, Call, Outcome};
use crate::env::BoxFuture;

/// The rest of the way to the handler, as middleware sees it; see
/// [`Routes::wrap`](super::Routes::wrap).
pub struct Next(Arc<dyn AnyHandler>);

impl Next {
    /// Goes on, at most once a call. Middleware that does not go on decides the outcome itself.
    pub async fn run(self, call: Call) -> Outcome {
        self.0.call(call).await
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

/// Middleware, its type forgotten.
pub(super) type Wrap = Arc<dyn Fn(Call, Next) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// Forgets the type of middleware.
pub(super) fn erase<W, Fut>(wrap: W) -> Wrap
where
    W: Fn(Call, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(move |call, next| Box::pin(wrap(call, next)))
}

/// Puts middleware around a handler.
pub(super) fn around(inner: Arc<dyn AnyHandler>, wrap: Wrap) -> Arc<dyn AnyHandler> {
    Arc::new(Wrapped { wrap, inner })
}

struct Wrapped {
    wrap: Wrap,
    inner: Arc<dyn AnyHandler>,
}

impl AnyHandler for Wrapped {
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome> {
        (self.wrap)(call, Next(self.inner.clone()))
    }
}
