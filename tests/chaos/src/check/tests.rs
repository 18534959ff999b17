//! The checker fed with histories that break each promise.
