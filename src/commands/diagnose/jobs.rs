//! `check --connect` for jobs: is what they start there? Nothing is started.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{Finding, Judgement};
use crate::config::{Config, Job, Work};

/// Where a program is looked for, as the job's process would.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub fn findings(config: &Config) -> Vec<Finding> {
    config.jobs.iter().map(|job| finding(job)).collect()
}

fn finding(job: &Job) -> Finding {
    let name = format!("job {}", job.name);
    let expected = "a program that the job's user may start";
    let wrong = |found: String, fix: &str| Finding::new(&name, Judgement::Fail, found).expecting(expected, fix);
    if let Some(folder) = job.folder().filter(|folder| job.user.is_none() && !folder.is_dir()) {
        let found = format!("there is no folder {} for it to start in", folder.display());
        return wrong(found, "see `directory`");
    }
    let program = match &job.work {
        Work::Url(url) => {
            let found =
                format!("fetches {}://{}, which was not tried", url.scheme(), url.host_str().unwrap_or_default());
            return Finding::new(&name, Judgement::Ok, found);
        }
        Work::Command(words) => words.first().cloned().unwrap_or_default(),
        Work::Wp { wp_cli, .. } if !wp_cli.wrapper.is_empty() => wp_cli.wrapper.first().cloned().unwrap_or_default(),
        Work::Wp { wp_cli, .. } if !Path::new(&wp_cli.wp_cli).is_file() => {
            let found = format!("WP-CLI is not at {}", wp_cli.wp_cli);
            return wrong(
                found,
                "put WP-CLI there, or name another place with `wp_cli` in a [[site]] of the trigger wp-cli",
            );
        }
        Work::Wp { wp_cli, .. } => wp_cli.php.clone(),
    };
    match look_up(&program, job) {
        Some(found) => Finding::new(&name, Judgement::Ok, format!("starts {}", found.display())),
        None => wrong(
            format!("there is no program `{program}` that can be started"),
            "see `command`, or PATH in `environment`",
        ),
    }
}

fn look_up(program: &str, job: &Job) -> Option<PathBuf> {
    // Whom it belongs to is another's question: this user may not see what the job's user does.
    let is_there =
        |path: &Path| path.is_file() && (job.user.is_some() || rustix::fs::access(path, Access::EXEC_OK).is_ok());
    if program.contains('/') {
        let path = job.folder().unwrap_or_default().join(program);
        return is_there(&path).then_some(path);
    }
    let own = job.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let path = own.or_else(|| std::env::var("PATH").ok()).unwrap_or_else(|| PATH.to_string());
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| is_there(path))
}
