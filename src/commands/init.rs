//! `init`: finds what there is, writes what is missing, and asks a person only where two answers are as good.

mod ask;
mod find;
mod name;
mod next_steps;
mod php;
mod plan;
mod pools;
mod table;

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde_json::json;

use super::plugin_files::Place;
use super::progress;
use super::{Stop, exit, is_root, print, print_json, refused, setup, wp_config};
use crate::config::wp_content::{text_constant, wp_content};
use crate::config::{self, DEFAULT_PATH, Secrets};
use crate::text;
use ask::{Blog, Told};
use php::Php;
use plan::Plan;

/// How it was called, which says whether a person can be asked.
struct Call {
    json: bool,
}

/// A site, and all that is known of it before anything is written.
pub struct Found {
    pub root: PathBuf,
    pub site: String,
    pub url: String,
    pub php: Php,
    pub is_network: bool,
    pub blogs: Vec<Blog>,
}

pub async fn init(config: &Path, path: Option<PathBuf>, dry_run: bool, json: bool) -> Result<u8, Stop> {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_path_buf());
    let call = Call { json };
    let root = call.root(path)?;
    let place = wordpress(&root)?;
    let present = table::Present::read(&config, json)?;
    let found = call.look(&root, &present).await?;
    let plan = Plan::of(&config, &present, &found, place, json)?;
    if dry_run {
        call.tell(&found, &plan.sentences(), &[], true)?;
        return Ok(exit::FINE);
    }
    let mut done = Vec::new();
    if let Err(stop) = progress::shown("installing", carry_out(&plan, &mut done)).await {
        return Err(call.half_done(&plan, &done, stop));
    }
    let next = progress::shown("looking round", next_steps::of(&config, &found, &plan)).await;
    call.tell(&found, &done, &next, false)?;
    Ok(exit::FINE)
}

async fn carry_out(plan: &Plan, done: &mut Vec<String>) -> Result<(), Stop> {
    plan.write(done)?;
    let config = config::read(&plan.config, Secrets::MayBeMissing).map_err(|problems| refused(&problems, false))?;
    let site = super::find(&config, &plan.site)?;
    let looked = setup::put_in(&config, site, done).await?;
    if !done.is_empty() {
        done.push(setup::answer(&site.name, &looked));
    }
    plan.readable_for_the_runner(&config)
}

/// What a person can install into.
fn wordpress(root: &Path) -> Result<Place, Stop> {
    let stop = |failed: String| Stop::new(exit::CONFIGURATION, failed).at(root.display().to_string());
    let place = Place::of(root).ok_or_else(|| {
        stop(format!("WordPress in {} has no wp-content", root.display()))
            .expected("wp-content beside wp-load.php, or WP_CONTENT_DIR in wp-config.php as a text")
    })?;
    match wp_config::find(root) {
        Ok(Some(_)) => Ok(place),
        Ok(None) => Err(stop(format!("WordPress in {} is not installed yet: it has no wp-config.php", root.display()))
            .next("finish its installation in a browser, then try again")),
        Err(error) => Err(stop(format!("wp-config.php cannot be used: {error}"))),
    }
}

impl Call {
    fn root(&self, path: Option<PathBuf>) -> Result<PathBuf, Stop> {
        let start = path.unwrap_or_else(|| PathBuf::from("."));
        let shown = start.display().to_string();
        let all = find::wordpress(&start).map_err(|error| {
            Stop::new(exit::USAGE, format!("cannot look into {shown}: {error}")).expected("a folder of this machine")
        })?;
        if all.is_empty() {
            return Err(Stop::new(
                exit::USAGE,
                format!("no WordPress in {shown}, above it, or up to five folders below"),
            )
            .expected("a folder with wp-load.php and wp-includes")
            .next("`wp-cron-runner init PATH` with its folder"));
        }
        let names: Vec<String> = all.iter().map(|root| text::safe(&root.display().to_string())).collect();
        let chosen = match all.len() {
            1 => 0,
            _ if self.may_ask() => self.which("Several WordPress were found", &names)?,
            _ => {
                let choices: Vec<String> =
                    all.iter().map(|root| format!("`wp-cron-runner init {}`", word(root))).collect();
                return Err(Stop::new(exit::USAGE, format!("{} WordPress were found", all.len()))
                    .found(names.join(", "))
                    .expected("one of them")
                    .next(choices.join(" or ")));
            }
        };
        let root = all.into_iter().nth(chosen).unwrap_or_default();
        if root.to_str().is_none_or(|path| path.contains(char::is_control)) {
            return Err(Stop::new(exit::USAGE, format!("the path {} cannot be written down", names.join(", ")))
                .expected("UTF-8 without control characters"));
        }
        Ok(root)
    }

    async fn look(&self, root: &Path, present: &table::Present) -> Result<Found, Stop> {
        let (known, runner) = (present.site(root), present.runner());
        let php = match (known, &runner) {
            (Some(site), Some(runner)) => php::of(site, root, runner),
            _ => php::choose(root, runner.as_ref(), |question, names| self.which(question, names))?,
        };
        let told = self.told(root, &php).await;
        let mut found = Found {
            root: root.to_path_buf(),
            site: String::new(),
            url: String::new(),
            is_network: false,
            blogs: Vec::new(),
            php,
        };
        let home = match &told {
            Ok(told) => told.home.clone().ok_or_else(|| "its database did not answer".to_string()),
            Err(why) => Err(why.clone()),
        };
        if let Ok(told) = told {
            if known.is_none() {
                same_folders(root, &told)?;
            }
            (found.is_network, found.blogs) = (told.network, told.blogs);
        }
        found.url = match (known, home) {
            (Some(site), _) => site.url.to_string(),
            (_, Ok(home)) => home,
            (_, Err(why)) => self.address(root, &why)?,
        };
        let url = Url::parse(found.url.trim()).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        let url = url.ok_or_else(|| {
            Stop::new(exit::CONFIGURATION, format!("the address of {} cannot be used", root.display()))
                .found(format!("\"{}\"", text::safe_cut(&found.url, 80)))
                .expected("its home address, such as https://shop.example")
                .next("see WP_HOME in wp-config.php, or Settings > General in wp-admin")
        })?;
        // As it was read: the rest of what a site says of itself is not repeated.
        found.url = url.as_str().trim_end_matches('/').to_string();
        found.site = match known.or_else(|| present.bare_site(root, &url)) {
            Some(site) => site.name.clone(),
            None => name::of(&url, root, &present.names()),
        };
        Ok(found)
    }

    /// As the site's own PHP user. Root's rights are for nobody's wp-config.php.
    async fn told(&self, root: &Path, php: &Php) -> Result<Told, String> {
        let program = php.program.as_ref().ok_or("there is no PHP for the command line")?;
        if php.user.uid == 0 {
            return Err("its PHP would run as root".to_string());
        }
        ask::ask(program, root, &php.user).await
    }

    /// Where WordPress itself could not be asked.
    fn address(&self, root: &Path, why: &str) -> Result<String, Stop> {
        if let Some(home) = text_constant(root, "WP_HOME").or_else(|| text_constant(root, "WP_SITEURL")) {
            return Ok(home);
        }
        if self.may_ask() {
            return self
                .line(&format!("The home address of {} (WordPress could not be asked: {why}): ", root.display()));
        }
        Err(Stop::new(exit::UNREACHABLE, format!("the address of {} is not known", root.display()))
            .found(text::safe_cut(why, 300))
            .expected("WordPress to be loaded by PHP on the command line, or WP_HOME in wp-config.php")
            .next("put that right and try again, or write the [[site]] by hand; nothing was changed"))
    }

    fn may_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// The number of the answer; without a person the first.
    fn which(&self, question: &str, names: &[String]) -> Result<usize, Stop> {
        if !self.may_ask() {
            return Ok(0);
        }
        let list: String = names.iter().enumerate().map(|(at, name)| format!("  {}  {name}\n", at + 1)).collect();
        loop {
            let said = self.line(&format!("{question}:\n{list}Which one (1 to {})? ", names.len()))?;
            match said.parse::<usize>() {
                Ok(number) if (1..=names.len()).contains(&number) => return Ok(number - 1),
                _ => print("A number of the list, please. ").map(drop)?,
            }
        }
    }

    fn line(&self, question: &str) -> Result<String, Stop> {
        print(question)?;
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line.trim().to_string()),
            _ => Err(Stop::new(exit::USAGE, "no answer").next("nothing was changed")),
        }
    }

    fn tell(&self, found: &Found, changed: &[String], next: &[String], dry_run: bool) -> Result<(), Stop> {
        let php = &found.php;
        let (trigger, fastcgi) = (table::trigger(&php.way), table::fastcgi(&php.way));
        if self.json {
            return print_json(&json!({"site": found.site, "path": found.root, "url": found.url, "trigger": trigger,
                "fastcgi": fastcgi, "user": php.runner.name, "wp_cli": php.wp_cli, "network": found.is_network,
                "blogs": found.blogs.len() + 1, "dry_run": dry_run, "changed": changed, "notes": php.notes, "next": next}));
        }
        let network =
            if found.is_network { format!(", a network of {} blogs", found.blogs.len() + 1) } else { String::new() };
        let way = fastcgi.map_or_else(|| trigger.to_string(), |address| format!("{trigger} at {address}"));
        let mut out = format!(
            "WordPress in {}, {}{network}\nPHP over {way}; the runner is user {}; WP-CLI: {}\n",
            found.root.display(),
            found.url,
            php.runner.name,
            php.wp_cli.as_ref().map_or_else(|| "none".to_string(), |file| file.display().to_string()),
        );
        out.extend(php.notes.iter().map(|note| format!("note: {note}\n")));
        out += match (changed.is_empty(), dry_run) {
            (true, _) => "nothing to change\n",
            (false, true) => "\nThis would be done:\n",
            (false, false) => "\n",
        };
        out.extend(changed.iter().map(|line| format!("{line}\n")));
        if dry_run {
            out += "\nNothing was changed.\n";
        } else {
            out += "\nNext:\n";
            out.extend(next.iter().map(|line| format!("  {}\n", line.replace('\n', "\n  "))));
        }
        print(&out).map(drop)
    }

    /// What was done stays, so that the next try begins there.
    fn half_done(&self, plan: &Plan, done: &[String], mut stop: Stop) -> Stop {
        if done.is_empty() {
            return stop;
        }
        let lines: String = done.iter().map(|line| format!("{line}\n")).collect();
        let _ = if self.json {
            io::Write::write_all(&mut io::stderr(), lines.as_bytes()).is_ok()
        } else {
            print(&lines).is_ok()
        };
        let command = command(&plan.config);
        let undo = format!(
            "what was done stays: `{command} init {}` goes on from there; `{command} plugin remove {} --force` and `{command} \
             uninstall` take it out again",
            word(&plan.root),
            plan.site
        );
        let next = stop.next.take().map_or(undo.clone(), |next| format!("{next}; {undo}"));
        stop.next(next)
    }
}

/// The plugin is looked for where this program believes wp-content to be; PHP knows it.
fn same_folders(root: &Path, told: &Told) -> Result<(), Stop> {
    let same = |one: &Path, other: &Path| one.canonicalize().ok() == other.canonicalize().ok();
    let believed = wp_content(root);
    let must_use = believed.join("mu-plugins");
    let content = told.content.as_deref().unwrap_or(&believed);
    let real_must_use = told.must_use.as_deref().unwrap_or(&must_use);
    if same(content, &believed) && (!real_must_use.exists() || same(real_must_use, &must_use)) {
        return Ok(());
    }
    let (name, found) = match same(content, &believed) {
        true => ("WPMU_PLUGIN_DIR", real_must_use),
        false => ("WP_CONTENT_DIR", content),
    };
    Err(Stop::new(exit::CONFIGURATION, format!("{name} of {} is not where it is looked for", root.display()))
        .found(text::safe(&found.display().to_string()))
        .expected(believed.display().to_string())
        .next(format!("define {name} in wp-config.php as one text, such as __DIR__ . '/content'; nothing was changed")))
}

/// The program with this configuration.
pub fn command(config: &Path) -> String {
    match config == Path::new(DEFAULT_PATH) {
        true => "wp-cron-runner".to_string(),
        false => format!("wp-cron-runner --config {}", word(config)),
    }
}

/// A path as a shell takes it.
pub fn word(path: &Path) -> String {
    let text = text::safe(&path.display().to_string());
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
