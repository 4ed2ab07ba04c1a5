//! What `import` says: tables to copy, and what becomes of the lines.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Place, Plan, text, write};

/// All of it is TOML: what is no table is a comment.
pub fn report(config: &Path, plan: &Plan, unread: &[(PathBuf, String)], done: Option<&write::Done>) -> String {
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
    let told = match done {
        Some(done) => done.told(),
        None if plan.remove.is_empty() => vec!["No line can be taken over.".to_string()],
        None => Vec::new(),
    };
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

/// Why lines stay, as comments.
fn left_as_comments(plan: &Plan) -> String {
    plan.left.iter().map(|(place, reason)| text::line(&format!("# not converted ({reason}): {place}"))).collect()
}
