//! An answer while it comes in: bytes become frames and output, and an end that needs it is explained.

use std::collections::VecDeque;

use super::head::Head;
use super::process::Handle;
use super::{Chunk, EndOfStream, Item, Source};
use crate::outcome::Failure;
use crate::protocol::frames::{FrameReader, Piece};
use crate::protocol::{Frame, Refusal};

#[derive(Default)]
pub struct Answer {
    /// The request's nonce, which names the batch that it claims.
    pub nonce: String,
    pub sent_ms: i64,
    source: Option<Source>,
    reader: Option<FrameReader>,
    queue: VecDeque<Item>,
    head: Option<Head>,
    /// The beginning of an answer that brought no frame yet: it tells what answered instead.
    beginning: Vec<u8>,
    stderr: Vec<u8>,
    frames: u64,
}

const BEGINNING: usize = 2048;

impl Answer {
    pub(super) fn new(nonce: String, sent_ms: i64, reader: FrameReader, source: Result<Source, EndOfStream>) -> Self {
        let answer = Self { nonce, sent_ms, reader: Some(reader), ..Self::default() };
        match source {
            Ok(source) => Self { source: Some(source), ..answer },
            Err(end) => Self { queue: VecDeque::from([Item::End(end)]), ..answer },
        }
    }

    pub(super) fn ended(failure: Failure, sent_ms: i64) -> Self {
        let queue = VecDeque::from([Item::End(EndOfStream::Nothing(failure))]);
        Self { sent_ms, queue, ..Self::default() }
    }

    /// The next frame or output; after the end, the end again.
    pub async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.queue.pop_front() {
                if let Item::End(end) = &item {
                    self.source = None;
                    self.queue.push_back(Item::End(end.clone()));
                }
                return item;
            }
            let Some(source) = &mut self.source else {
                return Item::End(EndOfStream::Reset("the answer is over".into()));
            };
            match source.next().await {
                Chunk::Head(head) => self.head = Some(head),
                Chunk::Body(bytes) => self.read(&bytes),
                Chunk::Stderr(bytes) => keep(&mut self.stderr, &bytes),
                Chunk::End(end) => self.finish(end),
            }
        }
    }

    /// Frames that something swallowed so far.
    pub fn swallowed(&self) -> u64 {
        self.reader.as_ref().map_or(0, |reader| reader.swallowed)
    }

    /// The process that works on it, where that is our own child.
    pub fn process(&self) -> Option<Handle> {
        match &self.source {
            Some(Source::WpCli(stream)) => stream.handle(),
            _ => None,
        }
    }

    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    pub fn refused(&self, refusal: Refusal) -> Failure {
        let retry_after_s = self.head.as_ref().and_then(|head| head.retry_after_s);
        match refusal.failure(self.sent_ms) {
            Failure::Maintenance { .. } => Failure::Maintenance { retry_after_s },
            other => other,
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        if self.frames == 0 {
            keep(&mut self.beginning, bytes);
        }
        let pieces = self.reader.as_mut().map(|reader| reader.push(bytes)).unwrap_or_default();
        self.take(pieces);
    }

    fn take(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            let item = match piece {
                Piece::Frame(frame) => Item::Frame(frame),
                Piece::Output(bytes) => Item::Output(bytes),
                Piece::Unreadable(why) => {
                    tracing::warn!(
                        "a signed frame cannot be read ({why}); do plugin and runner have the same version?"
                    );
                    Item::Frame(Box::new(Frame::Unknown))
                }
            };
            if matches!(item, Item::Frame(_)) {
                self.frames += 1;
            }
            self.queue.push_back(item);
        }
    }

    /// Without a single frame it was not the plugin that answered: then the head, or what a process said, tells who.
    fn finish(&mut self, end: EndOfStream) {
        let pieces = self.reader.as_mut().map(FrameReader::finish).unwrap_or_default();
        self.take(pieces);
        let end = match (&self.head, end) {
            (_, EndOfStream::Ended(ended)) if self.frames == 0 => ended.explain(&self.beginning, &self.stderr),
            (_, end @ EndOfStream::Nothing(_)) => end,
            // What broke off may have had frames to come.
            (Some(head), end @ (EndOfStream::Reset(_) | EndOfStream::Eof { .. })) if head.status < 300 => end,
            (Some(head), _) if self.frames == 0 => head.explain(&self.beginning, &self.stderr),
            (_, end) => end,
        };
        self.queue.push_back(Item::End(end));
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = BEGINNING.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
}
