//! `init` and `uninstall` on a server where a site is and nothing of ours.

mod kinds;
mod refusals;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::plugin_lifecycle::database;
use crate::support::account::{self, is_root, succeed};
use crate::support::{Runner, Site, secs, wait_for};

/// Everything below a folder: mode, owner, and content but for what a database writes while it runs.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let metadata = fs::symlink_metadata(&folder).expect("a folder");
        found.insert(folder.clone(), format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid()));
        for path in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let metadata = fs::symlink_metadata(&path).expect("a file");
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.display().to_string();
            let own = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
            if ["-wal", "-shm", "-journal"].iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let is_plain = metadata.is_file() && !name.contains(".ht.sqlite");
            let content = if is_plain { fs::read(&path).expect("a file") } else { Vec::new() };
            found.insert(path, format!("{own} {}", hash(&content)));
        }
    }
    found
}

fn hash(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{} {:x}", bytes.len(), hasher.finish())
}

fn differences(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let of = |path: &PathBuf| (before.get(path).cloned(), after.get(path).cloned());
    let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
    paths.into_iter().filter(differs).map(|path| format!("{}: {:?}", path.display(), of(path))).collect()
}

/// A runner whose configuration is not written yet: `init` makes it in a folder of its own.
fn bare(site: &Site) -> Runner {
    let mut runner = Runner::builder(site).without_plugin().prepare();
    runner.config = runner.dir.join("etc/wpcr/config.toml");
    runner
}

/// What `init` writes listens where every test would.
fn on_a_port_of_its_own(runner: &Runner) {
    let line = format!("[runner]\nlisten = \"{}\"\n", runner.listen());
    runner.rewrite_config(|text| text.replace("[runner]\n", &line));
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}

#[test]
fn from_a_bare_site_to_a_runner_and_back() {
    let site = Site::builder().sqlite().start();
    let mut runner = bare(&site);
    let before = (tree(&site.path), tree(runner.dir.path()), database(&site));

    let dry = runner.cli_as_caller(&["init", "--dry-run", &site.path.display().to_string()]);
    assert_eq!(dry.code(), 0, "{dry:?}");
    for part in [
        "config.toml (mode 0640",
        "shop.key (mode 0600",
        "[[site]]",
        "WP_CRON_RUNNER_KEYS', '(the key)'",
        "endpoint.php",
    ] {
        assert!(dry.stdout.contains(part), "`{part}` in {}", dry.stdout);
    }
    assert_eq!(differences(&before.0, &tree(&site.path)), [""; 0], "a dry run changes nothing");
    assert_eq!(differences(&before.1, &tree(runner.dir.path())), [""; 0], "a dry run changes nothing");

    let said = runner.cli_as_caller(&["init", &site.path.join("wp-content/plugins").display().to_string(), "--json"]);
    assert_eq!(said.code(), 0, "{said:?}");
    let told = said.json();
    let socket = site.php_fpm.socket.display().to_string();
    assert_eq!(
        (&told["site"], &told["path"], &told["url"], &told["trigger"], &told["fastcgi"], &told["network"]),
        (&json!("shop"), &json!(site.path), &json!(site.url), &json!("fastcgi"), &json!(socket), &json!(false)),
        "{told}"
    );
    assert!(!told["changed"].as_array().expect("a list").is_empty() && !told["next"].as_array().unwrap().is_empty());
    has_the_right_owners(&site, &runner);

    let once = (tree(&site.path), tree(runner.dir.path()));
    for start in [site.path.clone(), site.path.join("wp-config.php")] {
        let twice = runner.cli_as_caller(&["init", &start.display().to_string()]);
        assert_eq!(twice.code(), 0, "{twice:?}");
        assert!(twice.stdout.contains("nothing to change"), "{twice:?}");
    }
    let again = (tree(&site.path), tree(runner.dir.path()));
    assert_eq!(
        [differences(&once.0, &again.0), differences(&once.1, &again.1)].concat(),
        [""; 0],
        "twice changes nothing"
    );

    on_a_port_of_its_own(&runner);
    runner.start();
    site.schedule_in(1, "fx_ok", &json!(["by the runner of init"]));
    let run = wait_for("the run", secs(15), || runner.history_of("fx_ok").first().cloned());
    assert_eq!(run["outcome"], "ok", "{run}");

    let up = runner.cli_as_caller(&["init", &site.path.display().to_string()]);
    assert!(up.code() == 0 && up.stdout.contains("nothing to change") && !up.stdout.contains(" run\n"), "{up:?}");
    let refused = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert_eq!(refused.code(), 75, "while the runner lives: {refused:?}");
    runner.stop();
    let unasked = runner.cli_as_caller(&["uninstall"]);
    assert!(unasked.code() == 2 && unasked.stderr.contains("--yes"), "{unasked:?}");
    let shown = runner.cli_as_caller(&["uninstall", "--dry-run"]);
    assert!(shown.stdout.contains("history.sqlite") && shown.stdout.contains("mu-plugins"), "{shown:?}");
    assert!(runner.config.exists(), "a dry run removes nothing");

    let gone = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
    assert_eq!(differences(&before.0, &tree(&site.path)), [""; 0], "{gone:?}");
    let mut left = tree(runner.dir.path());
    // What is not uninstall's: the log of this test, and the folders above its own.
    left.retain(|path, _| !path.ends_with("runner.log") && !path.ends_with("etc"));
    assert_eq!(differences(&before.1, &left), [""; 0], "{gone:?}");
    assert_eq!(before.2, database(&site));
    let twice = runner.cli_as_caller(&["uninstall", "--yes"]);
    assert!(twice.code() == 0 && twice.stdout.contains("nothing to remove"), "{twice:?}");
}

/// As root the runner can read all and write its state and nothing else; the keys are its own.
fn has_the_right_owners(site: &Site, runner: &Runner) {
    let folder = runner.config.parent().expect("a folder");
    let (own, group) = (rustix::process::geteuid().as_raw(), owner(&site.path.join("wp-content")).2);
    let user = owner(&site.path.join("wp-content")).1;
    let group = if is_root() { group } else { rustix::process::getegid().as_raw() };
    assert_eq!(owner(folder), (0o750, own, group));
    assert_eq!(owner(&runner.config), (0o640, own, group));
    assert_eq!(owner(&folder.join("shop.key")), (0o600, user, group));
    assert_eq!(owner(&folder.join("state")), (0o700, user, group));
}

/// Root needs no part of it where a user has all that is his.
#[test]
fn the_site_s_own_user_sets_it_up_in_his_own_folder() {
    let site = Site::builder().sqlite().start();
    let mut runner = Runner::builder(&site).without_plugin().prepare();
    runner.config = runner.home().join("own/config.toml");
    if is_root() {
        // wp-config.php is replaced, so its folder has to be his as well.
        succeed(Command::new("chown").arg(account::SITE).arg(&site.path));
    }
    let before = (tree(&site.path), tree(runner.dir.path()), database(&site));
    let said = runner.cli(&["init", &site.path.display().to_string()]);
    assert_eq!(said.code(), 0, "{said:?}");
    assert_eq!(owner(&runner.home().join("own")).0, 0o750);
    assert_eq!(owner(&runner.home().join("own/state")).0, 0o700);
    site.schedule_in(-1, "fx_ok", &json!(["once"]));
    let runs = runner.json(&["once"]);
    assert_eq!((&runs[0]["hook"], &runs[0]["outcome"]), (&json!("fx_ok"), &json!("ok")), "{runs}");
    let gone = runner.cli(&["uninstall", "--yes"]);
    assert_eq!(gone.code(), 0, "{gone:?}");
    let after = (tree(&site.path), tree(runner.dir.path()));
    assert_eq!([differences(&before.0, &after.0), differences(&before.1, &after.1)].concat(), [""; 0], "{gone:?}");
    assert_eq!(before.2, database(&site));
}
