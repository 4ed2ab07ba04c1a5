//! One binary for all integration tests, so that the crate and the support are linked once.

// In a test a failed expectation is the result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// The support serves all tests; which of them need what changes.
#![allow(dead_code, unused_imports)]

mod alerts;
mod bench;
mod browser;
mod calls;
mod claims;
mod commands;
mod control;
mod doctor;
mod faults;
mod hosts;
mod import;
mod init;
mod jobs;
mod layers;
mod limits;
mod locks;
mod logs;
mod merge;
mod metrics;
mod on_time;
mod outcomes;
mod page_views;
mod panel;
mod plugin_lifecycle;
mod policies;
mod real_parts;
mod realms;
mod refusals;
mod reload;
mod replace_crontab;
mod reports;
mod safety;
mod site_health;
mod stream;
mod support;
mod terminal;
mod updates;
mod wp_cli;
mod wp_cron_php;
