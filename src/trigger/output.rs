//! What an event, a pass or a job printed, as far as it is kept.

use std::collections::VecDeque;

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

/// So much of each end is kept of what a job printed.
const END: usize = 32 * 1024;

/// A program's first words say what it set out to do, its last ones how that ended.
#[derive(Debug, Default)]
pub struct BothEnds {
    first: Vec<u8>,
    last: VecDeque<u8>,
    total: u64,
}

impl BothEnds {
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += u64::try_from(bytes.len()).unwrap_or(0);
        let room = END.saturating_sub(self.first.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.first.extend_from_slice(first);
        let rest = rest.get(rest.len().saturating_sub(END)..).unwrap_or_default();
        self.last.extend(rest);
        self.last.drain(..self.last.len().saturating_sub(END));
    }

    /// How many bytes are gone from the middle.
    pub fn dropped(&self) -> u64 {
        self.total - u64::try_from(self.first.len() + self.last.len()).unwrap_or(0)
    }

    /// None where nothing was printed.
    pub fn text(&self) -> Option<String> {
        let (first, last) = (&self.first, self.last.iter().copied().collect::<Vec<u8>>());
        match self.dropped() {
            _ if self.total == 0 => None,
            0 => Some(crate::text::lossy(&[first.as_slice(), &last].concat())),
            dropped => {
                let gap = format!("\n[... {dropped} bytes left out ...]\n");
                Some(crate::text::lossy(first) + &gap + &crate::text::lossy(&last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_kept_and_the_middle_is_counted() {
        let mut output = BothEnds::default();
        assert_eq!((output.text(), output.dropped()), (None, 0));
        output.push(b"begin ");
        for _ in 0..100 {
            output.push(&[b'.'; 10_000]);
        }
        output.push(b" end");
        let text = output.text().unwrap();
        let dropped = 6 + 1_000_000 + 4 - 2 * END as u64;
        assert_eq!(output.dropped(), dropped);
        assert!(text.starts_with("begin ..") && text.ends_with(".. end"), "{}", &text[..20]);
        assert!(text.contains(&format!("\n[... {dropped} bytes left out ...]\n")));
        let mut short = BothEnds::default();
        short.push(&[b'a'; END]);
        short.push(b"b");
        assert_eq!((short.text().map(|text| text.len()), short.dropped()), (Some(END + 1), 0));
        let mut huge = BothEnds::default();
        huge.push(&[b'x'; 3 * END]);
        assert_eq!((huge.text().is_some(), huge.dropped()), (true, END as u64));
    }
}
