//! What this runner looks after, for `status` on the other hosts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::history::redis::SharedHistory;
use crate::scheduler::Published;
use crate::site::View;

/// Sites change many times a second while they run events.
const PAUSE: Duration = Duration::from_secs(1);

/// For ever: each view that has changed, at most once a second. What Redis does not take is tried again with the next change, or
/// when it answers again.
pub async fn share(mut published: watch::Receiver<Published>, shared: Arc<SharedHistory>) {
    let mut told: HashMap<String, String> = HashMap::new();
    loop {
        let views: Vec<View> = published.borrow_and_update().sites.clone();
        for view in views.iter().filter(|view| view.is_ours) {
            let Ok(json) = serde_json::to_string(view) else { continue };
            if told.get(&view.site) == Some(&json) {
                continue;
            }
            if tell(&shared, view, &json).await.is_err() {
                // The others would not be taken either.
                break;
            }
            told.insert(view.site.clone(), json);
        }
        told.retain(|site, _| views.iter().any(|view| view.site == *site && view.is_ours));
        tokio::time::sleep(PAUSE).await;
        if published.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(shared: &SharedHistory, view: &View, json: &str) -> Result<(), crate::redis_link::Trouble> {
    shared.set_fact(&view.site, "view", json).await?;
    // What a site in trouble was believed to be, an operator may have corrected.
    if let Some(install) = view.install.as_ref().filter(|_| view.message.is_none()) {
        shared.set_fact(&view.site, "install", install).await?;
    }
    if let Some(epoch) = view.epoch {
        shared.set_fact(&view.site, "epoch", &epoch.to_string()).await?;
    }
    Ok(())
}
