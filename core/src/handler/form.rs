//! The forms that a handler can have: a function, a closure, a struct; each one is started the same way.

use std::sync::Arc;

use super::{Failure, Options};
use crate::env::BoxFuture;

/// A struct as a handler, for what carries more of its own than [`State`](super::State) should hold,
/// or is made from a choice at start.
///
/// `Args` names the arguments by type, as a function would take them; a tuple, also for one.
///
/// ```
/// use keylane::{Context, Event, Failure, Handler, Routes};
/// # #[derive(serde::Deserialize)] struct OrderPaid { total: u64 }
///
/// struct Receipts {
///     sender: String,
/// }
///
/// impl Handler for Receipts {
///     type Args = (Event<OrderPaid>, Context);
///
///     async fn handle(&self, (event, cx): Self::Args) -> Result<(), Failure> {
///         println!("{} sends {}, attempt {}", self.sender, event.total, cx.attempt());
///         Ok(())
///     }
/// }
///
/// let routes: Routes = Routes::new().on("order.paid", Receipts { sender: "us".into() });
/// ```
pub trait Handler: Send + Sync + 'static {
    /// The arguments by type, at most four: `(Event<T>, Effects<S>)`.
    type Args: Send;

    /// Handles one call.
    ///
    /// # Errors
    /// What the call failed with; see [`Failure`].
    fn handle(&self, args: Self::Args) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What can be called as a handler. `Form` keeps the forms apart; the compiler finds it.
///
/// The implementations ask for as little as they can: so the compiler settles on one of them, and what
/// is wrong with a handler is said of the part that is wrong.
pub trait HandlerForm<Form> {
    /// What is kept of it.
    #[doc(hidden)]
    type Kernel: Send + Sync + 'static;
    /// Its arguments.
    #[doc(hidden)]
    type Args;
    /// What a call gives: a future, or the handler is not async.
    #[doc(hidden)]
    type Running;

    /// The handler and how it wants to be run.
    #[doc(hidden)]
    fn split(self) -> (Self::Kernel, Options);

    /// Starts a call.
    #[doc(hidden)]
    fn start(kernel: &Self::Kernel, args: Self::Args) -> Self::Running;
}

/// What a handler gives when it is called: a future of what came of it.
#[diagnostic::on_unimplemented(
    message = "this handler is not async: it returns `{Self}`",
    label = "a call of this handler gives `{Self}`, not a future",
    note = "put `async` before `fn`: `async fn handle(event: Event<T>) -> Result<(), Failure>`"
)]
pub trait HandlerFuture: Future {}

#[diagnostic::do_not_recommend]
impl<F: Future> HandlerFuture for F {}

/// What a handler may return: nothing, or `Result<(), E>` where `E` converts to [`Failure`].
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    label = "this handler returns `{Self}`",
    note = "return `Result<(), Failure>`: `?` turns any error that implements `std::error::Error` into a \
            `Failure`; for text write `Err(Failure::new(\"what, where\"))`"
)]
pub trait HandlerOutput {
    /// The result.
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Failure>;
}

impl HandlerOutput for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<Failure>> HandlerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

/// The form of a struct that implements [`Handler`].
#[derive(Debug)]
pub struct StructForm;

impl<H: Handler> HandlerForm<StructForm> for H {
    type Kernel = Arc<H>;
    type Args = H::Args;
    type Running = BoxFuture<'static, Result<(), Failure>>;

    fn split(self) -> (Arc<H>, Options) {
        (Arc::new(self), Options::default())
    }

    fn start(kernel: &Arc<H>, args: H::Args) -> Self::Running {
        let handler = kernel.clone();
        Box::pin(async move { handler.handle(args).await })
    }
}

/// The form of a function or closure with the arguments `Args`.
#[derive(Debug)]
pub struct FnForm<Args>(std::marker::PhantomData<Args>);

macro_rules! function_form {
    ($($A:ident $a:ident),*) => {
        impl<F, R, $($A,)*> HandlerForm<FnForm<($($A,)*)>> for F
        where
            F: Fn($($A,)*) -> R + Send + Sync + 'static,
        {
            type Kernel = F;
            type Args = ($($A,)*);
            type Running = R;

            fn split(self) -> (F, Options) {
                (self, Options::default())
            }

            fn start(kernel: &F, ($($a,)*): Self::Args) -> R {
                kernel($($a,)*)
            }
        }
    };
}

function_form!(A1 a1);
function_form!(A1 a1, A2 a2);
function_form!(A1 a1, A2 a2, A3 a3);
function_form!(A1 a1, A2 a2, A3 a3, A4 a4);
