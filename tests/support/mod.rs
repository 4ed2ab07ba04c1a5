//! Real parts for the tests: php-fpm, nginx and MariaDB of the test's own, and fresh WordPress sites in seconds.
//!
//! A test is one screen:
//!
//! ```ignore
//! let site = Site::builder().mariadb().start();
//! let runner = Runner::builder(&site).start();
//! site.schedule_in(1, "fx_ok", &json!([1]));
//! wait_for("the event's end", secs(5), || site.ledger().end_of("fx_ok"));
//! ```
//!
//! Everything a test starts lives in its `TestDir`, belongs to it, and ends with it: by `Drop`, and by a guard process
//! where the test itself is killed. As root, the site's parts and the runner are `www-data`, as on a real server. What
//! `install.sh test` gets has to be there; `make test` calls it first.
//!
//! `KEEP_TEST_DIRS=1` leaves the directories for a look afterwards.

pub mod account;
pub mod browser;
pub mod clock;
pub mod guard;
pub mod hosts;
pub mod http;
pub mod judge;
pub mod ledger;
pub mod light_sites;
pub mod mariadb;
pub mod mysql_proxy;
pub mod network;
pub mod nginx;
pub mod php_fpm;
pub mod point;
pub mod process;
pub mod redis;
pub mod redis_proxy;
pub mod runner;
pub mod site;
pub mod test_dir;
pub mod tls;
pub mod wait;
pub mod wordpress;

pub use browser::Browser;
pub use clock::Clock;
pub use guard::Guard;
pub use hosts::Hosts;
pub use judge::{Figure, Plan};
pub use ledger::Ledger;
pub use point::{Hits, Point, Victim};
pub use redis::Redis;
pub use runner::{Runner, Trigger};
pub use site::{Site, WordPress};
pub use wait::{secs, wait_for};
