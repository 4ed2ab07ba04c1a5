//! The panel in wp-admin, seen and used through a real browser.

use crate::support::{Browser, Site};

#[test]
fn the_browser_logs_in() {
    let site = Site::builder().sqlite().start();
    let mut browser = Browser::start(&site);
    browser.log_in("admin", "admin");
    browser.see("Dashboard");
    browser.shot("trivial");
}
