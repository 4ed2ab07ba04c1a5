//! The lease: a runner's right to look after a site.
//!
//! # On one host
//!
//! While this process holds the lease of a site, no other process on this host that uses the same state directory holds
//! it. The kernel keeps that promise: the lease is an exclusive `flock` on `lease-SITE.lock`, bound to the open file, so
//! it ends when the process ends, however it ends. Nothing has to expire, and nothing can be left behind: the file stays,
//! the lock does not. The process id and start time in the file are for the message alone; nobody decides by them.
//! `flock` means nothing on some network file systems: the state directory belongs on a local disk.
//!
//! # On many hosts
//!
//! There a second lease is added, a key in Redis that lives for 30 s ([`redis::TTL_MS`]) and holds the runner's id and a
//! random token. It is set only where there is none, renewed every 10 s and given back by a script that compares the
//! token. What it is worth follows from what can go wrong with it:
//!
//! - *The clock.* Redis counts the 30 s from the moment at which it did the command; this process knows only when it asked.
//!   So a lease is trusted until *start of the last good call + 30 s - 5 s*, on a clock that goes on while the host sleeps. A
//!   process that was stopped for longer finds its trust over when it wakes, before it does anything.
//! - *No answer.* Nobody knows then whether the command was done, and it may be done much later: a server that was stopped
//!   works off what it finds in its sockets. A lease that was asked for in vain is therefore not believed in, and its token is
//!   given back in every round until it must be over; the next try has a token of its own. A renewal without an answer
//!   changes nothing: the trust ends when it would have ended, and it is tried again at shrinking intervals.
//! - *A server that forgets.* One that was started anew without its data, emptied (FLUSHALL), or promoted from a replica that
//!   lagged behind would grant a lease that another runner trusts. The runners keep the server's identity in a key of its
//!   own (run id and replication id). Where that is missing or another one, they write it, and a second key that lives for
//!   30 s: while that *quarantine* is there nobody is granted a lease whose trust is not unbroken. Whoever holds one sets it
//!   again. `wait_replicas` closes the same hole for a promotion at its root: a lease counts only where so many replicas
//!   have it (WAIT), and where they do not answer there is none.
//! - *A server that evicts* takes keys without a word. One with another maxmemory-policy than `noeviction` is refused, and so
//!   is the database of an object cache, which is emptied by a click.
//! - *Its clock.* Leases end by the clock of the server. One that is set forward by more than the margin of 5 s ends them
//!   before their holders expect it; the fence has to do then.
//! - *No Redis.* A lease that cannot be renewed ends, and nothing new is claimed on it. A site whose database has this runner
//!   as its owner goes on without (`degraded`): the fence refuses every other one until it has been taken over, and then
//!   this one. Any other site is left alone. Nobody ever starts a run because a question was not answered.
//!
//! Who asks for which lease is no matter of luck: living runners say so in Redis, and each site is the part of one of them
//! ([`redis::share`]). A lease that is another's part is handed over between two events. That is for evenness only.
//!
//! # What a lease does not promise
//!
//! It makes a second runner cheap to refuse. It does not make events safe, and is not meant to:
//!
//! - Two runners with two state directories or two servers of Redis (a partition with a primary on each side) each get a
//!   lease of their own. There the *fence* decides: the site's own database issues an epoch at each take-over, every claim
//!   carries it, and the plugin refuses an older one (`stale`). The one that is refused stands by. Runners that share a Redis
//!   name its *realm* with a take-over, and one of the same realm is let in at once; everybody else waits until the owner has
//!   been silent for 45 s. Who is refused while he holds a lease does not use the realm again before he has a new one.
//! - A runner that was stopped (SIGSTOP, a suspended host) keeps its file and wakes up late. Claims that it had sent still
//!   carry the epoch; if somebody took over meanwhile, they fail.
//! - A killed runner frees its lease at once, or within 30 s in Redis, while PHP goes on with the event that it was asked to
//!   run. There the *process lock* decides, which the PHP process holds for as long as it lives: the next runner sees that
//!   event as open, and neither runs it again nor calls it dead.
//! - A pass of `wp-cron.php` through WP-CLI has neither fence nor process lock; its own lock is in [`pass`]. Such a site is
//!   looked after only under a lease that is trusted.
//!
//! - A state directory that was cloned with its machine makes two runners of one id. They are told apart by their processes
//!   after two rounds, and neither is granted anything more.
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
