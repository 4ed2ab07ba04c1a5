//! Jobs: when they come, and whether there is what they start.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Finding, fail, ok};
use crate::clock;
use crate::config::{Job, Work};
use crate::schedule::Schedule;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub fn findings(job: &Job) -> Vec<Finding> {
    let mut findings = vec![ok(&format!("job {}: schedule", job.name), comes(&job.schedule))];
    let check = format!("job {}: command", job.name);
    let what = match &job.work {
        Work::Command(words) => words.first().cloned().unwrap_or_default(),
        Work::Wp { wp_cli, .. } if wp_cli.wrapper.is_empty() => wp_cli.php.clone(),
        Work::Wp { wp_cli, .. } => wp_cli.wrapper.first().cloned().unwrap_or_default(),
        Work::Url(_) => return findings,
    };
    let folder = job.directory.as_deref();
    if let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
        let found = format!("{} is no folder that this user can see", missing.display());
        let fix = format!("`mkdir {}`, or see `directory` in the [[job]] {}", missing.display(), job.name);
        findings.push(fail(&check, found, "the folder that it starts in", fix));
    }
    findings.push(match program(job, &what) {
        Some(file) => ok(&check, file.display().to_string()),
        None => fail(
            &check,
            format!("there is no program {what} that can be started"),
            "a program",
            format!("its full path in the [[job]] {}, or a PATH in its `environment`", job.name),
        ),
    });
    findings
}

fn comes(schedule: &Schedule) -> String {
    let zone = schedule.zone_name();
    match schedule.next_after(clock::now_ms()) {
        Some(fire) => {
            let wait = clock::span(fire.at_ms.saturating_sub(clock::now_ms()));
            format!("\"{}\" in the zone {zone}, next in {wait}", schedule.expression())
        }
        None => schedule.expression().to_string(),
    }
}

/// As execvp(3) looks for it.
fn program(job: &Job, what: &str) -> Option<PathBuf> {
    let can_start =
        |file: &PathBuf| file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if what.contains('/') {
        let file = job.directory.as_deref().unwrap_or(Path::new("/")).join(what);
        return Some(file).filter(can_start);
    }
    let own = job.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
    let path = own.or_else(|| std::env::var("PATH").ok()).unwrap_or_else(|| PATH.to_string());
    std::env::split_paths(&path).map(|folder| folder.join(what)).find(can_start)
}
