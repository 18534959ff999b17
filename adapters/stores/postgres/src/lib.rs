//! PostgreSQL as Keylane's store.
