//! Page-load cron: is it off while a runner is there, and does anybody else start events at this site?

use super::{Finding, fail, ok, warn};
use crate::config::Site;
use crate::protocol::Examined;
use crate::{clock, text};

const DAY_MS: i64 = 86_400_000;

pub fn findings(site: &Site, examined: &Examined) -> Vec<Finding> {
    let name = |what: &str| format!("site {}: {what}", site.name);
    let page_load = &examined.page_load;
    let mut findings = vec![off(&name("page-load cron"), examined)];
    if page_load.disabled {
        findings.push(warn(
            &name("DISABLE_WP_CRON"),
            "is defined; it is not needed, raises warnings in other plugins, and only this plugin brings cron back where the runner is gone",
            "not defined",
            "take `define( 'DISABLE_WP_CRON', true );` out of wp-config.php",
        ));
    }
    if page_load.alternate {
        findings.push(warn(
            &name("ALTERNATE_WP_CRON"),
            "is defined: without a runner visitors are redirected, and events run inside their pages",
            "not defined",
            "take `define( 'ALTERNATE_WP_CRON', true );` out of wp-config.php",
        ));
    }
    if page_load.lock_timeout > 0 && page_load.lock_timeout < 60 {
        findings.push(warn(
            &name("WP_CRON_LOCK_TIMEOUT"),
            format!("{} s: without a runner page loads start wp-cron.php that often", page_load.lock_timeout),
            "60 or more",
            "take WP_CRON_LOCK_TIMEOUT out of wp-config.php",
        ));
    }
    findings.push(callers(&name("callers of wp-cron.php"), examined));
    findings
}

fn off(check: &str, examined: &Examined) -> Finding {
    let page_load = &examined.page_load;
    let ago = clock::span(page_load.now.saturating_sub(page_load.seen).saturating_mul(1000).max(1000));
    let start = "`systemctl enable --now wp-cron-runner`, or `wp-cron-runner run` as the runner's user";
    match () {
        () if !page_load.hooked_again.is_empty() => fail(
            check,
            format!("somebody hooks it again after the plugin has unhooked it: {}", page_load.hooked_again.join(", ")),
            "wp_cron unhooked",
            "look for add_action( 'init', 'wp_cron' ) and wp_cron() in plugins and theme: `grep -rn wp_cron wp-content`",
        ),
        () if page_load.alive => ok(check, format!("off; a runner was here {ago} ago")),
        () if page_load.seen == 0 => {
            warn(check, "on: no runner looks after this site yet", "off while a runner is there", start)
        }
        () => warn(
            check,
            format!("on: the last runner was here {ago} ago, longer than the grace of {} s", page_load.grace_s),
            "off while a runner is there",
            start,
        ),
    }
}

/// Whom the plugin has seen at wp-cron.php while a runner was there.
fn callers(check: &str, examined: &Examined) -> Finding {
    let now_ms = examined.page_load.now.saturating_mul(1000);
    match &examined.page_load.stray {
        None => ok(check, "none was seen"),
        Some(stray) => {
            let age = now_ms.saturating_sub(stray.at_ms);
            let found = format!("{} ({} times, last {} ago)", text::safe(&stray.who), stray.count, clock::span(age));
            match age > DAY_MS {
                true => ok(check, format!("none today; before that {found}")),
                false => warn(
                    check,
                    found,
                    "none: they find nothing to do",
                    "take the line out of the crontab or the hoster's panel that calls it (`crontab -l`, /etc/cron.d; the lines that this machine has are shown above)",
                ),
            }
        }
    }
}
