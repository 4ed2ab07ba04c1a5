//! What the plugin costs pages that are not its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::{Runner, Site};

const REQUESTS: usize = 31;

#[test]
fn no_page_but_the_panel_costs_a_query_more_than_without_the_plugin() {
    println!("{}", lines_of_the_plugin());
    let site = Site::builder().mariadb().start();
    let admin = site.log_in("admin", "admin");
    let pages = [
        ("the front page", "", "/?p=1"),
        ("the dashboard", admin.as_str(), "/wp-admin/index.php"),
        ("a list of posts", &admin, "/wp-admin/edit.php"),
    ];
    let look = |site: &Site| -> Vec<(u64, Vec<String>, f64)> {
        pages
            .iter()
            .map(|(_, cookies, path)| {
                // Caches of WordPress's own.
                site.page_cost_with(cookies, path);
                let (queries, requests) = site.page_cost_with(cookies, path);
                (queries, requests, median_ms(site, cookies, path))
            })
            .collect()
    };
    let without = look(&site);
    let _runner = Runner::builder(&site).start();
    let with = look(&site);
    for ((page, _, _), (before, after)) in pages.iter().zip(without.iter().zip(&with)) {
        println!(
            "{page}: {} queries and {:.1} ms without, {} and {:.1} ms with the plugin",
            before.0, before.2, after.0, after.2
        );
        assert_eq!((after.0, &after.1), (before.0, &before.1), "queries and requests of {page}");
    }
}

fn median_ms(site: &Site, cookies: &str, path: &str) -> f64 {
    let mut times: Vec<f64> = (0..REQUESTS)
        .map(|_| {
            let started = Instant::now();
            site.request("GET", path, &[("Cookie", cookies)], "");
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[REQUESTS / 2]
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
