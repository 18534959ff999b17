//! The service's own things: connections, clients, settings.

use std::ops::{Deref, DerefMut};

use super::{Failure, FromCall};

/// The service's own state, or a part of it, cloned for each call: keep what is large behind an `Arc`.
///
/// ```
/// use keylane::{Failure, RawEvent, Routes, State};
///
/// #[derive(Clone)]
/// struct Mailer {
///     sender: String,
/// }
///
/// async fn paid(event: RawEvent, State(mailer): State<Mailer>) -> Result<(), Failure> {
///     println!("a letter of {} bytes from {}", event.len(), mailer.sender);
///     Ok(())
/// }
///
/// let routes = Routes::new().on("order.paid", paid).with_state(Mailer { sender: "us".into() });
/// # let _: Routes = routes;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct State<T>(pub T);

/// A part `Self` of the state `St`, so that a handler names only what it needs.
///
/// Every state is a part of itself. For a state with several parts:
///
/// ```
/// use keylane::FromRef;
/// # #[derive(Clone)] struct Mailer;
/// # #[derive(Clone)] struct Prices;
///
/// #[derive(Clone)]
/// struct App {
///     mailer: Mailer,
///     prices: Prices,
/// }
///
/// impl FromRef<App> for Mailer {
///     fn from_ref(app: &App) -> Self {
///         app.mailer.clone()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the state of these routes, `{St}`, has no part `{Self}`",
    label = "a handler asks for `State<{Self}>`",
    note = "if the state is missing, give it: `Routes::new().on(..).with_state(..)`",
    note = "if `{Self}` is a part of `{St}`, say which: `impl FromRef<{St}> for {Self}`"
)]
pub trait FromRef<St> {
    /// The part, cloned out of the whole.
    fn from_ref(state: &St) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> T {
        state.clone()
    }
}

impl<St, T: FromRef<St>, P> FromCall<St, P> for State<T> {
    fn from_call(_: &mut P, state: &St) -> Result<Self, Failure> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<T> Deref for State<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
