//! Real worker processes under faults: the stories that every pair of broker and store must pass, and a short run
//! of the chaos that is run for long by hand.

mod pairs;
mod stage;
mod stories;
