//! Taking the plugin out of a site: what would be lost is asked for first.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::plugin_files::Place;
use super::progress;
use super::setup::{in_history, io_stop, place};
use super::{Stop, calls, exit, find, pinned_install, print, print_json, runner, visitor, wp_config};
use crate::api::client;
use crate::config::{Config, Site};
use crate::outcome::Failure;
use crate::protocol::Open;
use crate::run_site::calls::{Calls, Settle};

/// `plugin remove`
pub async fn remove(config: &Config, name: &str, force: bool, json: bool) -> Result<u8, Stop> {
    let site = find(config, name)?;
    place(site)?;
    nobody_looks_after(config, name).await?;
    let mut done = Vec::new();
    let remaining =
        progress::shown(&format!("removing from site {name}"), take_away(config, site, force, &mut done)).await?;
    if json {
        print_json(&json!({"site": name, "changed": done, "remaining": remaining}))?;
        return Ok(exit::FINE);
    }
    if done.is_empty() {
        done.push("nothing to remove".into());
    }
    done.extend(remaining.map(|step| format!("one step remains: {step}")));
    print(&format!("{}\n", done.join("\n")))?;
    Ok(exit::FINE)
}

pub async fn nobody_looks_after(config: &Config, name: &str) -> Result<(), Stop> {
    if client::looks_after(config.runner.listen, name).await {
        let next = format!(
            "stop it, or take the site out of {} and reload it (SIGHUP); nothing was changed",
            config.path.display()
        );
        return Err(Stop::new(exit::LATER, format!("a runner looks after site `{name}`")).next(next));
    }
    Ok(())
}

/// Whether the plugin there can be asked to take its own traces out.
fn can_be_asked(site: &Site, place: &Place) -> bool {
    !site.keys.is_empty() && (place.is_installed() || place.normal_folder().is_dir())
}

/// Plugin, tables, block and key. Gives the step that remains, where one does.
pub async fn take_away(
    config: &Config,
    site: &Arc<Site>,
    force: bool,
    done: &mut Vec<String>,
) -> Result<Option<String>, Stop> {
    let (path, place) = place(site)?;
    let normal = Some(place.normal_folder()).filter(|folder| folder.is_dir());
    if can_be_asked(site, &place) {
        match uninstall_state(config, site, force).await {
            Ok(()) => done.push("the plugin's tables and options are gone".to_string()),
            Err(stop) if force => done.push(format!("tables and options may be left: {}", stop.failed)),
            Err(stop) => return Err(stop),
        }
    } else if site.keys.is_empty() && (place.is_installed() || normal.is_some()) {
        done.push(
            "tables and options of the plugin may be left: there is no key to ask it with (tables ...cron_runner_journal and \
             ...cron_runner_state, options wp_cron_runner...)"
                .to_string(),
        );
    }
    take_out(config, site, &path, &place, done)?;
    Ok(normal.map(|folder| {
        let shown = folder.display();
        format!(
            "deactivate the plugin WP Cron Runner in wp-admin and delete it there: {shown} came from a zip, and stays"
        )
    }))
}

fn not_removed(name: &str, failure: &Failure) -> Stop {
    let next = format!(
        "{}; nothing was removed; `wp-cron-runner plugin remove {name} --force` removes the files all the same",
        failure.advice()
    );
    Stop::site(name, failure).next(next)
}

/// Refuses where runs are held that would be forgotten. Changes nothing.
pub async fn nothing_is_held(config: &Config, site: &Arc<Site>) -> Result<(), Stop> {
    if !can_be_asked(site, &place(site)?.1) {
        return Ok(());
    }
    let install = pinned_install(config, &site.name);
    let looked = calls(site, &visitor())?.look(install.as_deref(), false).await;
    let looked = looked.map_err(|failure| not_removed(&site.name, &failure))?;
    refuse_held(&site.name, looked.due.held)
}

/// Refuses where an event runs. Those whose process is gone are settled by that.
pub async fn nothing_runs(config: &Config, site: &Arc<Site>) -> Result<(), Stop> {
    if !can_be_asked(site, &place(site)?.1) {
        return Ok(());
    }
    let install = pinned_install(config, &site.name);
    let (install, calls) = (install.as_deref(), calls(site, &runner(config))?);
    let taken = calls.settle(install, Settle { take: true, ..Settle::default() }).await;
    let (taken, _) = taken.map_err(|failure| not_removed(&site.name, &failure))?;
    give_back(&calls, install, taken.epoch).await;
    refuse_running(&site.name, taken.open.first())
}

/// Whoever takes a site and then does nothing with it must not keep its page loads from running events.
async fn give_back(calls: &Calls, install: Option<&str>, epoch: i64) {
    let what = Settle { epoch: Some(epoch), leave: true, ..Settle::default() };
    if let Err(failure) = calls.settle(install, what).await {
        tracing::warn!("{}", failure.sentence(&calls.site.name));
    }
}

fn refuse_running(name: &str, open: Option<&Open>) -> Result<(), Stop> {
    let Some(open) = open else { return Ok(()) };
    let hook = crate::text::safe(&open.hook);
    let failed = format!("site `{name}` still runs {hook}; nothing was removed");
    Err(Stop::new(exit::LATER, failed).next("wait until it has ended"))
}

fn refuse_held(name: &str, held: u64) -> Result<(), Stop> {
    if held == 0 {
        return Ok(());
    }
    let failed = format!("site `{name}` holds {held} runs that would be forgotten; nothing was removed");
    let next = format!(
        "see `wp-cron-runner history {name} --held`, then `wp-cron-runner requeue RUN` or `wp-cron-runner drop RUN` for each; or \
         `wp-cron-runner plugin remove {name} --force`"
    );
    Err(Stop::new(exit::FAILED, failed).next(next))
}

/// Lets the plugin take its own traces out, where nothing would be lost by that.
async fn uninstall_state(config: &Config, site: &Arc<Site>, force: bool) -> Result<(), Stop> {
    let name = &site.name;
    let install = pinned_install(config, name);
    let (install, calls) = (install.as_deref(), calls(site, &runner(config))?);
    let stop = |failure: Failure| not_removed(name, &failure);
    let looked = calls.look(install, false).await.map_err(stop)?;
    if !force {
        refuse_held(name, looked.due.held)?;
    }
    let (taken, _) = calls.settle(install, Settle { take: true, ..Settle::default() }).await.map_err(stop)?;
    if let (false, Err(refusal)) = (force, refuse_running(name, taken.open.first())) {
        give_back(&calls, install, taken.epoch).await;
        return Err(refusal);
    }
    let what = Settle { epoch: Some(taken.epoch), uninstall: true, ..Settle::default() };
    calls.settle(install, what).await.map(|_| ()).map_err(stop)
}

fn take_out(config: &Config, site: &Site, path: &Path, place: &Place, done: &mut Vec<String>) -> Result<(), Stop> {
    if place.remove().map_err(|error| io_stop("remove", &place.folder(), &error))? {
        done.push(format!("plugin removed from {}", place.folder().display()));
    }
    let found = wp_config::find(path).map_err(|error| io_stop("read", &path.join("wp-config.php"), &error))?;
    if let Some(file) = found
        && wp_config::change(&file, wp_config::without_block).map_err(|error| io_stop("write", &file, &error))?
    {
        done.push(format!("block removed from {}", file.display()));
    }
    match fs::remove_file(&site.secret_file) {
        Ok(()) => done.push(format!("key removed: {}", site.secret_file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_stop("remove", &site.secret_file, &error)),
    }
    in_history(config, |history| history.forget(&site.name));
    Ok(())
}
