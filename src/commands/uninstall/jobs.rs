//! Jobs as lines of a crontab, so that none is lost in silence when the configuration goes.

use crate::text;

/// A comment with its name, and a line. What a crontab cannot say stands in the comment.
pub fn as_crontab(source: &str) -> Vec<String> {
    let Ok(parsed) = source.parse::<toml::Table>() else { return Vec::new() };
    let jobs = parsed.get("job").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    jobs.iter().filter_map(toml::Value::as_table).map(|job| line(job, &parsed)).collect()
}

fn line(job: &toml::Table, all: &toml::Table) -> String {
    let text = |key: &str| job.get(key).and_then(toml::Value::as_str);
    let mut comment = format!("# job {}", text("name").unwrap_or("?"));
    for key in ["timezone", "user", "overlap", "missed", "jitter", "timeout"] {
        comment.extend(text(key).map(|value| format!(", {key} {value}")));
    }
    let command = command(job, all);
    let Some(command) = command else { return text::safe(&format!("{comment}: it names nothing to run")) };
    let folder = text("directory").map_or(String::new(), |folder| format!("cd {} && ", word(folder)));
    let environment = job.get("environment").and_then(toml::Value::as_table);
    let variables = environment.into_iter().flatten();
    let variables: String =
        variables.filter_map(|(name, value)| Some(format!("{name}={} ", word(value.as_str()?)))).collect();
    // crontab(5) reads % as a line end.
    let command = format!("{folder}{variables}{command}").replace('%', "\\%");
    format!("{}\n{}", text::safe(&comment), text::safe(&format!("{} {command}", text("schedule").unwrap_or("?"))))
}

fn command(job: &toml::Table, all: &toml::Table) -> Option<String> {
    if let Some(url) = job.get("url").and_then(toml::Value::as_str) {
        return Some(format!("curl -fsS -o /dev/null {}", word(url)));
    }
    if let Some(words) = words(job.get("command")) {
        return Some(words.join(" "));
    }
    let words = words(job.get("wp"))?;
    let site = job.get("site").and_then(toml::Value::as_str);
    let sites = all.get("site").and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_table);
    let named = |table: &&toml::Table| table.get("name").and_then(toml::Value::as_str) == site;
    let path = sites.into_iter().find(named).and_then(|table| table.get("path")?.as_str());
    let path = path.map_or(String::new(), |path| format!(" {}", word(&format!("--path={path}"))));
    Some(format!("wp {}{path}", words.join(" ")))
}

fn words(value: Option<&toml::Value>) -> Option<Vec<String>> {
    let words: Vec<String> = value?.as_array()?.iter().filter_map(toml::Value::as_str).map(word).collect();
    (!words.is_empty()).then_some(words)
}

/// As a shell takes it.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_a_line_of_a_crontab() {
        let source = r#"
            [[site]]
            name = "shop"
            path = "/var/www/my shop"
            [[job]]
            name = "export"
            schedule = "15 3 * * *"
            timezone = "Europe/Berlin"
            site = "shop"
            wp = ["shop", "export", "--all"]
            [[job]]
            name = "backup"
            schedule = "@daily"
            command = ["/bin/sh", "-c", "date +%F > '/tmp/x'"]
            directory = "/srv"
            environment = { LANG = "C", NAME = "a b" }
            user = "www-data"
            [[job]]
            name = "ping"
            schedule = "*/5 * * * *"
            url = "https://x.example/?a=1&b=2"
            [[job]]
            name = "none"
        "#;
        let lines = as_crontab(source);
        assert_eq!(
            lines,
            [
                "# job export, timezone Europe/Berlin\n15 3 * * * wp shop export --all '--path=/var/www/my shop'",
                "# job backup, user www-data\n@daily cd /srv && LANG=C NAME='a b' /bin/sh -c 'date +\\%F > '\\''/tmp/x'\\'''",
                "# job ping\n*/5 * * * * curl -fsS -o /dev/null 'https://x.example/?a=1&b=2'",
                "# job none: it names nothing to run",
            ]
        );
        assert!(as_crontab("[[site]]\nname = \"x\"\n").is_empty() && as_crontab("= broken").is_empty());
    }
}
