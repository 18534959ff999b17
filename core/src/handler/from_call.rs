//! Arguments of handlers, taken by type.

use std::any::TypeId;
use std::fmt;

use super::{CallParts, Failure};
use crate::store::StoreAdapter;

/// What can be an argument of a handler.
///
/// `Parts` is [`CallParts`] for handlers of single events and [`BatchParts`](super::BatchParts) for
/// batch handlers; `St` is the state of the routes.
///
/// - Arguments are made in their order, synchronously, anew for each attempt.
/// - The first that fails ends the call with its failure; the handler is not called.
///
/// An argument of one's own:
///
/// ```
/// use keylane::{Failure, RawEvent};
/// use keylane::handler::{CallParts, FromCall};
///
/// struct Tenant(String);
///
/// impl<St> FromCall<St> for Tenant {
///     fn from_call(call: &mut CallParts, _: &St) -> Result<Self, Failure> {
///         match call.meta().headers.text("tenant") {
///             Some(name) => Ok(Self(name.to_owned())),
///             None => Err(Failure::new("no header `tenant`").permanent()),
///         }
///     }
/// }
///
/// async fn paid(_event: RawEvent, Tenant(name): Tenant) -> Result<(), Failure> {
///     println!("paid at {name}");
///     Ok(())
/// }
/// # let _ = keylane::Routes::<()>::new().on("order.paid", paid);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of this handler",
    label = "a handler routed here takes an argument of type `{Self}`",
    note = "arguments for `on` and `all`: `Event<T>`, `RawEvent`, `State<T>`, `Effects<S>`, `Context`",
    note = "arguments for `on_batch` and `all_batches`: `Batch<T>`, `State<T>`, `Effects<S>`, `BatchContext`",
    note = "a handler owns its arguments: write `event: Event<T>`, not `event: &Event<T>`"
)]
pub trait FromCall<St, Parts = CallParts>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// What the call fails with instead of running the handler.
    fn from_call(parts: &mut Parts, state: &St) -> Result<Self, Failure>;

    /// The stores that this argument writes to. An argument that holds an [`Effects`](super::Effects)
    /// hands on what that says, so that a wrong store is refused at start.
    #[must_use]
    fn stores() -> Vec<StoreNeed> {
        Vec::new()
    }
}

/// A store that a handler writes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StoreNeed {
    /// The [`StoreAdapter`].
    pub adapter: TypeId,
    /// Its kind, for messages.
    pub kind: &'static str,
}

impl StoreNeed {
    /// The need for store `S`.
    #[must_use]
    pub fn of<S: StoreAdapter>() -> Self {
        Self { adapter: TypeId::of::<S>(), kind: S::KIND }
    }
}

impl fmt::Debug for StoreNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreNeed({})", self.kind)
    }
}

/// All arguments of a handler: a tuple of at most four.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the arguments of a handler",
    note = "a struct's `type Args` is a tuple, also for one argument: `type Args = (Event<T>,)`"
)]
pub trait Arguments<St, Parts>: Sized {
    /// Makes them in order.
    #[doc(hidden)]
    fn all_from_call(parts: &mut Parts, state: &St) -> Result<Self, Failure>;

    /// The stores that they write to.
    #[doc(hidden)]
    fn all_stores() -> Vec<StoreNeed>;
}

macro_rules! arguments {
    ($($A:ident)*) => {
        impl<St, Parts, $($A: FromCall<St, Parts>,)*> Arguments<St, Parts> for ($($A,)*) {
            fn all_from_call(parts: &mut Parts, state: &St) -> Result<Self, Failure> {
                Ok(($($A::from_call(parts, state)?,)*))
            }

            fn all_stores() -> Vec<StoreNeed> {
                [$($A::stores(),)*].concat()
            }
        }
    };
}

arguments!(A1);
arguments!(A1 A2);
arguments!(A1 A2 A3);
arguments!(A1 A2 A3 A4);
