//! What a person does next: words to type, with the names of this machine.

use std::path::Path;

use super::php::Way;
use super::plan::{Plan, group_name};
use super::{Found, command, is_root, word};
use crate::api::client;
use crate::config::{self, Config, DEFAULT_PATH, Secrets};

const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
const MOST_BLOGS: usize = 20;

pub async fn of(config: &Path, found: &Found, plan: &Plan) -> Vec<String> {
    let (command, user) = (command(config), &found.php.runner.name);
    let mut steps = vec![
        format!("{command} doctor\n    is everything around it right?"),
        format!("{command} import\n    what crontab lines become as sites and jobs"),
    ];
    let read = config::read(config, Secrets::MayBeMissing).ok();
    let running = match &read {
        Some(config) => running(config, plan).await,
        None => None,
    };
    steps.extend(running.unwrap_or_else(|| start(config, found, &command, user)));
    if found.is_network {
        steps.extend(network(found));
    }
    steps
}

/// A runner that is up reads its configuration anew when it is told to.
async fn running(config: &Config, plan: &Plan) -> Option<Vec<String>> {
    let status = client::status(config.runner.listen).await?;
    let knows = status.sites.iter().any(|view| view.get("site").is_some_and(|site| *site == plan.site));
    match knows {
        true => Some(Vec::new()),
        false => Some(vec![format!(
            "systemctl reload wp-cron-runner\n    or `kill -HUP {}`: the runner that is up loads its configuration anew",
            status.runner.pid.map_or_else(|| "PID".to_string(), |pid| pid.to_string())
        )]),
    }
}

fn start(config: &Path, found: &Found, command: &str, user: &str) -> Vec<String> {
    let as_user = if is_root() { format!("sudo -u {user} {command} run") } else { format!("{command} run") };
    let has_systemd = Path::new("/run/systemd/system").is_dir();
    if !has_systemd || !is_root() || config != Path::new(DEFAULT_PATH) {
        return vec![format!("{as_user}\n    the daemon; under systemd see config/wp-cron-runner.service")];
    }
    let mut steps = Vec::new();
    let has_unit = UNIT_FOLDERS.iter().any(|folder| Path::new(folder).join("wp-cron-runner.service").exists());
    if !has_unit {
        steps.push("cp config/wp-cron-runner.service /etc/systemd/system/".to_string());
    }
    let drop_ins = "/etc/systemd/system/wp-cron-runner.service.d";
    if user != "www-data" {
        steps.push(format!(
            "mkdir -p {drop_ins} && printf '[Service]\\nUser={user}\\nGroup={}\\n' > {drop_ins}/user.conf",
            group_name(found.php.runner.gid)
        ));
    }
    if let Way::WpCli { user, .. } = &found.php.way {
        let other = if user.is_some() { " config/wp-cron-runner-user.conf" } else { "" };
        steps.push(format!("mkdir -p {drop_ins} && cp config/wp-cron-runner-wp-cli.conf{other} {drop_ins}/"));
    }
    steps.push("systemctl daemon-reload && systemctl enable --now wp-cron-runner".to_string());
    steps
}

/// One key and one name stand in a network's wp-config.php, so one [[site]] looks after its main blog alone.
fn network(found: &Found) -> Vec<String> {
    let mut lines = vec![format!(
        "# {} looks after the main blog. Of the other {} blogs page loads go on to run the events, as before; on a schedule,\n\
         # without the plugin's promises, they are run by one more table each:",
        found.site,
        found.blogs.len()
    )];
    for blog in found.blogs.iter().take(MOST_BLOGS) {
        let scheme = found.url.split("://").next().unwrap_or("https");
        let url = format!("{scheme}://{}{}", blog.domain, blog.path);
        let Ok(parsed) = reqwest::Url::parse(&url) else { continue };
        let name = super::name::of(&parsed, &found.root, &[&found.site]);
        lines.push(format!(
            "#   [[site]]\n#   name = \"{name}\"\n#   url = \"{parsed}\"\n#   trigger = \"wp-cron.php\"\n#   schedule = \"*/5 * * * *\""
        ));
    }
    if found.blogs.len() > MOST_BLOGS {
        lines.push(format!(
            "#   ... and {} more: `wp site list --path={}`",
            found.blogs.len() - MOST_BLOGS,
            word(&found.root)
        ));
    }
    lines
}
