//! The way to addresses that are no site's: what a job fetches, and whom alerts are for.

use std::error::Error as _;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;

use crate::text;

/// Redirects are not followed. A proxy of the environment is taken, as curl(1) does.
///
/// # Errors
/// Where this machine's certificates cannot be read.
pub fn client(limit: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_secs(10).min(limit))
        .timeout(limit)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("wp-cron-runner/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(std::sync::Arc::new(NotLinkLocal))
        .build()
}

/// reqwest says "error sending request"; the reason is further down. Never the address, which may be a secret.
pub fn causes(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let word = inner.to_string();
        if words.last().is_none_or(|last| !last.contains(&word)) {
            words.push(word);
        }
        cause = inner.source();
    }
    if words.is_empty() { text::safe(&error.to_string()) } else { text::safe(&words.join(": ")) }
}

/// Names are looked up as always, but cloud metadata services cannot be meant.
pub struct NotLinkLocal;

impl Resolve for NotLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept: Vec<SocketAddr> = found.into_iter().filter(|at| !crate::config::is_link_local(at.ip())).collect();
            if kept.is_empty() {
                return Err(format!("{} has no address but link-local ones", name.as_str()).into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}
