//! `plugin install`, `plugin remove`, `plugin status`. Installing and removing may be done as root.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::peers::Peers;
use super::plugin_files::Place;
use super::progress;
use super::{
    Stop, calls, exists, exit, find, history_file, is_root, owner, pinned_install, print, print_json, visitor,
    wp_config,
};
use crate::config::{Config, Site, secret};
use crate::history::sqlite::History;
use crate::outcome::Failure;
use crate::protocol::signature::{Key, random_hex};
use crate::run_site::calls::Looked;

pub fn place(site: &Site) -> Result<(PathBuf, Place), Stop> {
    let name = &site.name;
    if !site.has_plugin() {
        let failed = format!("site `{name}` has the trigger wp-cron.php, which uses no plugin");
        return Err(Stop::new(exit::CONFIGURATION, failed).expected("another `trigger`"));
    }
    let path = site.path.clone().ok_or_else(|| {
        Stop::new(exit::CONFIGURATION, format!("site `{name}` has no `path`"))
            .expected("the folder that holds wp-load.php, to install the plugin there")
            .next("or install its zip in wp-admin and write the key's block into wp-config.php by hand")
    })?;
    let place = Place::of(&path).ok_or_else(|| {
        Stop::new(exit::CONFIGURATION, format!("site `{name}`: {} holds no WordPress", path.display()))
            .expected("wp-load.php and wp-content there")
    })?;
    Ok((path, place))
}

pub fn io_stop(what: &str, path: &Path, error: &io::Error) -> Stop {
    Stop::new(exit::UNREACHABLE, format!("cannot {what} {}: {error}", path.display()))
        .next("try as root or as the owner of the files")
}

pub async fn install(config: &Config, name: &str, json: bool) -> Result<u8, Stop> {
    let mut done = Vec::new();
    let site = find(config, name)?;
    let installed = progress::shown(&format!("installing in site {name}"), put_in(config, site, &mut done)).await;
    let looked = match installed {
        Ok(looked) => looked,
        Err(stop) => {
            if !json {
                print(&done.iter().map(|line| format!("{line}\n")).collect::<String>())?;
            }
            return Err(stop);
        }
    };
    if json {
        print_json(&json!({"site": name, "changed": done, "install": looked.due.install, "plugin": looked.due.plugin,
            "php": looked.due.php, "wp": looked.due.wp, "due": looked.due.due}))?;
        return Ok(exit::FINE);
    }
    if done.is_empty() {
        done.push("nothing to change".into());
    }
    done.push(answer(name, &looked));
    print(&format!("{}\n", done.join("\n")))?;
    Ok(exit::FINE)
}

pub fn answer(name: &str, looked: &Looked) -> String {
    let due = &looked.due;
    format!("site {name} answers: plugin {}, WordPress {}, PHP {}, {} events due", due.plugin, due.wp, due.php, due.due)
}

/// Key, plugin and block, each where it is missing; then one signed call.
pub async fn put_in(config: &Config, site: &Arc<Site>, done: &mut Vec<String>) -> Result<Looked, Stop> {
    let (path, place) = place(site)?;
    let keys = make_key(config, site, done)?;
    if place.install().map_err(|error| io_stop("write", &place.folder(), &error))? {
        done.push(format!("plugin {} copied to {}", env!("CARGO_PKG_VERSION"), place.folder().display()));
    }
    if let Some(by_hand) = write_block(site, &path, &keys, done)? {
        return Err(Stop::new(exit::CONFIGURATION, by_hand));
    }
    let site = Arc::new(Site { keys, ..Site::clone(site) });
    let looked = look_patiently(&site).await.map_err(|failure| {
        Stop::site(&site.name, &failure).next(format!(
            "{}; the files and the key are in place; does PHP see them (opcache.validate_timestamps)? reload php-fpm",
            failure.advice()
        ))
    })?;
    pin(config, &site.name, &looked.due.install);
    if let Some(peers) = Peers::of(config) {
        peers.pin(&site.name, &looked.due.install).await;
    }
    Ok(looked)
}

/// The key that is there, or a new one in a file that the runner can read.
fn make_key(config: &Config, site: &Site, done: &mut Vec<String>) -> Result<Vec<Key>, Stop> {
    let file = &site.secret_file;
    if !exists(file) {
        let hex = random_hex::<32>().map_err(|error| io_stop("make a key for", file, &error))?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let runner = fs::metadata(&config.runner.state_dir).ok();
        let write = || {
            fs::create_dir_all(folder)?;
            owner::write_private(file, format!("{hex}\n").as_bytes(), runner.as_ref())?;
            fs::metadata(file)
        };
        let made = write().map_err(|error| io_stop("write", file, &error))?;
        let whose = owner::name(made.uid());
        done.push(format!("key made: {} (mode 0600, it belongs to {whose})", file.display()));
        if is_root() && runner.is_none() {
            done.push(format!(
                "the runner has to read it: type `chown www-data {}`, with the user that the runner is started as in place of \
                 www-data (best the user of the site's php-fpm pool)",
                file.display()
            ));
        }
    }
    secret::keys(file).map_err(|refusal| Stop::new(exit::CONFIGURATION, refusal.to_string()))
}

fn joined(keys: &[Key]) -> String {
    keys.iter().map(Key::expose_hex).collect::<Vec<_>>().join(" ")
}

/// Gives what a person has to do where the file may not be written.
fn write_block(site: &Site, path: &Path, keys: &[Key], done: &mut Vec<String>) -> Result<Option<String>, Stop> {
    let block = wp_config::block(&site.name, &joined(keys));
    let found = wp_config::find(path).map_err(|error| io_stop("read", &path.join("wp-config.php"), &error))?;
    let Some(file) = found else {
        let message = format!("no wp-config.php in {} or above it; is WordPress installed there?", path.display());
        return Err(Stop::new(exit::CONFIGURATION, message));
    };
    let by_hand = |why: &str| {
        let shown = file.display();
        format!(
            "{shown} {why}; put this block into it, before the line that loads wp-settings.php, then try again:\n\n{block}"
        )
    };
    let mut has_place = true;
    let changed = wp_config::change(&file, |text| {
        let new = wp_config::with_block(text, &block);
        has_place = new.is_some();
        new
    });
    match changed {
        Ok(_) if !has_place => {
            Ok(Some(by_hand("has no line that loads wp-settings.php, so there is no place for the key")))
        }
        Ok(false) => Ok(None),
        Ok(true) => {
            done.push(format!("key's block written to {}", file.display()));
            Ok(None)
        }
        Err(error) => Ok(Some(by_hand(&format!("cannot be written ({error})")))),
    }
}

/// PHP's opcache may take two seconds to see new files.
async fn look_patiently(site: &Arc<Site>) -> Result<Looked, Failure> {
    let calls = crate::run_site::calls::Calls::new(site, &visitor())?;
    let mut last = calls.look(None, false).await;
    for _ in 0..6 {
        if !matches!(last, Err(Failure::Misconfigured(_) | Failure::ServerError(_))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        last = calls.look(None, false).await;
    }
    last
}

/// From now on a copy of this site is told from it.
fn pin(config: &Config, site: &str, install: &str) {
    if pinned_install(config, site).as_deref() != Some(install) {
        in_history(config, |history| history.learn(site, "install", install.to_string()));
    }
}

/// Where a runner keeps a history already. Root writes there as the runner.
pub fn in_history(config: &Config, write: impl FnOnce(&History) + Send) {
    let file = history_file(config);
    if !file.exists() {
        return;
    }
    let written = owner::as_owner_of(&config.runner.state_dir, || {
        let history = History::open(&file, &config.history).map_err(io::Error::other)?;
        write(&history);
        Ok(())
    });
    if let Err(error) = written {
        tracing::warn!("{}: {error}", file.display());
    }
}

pub async fn status(config: &Config, name: &str, json: bool) -> Result<u8, Stop> {
    let site = find(config, name)?;
    let (path, place) = place(site)?;
    let how = match () {
        () if place.is_installed() => "must-use plugin",
        () if place.normal_folder().is_dir() => "normal plugin",
        () => "not installed",
    };
    let text = wp_config::find(&path).ok().flatten().and_then(|file| fs::read(file).ok());
    let written = text.as_deref().and_then(wp_config::keys_in);
    let ours: Vec<String> = site.keys.iter().map(|key| key.expose_hex().to_string()).collect();
    let keys = match &written {
        None if text.is_none() => "wp-config.php cannot be read",
        None => "no block in wp-config.php",
        Some(written) if ours.iter().any(|key| written.contains(key)) => "equal",
        Some(_) => "different",
    };
    let install = pinned_install(config, name);
    let looked = if site.keys.is_empty() {
        Err(Failure::Misconfigured("it has no key".into()))
    } else {
        calls(site, &visitor())?.look(install.as_deref(), false).await
    };
    let version = place.version();
    if json {
        let answer = looked.as_ref().ok().map(|looked| json!({"plugin": looked.due.plugin, "wp": looked.due.wp,
            "php": looked.due.php, "protocol": looked.due.v, "install": looked.due.install, "lock_kind": looked.due.lock_kind}));
        print_json(&json!({"site": name, "installed": how, "version": version, "expected": env!("CARGO_PKG_VERSION"),
            "current": place.is_current(), "keys": keys, "answer": answer,
            "problem": looked.as_ref().err().map(|failure| failure.sentence(name))}))?;
    } else {
        let mut out = format!(
            "site {name}: {how}, version {} (this runner brings {}{})\nkeys: {keys}\n",
            version.as_deref().unwrap_or("none"),
            env!("CARGO_PKG_VERSION"),
            if place.is_current() { ", the same files" } else { "" }
        );
        if let Ok(looked) = &looked {
            let due = &looked.due;
            out += &format!(
                "answers: plugin {}, protocol {}, WordPress {}, PHP {}, install {}\n",
                due.plugin, due.v, due.wp, due.php, due.install
            );
        }
        print(&out)?;
    }
    match looked {
        Ok(_) => Ok(exit::FINE),
        Err(failure) => Err(Stop::site(name, &failure)),
    }
}
