//! Who else starts events: crontab lines of any user, and timers of systemd.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::{Finding, fail, ok, warn};
use crate::commands::crontab::{self, Crontab, Line, WpCron};
use crate::commands::{is_root, owner};
use crate::config::{Config, Site};
use crate::text;

const CHECK: &str = "other crons";
const MOST: usize = 50;
/// Those of the administrator win over those of packages.
const UNITS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "lib/systemd/system",
    "usr/lib/systemd/system",
];

/// Something that calls wp-cron, and how to stop it.
struct Caller {
    place: String,
    command: String,
    wp_cron: WpCron,
    fix: String,
}

pub fn findings(config: Option<&Config>) -> Vec<Finding> {
    let (crontabs, unread) = crontab::of_this_machine(Path::new("/"));
    let mut callers: Vec<Caller> = crontabs.iter().flat_map(lines).collect();
    callers.extend(timers(Path::new("/")));
    let mut findings: Vec<Finding> = callers.iter().take(MOST).map(|caller| judged(caller, config)).collect();
    if findings.is_empty() {
        findings.push(ok(CHECK, format!("{} crontabs and the timers of systemd call no wp-cron", crontabs.len())));
    }
    findings.extend(unread.iter().map(|(path, why)| {
        let found = format!("{} was not read: {why}", path.display());
        match why.contains("cron ignores it") {
            true => ok(CHECK, found),
            false => warn(CHECK, found, "a crontab that can be read", format!("`cat {}` as root", path.display())),
        }
    }));
    if !is_root() {
        let user = owner::name(rustix::process::geteuid().as_raw());
        findings.push(ok(
            CHECK,
            format!("crontabs of other users are not visible to user {user}; run as root to see them"),
        ));
    }
    findings
}

fn lines(crontab: &Crontab) -> Vec<Caller> {
    let path = crontab.path.display();
    let called = |line: Line| {
        let Line::Entry(entry) = line else { return None };
        let call = crontab::call(&entry.command, &entry.environment)?;
        let stop = match &crontab.owner {
            Some(owner) => format!("take line {} out with `crontab -u {owner} -e`", entry.line),
            None => format!("take line {} out of {path}", entry.line),
        };
        Some(Caller {
            place: format!("{path}:{}", entry.line),
            command: entry.command,
            wp_cron: call.wp_cron,
            fix: format!("{stop}, or `wp-cron-runner import --write` as root"),
        })
    };
    crontab.lines().into_iter().filter_map(called).collect()
}

/// With the plugin wp-cron.php has nothing to do while a runner is there. WP-CLI's own command takes no lock of ours.
fn judged(caller: &Caller, config: Option<&Config>) -> Finding {
    let found = format!("{} calls {}", caller.place, text::safe(&caller.command));
    let fix = caller.fix.clone();
    let site = config.and_then(|config| config.sites.iter().find(|site| is_of(site, &caller.wp_cron)));
    match (site, &caller.wp_cron) {
        (Some(site), WpCron::WpCli { .. }) => {
            let found = format!("{found} beside the runner: an event of site {} can run twice at once", site.name);
            fail(CHECK, found, "the runner alone", fix)
        }
        (Some(site), _) if site.has_plugin() => {
            let found = format!("{found}: it finds nothing to do at site {} while a runner is there", site.name);
            warn(CHECK, found, "the runner alone", fix)
        }
        (Some(site), _) => {
            let found = format!("{found} beside the runner's own passes of site {}", site.name);
            warn(CHECK, found, "the runner alone", fix)
        }
        (None, _) => warn(
            CHECK,
            format!("{found}: of a site that no [[site]] is for"),
            "a [[site]] for it",
            "`wp-cron-runner import` shows how it would look; `wp-cron-runner init PATH` makes one with the plugin",
        ),
    }
}

fn is_of(site: &Site, wp_cron: &WpCron) -> bool {
    let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let in_folder = |folder: &Path| site.path.as_ref().is_some_and(|path| same(path) == same(folder));
    match wp_cron {
        WpCron::Url(url) => is_below(&site.url, url),
        WpCron::File(file) => file.parent().is_some_and(in_folder),
        WpCron::WpCli { path, url } => {
            path.as_deref().is_some_and(in_folder) || url.as_ref().is_some_and(|url| is_below(&site.url, url))
        }
    }
}

fn is_below(home: &Url, url: &str) -> bool {
    let written = if url.contains("://") { url.to_string() } else { format!("http://{url}") };
    let Ok(url) = written.parse::<Url>() else { return false };
    let folder = format!("{}/", home.path().trim_end_matches('/'));
    home.host_str() == url.host_str() && format!("{}/", url.path()).starts_with(&folder)
}

/// Timers that are enabled, and whose service calls wp-cron.
fn timers(root: &Path) -> Vec<Caller> {
    let folders: Vec<PathBuf> = UNITS.iter().map(|folder| root.join(folder)).collect();
    let (mut seen, mut callers): (Vec<String>, Vec<Caller>) = (Vec::new(), Vec::new());
    for folder in &folders {
        let mut names = names_in(folder);
        names.sort();
        for name in names.into_iter().filter(|name| name.ends_with(".timer")) {
            if !seen.contains(&name) {
                callers.extend(timer(&folders, &folder.join(&name), &name));
                seen.push(name);
            }
        }
    }
    callers
}

fn timer(folders: &[PathBuf], file: &Path, name: &str) -> Option<Caller> {
    let text = unit(file).filter(|_| is_enabled(folders, name))?;
    let service =
        setting(&text, "Unit").pop().unwrap_or_else(|| format!("{}.service", name.trim_end_matches(".timer")));
    let service = folders.iter().map(|folder| folder.join(&service)).find(|file| fs::symlink_metadata(file).is_ok())?;
    let text = unit(&service)?;
    let folder = setting(&text, "WorkingDirectory").pop();
    let starts = setting(&text, "ExecStart");
    let called = |start: &String| {
        let command = start.trim_start_matches(['@', '-', ':', '+', '!']).to_string();
        let from_folder = folder.as_ref().map_or(command.clone(), |folder| format!("cd {folder} && {command}"));
        crontab::wp_cron(&from_folder).map(|wp_cron| (command, wp_cron))
    };
    let (command, wp_cron) = starts.iter().find_map(called)?;
    let fix = format!("`systemctl disable --now {name}`");
    Some(Caller { place: format!("{} ({})", file.display(), service.display()), command, wp_cron, fix })
}

/// A link in the folder of what wants it.
fn is_enabled(folders: &[PathBuf], name: &str) -> bool {
    folders.iter().any(|folder| {
        let mut wants = names_in(folder).into_iter().filter(|below| below.ends_with(".wants"));
        wants.any(|below| fs::symlink_metadata(folder.join(below).join(name)).is_ok())
    })
}

/// A masked one is a link to /dev/null, and no file.
fn unit(file: &Path) -> Option<String> {
    crontab::read(file, None).ok().map(|unit| unit.text.replace("\\\n", " "))
}

/// Every value of a key. An empty one takes back those before it.
fn setting(unit: &str, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    for line in unit.lines() {
        match line.trim().split_once('=') {
            Some((name, value)) if name.trim() == key && value.trim().is_empty() => values.clear(),
            Some((name, value)) if name.trim() == key => values.push(value.trim().to_string()),
            _ => {}
        }
    }
    values
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_belongs_to_the_site_whose_address_it_begins_with() {
        let home: Url = "https://shop.example/blog".parse().unwrap();
        for (url, expected) in [
            ("https://shop.example/blog/wp-cron.php?doing_wp_cron", true),
            ("shop.example/blog/wp-cron.php", true),
            ("https://shop.example/wp-cron.php", false),
            ("https://shop.example/blog2/wp-cron.php", false),
            ("https://other.example/blog/wp-cron.php", false),
            ("::", false),
        ] {
            assert_eq!(is_below(&home, url), expected, "{url}");
        }
    }

    #[test]
    fn timers_are_read_with_their_services() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str, text: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let enabled = |name: &str| {
            let link = root.path().join("etc/systemd/system/timers.target.wants").join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(format!("/etc/systemd/system/{name}"), link).unwrap();
        };
        at("etc/systemd/system/shop.timer", "[Timer]\nOnCalendar=*:0/5\n");
        at(
            "etc/systemd/system/shop.service",
            "[Service]\nExecStart=\nWorkingDirectory=/var/www/shop\nExecStart=-/usr/bin/php \\\n  wp-cron.php\n",
        );
        at("lib/systemd/system/other.timer", "[Timer]\nUnit=cron-of-wp.service\n");
        at(
            "lib/systemd/system/cron-of-wp.service",
            "[Service]\nExecStart=/usr/local/bin/wp cron event run --due-now --path=/srv/a\n",
        );
        at("lib/systemd/system/off.timer", "[Timer]\n");
        at("lib/systemd/system/off.service", "[Service]\nExecStart=curl https://shop.example/wp-cron.php\n");
        at("lib/systemd/system/apt.timer", "[Timer]\n");
        at("lib/systemd/system/apt.service", "[Service]\nExecStart=/usr/lib/apt/apt.systemd.daily update\n");
        // Masked: the administrator's link hides the package's file.
        at("lib/systemd/system/masked.timer", "[Timer]\nUnit=shop.service\n");
        std::os::unix::fs::symlink("/dev/null", root.path().join("etc/systemd/system/masked.timer")).unwrap();
        for name in ["shop.timer", "other.timer", "apt.timer", "masked.timer"] {
            enabled(name);
        }
        let callers = timers(root.path());
        let found: Vec<_> = callers.iter().map(|caller| (caller.wp_cron.clone(), caller.fix.as_str())).collect();
        assert_eq!(
            found,
            [
                (WpCron::File("/var/www/shop/wp-cron.php".into()), "`systemctl disable --now shop.timer`"),
                (WpCron::WpCli { path: Some("/srv/a".into()), url: None }, "`systemctl disable --now other.timer`"),
            ]
        );
    }
}
