//! Every mutant is caught.
