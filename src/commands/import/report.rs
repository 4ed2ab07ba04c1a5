//! What `import` says: tables to copy, and what becomes of the lines.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::job::What;
use super::{Place, Plan, text, write};

/// What `ProtectHome=` takes away.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// All of it is TOML: what is no table is a comment.
pub fn report(
    config: &Path,
    plan: &Plan,
    runner: &str,
    unread: &[(PathBuf, String)],
    done: Option<&write::Done>,
) -> String {
    let mut out = String::new();
    let mut block = |title: &str, text: String| {
        if !text.is_empty() {
            let gap = if out.is_empty() { "" } else { "\n" };
            out += &format!("{gap}{}{text}", text::line(&format!("# {title}")));
        }
    };
    let file = config.display();
    let is_done = done.is_some();
    let title = if is_done { format!("Added to {file}:") } else { format!("For {file}; `--write` adds it:") };
    let toml = plan.toml();
    block(&title, if toml.is_empty() { toml } else { format!("\n{toml}") });
    let lines: String = plan.remove.iter().map(|place| text::line(&format!("#   {place}"))).collect();
    block(if is_done { "Taken out of the crontabs:" } else { "Lines to remove; `--write` does:" }, lines);
    block("Lines that stay where they are:", left_as_comments(plan));
    let unread: String =
        unread.iter().map(|(path, why)| text::line(&format!("#   {}: {why}", path.display()))).collect();
    block("Crontabs that were not read:", unread);
    let mut told = under_systemd(plan, runner);
    match done {
        Some(done) => told.extend(done.told()),
        None if plan.remove.is_empty() => told.push("No line can be taken over.".to_string()),
        None => {}
    }
    if !(told.is_empty() || out.is_empty()) {
        out += "\n";
    }
    for told in told {
        out += &text::line(&format!("# {told}"));
    }
    out
}

pub fn answer(plan: &Plan, unread: &[(PathBuf, String)], done: Option<&write::Done>) -> serde_json::Value {
    let place =
        |place: &Place| json!({"file": place.file.display().to_string(), "line": place.line, "text": place.text});
    let sites: Vec<_> = plan.sites.iter().map(|site| json!({"name": site.name, "url": site.url.as_str(), "path": site.path.as_ref().map(|path| path.display().to_string()),
        "schedule": site.schedule})).collect();
    let jobs: Vec<_> =
        plan.jobs.iter().map(|job| json!({"name": job.name, "schedule": job.schedule, "user": job.user})).collect();
    let left: Vec<_> = plan
        .left
        .iter()
        .map(|(at, reason)| {
            json!({"file": at.file.display().to_string(), "line": at.line, "text": at.text,
        "reason": reason})
        })
        .collect();
    let unread: Vec<_> =
        unread.iter().map(|(file, reason)| json!({"file": file.display().to_string(), "reason": reason})).collect();
    let copies = done.map(|done| done.copies.clone()).unwrap_or_default();
    json!({"sites": sites, "jobs": jobs, "left": left, "remove": plan.remove.iter().map(place).collect::<Vec<_>>(),
        "toml": plan.toml(), "unread": unread, "written": done.is_some(), "copies": copies})
}

/// What the unit has to allow, which cron did without being asked.
fn under_systemd(plan: &Plan, runner: &str) -> Vec<String> {
    let mut users: Vec<&str> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    for site in &plan.sites {
        let Some(wp_cli) = &site.wp_cli else { continue };
        users.push(&wp_cli.user);
        texts.extend(site.path.iter().map(|path| path.display().to_string()));
        texts.extend([Some(wp_cli.wp_cli.clone()), wp_cli.php.clone()].into_iter().flatten());
    }
    for job in &plan.jobs {
        let words = match &job.what {
            What::Url(_) => continue,
            What::Command(words) | What::Wp { words, .. } => words,
        };
        users.push(&job.user);
        texts.extend(words.iter().cloned().chain([job.directory.clone()]));
    }
    if users.is_empty() {
        return Vec::new();
    }
    let user = match users.iter().all(|user| *user == runner) {
        true => "",
        false => " and, for `user`, config/wp-cron-runner-user.conf",
    };
    let mut told = vec![format!(
        "Under systemd these need config/wp-cron-runner-wp-cli.conf{user} in /etc/systemd/system/wp-cron-runner.service.d."
    )];
    let pieces = || texts.iter().flat_map(|text| text.split(|c: char| c.is_whitespace() || "'\"=:;<>|&()".contains(c)));
    let is_in = |home: &&&str| pieces().any(|piece| Path::new(piece).starts_with(home));
    if let Some(home) = HOMES.iter().find(is_in) {
        told.push(format!(
            "They work below {home}, which takes ProtectHome=no there, and what they write in another ReadWritePaths=."
        ));
    }
    told
}

/// Why lines stay, as comments.
fn left_as_comments(plan: &Plan) -> String {
    plan.left.iter().map(|(place, reason)| text::line(&format!("# not converted ({reason}): {place}"))).collect()
}
