//! What systemd wants to hear (sd_notify(3)): ready, reloading, stopping, a line of status, and that the loop goes round. All of
//! it says nothing where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::scheduler::Published;

/// Without a watchdog the loop looks round so often by itself.
const SLICE: Duration = Duration::from_secs(30);

/// A third of the time that the watchdog allows.
pub fn slice() -> Duration {
    sd_notify::watchdog_enabled().map_or(SLICE, |allowed| (allowed / 3).min(SLICE))
}

pub fn ready() {
    notify(&[NotifyState::Ready]);
}

pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Each time that the scheduler has gone round: a hung loop is a silent one.
pub async fn report(mut published: watch::Receiver<Published>) {
    let mut said = String::new();
    while published.changed().await.is_ok() {
        let status = sentence(&published.borrow_and_update());
        if status == said {
            notify(&[NotifyState::Watchdog]);
        } else {
            notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
            said = status;
        }
        // A busy loop goes round a thousand times a second; nobody has to hear of each.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn sentence(published: &Published) -> String {
    let running: usize = published.sites.iter().map(|site| site.running.len()).sum();
    let is_well = |state: &str| matches!(state, "ok" | "paused" | "standby");
    let troubled: Vec<&str> =
        published.sites.iter().filter(|site| !is_well(site.state)).map(|site| site.site.as_str()).collect();
    let mut words = format!("{} sites, {running} events running", published.sites.len());
    if let Some(first) = published.not_ready.first() {
        words += &format!("; not ready: {first}");
    } else if !troubled.is_empty() {
        words += &format!("; in trouble or starting: {}", troubled.join(", "));
    }
    crate::text::safe_cut(&words, 1000)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}
