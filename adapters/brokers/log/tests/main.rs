//! The log from outside: stories over real files, with two "processes" on one file where it matters.

mod child;
mod consume;
mod damage;
mod fixture;
mod freezer;
mod group;
mod publish;
mod replay;
mod retention;
