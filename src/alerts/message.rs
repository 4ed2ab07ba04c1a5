//! What is said: news, and several of them as one message.

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::On;
use crate::{clock, text};

/// So many are told one by one.
const LINES: usize = 20;

/// One thing that somebody may want to hear of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct News {
    /// None: a run began or ended well, which only a ping tells.
    pub on: Option<On>,
    /// Empty for a job that belongs to no site.
    pub site: String,
    pub hook: Option<String>,
    pub job: Option<String>,
    pub run: Option<String>,
    /// Ready to print.
    pub words: String,
    pub late_ms: Option<i64>,
    pub at_ms: i64,
    /// What a dead man's switch is told.
    pub ping: Option<Told>,
    /// How often the receiver was asked to take it, and did not.
    pub trials: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Start,
    Success,
    Fail,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub runner: String,
    pub news: Vec<News>,
    /// What came beside these and is not told one by one.
    pub more: u64,
    pub is_test: bool,
}

#[derive(Serialize)]
struct One<'a> {
    what: &'static str,
    site: Option<&'a str>,
    hook: Option<&'a str>,
    job: Option<&'a str>,
    run: Option<&'a str>,
    late_ms: Option<i64>,
    at: String,
    text: &'a str,
}

impl News {
    /// Of the same hook of a site, or the same job.
    pub fn is_of_same(&self, other: &Self) -> bool {
        (&self.site, &self.hook, &self.job) == (&other.site, &other.hook, &other.job)
    }

    /// `shop: failed: wc_import ...`
    fn line(&self) -> String {
        let what = self.on.map_or("told", On::word);
        let subject = match (&self.job, self.site.as_str()) {
            (Some(job), _) => job.as_str(),
            (None, "") => "runner",
            (None, site) => site,
        };
        format!("{subject}: {what}: {}", self.words)
    }
}

impl Message {
    pub fn test(runner: &str) -> Self {
        let words = "this is a test of `wp-cron-runner alert test`; nothing is wrong".to_string();
        let news = News { words, at_ms: clock::now_ms(), ping: Some(Told::Success), ..News::default() };
        Self { runner: runner.to_string(), news: vec![news], more: 0, is_test: true }
    }

    /// For people: a line each.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.news.iter().take(LINES).map(News::line).collect();
        if self.is_test {
            lines = self.news.iter().map(|news| news.words.clone()).collect();
        }
        let left = u64::try_from(self.news.len().saturating_sub(LINES)).unwrap_or(0) + self.more;
        if left > 0 {
            lines.push(format!("and {left} more: `wp-cron-runner history --failed`"));
        }
        let head = format!("WP Cron Runner on {}", text::safe(&self.runner));
        match lines.as_slice() {
            [line] => format!("{head}: {line}"),
            many => format!("{head}:\n{}", many.join("\n")),
        }
    }

    /// For programs. `text` is what Slack, Mattermost and their like show.
    pub fn json(&self) -> Value {
        let one = |news: &News| {
            json!(One {
                what: if self.is_test { "test" } else { news.on.map_or("told", On::word) },
                site: Some(news.site.as_str()).filter(|site| !site.is_empty()),
                hook: news.hook.as_deref(),
                job: news.job.as_deref(),
                run: news.run.as_deref(),
                late_ms: news.late_ms,
                at: clock::rfc3339(news.at_ms),
                text: &news.words,
            })
        };
        let events: Vec<Value> = self.news.iter().take(LINES).map(one).collect();
        let more = u64::try_from(self.news.len().saturating_sub(LINES)).unwrap_or(0) + self.more;
        json!({"text": self.text(), "runner": self.runner, "version": env!("CARGO_PKG_VERSION"), "events": events, "more": more})
    }
}
