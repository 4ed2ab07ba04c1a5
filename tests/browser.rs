//! The panel in wp-admin, seen and used through a real browser: every button is clicked, and what it did is looked up in the
//! database and in the runner. The pictures are left in cargo's target folder, under `browser`.

mod away;
mod clicks;

use std::fs;

use serde_json::json;

use crate::support::browser::pictures;
use crate::support::site::support_file;
use crate::support::{Browser, Runner, Site, WordPress, secs, wait_for};

const PANEL: &str = "/wp-admin/tools.php?page=wp-cron-runner";

#[test]
fn every_button_of_the_panel_does_what_it_says_on_the_newest_wordpress() {
    everything(&Site::builder().mariadb().start(), "7.1");
}

#[test]
fn every_button_of_the_panel_does_what_it_says_on_the_oldest_wordpress() {
    everything(&Site::builder().sqlite().wordpress(WordPress::Oldest).start(), "6.1");
}

fn everything(site: &Site, version: &str) {
    // Core's pictures of people come from another host.
    site.php("update_option( 'show_avatars', 0 );");
    let mut runner = Runner::builder(site).site_line("rescan = \"1s\"").start();
    let mut panel = Panel { browser: Browser::start(site), version: version.to_owned() };
    panel.browser.log_in("admin", "admin");
    clicks::hostile_names_are_only_names(&mut panel, site);
    clicks::runs_now(&mut panel, site, &runner);
    clicks::decides(&mut panel, site, &runner);
    clicks::pauses(&mut panel, site, &runner);
    clicks::deletes(&mut panel, site);
    clicks::filters(&mut panel, site, &runner);
    if version == "7.1" {
        clicks::waits_for_a_long_run(&mut panel, site);
        clicks::everything_is_translated_and_turns_around(&mut panel, site);
    }
    clicks::works_without_scripts(&mut panel, site, &runner);
    away::the_runner_is_away(&mut panel, site, &mut runner);
    panel.browser.must_have_nothing_to_complain_of();
    println!("pictures: {}", pictures().display());
}

/// The panel in a browser.
struct Panel {
    browser: Browser,
    version: String,
}

impl Panel {
    /// One of its screens.
    fn open(&mut self, query: &str) {
        assert_eq!(self.browser.open(&format!("{PANEL}{query}")), 200, "{query}");
    }

    /// A picture of the page, which has to be fit for everybody.
    fn look(&mut self, name: &str) {
        self.browser.shot(&format!("{}-{name}", self.version));
        self.browser.must_be_accessible(name);
    }

    /// The whole of the panel as text.
    fn text(&mut self) -> String {
        self.browser.text("#wpbody-content .wrap")
    }
}

/// The line of the fixture's hooks that this mark stands in.
fn line_of(mark: &str) -> usize {
    let code = fs::read_to_string(support_file("fixture/00-fixture/hooks.php")).expect("the fixture");
    code.lines().position(|line| line.contains(mark)).expect("the mark") + 1
}
