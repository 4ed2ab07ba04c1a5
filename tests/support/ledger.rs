//! What the fixture's hooks wrote down themselves, from inside PHP: the truth that the runner's record is held against.

use std::fs;

use serde::Deserialize;
use serde_json::Value;

use super::site::Site;

#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// `BEGIN`, `END`, `PAGE` (a counted page view), or `NOTE`.
    pub at: String,
    pub hook: String,
    /// WordPress's own key of the arguments: `md5( serialize( $args ) )`.
    pub key: String,
    pub args: Value,
    pub pid: u32,
    /// PHP's `hrtime()`, comparable between processes of one machine.
    pub mono_ns: u64,
    pub wall_ms: u64,
    #[serde(default)]
    pub note: Value,
}

#[derive(Clone, Debug)]
pub struct Ledger(pub Vec<Line>);

impl Ledger {
    pub fn begins(&self, hook: &str) -> Vec<&Line> {
        self.of("BEGIN", hook)
    }

    pub fn ends(&self, hook: &str) -> Vec<&Line> {
        self.of("END", hook)
    }

    pub fn end_of(&self, hook: &str) -> Option<Line> {
        self.ends(hook).first().map(|line| (*line).clone())
    }

    pub fn begin_of(&self, hook: &str) -> Option<Line> {
        self.begins(hook).first().map(|line| (*line).clone())
    }

    fn of(&self, at: &str, hook: &str) -> Vec<&Line> {
        self.0.iter().filter(|line| line.at == at && line.hook == hook).collect()
    }

    /// Processes that are inside a hook, as far as the lines tell.
    pub fn open(&self) -> Vec<u32> {
        let mut open = Vec::new();
        for line in &self.0 {
            match line.at.as_str() {
                "BEGIN" => open.push(line.pid),
                "END" => open.retain(|pid| *pid != line.pid),
                _ => {}
            }
        }
        open
    }

    /// Pairs of runs of the same event (hook and arguments) of which the second began before the first had ended. A run
    /// without an END, because its process died, counts as the moment of its beginning.
    pub fn overlaps(&self) -> Vec<(Line, Line)> {
        let mut found = Vec::new();
        for (index, begin) in self.0.iter().enumerate().filter(|(_, line)| line.at == "BEGIN") {
            let same = |line: &&Line| line.hook == begin.hook && line.key == begin.key;
            let mut later = self.0[index + 1..].iter().filter(same);
            let Some(length) = later.clone().position(|line| line.at == "END" && line.pid == begin.pid) else {
                continue;
            };
            if let Some(other) = later.by_ref().take(length).find(|line| line.at == "BEGIN") {
                found.push((begin.clone(), other.clone()));
            }
        }
        found
    }
}

impl Site {
    pub fn ledger(&self) -> Ledger {
        parse(&self.ledger_text())
    }

    /// Its last lines, where it has grown long.
    pub fn ledger_end(&self) -> Ledger {
        let text = self.ledger_text();
        let cut = text.len().saturating_sub(16_384);
        let first =
            if cut == 0 { 0 } else { text[cut..].iter().position(|byte| *byte == b'\n').map_or(cut, |at| cut + at) };
        parse(&text[first..])
    }

    fn ledger_text(&self) -> Vec<u8> {
        fs::read(self.dir.join(&format!("{}.ledger", self.name))).expect("the ledger; a site with the fixture")
    }
}

fn parse(text: &[u8]) -> Ledger {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parse = |line| {
        serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("ledger: {error}: {}", String::from_utf8_lossy(line)))
    };
    Ledger(lines.map(parse).collect())
}
