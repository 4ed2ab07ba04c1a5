//! What the plugin costs pages that are not its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::wordpress::unix_now;
use crate::support::{Runner, Site, secs, wait_for};

const REQUESTS: usize = 21;

#[test]
fn no_page_but_the_panel_costs_a_query_more_than_without_the_plugin() {
    println!("{}", lines_of_the_plugin());
    let site = Site::builder().mariadb().start();
    let _runner = Runner::builder(&site).start();
    let admin = site.log_in("admin", "admin");
    for (page, cookies, path) in [
        ("the front page", "", "/?p=1"),
        ("the dashboard", admin.as_str(), "/wp-admin/index.php"),
        ("a list of posts", admin.as_str(), "/wp-admin/edit.php"),
    ] {
        // Caches of WordPress's own, and events that its first pages schedule for now.
        site.page_cost_with(cookies, path);
        wait_for("nothing due", secs(20), || {
            let crons = site.cron_array_json();
            let first = crons.as_object()?.keys().filter_map(|at| at.parse::<i64>().ok()).min();
            first.is_none_or(|at| at > unix_now() + 2).then_some(())
        });
        let with = site.page_cost_with(cookies, path);
        let without = without_the_plugin(&site, || site.page_cost_with(cookies, path));
        // By turns, and compared in pairs: whatever else this machine does is the same for both.
        let look = || milliseconds(|| drop(site.request("GET", path, &[("Cookie", cookies)], "")));
        let pairs: Vec<(f64, f64)> = (0..REQUESTS).map(|_| (look(), without_the_plugin(&site, look))).collect();
        let bare = median(pairs.iter().map(|(_, bare)| *bare).collect());
        let more = median(pairs.iter().map(|(with, bare)| with - bare).collect());
        println!(
            "{page}: {} queries and {bare:.1} ms without the plugin; {:+} queries and {more:+.1} ms with it",
            without.0,
            with.0.cast_signed() - without.0.cast_signed()
        );
        assert_eq!(with, without, "queries and requests of {page}");
    }
}

/// While its file is not where WordPress looks for it.
fn without_the_plugin<T>(site: &Site, look: impl Fn() -> T) -> T {
    let loader = site.path.join("wp-content/mu-plugins/wp-cron-runner.php");
    let aside = site.path.join("wp-content/wp-cron-runner.aside");
    fs::rename(&loader, &aside).expect("the plugin's loader");
    let seen = look();
    fs::rename(&aside, &loader).expect("the plugin's loader");
    seen
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1000.0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Lines of PHP that are neither empty nor comments.
fn lines_of_the_plugin() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("wp-plugin");
    let (mut panel, mut rest) = (0, 0);
    for file in files_below(&root) {
        let code = fs::read_to_string(&file).expect("a file of the plugin");
        let is_code = |line: &&str| !line.is_empty() && !["/*", "*", "//"].iter().any(|mark| line.starts_with(mark));
        let lines = code.lines().map(str::trim).filter(is_code).count();
        *(if file.to_string_lossy().contains("status-page") { &mut panel } else { &mut rest }) += lines;
    }
    assert!(panel > 300 && rest > 1000, "{panel} and {rest}: the files were not found");
    format!("lines of PHP: {} in all, {panel} of them the panel", panel + rest)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|end| end == "php") {
            files.push(path);
        }
    }
    files
}
