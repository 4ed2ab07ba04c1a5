//! One answer: what is counted here, and what the scheduler shows at this moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::{Families, Labels};
use super::process::Process;
use super::runs::{DURATION, LATENESS, OTHER, Runs, Series, label};
use crate::clock;
use crate::site::{Counts, View};

/// When runs of a hook, or of a job, ended last, by the history.
#[derive(Debug, Clone, Copy)]
pub struct Ago<'a> {
    pub site: &'a str,
    pub hook: &'a str,
    pub job: Option<&'a str>,
    pub ok_ms: Option<i64>,
    pub not_ok_ms: Option<i64>,
}

/// Everything at the moment of the question.
#[derive(Debug, Default)]
pub struct Now {
    pub sites: Vec<SiteNow>,
    pub jobs: Vec<JobNow>,
    pub redis: Option<RedisNow>,
    pub is_ready: bool,
    pub is_history_writable: bool,
    /// The configuration in force is the file's.
    pub is_configuration_loaded: bool,
    pub alerts_sent: u64,
    pub alerts_lost: u64,
    /// When something was deployed last, in unix seconds, if anybody has said so.
    pub last_deploy_s: Option<i64>,
}

#[derive(Debug)]
pub struct SiteNow {
    site: String,
    state: &'static str,
    has_lease: bool,
    is_paused: bool,
    due: u64,
    oldest_due_ms: Option<i64>,
    running: usize,
    overdue: usize,
    left_alone: usize,
    held: u64,
    epoch: Option<i64>,
    php_offset_ms: i64,
    hooks: Arc<[(String, i64)]>,
    counts: Arc<Counts>,
}

impl SiteNow {
    pub fn of(view: &View) -> Self {
        let overdue = view.running.iter().filter(|run| run.overdue.is_some()).count();
        // With a schedule of its own a site lets events wait.
        let is_late = view.startable > 0 && view.schedule == "due";
        let oldest = view.oldest.as_deref().filter(|_| is_late).and_then(clock::from_rfc3339);
        Self {
            site: view.site.clone(),
            state: view.state,
            has_lease: view.is_ours && !view.is_standby,
            is_paused: view.paused,
            due: view.due,
            oldest_due_ms: oldest.map(|ms| ms - view.php_offset_ms),
            running: view.running.len() + view.open.len(),
            overdue,
            left_alone: view.left_alone.len(),
            held: view.held,
            epoch: view.epoch,
            php_offset_ms: view.php_offset_ms,
            hooks: view.hooks.clone(),
            counts: view.counts.clone(),
        }
    }

    fn labels(&self) -> Labels<'_> {
        vec![("site", &self.site)]
    }
}

#[derive(Debug)]
pub struct JobNow {
    pub job: String,
    /// Empty where it belongs to none.
    pub site: String,
    pub has_lease: bool,
    pub is_paused: bool,
    pub is_running: bool,
    pub is_overdue: bool,
    pub next_ms: Option<i64>,
}

impl JobNow {
    fn labels(&self) -> Labels<'_> {
        vec![("site", &self.site), ("cron_job", &self.job)]
    }
}

#[derive(Debug)]
pub struct RedisNow {
    pub is_up: bool,
    pub lost: u64,
    pub degraded_runs: u64,
    /// Runs that the other hosts were not told of yet.
    pub waiting: Option<u64>,
}

#[derive(Debug)]
pub struct Scrape {
    pub runs: Runs,
    pub now: Now,
    pub notices_refused: u64,
    pub process: Process,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Families(encoder);
        self.runs(out)?;
        self.next_due(out)?;
        self.sites(out)?;
        self.jobs(out)?;
        self.runner(out)?;
        self.process(out)
    }
}

fn flag(is: bool) -> u64 {
    u64::from(is)
}

/// One for each that has a time.
fn times<'l>(all: impl Iterator<Item = (Labels<'l>, Option<i64>)>) -> impl Iterator<Item = (Labels<'l>, f64)> {
    #[allow(clippy::cast_precision_loss, reason = "a time within centuries")]
    all.filter_map(|(labels, ms)| Some((labels, ms? as f64 / 1000.0)))
}

impl Scrape {
    /// Of each hook and each job: its labels, and what is counted.
    fn series(&self) -> impl Iterator<Item = (Labels<'_>, &Series)> {
        let hooks = self
            .runs
            .sites
            .iter()
            .flat_map(|(site, hooks)| hooks.0.iter().map(|(hook, series)| (run_labels(site, hook, ""), series)));
        hooks.chain(self.runs.jobs.iter().map(|(name, job)| (run_labels(&job.site, "", name), &job.series)))
    }

    fn runs(&self, out: &mut Families<'_>) -> fmt::Result {
        let by_outcome = self.series().flat_map(|(labels, series)| {
            series.outcomes().map(move |(outcome, count)| {
                let mut labels = labels.clone();
                labels.push(("outcome", outcome.word()));
                (labels, count)
            })
        });
        out.counter("runs", "Runs that have ended, by outcome.", by_outcome)?;
        out.gauge(
            "last_success_timestamp_seconds",
            "When a run last ended ok, also before this start.",
            times(self.series().map(|(labels, series)| (labels, series.last_success_ms))),
        )?;
        out.gauge(
            "last_failure_timestamp_seconds",
            "When a run last did not end ok, also before this start.",
            times(self.series().map(|(labels, series)| (labels, series.last_failure_ms))),
        )?;
        out.histogram(
            "run_lateness_seconds",
            "How long after its due time a run was started.",
            &LATENESS,
            self.series().map(|(labels, series)| (labels, &series.lateness)),
        )?;
        out.histogram(
            "run_duration_seconds",
            "How long a run took.",
            &DURATION,
            self.series().map(|(labels, series)| (labels, &series.duration)),
        )
    }

    /// A hook that has not run yet is shown where there is room; it takes none.
    fn next_due(&self, out: &mut Families<'_>) -> fmt::Result {
        let mut all: Vec<(&str, String, f64)> = Vec::new();
        for site in self.now.sites.iter().filter(|site| site.has_lease) {
            let known = self.runs.sites.get(&site.site);
            let mut room = self.runs.room().saturating_sub(known.map_or(0, |hooks| hooks.own()));
            // Two names may be one label.
            let mut times: BTreeMap<String, i64> = BTreeMap::new();
            for (hook, at) in site.hooks.iter() {
                let mut label = label(hook);
                let is_known =
                    known.is_some_and(|hooks| hooks.0.contains_key(label.as_str())) || times.contains_key(&label);
                if !is_known && room == 0 {
                    label = OTHER.to_string();
                } else if !is_known {
                    room -= 1;
                }
                let ms = at.saturating_mul(1000).saturating_sub(site.php_offset_ms);
                times.entry(label).and_modify(|first| *first = ms.min(*first)).or_insert(ms);
            }
            #[allow(clippy::cast_precision_loss, reason = "a time within centuries")]
            all.extend(times.into_iter().map(|(label, ms)| (site.site.as_str(), label, ms as f64 / 1000.0)));
        }
        let hooks = all.iter().map(|(site, hook, at)| (run_labels(site, hook, ""), *at));
        let jobs = self.now.jobs.iter().filter(|job| job.has_lease);
        let jobs = times(jobs.map(|job| (run_labels(&job.site, "", &job.job), job.next_ms)));
        out.gauge(
            "next_due_timestamp_seconds",
            "When it is due next, by the last look; a time that is over: since when it has been due, or it has run since that look.",
            hooks.chain(jobs),
        )
    }

    fn sites(&self, out: &mut Families<'_>) -> fmt::Result {
        let sites = || self.now.sites.iter();
        // What a host knew when it gave the site away is no news.
        let ours = || sites().filter(|site| site.has_lease);
        let states = sites().map(|site| (vec![("site", site.site.as_str()), ("state", site.state)], 1_u64));
        out.gauge("site_state", "1 for the state that the site is in, as status shows it.", states)?;
        let mut each = |name: &str, help: &str, value: fn(&SiteNow) -> u64| {
            out.gauge(name, help, sites().map(|site| (site.labels(), value(site))))
        };
        each("site_lease", "1 where this runner looks after the site, 0 where another does or none.", |site| {
            flag(site.has_lease)
        })?;
        each("site_paused", "1 while nothing is started because somebody said so.", |site| flag(site.is_paused))?;
        each("site_running_events", "Events that run now, those of an earlier runner too.", |site| {
            site.running as u64
        })?;
        each("site_overdue_events", "Events that run on although their time is over.", |site| site.overdue as u64)?;
        let mut each = |name: &str, help: &str, value: fn(&SiteNow) -> u64| {
            out.gauge(name, help, ours().map(|site| (site.labels(), value(site))))
        };
        each("site_due_events", "Events that are due now.", |site| site.due)?;
        each("site_left_alone_events", "Events that are due and never started as they are.", |site| {
            site.left_alone as u64
        })?;
        each("site_held_runs", "Runs that wait for a decision.", |site| site.held)?;
        out.gauge(
            "site_oldest_due_timestamp_seconds",
            "Since when the oldest event has been due that could be started; absent where none is, and where due events wait for a schedule.",
            times(ours().map(|site| (site.labels(), site.oldest_due_ms))),
        )?;
        let epochs = ours().filter_map(|site| Some((site.labels(), site.epoch?)));
        out.gauge("site_epoch", "How often a runner has taken the site over, by the site's own count.", epochs)?;
        let failures = sites().flat_map(|site| {
            site.counts
                .failures
                .iter()
                .map(|(kind, count)| (vec![("site", site.site.as_str()), ("kind", *kind)], *count))
        });
        out.counter("site_failures", "Calls to PHP that got no proper answer, by kind.", failures)?;
        let mut each = |name: &str, help: &str, value: fn(&Counts) -> u64| {
            out.counter(name, help, sites().map(|site| (site.labels(), value(&site.counts))))
        };
        each("site_notices", "Notices taken: the plugin's word that something earlier is due.", |counts| {
            counts.notices
        })?;
        each("site_missed_notices", "Looks that found an earlier event that no notice had told of.", |counts| {
            counts.missed_notices
        })
    }

    fn jobs(&self, out: &mut Families<'_>) -> fmt::Result {
        let mut each = |name: &str, help: &str, value: fn(&JobNow) -> bool| {
            out.gauge(name, help, self.now.jobs.iter().map(|job| (job.labels(), flag(value(job)))))
        };
        each("job_lease", "1 where this runner looks after the job, 0 where another does or none.", |job| {
            job.has_lease
        })?;
        each("job_paused", "1 while it is not started because somebody said so.", |job| job.is_paused)?;
        each("job_running", "1 while it runs.", |job| job.is_running)?;
        each("job_overdue", "1 while it runs on although its time is over.", |job| job.is_overdue)
    }

    fn runner(&self, out: &mut Families<'_>) -> fmt::Result {
        let now = &self.now;
        let one = |value: u64| [(Labels::new(), value)];
        out.info("build", "What runs here.", &vec![("version", env!("CARGO_PKG_VERSION"))])?;
        out.gauge("ready", "1 where leases and history are usable.", one(flag(now.is_ready)))?;
        out.gauge("history_writable", "0: nothing new is started.", one(flag(now.is_history_writable)))?;
        out.gauge(
            "configuration_loaded",
            "0 where the file was changed and could not be loaded.",
            one(flag(now.is_configuration_loaded)),
        )?;
        out.counter("notices_refused", "Notices without a good signature.", one(self.notices_refused))?;
        out.counter("alerts_sent", "Alerts that a receiver took.", one(now.alerts_sent))?;
        out.counter("alerts_lost", "Alerts that no receiver took.", one(now.alerts_lost))?;
        let deploy =
            times([(Labels::new(), now.last_deploy_s.map(|seconds| seconds.saturating_mul(1000)))].into_iter());
        out.gauge(
            "deploy_timestamp_seconds",
            "When something was deployed last; absent where nobody said so.",
            deploy,
        )?;
        let redis = || now.redis.iter();
        out.gauge("redis_up", "1 while Redis answers.", redis().map(|redis| (Labels::new(), flag(redis.is_up))))?;
        out.counter("redis_lost", "How often Redis was lost.", redis().map(|redis| (Labels::new(), redis.lost)))?;
        out.counter(
            "degraded_runs",
            "Runs that were started without a lease.",
            redis().map(|redis| (Labels::new(), redis.degraded_runs)),
        )?;
        out.gauge(
            "history_unsent_runs",
            "Runs that the other hosts were not told of yet.",
            redis().filter_map(|redis| Some((Labels::new(), redis.waiting?))),
        )
    }

    fn process(&self, out: &mut Families<'_>) -> fmt::Result {
        let process = &self.process;
        let maybe = |value: Option<u64>| value.map(|value| (Labels::new(), value));
        out.cpu_seconds("CPU time, user and system.", process.cpu_seconds)?;
        out.gauge("process_start_time_seconds", "When it was started.", [(Labels::new(), process.started_seconds)])?;
        out.gauge("process_resident_memory_bytes", "Memory in use.", maybe(process.resident_bytes))?;
        out.gauge("process_open_fds", "Open files.", maybe(process.open_files))?;
        out.gauge("process_max_fds", "The most files that may be open.", maybe(process.most_files))
    }
}

/// One of hook and job is empty.
fn run_labels<'a>(site: &'a str, hook: &'a str, job: &'a str) -> Labels<'a> {
    vec![("site", site), ("hook", hook), ("cron_job", job)]
}
