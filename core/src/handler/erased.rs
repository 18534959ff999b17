//! Where all forms of handlers end: behind [`AnyHandler`].

use std::future::ready;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::FutureExt;

use super::parts::Parts;
use super::{
    AnyHandler, Arguments, Call, HandlerForm, HandlerFuture, HandlerOutput, Options, Outcome, StoreNeed,
};
use crate::env::BoxFuture;

/// What can be routed: any form of handler whose arguments, future and result are as they must be.
#[diagnostic::on_unimplemented(
    message = "this is not a handler",
    label = "not an `async fn` of one to four owned arguments, nor a struct that implements `Handler`",
    note = "write `async fn handle(event: Event<T>) -> Result<(), Failure>`",
    note = "a closure names the types of its arguments: `async |event: Event<T>| ..`"
)]
pub trait IntoRoute<Form, St, P>: Sized {
    /// The stores that its arguments write to.
    #[doc(hidden)]
    fn stores() -> Vec<StoreNeed>;

    /// How it wants to be run, and what makes it a handler once the state is there.
    #[doc(hidden)]
    fn into_route(self) -> (Options, Erase<St>);
}

/// Gives a handler its state and forgets its type.
pub(super) type Erase<St> = Box<dyn FnOnce(St) -> Arc<dyn AnyHandler> + Send>;

impl<H, Form, St, P> IntoRoute<Form, St, P> for H
where
    H: HandlerForm<Form>,
    H::Args: Arguments<St, P>,
    H::Running: HandlerFuture + Send + 'static,
    <H::Running as Future>::Output: HandlerOutput,
    H: 'static,
    Form: 'static,
    St: Send + Sync + 'static,
    P: Parts,
{
    fn stores() -> Vec<StoreNeed> {
        H::Args::all_stores()
    }

    fn into_route(self) -> (Options, Erase<St>) {
        let (kernel, options) = self.split();
        let erase = move |state| -> Arc<dyn AnyHandler> {
            Arc::new(Erased::<H, Form, St, P> { kernel, state, types: PhantomData })
        };
        (options, Box::new(erase))
    }
}

struct Erased<H: HandlerForm<Form>, Form, St, P> {
    kernel: H::Kernel,
    state: St,
    types: PhantomData<fn() -> (Form, P)>,
}

impl<H, Form, St, P> AnyHandler for Erased<H, Form, St, P>
where
    H: HandlerForm<Form> + 'static,
    H::Args: Arguments<St, P>,
    H::Running: HandlerFuture + Send + 'static,
    <H::Running as Future>::Output: HandlerOutput,
    Form: 'static,
    St: Send + Sync + 'static,
    P: Parts,
{
    fn call(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let mut parts = match P::take(call) {
            Ok(parts) => parts,
            Err(outcome) => return Box::pin(ready(outcome)),
        };
        let made = H::Args::all_from_call(&mut parts, &self.state);
        let tail = parts.into_tail();
        match made {
            // `map`, not an async block, which would hold the handler's future twice.
            Ok(args) => {
                Box::pin(H::start(&self.kernel, args).map(move |output| tail.outcome(output.into_result())))
            }
            Err(failure) => Box::pin(ready(tail.refused(&failure))),
        }
    }
}
