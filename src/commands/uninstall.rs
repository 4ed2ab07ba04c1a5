//! `uninstall`: everything that `init` and the runner made, and nothing else. All sites are asked before the first is touched.

mod jobs;
mod state;

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::plugin_files::Place;
use super::progress;
use super::{Stop, exists, exit, owner, print, print_json, refused, removal, wp_config};
use crate::config::{self, Config, Secrets, Site};
use crate::text;

/// What stays, and why.
#[derive(Debug, Serialize)]
struct Left {
    what: String,
    why: String,
}

pub async fn uninstall(config: &Path, yes: bool, dry_run: bool, json: bool) -> Result<u8, Stop> {
    let path = std::path::absolute(config).unwrap_or_else(|_| config.to_path_buf());
    if !exists(&path) {
        let why = format!("nothing to remove: there is no {}", path.display());
        return tell(&[], &[], &Told::Nothing(why), json);
    }
    let config = config::read(&path, Secrets::MayBeMissing).map_err(|problems| refused(&problems, json))?;
    refuse_a_live_runner(&config).await?;
    let sites: Vec<&Arc<Site>> = config.sites.iter().filter(|site| has_something(site)).collect();
    for site in &sites {
        removal::nothing_is_held(&config, site).await?;
    }
    state::may_remove(&config)?;
    let source = fs::read_to_string(&path).unwrap_or_default();
    let left = left(&config, &source);
    if dry_run {
        return tell(&plan(&config, &sites), &left, &Told::Would, json);
    }
    if !yes {
        ask(&config, &sites, &left, json)?;
    }
    for site in &sites {
        removal::nothing_runs(&config, site).await?;
    }
    let mut done = Vec::new();
    let result = progress::shown("removing", remove(&config, &sites, &mut done)).await;
    match result {
        Ok(more) => tell(&done, &left.into_iter().chain(more).collect::<Vec<_>>(), &Told::Done, json),
        Err(stop) if done.is_empty() => Err(stop),
        Err(mut stop) => {
            print(&done.iter().map(|line| format!("{line}\n")).collect::<String>())?;
            let next = stop.next.take().map_or(String::new(), |next| format!("{next}; "));
            Err(stop.next(format!("{next}what was removed is gone, the rest is as it was: try again")))
        }
    }
}

/// It would write its files anew, and start events in the midst of it.
async fn refuse_a_live_runner(config: &Config) -> Result<(), Stop> {
    for site in &config.sites {
        removal::nobody_looks_after(config, &site.name).await?;
    }
    match state::is_in_use(config) {
        false => Ok(()),
        true => Err(Stop::new(exit::LATER, "the runner of this configuration is up")
            .found(format!("it holds {}", config.runner.state_dir.display()))
            .next("`systemctl disable --now wp-cron-runner`, or end it; nothing was changed")),
    }
}

/// A site whose folder is on this machine.
fn has_something(site: &Site) -> bool {
    site.has_plugin() && site.path.as_deref().is_some_and(|path| Place::of(path).is_some())
}

/// In the order in which it goes.
fn plan(config: &Config, sites: &[&Arc<Site>]) -> Vec<String> {
    let mut lines = Vec::new();
    for site in sites {
        let Some((path, place)) = site.path.as_ref().and_then(|path| Some((path, Place::of(path)?))) else { continue };
        if place.folder().exists() {
            lines.push(format!(
                "site {}: the plugin in {}, its tables and options",
                site.name,
                place.folder().display()
            ));
        }
        let file = wp_config::find(path).ok().flatten();
        let has_block = |file: &PathBuf| fs::read(file).is_ok_and(|text| wp_config::keys_in(&text).is_some());
        lines.extend(file.filter(has_block).map(|file| format!("site {}: the block in {}", site.name, file.display())));
    }
    let keys = config.sites.iter().filter(|site| site.has_plugin() && exists(&site.secret_file));
    lines.extend(keys.map(|site| format!("site {}: its key {}", site.name, site.secret_file.display())));
    lines.extend(state::plan(config));
    lines.push(format!("the configuration {}", config.path.display()));
    lines
}

async fn remove(config: &Config, sites: &[&Arc<Site>], done: &mut Vec<String>) -> Result<Vec<Left>, Stop> {
    let mut left = Vec::new();
    for site in sites {
        let mut gone = Vec::new();
        let taken = removal::take_away(config, site, false, &mut gone).await;
        done.extend(gone.into_iter().map(|line| format!("site {}: {line}", site.name)));
        if let Some(step) = taken? {
            left.push(Left { what: format!("the plugin of site {}", site.name), why: step });
        }
    }
    for site in config.sites.iter().filter(|site| site.has_plugin() && exists(&site.secret_file)) {
        state::remove_file(&site.secret_file)?;
        done.push(format!("site {}: key removed: {}", site.name, site.secret_file.display()));
    }
    left.extend(state::remove(config, done)?);
    Ok(left)
}

/// What this program did not make, or cannot take back from here.
fn left(config: &Config, source: &str) -> Vec<Left> {
    let mut left = Vec::new();
    let mut leave = |what: String, why: String| left.push(Left { what, why });
    for site in config.sites.iter().filter(|site| site.has_plugin() && !has_something(site)) {
        leave(
            format!("the plugin of site {}", site.name),
            match &site.path {
                Some(path) => format!("{} holds no WordPress any more", path.display()),
                None => {
                    "its folder is not known here: delete the plugin in wp-admin, and the block in wp-config.php".into()
                }
            },
        );
    }
    for job in jobs::as_crontab(source) {
        leave(job, "a job of the configuration: it ends with it; this line belongs to a crontab".into());
    }
    for copy in state::crontab_copies(config) {
        leave(copy.display().to_string(), format!("a crontab as it was before `import`; {}", state::way_back(&copy)));
    }
    if let Some(redis) = &config.redis {
        leave(
            format!("keys in Redis: {}:*", redis.prefix),
            format!(
                "other hosts may use them; after the last one: `redis-cli --scan --pattern '{}:*' | xargs -r redis-cli unlink`, with \
                 the server and the database of `url`",
                redis.prefix
            ),
        );
    }
    let folders = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"].map(Path::new);
    let names = ["wp-cron-runner.service", "wp-cron-runner.service.d"];
    for unit in folders.iter().flat_map(|folder| names.map(|name| folder.join(name))).filter(|unit| exists(unit)) {
        leave(unit.display().to_string(), "`systemctl disable --now wp-cron-runner`, then delete it".into());
    }
    left
}

/// Without a person, only who has said so.
fn ask(config: &Config, sites: &[&Arc<Site>], left: &[Left], json: bool) -> Result<(), Stop> {
    if json || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Stop::new(exit::USAGE, "`uninstall` removes the configuration, the keys and the history")
            .found("nobody to ask")
            .expected("a terminal, or --yes")
            .next("`wp-cron-runner uninstall --dry-run` shows what would go; nothing was changed"));
    }
    print(&format!("{}Remove all this? [y/N] ", shown(&plan(config, sites), left, "This would go:")))?;
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(_) if ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) => Ok(()),
        _ => Err(Stop::new(exit::USAGE, "nothing was removed").found("another answer than yes")),
    }
}

/// What the list of removed things stands for.
enum Told {
    Done,
    Would,
    Nothing(String),
}

fn tell(removed: &[String], left: &[Left], told: &Told, json: bool) -> Result<u8, Stop> {
    if json {
        let dry_run = matches!(told, Told::Would);
        print_json(&json!({"removed": removed, "left": left, "dry_run": dry_run}))?;
        return Ok(exit::FINE);
    }
    print(&match told {
        Told::Done => shown(removed, left, ""),
        Told::Would => shown(removed, left, "This would go:") + "\nNothing was removed.\n",
        Told::Nothing(why) => format!("{why}\n"),
    })?;
    Ok(exit::FINE)
}

fn shown(removed: &[String], left: &[Left], head: &str) -> String {
    let mut out = if head.is_empty() { String::new() } else { format!("{head}\n") };
    out.extend(removed.iter().map(|line| format!("{}\n", text::safe(line))));
    if !left.is_empty() {
        out += "\nLeft as it is:\n";
    }
    for Left { what, why } in left {
        let what = what.lines().map(text::safe).collect::<Vec<_>>().join("\n");
        out += &format!("{what}\n    ({why})\n");
    }
    out
}

/// Whoever the file belongs to, for a message.
fn whose(path: &Path) -> String {
    fs::metadata(path).map_or_else(|_| "nobody".to_string(), |found| owner::name(found.uid()))
}
