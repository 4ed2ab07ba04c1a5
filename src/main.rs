#![allow(dead_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
mod clock;
mod config;
mod history;
mod lease;
mod outcome;
mod protocol;
mod site;
mod text;
mod trigger;
fn main() {}
