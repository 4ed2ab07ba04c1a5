//! What runner and plugin say to each other; `wp-plugin/src/protocol.php` is the other half.
//!
//! The runner posts JSON to `{home path}/?wp-cron-runner={call}`, signed in the header `X-WP-Cron-Runner` (`requests`,
//! `signature`). The plugin answers with frames, each authenticated by the same key (`frames`, `answers`). All times that
//! end in `_ms` are unix milliseconds on PHP's clock; `next`, `due_at` and `oldest` are WordPress's own timestamps, unix
//! seconds.

pub mod answers;
pub mod examined;
pub mod frames;
pub mod refusal;
pub mod requests;
pub mod signature;

pub use answers::*;
pub use examined::Examined;
pub use refusal::Refusal;
pub use requests::*;

/// A body is never longer; neither side reads more.
pub const LONGEST_BODY: usize = 64 * 1024;
