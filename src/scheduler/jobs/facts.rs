//! What the history remembers of a job.

use crate::clock;
use crate::config::Job;
use crate::history::sqlite::{self, Reader};
use crate::history::{Filter, RunRecord};
use crate::run_job::mark::{FACT, Mark};
use crate::scheduler::Scheduler;
use crate::scheduler::orders::{PAUSED, pause_of};
use crate::site::Pause;

/// The fact, of no site, that says for which start of the machine `@reboot` was done: when that was (Unix milliseconds), and for
/// how long it was up by then.
const BOOT: &str = "boot";
/// So much may the clock have been set since. The kernel's own boot id is not to be seen inside the unit.
const SAME_BOOT_MS: i64 = 600_000;

#[derive(Default)]
pub struct JobFacts {
    pub pause: Option<Pause>,
    pub mark: Option<Mark>,
    pub last: Option<RunRecord>,
    pub is_new_boot: bool,
}

impl JobFacts {
    pub fn read(reader: &Reader, job: &Job) -> Result<Self, sqlite::Error> {
        let name = &job.name;
        let filter = Filter { site: Some(name.clone()), limit: 1, ..Filter::default() };
        let mut mark = Mark::read(reader.fact(name, FACT)?.as_deref());
        if let Some(mark) = &mut mark {
            // The times of another schedule say nothing of this one's.
            if mark.schedule != schedule_of(job) {
                mark.slot_ms = clock::now_ms();
            }
            // Its end was recorded, and the runner died before it said so.
            if let Some(open) = mark.open.take() {
                mark.open = reader.find(&open.run)?.is_none().then_some(open);
            }
        }
        Ok(Self {
            pause: pause_of(reader.fact(name, PAUSED)?.as_deref()),
            mark,
            last: reader.runs(&filter)?.pop(),
            is_new_boot: is_new_boot(reader.fact("", BOOT)?.as_deref(), clock::now_ms(), clock::boot_ms()),
        })
    }

    /// Of a job that comes with a reload: at the times before it was nobody's, and the machine was not started for it.
    pub fn counted_from_now(self) -> Self {
        let open = self.mark.and_then(|mark| mark.open);
        let (slot_ms, schedule) = (clock::now_ms(), String::new());
        let mark = open.map(|open| Mark { slot_ms, schedule, open: Some(open) });
        Self { mark, is_new_boot: false, ..self }
    }
}

pub fn schedule_of(job: &Job) -> String {
    format!("{} {}", job.schedule.expression(), job.schedule.zone_name())
}

impl Scheduler {
    /// `@reboot` was done for this start of the machine.
    pub(in crate::scheduler) fn note_boot(&self) {
        let up_ms = clock::boot_ms();
        self.history.learn("", BOOT, format!("{} {up_ms}", clock::now_ms() - up_ms));
    }
}

/// A runner that was never here before means a machine that has just been started.
fn is_new_boot(noted: Option<&str>, now: i64, up_ms: i64) -> bool {
    let noted = noted.and_then(|noted| noted.split_once(' '));
    match noted.and_then(|(at, up)| Some((at.parse::<i64>().ok()?, up.parse::<i64>().ok()?))) {
        Some((at, up)) => up_ms < up || (at - (now - up_ms)).abs() > SAME_BOOT_MS,
        None => up_ms < SAME_BOOT_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_started_once_also_where_its_clock_is_set_a_little() {
        let (now, hour) = (1_700_000_000_000, 3_600_000);
        assert!(is_new_boot(None, now, 60_000) && !is_new_boot(None, now, hour));
        let noted = format!("{} {hour}", now - hour);
        assert!(!is_new_boot(Some(&noted), now, hour) && !is_new_boot(Some(&noted), now + 500_000, hour));
        assert!(is_new_boot(Some(&noted), now + hour, hour + 1), "it is up for no longer than it should");
        assert!(is_new_boot(Some(&noted), now + 60_000, 30_000), "two starts in a short time");
    }
}
