//! Every command and flag.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::config::DEFAULT_PATH;
use crate::outcome::{Stop, exit};
use crate::text;

/// Starts every WordPress event when it is due, never twice at once, and records what happened.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 fine, 1 a run failed, 2 usage, 69 something cannot be reached, 75 try again later, 78 configuration."
)]
pub struct Cli {
    /// The configuration.
    #[arg(long, global = true, env = "WP_CRON_RUNNER_CONFIG", default_value = DEFAULT_PATH, value_name = "FILE")]
    pub config: PathBuf,
    /// Print JSON with stable names.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon: look after all sites until it is told to stop.
    Run,
    /// Run what is due now, then exit: for a crontab, CI, or a container's job.
    Once {
        /// Only these sites.
        sites: Vec<String>,
        /// Start nothing; say what is due.
        #[arg(long)]
        dry_run: bool,
    },
    /// Find WordPress, php-fpm and WP-CLI; write the configuration; install the plugin.
    Init {
        /// Somewhere in the WordPress folder, or above it; without it, here.
        path: Option<PathBuf>,
        /// Write nothing; print all that would be written.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take everything out again: every site's plugin and key, the configuration, the state.
    Uninstall {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Remove nothing; print all that would be removed.
        #[arg(long)]
        dry_run: bool,
    },
    /// Turn crontab lines into [[site]] and [[job]].
    Import {
        /// A crontab; without it this user's own (`crontab -l`), and as root also /etc/crontab and /etc/cron.d.
        file: Option<PathBuf>,
        /// The file has a column with the user, as /etc/crontab does.
        #[arg(long, requires = "file")]
        system: bool,
        /// Add the result to the configuration and take the lines out of the crontabs, each of which is copied first.
        #[arg(long)]
        write: bool,
    },
    /// Is everything around it right: PHP, the web server, the plugin, other crons, the clock, Redis?
    Doctor {
        /// Only this site.
        site: Option<String>,
    },
    /// Try the destinations of alerts.
    #[command(subcommand)]
    Alert(Alert),
    /// Is the configuration right?
    Check {
        /// Can everything that it names be reached, and does it fit together?
        #[arg(long)]
        connect: bool,
    },
    /// Install the plugin into a site, take it out, or show how it is there.
    #[command(subcommand)]
    Plugin(Plugin),
    /// When does this crontab line come? Needs no configuration.
    Next {
        /// Five fields as in crontab(5), in quotes, or a nickname such as @daily.
        #[arg(value_name = "EXPR", allow_hyphen_values = true)]
        expression: String,
        /// An IANA name such as Europe/Berlin; without it the zone of this machine.
        #[arg(long, value_name = "TZ")]
        timezone: Option<String>,
        /// After this time, not after now: RFC 3339, or a wall time of the zone such as "2026-03-08 01:00".
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// So many times, 1 to 1000.
        #[arg(short, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
        n: u16,
    },
    /// What the runner does, site by site.
    Status {
        /// Again each second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
        /// Did failures, lateness or durations change since the last `deploy`, or within this time, such as 2h?
        #[arg(long, value_name = "deploy|DURATION", conflicts_with = "watch")]
        since: Option<String>,
    },
    /// Mark a deployment in the history; `status --since deploy` then says what changed.
    Deploy {
        /// What was deployed, for people.
        note: String,
    },
    /// The events that sites have scheduled.
    Events {
        /// Only this site.
        site: Option<String>,
    },
    /// The runs that were made, newest first.
    History {
        /// Only this site.
        site: Option<String>,
        /// Only runs that did not end well.
        #[arg(long)]
        failed: bool,
        /// Only runs that are held.
        #[arg(long)]
        held: bool,
        /// Only runs that ended within this time, such as 2h, or since the last `deploy`.
        #[arg(long, value_name = "deploy|DURATION")]
        since: Option<String>,
        /// So many at most.
        #[arg(short, default_value_t = 50, value_name = "COUNT")]
        n: usize,
    },
    /// Run what is due now, or a hook's events due or not, on a paused site too. Waits, and shows the result.
    Trigger { site: String, hook: Option<String> },
    /// Start nothing more on a site; what runs may end.
    Pause {
        site: String,
        /// Go on by itself then: 2h, 18:30, "2026-11-23 18:30", or RFC 3339.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// End a pause.
    Resume { site: String },
    /// Put the event of a failed, timed out or interrupted run back, to run once more.
    Requeue { run: String },
    /// Let a held run go: its event is not put back.
    Drop { run: String },
    /// Put the last snapshot of a site's `cron` option back, where the option cannot be read any more.
    Restore { site: String },
}

#[derive(Debug, Subcommand)]
pub enum Alert {
    /// Send a message that says it is a test to every [[alert]], and show what came of it.
    Test,
}

#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Copy the plugin, make the key where there is none, and write the block into wp-config.php.
    Install { site: String },
    /// Take everything out again; the site is as it was before.
    Remove {
        site: String,
        /// Also where held runs would be forgotten, or the site cannot be reached.
        #[arg(long)]
        force: bool,
    },
    /// Is the plugin there, in which version, and do the keys agree?
    Status { site: String },
}

/// What clap says to people, for programs.
pub fn wrong_words(error: &clap::Error) -> Stop {
    let said = |kind| error.get(kind).map(ContextValue::to_string).filter(|value| !value.is_empty());
    let arg = said(ContextKind::InvalidArg);
    let (found, expected, place) = match error.kind() {
        ErrorKind::MissingRequiredArgument => ("nothing".to_string(), arg, None),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ("nothing".to_string(), said(ContextKind::ValidSubcommand).map(|all| format!("one of {all}")), None)
        }
        _ => {
            let found = said(ContextKind::InvalidValue).map(|value| (value, arg.clone()));
            let (found, place) = found.or(arg.map(|arg| (arg, None))).unwrap_or_default();
            let found = said(ContextKind::InvalidSubcommand).unwrap_or(found);
            let why = std::error::Error::source(error).map_or_else(String::new, |why| format!(": {why}"));
            (format!("\"{}\"{why}", text::safe_cut(&found, 80)), None, place)
        }
    };
    let near = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let near = near.into_iter().find_map(said).map(|near| format!("did you mean `{near}`?"));
    Stop::new(exit::USAGE, error.kind().as_str().unwrap_or("these words cannot be read"))
        .found(found)
        .expected(expected.unwrap_or_else(|| "what `wp-cron-runner --help` shows".to_string()))
        .at(place.unwrap_or_else(|| "command line".to_string()))
        .next(near.unwrap_or_else(|| "`wp-cron-runner --help`".to_string()))
}
