//! Asking a runner that is up.

use std::net::SocketAddr;
use std::time::Duration;

use super::StatusReply;

/// None where nobody answers there, or somebody else does.
pub async fn status(listen: SocketAddr) -> Option<StatusReply> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build().ok()?;
    let response = client.get(format!("http://{listen}/v1/status")).send().await.ok()?;
    response.error_for_status().ok()?.json().await.ok()
}

/// Whether the runner there looks after a site with this name.
pub async fn looks_after(listen: SocketAddr, site: &str) -> bool {
    let status = status(listen).await;
    status.is_some_and(|status| status.sites.iter().any(|view| view.get("site").is_some_and(|name| name == site)))
}
