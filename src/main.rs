//! WP Cron Runner: arguments, logging, one command, error to message and exit code.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod alerts;
mod api;
mod cli;
mod clock;
mod commands;
mod config;
mod daemon;
#[cfg(test)]
mod fuzz;
mod history;
mod job;
mod lease;
mod logging;
mod metrics;
mod outcome;
mod outward;
mod protocol;
mod redis_link;
mod run_job;
mod run_site;
mod schedule;
mod scheduler;
mod site;
mod text;
mod trigger;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing::level_filters::LevelFilter;

use cli::{Alert, Cli, Command, Plugin};
use commands::{
    Stop, alert, control, deploy, diagnose, doctor, exit, import, init, next, removal, report, restore, run, setup,
    uninstall,
};
use config::{Config, Secrets};
use history::Filter;
use run_site::decide::Decision;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--json") => {
            return refuse(&cli::wrong_words(&error), true);
        }
        Err(error) => error.exit(),
    };
    let json = cli.json;
    // The daemon tells what it does; other commands only what is wrong.
    let level = if matches!(cli.command, Command::Run) { LevelFilter::INFO } else { LevelFilter::WARN };
    if let Err(stop) = logging::start(level) {
        return refuse(&stop, json);
    }
    // reqwest was built without a TLS provider of its own, and panics where none was chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|error| Stop::new(exit::UNREACHABLE, format!("cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(execute(cli)));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(stop) => refuse(&stop, json),
    }
}

/// Who asked for JSON reads the answer where he expects it.
fn refuse(stop: &Stop, json: bool) -> ExitCode {
    let _ = match commands::pretty(&serde_json::json!({"error": stop})) {
        Ok(text) if json => write!(std::io::stdout(), "{text}"),
        _ => writeln!(std::io::stderr(), "{stop}"),
    };
    ExitCode::from(stop.code)
}

async fn execute(cli: Cli) -> Result<u8, Stop> {
    let (path, json) = (cli.config.as_path(), cli.json);
    let config = |secrets: Secrets| -> Result<Config, Stop> {
        config::read(path, secrets).map_err(|refused| commands::refused(&refused, json))
    };
    match cli.command {
        Command::Run => run::run(config(Secrets::Needed)?).await,
        Command::Once { sites, dry_run } => run::once(&config(Secrets::Needed)?, &sites, dry_run, json).await,
        Command::Init { path: root, dry_run } => init::init(path, root, dry_run, json).await,
        Command::Uninstall { yes, dry_run } => uninstall::uninstall(path, yes, dry_run, json).await,
        Command::Import { file, system, write } => import::import(path, file.as_deref(), system, write, json),
        Command::Doctor { site } => doctor::doctor(path, site.as_deref(), json).await,
        Command::Alert(Alert::Test) => alert::test(&config(Secrets::MayBeMissing)?, json).await,
        Command::Check { connect } => diagnose::check(path, connect, json).await,
        Command::Plugin(Plugin::Install { site }) => setup::install(&config(Secrets::MayBeMissing)?, &site, json).await,
        Command::Plugin(Plugin::Remove { site, force }) => {
            removal::remove(&config(Secrets::MayBeMissing)?, &site, force, json).await
        }
        Command::Plugin(Plugin::Status { site }) => setup::status(&config(Secrets::MayBeMissing)?, &site, json).await,
        Command::Next { expression, timezone, from, n } => {
            next::next(&next::Ask { expression, timezone, from, n }, json, clock::now_ms())
        }
        Command::Status { watch, since } => {
            report::status(&config(Secrets::Needed)?, watch, since.as_ref(), json).await
        }
        Command::Deploy { note } => deploy::deploy(&config(Secrets::MayBeMissing)?, &note, json).await,
        Command::Events { site } => report::events(&config(Secrets::Needed)?, site.as_ref(), json).await,
        Command::History { site, failed, held, since, n } => {
            let filter = Filter { site, failed, held, limit: n, ..Filter::default() };
            report::history(&config(Secrets::MayBeMissing)?, filter, since.as_ref(), json).await
        }
        Command::Trigger { site, hook } => {
            control::trigger(&config(Secrets::Needed)?, &site, hook.as_ref(), json).await
        }
        Command::Pause { site, until } => control::pause(&config(Secrets::Needed)?, &site, until.as_ref(), json).await,
        Command::Resume { site } => control::resume(&config(Secrets::Needed)?, &site, json).await,
        Command::Requeue { run } => {
            control::decide_about(&config(Secrets::Needed)?, &run, Decision::Requeue, json).await
        }
        Command::Restore { site } => restore::restore(&config(Secrets::Needed)?, &site, json).await,
        Command::Drop { run } => control::decide_about(&config(Secrets::Needed)?, &run, Decision::Drop, json).await,
    }
}
