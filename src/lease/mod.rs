//! The lease: a runner's right to look after a site.
//!
//! # What a lease promises
//!
//! While this process holds the lease of a site, no other process on this host that uses the same state directory holds
//! it. The kernel keeps that promise: the lease is an exclusive `flock` on `lease-SITE.lock`, bound to the open file, so
//! it ends when the process ends, however it ends. Nothing has to expire, and nothing can be left behind: the file stays,
//! the lock does not. The process id and start time in the file are for the message alone; nobody decides by them.
//!
//! # What it does not promise
//!
//! A lease makes a second runner cheap to refuse. It does not make events safe, and is not meant to:
//!
//! - Two runners on two hosts, in two containers, or with two state directories each get a lease of their own. There
//!   the *fence* decides: the site's own database issues an epoch at each take-over, every claim carries it, and the
//!   plugin refuses an older one (`stale`). The one that is refused stands by.
//! - A runner that was stopped (SIGSTOP, a suspended host) keeps its lease and wakes up late. Its claims still carry the
//!   epoch; if somebody took over meanwhile, they fail.
//! - A killed runner frees its lease at once, while PHP goes on with the event that it was asked to run. There the
//!   *process lock* decides, which the PHP process holds for as long as it lives: the next runner sees that event as
//!   open, and neither runs it again nor calls it dead.
//! - A pass of `wp-cron.php` through WP-CLI has neither fence nor process lock; its own lock is in [`pass`].
//! - `flock` means nothing on some network file systems. The state directory belongs on a local disk.
//!
//! So a lost or doubled lease costs a refused request, never a doubled event.

pub mod file;
pub mod pass;
pub mod redis;

use std::io;
use std::path::PathBuf;

/// Why a lock or the folder of the locks is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Safe to try again when the other one is gone.
    #[error("{what} is held by {holder} ({})", .path.display())]
    Held { what: String, holder: String, path: PathBuf },
    #[error("{}: {error}; expected a folder that this user may write (mode 0700)", .path.display())]
    Io { path: PathBuf, error: io::Error },
}
