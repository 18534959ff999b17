//! The order service as a process: killed, paused, started again, and checked by other eyes than its own.
