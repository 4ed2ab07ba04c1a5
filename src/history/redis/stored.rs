//! A run as it is stored in a stream: JSON, as reports have it, without what is null.

use serde_json::Value;

use super::RunRecord;
use crate::outcome::Then;

pub const FIELD: &str = "run";
/// What a site's code wrote is cut here: the host that ran it has more.
const LONGEST: usize = 8192;

pub fn write(record: &RunRecord) -> String {
    let mut record = record.clone();
    if let Some(output) = &mut record.output {
        let dropped = if record.job.is_some() { cut_middle(output) } else { cut(output) };
        record.output_dropped = record.output_dropped.saturating_add(dropped);
    }
    let message = record.error.as_mut().map(|error| &mut error.message);
    for text in [record.note.as_mut(), record.reason.as_mut(), message].into_iter().flatten() {
        cut(text);
    }
    let mut value = serde_json::to_value(&record).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    value.to_string()
}

/// None: another version has written it.
pub fn read(site: &str, text: &[u8]) -> Option<RunRecord> {
    let record: RunRecord = serde_json::from_slice(text).ok()?;
    (record.subject() == site).then_some(record)
}

/// How many bytes are gone.
fn cut(text: &mut String) -> u64 {
    let before = text.len();
    if let Some(end) = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).filter(|_| before > LONGEST) {
        text.truncate(end);
    }
    u64::try_from(before - text.len()).unwrap_or(0)
}

/// A job's last words say how it ended.
fn cut_middle(text: &mut String) -> u64 {
    if text.len() <= LONGEST {
        return 0;
    }
    let first = (0..=LONGEST / 2).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let last = (text.len() - LONGEST / 2..text.len()).find(|start| text.is_char_boundary(*start)).unwrap_or(text.len());
    let dropped = u64::try_from(last - first).unwrap_or(0);
    text.replace_range(first..last, &format!("\n[... {dropped} bytes left out ...]\n"));
    dropped
}

/// One of two entries of a run, of which `older` came first: what it said, and what became of the run by the newer one.
pub fn merge(older: RunRecord, newer: RunRecord) -> RunRecord {
    let then = if newer.then == Then::None { older.then } else { newer.then };
    // Whoever learned of it from the journal has no output.
    let with_output = if older.output.is_none() { newer } else { older.clone() };
    RunRecord { then, output: with_output.output, output_dropped: with_output.output_dropped, ..older }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_job_s_output_both_ends_are_stored() {
        let mut text = format!("begin{}end", "é".repeat(10_000));
        let dropped = cut_middle(&mut text);
        assert!(text.starts_with("beginé") && text.ends_with("éend") && text.len() < LONGEST + 100, "{}", text.len());
        assert!(dropped > 11_000 && text.contains(&format!("[... {dropped} bytes left out ...]")));
        let mut short = "short".to_string();
        assert_eq!((cut_middle(&mut short), short.as_str()), (0, "short"));
    }
}
