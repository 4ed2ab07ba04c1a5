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
        record.output_dropped = record.output_dropped.saturating_add(cut(output));
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

/// One of two entries of a run, of which `older` came first: what it said, and what became of the run by the newer one.
pub fn merge(older: RunRecord, newer: RunRecord) -> RunRecord {
    let then = if newer.then == Then::None { older.then } else { newer.then };
    // Whoever learned of it from the journal has no output.
    let with_output = if older.output.is_none() { newer } else { older.clone() };
    RunRecord { then, output: with_output.output, output_dropped: with_output.output_dropped, ..older }
}
