//! What an event or a pass printed, as far as it is kept.

/// So much is kept; the rest is counted.
const KEPT: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Output {
    pub kept: Vec<u8>,
    /// Bytes beyond it.
    pub dropped: u64,
}

impl Output {
    pub fn push(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.dropped += u64::try_from(bytes.len() - room).unwrap_or(0);
    }
}
