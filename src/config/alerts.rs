//! `[[alert]]`, resolved.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use toml::Spanned;

use super::days;
use super::file::Table;
use super::problem::excerpt;
use super::sites::address;

const SECOND: Duration = Duration::from_secs(1);
const TO: [&str; 3] = ["webhook", "command", "ping"];
const ADDRESS: &str = "an address, such as \"https://hooks.example/...\"";

/// `[[alert]]`: who is told, and of what.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub on: Vec<On>,
    pub to: To,
    /// Globs; None: all.
    pub site: Option<String>,
    pub hook: Option<String>,
    pub job: Option<String>,
    /// From when on a start is late.
    pub late: Duration,
    /// At most one message in so much time; what comes meanwhile is in the next.
    pub every: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Also: its time limit was over.
    Failed,
    Interrupted,
    /// Its time limit is over, and it could not be ended.
    Overdue,
    Late,
    Recovered,
}

#[derive(Debug, Clone, PartialEq)]
pub enum To {
    Webhook(Url),
    Command(Vec<String>),
    /// A dead man's switch, told of every run.
    Ping(Ping),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ping {
    pub start: Option<Url>,
    pub success: Option<Url>,
    pub fail: Option<Url>,
}

pub fn resolve(tables: &[Table<'_>]) -> Vec<Alert> {
    tables.iter().filter_map(alert).collect()
}

fn alert(table: &Table<'_>) -> Option<Alert> {
    let on = on(table);
    let to = to(table);
    let glob = |key: &'static str| table.text(key, "a name; * stands for anything").map(Spanned::into_inner);
    let (site, hook, job) = (glob("site"), glob("hook"), glob("job"));
    if job.is_some() && hook.is_some() {
        let message = "`job` and `hook` are both there, and no run is of both";
        table.refuse(table.span_of("job"), message, "one of them in each [[alert]]");
    }
    let late = table.duration("late", SECOND..days(30));
    let every = table.duration("every", Duration::ZERO..days(1));
    if matches!(to, Some(To::Ping(_))) {
        for key in ["on", "late", "every"].into_iter().filter(|key| table.has(key)) {
            let message = format!("`{key}` means nothing to a `ping`, which tells of every run");
            table.refuse(table.span_of(key), message, "it with `webhook` or `command`");
        }
    }
    table.finish();
    Some(Alert {
        on: on?,
        to: to?,
        site,
        hook,
        job,
        late: late.unwrap_or(Duration::from_secs(300)),
        every: every.unwrap_or(Duration::from_secs(300)),
    })
}

fn on(table: &Table<'_>) -> Option<Vec<On>> {
    let words: Vec<String> = On::ALL.iter().map(|on| format!("\"{}\"", on.word())).collect();
    let expected = format!("a list of {}", words.join(", "));
    let Some(written) = table.texts("on", &expected) else {
        // Written and no list: that has been told.
        return (!table.has("on")).then(|| On::ALL.to_vec());
    };
    let mut on = Vec::new();
    for word in written.get_ref() {
        match On::ALL.into_iter().find(|on| on.word() == word) {
            Some(known) => on.push(known),
            None => {
                table.wrong("on", written.span(), &format!("a list with \"{}\"", excerpt(word)), &expected);
                return None;
            }
        }
    }
    Some(on)
}

/// Exactly one of the three.
fn to(table: &Table<'_>) -> Option<To> {
    let webhook = url(table, "webhook");
    let command = table.texts("command", "a program and its arguments, such as [\"/usr/local/bin/tell\"]");
    let ping = ping(table);
    let there: Vec<&str> = TO.into_iter().filter(|key| table.has(key)).collect();
    match there.as_slice() {
        ["webhook"] => webhook.map(To::Webhook),
        ["command"] => command.map(|command| To::Command(command.into_inner())),
        ["ping"] => ping.map(To::Ping),
        [] => {
            let expected = "one of `webhook`, `command` and `ping`";
            table.refuse(table.span.clone(), "nobody is named whom this [[alert]] is for", expected);
            None
        }
        several => {
            let message = format!("`{}` are both there", several.join("` and `"));
            table.refuse(table.span.clone(), message, "one of `webhook`, `command` and `ping`");
            None
        }
    }
}

/// Whoever knows such an address can use it: it is in no message.
fn url(table: &Table<'_>, key: &'static str) -> Option<Url> {
    let text = table.text(key, ADDRESS)?;
    address(text.get_ref(), ADDRESS)
        .map_err(|expected| table.wrong(key, text.span(), "no address that can be used", expected))
        .ok()
}

/// One address, as healthchecks.io has it, or one for each word.
fn ping(table: &Table<'_>) -> Option<Ping> {
    if !table.is_table("ping") {
        let success = url(table, "ping")?;
        let below = |word: &str| {
            let mut url = success.clone();
            url.set_path(&format!("{}/{word}", success.path().trim_end_matches('/')));
            url
        };
        return Some(Ping { start: Some(below("start")), fail: Some(below("fail")), success: Some(success) });
    }
    let table = table.table("ping");
    let ping = Ping { start: url(&table, "start"), success: url(&table, "success"), fail: url(&table, "fail") };
    table.finish();
    if ping == Ping::default() {
        table.refuse(table.span.clone(), "`ping` names no address", "`start`, `success` or `fail` in it");
        return None;
    }
    Some(ping)
}

impl On {
    pub const ALL: [Self; 5] = [Self::Failed, Self::Interrupted, Self::Overdue, Self::Late, Self::Recovered];

    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Overdue => "overdue",
            Self::Late => "late",
            Self::Recovered => "recovered",
        }
    }
}

impl To {
    /// For messages: without what makes it a secret.
    pub fn shown(&self) -> String {
        let host = |url: &Url| format!("{}://{}/...", url.scheme(), url.host_str().unwrap_or_default());
        match self {
            Self::Webhook(url) => format!("webhook {}", host(url)),
            Self::Command(words) => {
                let program = words.first().map(PathBuf::from).unwrap_or_default();
                format!("command {}", program.display())
            }
            Self::Ping(ping) => {
                let url = [&ping.success, &ping.fail, &ping.start].into_iter().flatten().next();
                format!("ping {}", url.map_or_else(String::new, host))
            }
        }
    }
}
