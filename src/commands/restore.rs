//! The way back from a `cron` option that was cut short or emptied: its last snapshot.

use super::{Stop, calls, exit, find, pinned_install, print, print_json, runner};
use crate::clock;
use crate::config::Config;
use crate::run_site::calls::Settle;

/// The site does it, whether a runner is up or not; where one is, the site tells it.
pub async fn restore(config: &Config, name: &str, json: bool) -> Result<u8, Stop> {
    let site = find(config, name)?;
    let calls = calls(site, &runner(config))?;
    let what = Settle { restore: true, ..Settle::default() };
    let answer = calls.settle(pinned_install(config, name).as_deref(), what).await;
    let (settled, _) = answer.map_err(|failure| Stop::site(name, &failure))?;
    let Some(restored) = settled.restored else {
        return Err(Stop::new(exit::CONFIGURATION, "the plugin knows nothing of snapshots")
            .at(format!("site {name}"))
            .expected("the plugin of this version")
            .next(format!("`wp-cron-runner plugin install {name}`")));
    };
    if json {
        print_json(&restored)?;
        return Ok(exit::FINE);
    }
    let claimed = match restored.claimed {
        0 => String::new(),
        some => format!("; {some} that were claimed since were left out"),
    };
    let kept = if restored.kept {
        "what the option held is kept as snapshot:corrupt in the plugin's state table"
    } else {
        "what the option held was too large to be kept"
    };
    let words = format!(
        "site {name}: {} events are back, from the snapshot of {}{claimed}\nwhat was scheduled after it is lost; {kept}\n",
        restored.events,
        clock::local(restored.at_ms)
    );
    print(&words)?;
    Ok(exit::FINE)
}
