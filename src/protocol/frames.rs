//! Frames out of a stream in which a hook may print anything.
//!
//! A frame is one line: marker, number, MAC, JSON. Everything else is output of the event that is running. The reader
//! keeps at most one frame's length in memory, whatever the stream does: a line that does not begin with the marker is
//! output from its first byte on.

use super::Frame;
use super::signature::Key;

/// The longest frame that is believed; a longer line is output.
const LONGEST_FRAME: usize = 1 << 20;

#[derive(Debug)]
pub enum Piece {
    Frame(Box<Frame>),
    Output(Vec<u8>),
    /// A line with a right MAC that this version cannot read.
    Unreadable(String),
}

#[derive(Debug)]
pub struct FrameReader {
    key: Key,
    nonce: String,
    marker: Vec<u8>,
    /// The beginning of a line, as long as it may still become a frame.
    line: Vec<u8>,
    /// The rest of this line is output.
    in_output: bool,
    /// A line break that is output only if no frame follows it.
    held_break: bool,
    last_seq: Option<u64>,
    output: Vec<u8>,
    pieces: Vec<Piece>,
    /// Frames whose number is missing: something swallowed them.
    pub swallowed: u64,
}

impl FrameReader {
    pub fn new(key: Key, nonce: String) -> Self {
        let marker = key.marker(&nonce).into_bytes();
        Self {
            key,
            nonce,
            marker,
            line: Vec::new(),
            in_output: false,
            held_break: false,
            last_seq: None,
            output: Vec::new(),
            pieces: Vec::new(),
            swallowed: 0,
        }
    }

    /// Reads the next bytes of the stream; gives what they complete, in order.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Piece> {
        while let Some(first) = bytes.first() {
            if self.in_output {
                bytes = self.read_output(bytes);
            } else if *first == b'\n' && self.line.is_empty() {
                self.break_line();
                bytes = bytes.get(1..).unwrap_or_default();
            } else {
                bytes = self.read_candidate(bytes);
            }
        }
        self.flush_output();
        std::mem::take(&mut self.pieces)
    }

    /// The stream is over: what looked like the beginning of a frame was output.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.release_break();
        self.output.append(&mut self.line);
        self.flush_output();
        std::mem::take(&mut self.pieces)
    }

    fn read_output<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.output.extend_from_slice(bytes);
            return &[];
        };
        let (text, rest) = bytes.split_at(at);
        self.output.extend_from_slice(text);
        self.in_output = false;
        self.break_line();
        rest.get(1..).unwrap_or_default()
    }

    fn read_candidate<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let room = LONGEST_FRAME.saturating_sub(self.line.len());
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()).min(room));
        self.line.extend_from_slice(text);
        let compared = self.line.len().min(self.marker.len());
        let may_be_frame = self.line.get(..compared) == self.marker.get(..compared);
        if may_be_frame && rest.first() == Some(&b'\n') {
            self.end_candidate();
            return rest.get(1..).unwrap_or_default();
        }
        // The line break of the longest frame may be the next chunk's first byte.
        if !may_be_frame || (self.line.len() >= LONGEST_FRAME && !rest.is_empty()) {
            self.release_break();
            self.output.append(&mut self.line);
            self.in_output = true;
        }
        rest
    }

    fn end_candidate(&mut self) {
        let line = std::mem::take(&mut self.line);
        match self.read_frame(&line) {
            Some(piece) => {
                self.held_break = false;
                self.flush_output();
                self.pieces.push(piece);
            }
            None => {
                self.release_break();
                self.output.extend_from_slice(&line);
                self.break_line();
            }
        }
    }

    fn read_frame(&mut self, line: &[u8]) -> Option<Piece> {
        let line = std::str::from_utf8(line.get(self.marker.len()..)?).ok()?;
        let (written, rest) = line.split_once(':')?;
        let (mac, json) = rest.split_once(' ')?;
        // As PHP writes it: the MAC covers the number, not the ways to write one.
        let seq: u64 = written.parse().ok().filter(|seq: &u64| seq.to_string() == written)?;
        if !self.key.is_frame_mac(&self.nonce, seq, json, mac) || self.last_seq.is_some_and(|last| seq <= last) {
            return None;
        }
        self.swallowed += seq - self.last_seq.map_or(0, |last| last + 1);
        self.last_seq = Some(seq);
        Some(match serde_json::from_str(json) {
            Ok(frame) => Piece::Frame(Box::new(frame)),
            Err(error) => Piece::Unreadable(error.to_string()),
        })
    }

    fn break_line(&mut self) {
        self.release_break();
        self.held_break = true;
    }

    fn release_break(&mut self) {
        if std::mem::take(&mut self.held_break) {
            self.output.push(b'\n');
        }
    }

    fn flush_output(&mut self) {
        if !self.output.is_empty() {
            self.pieces.push(Piece::Output(std::mem::take(&mut self.output)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::fuzz::{self, Random};

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn key() -> Key {
        Key::from_hex(&"1f".repeat(32)).unwrap()
    }

    /// Each frame as `<next>`, output as it is, one after the other.
    fn read(chunks: &[&[u8]]) -> (String, u64) {
        let mut reader = FrameReader::new(key(), NONCE.to_string());
        let mut pieces: Vec<Piece> = Vec::new();
        for chunk in chunks {
            pieces.extend(reader.push(chunk));
        }
        pieces.extend(reader.finish());
        let text = pieces.iter().map(|piece| match piece {
            Piece::Frame(frame) => match frame.as_ref() {
                Frame::Next { next } => format!("<{}>", next.unwrap_or(0)),
                other => format!("<{other:?}>"),
            },
            Piece::Output(bytes) => crate::text::lossy(bytes),
            Piece::Unreadable(_) => "<unreadable>".to_string(),
        });
        (text.collect(), reader.swallowed)
    }

    fn frame(seq: u64, next: i64) -> String {
        key().frame(NONCE, seq, &format!(r#"{{"t":"next","next":{next}}}"#))
    }

    #[test]
    fn output_and_frames_are_told_apart_at_every_cut() {
        let stream = format!("before{}a\nb{}{}\n\nend\nwpcr1:", frame(0, 1), frame(1, 2), frame(2, 3));
        let expected = "before<1>a\nb<2><3>\n\nend\nwpcr1:";
        for cut in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            assert_eq!(read(&[head, tail]).0, expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes).0, expected);
    }

    #[test]
    fn a_frame_needs_its_mac_and_a_higher_number() {
        let forged = frame(1, 2).replace("\"next\":2", "\"next\":9");
        let (text, _) = read(&[frame(0, 1).as_bytes(), forged.as_bytes()]);
        assert!(text.starts_with("<1>\nwpcr1:") && text.contains("\"next\":9}"), "{text}");
        let (text, _) = read(&[frame(3, 1).as_bytes(), frame(3, 1).as_bytes()]);
        assert!(text.starts_with("<1>\nwpcr1:"), "a repeated frame is output: {text}");
        for number in [":+3:", ":03:"] {
            let rewritten = frame(3, 1).replace(":3:", number);
            assert_eq!(read(&[rewritten.as_bytes()]).0, rewritten);
        }
        let other = Key::from_hex(&"2f".repeat(32)).unwrap().frame(NONCE, 0, "{}");
        assert_eq!(read(&[other.as_bytes()]).0, other);
    }

    #[test]
    fn missing_numbers_are_counted() {
        assert_eq!(read(&[frame(0, 1).as_bytes(), frame(4, 2).as_bytes()]), ("<1><2>".to_string(), 3));
        assert_eq!(read(&[frame(7, 2).as_bytes()]).1, 7);
    }

    #[test]
    fn an_endless_line_is_never_kept() {
        let mut reader = FrameReader::new(key(), NONCE.to_string());
        let marker = key().marker(NONCE);
        let mut seen = reader.push(marker.as_bytes()).len();
        let block = vec![b'x'; 64 * 1024];
        for _ in 0..1600 {
            for piece in reader.push(&block) {
                let Piece::Output(bytes) = piece else { panic!("no frame was sent") };
                seen += bytes.len();
            }
            assert!(reader.line.capacity() <= 4 * LONGEST_FRAME && reader.output.capacity() <= 4 * LONGEST_FRAME);
        }
        assert_eq!(seen, 1600 * block.len() + marker.len());
    }

    #[test]
    fn the_longest_frame_is_one_wherever_it_is_cut() {
        let head = frame(0, 7).len() - "\n\n".len();
        let padded = |length: usize| {
            let padding = "x".repeat(length - head - r#","x":"""#.len());
            key().frame(NONCE, 0, &format!(r#"{{"t":"next","next":7,"x":"{padding}"}}"#))
        };
        for (length, is_frame) in [(LONGEST_FRAME - 1, true), (LONGEST_FRAME, true), (LONGEST_FRAME + 1, false)] {
            let stream = padded(length);
            assert_eq!(stream.trim_matches('\n').len(), length);
            for cut in [0, 1, length - 1, length, length + 1, length + 2] {
                let (head, tail) = stream.as_bytes().split_at(cut);
                let (text, _) = read(&[head, tail]);
                assert_eq!(text, if is_frame { "<7>" } else { &stream }, "{length} bytes, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_frame_of_a_later_version_is_told_from_garbage() {
        let unknown = key().frame(NONCE, 0, r#"{"t":"something new"}"#);
        assert_eq!(read(&[unknown.as_bytes()]).0, "<Unknown>");
        let garbage = key().frame(NONCE, 0, "[not json");
        assert_eq!(read(&[garbage.as_bytes()]).0, "<unreadable>");
    }

    /// What the reader has to find in a whole stream, said once more and simply: lines that PHP wrote, each with a higher
    /// number than the one before, are frames, with the line break in front of them; everything else is output.
    fn expected(stream: &[u8], genuine: &HashMap<Vec<u8>, u64>) -> (Vec<u64>, Vec<u8>) {
        let (mut frames, mut output, mut last) = (Vec::new(), Vec::new(), None);
        let lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
        let mut broken = false;
        for (at, line) in lines.iter().enumerate() {
            let ends = at + 1 < lines.len();
            match genuine.get(*line).filter(|seq| ends && last.is_none_or(|last| **seq > last)) {
                Some(seq) => {
                    last = Some(*seq);
                    frames.push(*seq);
                    broken = false;
                }
                None => {
                    output.extend(broken.then_some(b'\n'));
                    output.extend_from_slice(line);
                    broken = ends;
                }
            }
        }
        output.extend(broken.then_some(b'\n'));
        (frames, output)
    }

    /// Frames between all that a hook may print: text, halves of frames, frames of another key, number or request.
    fn stream(random: &mut Random) -> (Vec<u8>, HashMap<Vec<u8>, u64>) {
        let other_key = Key::from_hex(&"2f".repeat(32)).unwrap();
        let other_nonce = "fedcba9876543210fedcba9876543210";
        let marker = key().marker(NONCE);
        let (mut parts, mut genuine, mut seq) = (Vec::new(), HashMap::new(), 0);
        for _ in 0..random.within(1, 12) {
            seq += random.within(1, 20) / 18;
            let json = match random.within(0, 5) {
                0 => "[not json".to_string(),
                _ => format!(r#"{{"t":"next","next":{seq}}}"#),
            };
            let line = key().frame(NONCE, seq, &json);
            // Cut off behind its last byte, it may be completed by what follows.
            genuine.insert(line.trim_matches('\n').as_bytes().to_vec(), seq);
            let number = random.pick(&["+", "0", "-", " ", "9"]);
            parts.push(match random.within(0, 11) {
                0..=4 => {
                    seq += 1;
                    line
                }
                5 => line[..random.below(line.len())].to_string(),
                6 => other_key.frame(NONCE, seq, &json).replace(&other_key.marker(NONCE), &marker),
                7 => key().frame(other_nonce, seq, &json).replace(&key().marker(other_nonce), &marker),
                8 => line.replace(&marker, &format!("{marker}{number}")),
                9 => "printed\n".repeat(random.below(3)),
                10 => "\n".repeat(random.below(4)),
                _ => "no line break ".repeat(random.below(40)),
            });
        }
        for _ in 0..random.within(0, 3) {
            let (one, other) = (random.below(parts.len()), random.below(parts.len()));
            if random.one_in(2) { parts.swap(one, other) } else { parts.insert(one, parts[other].clone()) }
        }
        let mut bytes = parts.concat().into_bytes();
        if random.one_in(3) {
            random.damage(&mut bytes);
        }
        (bytes, genuine)
    }

    #[test]
    fn only_what_php_signed_is_a_frame_and_no_byte_is_lost_wherever_the_stream_is_cut() {
        let (mut frames, mut refused) = (0, 0);
        fuzz::each(6000, |random| {
            let (bytes, genuine) = stream(random);
            let (expected, printed) = expected(&bytes, &genuine);
            for _ in 0..3 {
                let mut reader = FrameReader::new(key(), NONCE.to_string());
                let (mut seqs, mut output) = (Vec::new(), Vec::new());
                let mut take = |pieces: Vec<Piece>| {
                    for piece in pieces {
                        match piece {
                            Piece::Frame(frame) => match *frame {
                                Frame::Next { next } => seqs.push(next.and_then(|next| u64::try_from(next).ok())),
                                other => panic!("{other:?}"),
                            },
                            Piece::Unreadable(_) => seqs.push(None),
                            Piece::Output(bytes) => output.extend(bytes),
                        }
                    }
                };
                for chunk in random.cut(&bytes) {
                    take(reader.push(chunk));
                    assert!(reader.output.is_empty() && reader.pieces.is_empty(), "something is kept back");
                }
                take(reader.finish());
                let shown = crate::text::lossy(&bytes);
                assert_eq!(crate::text::lossy(&output), crate::text::lossy(&printed), "{shown}");
                assert!(seqs.len() == expected.len(), "{seqs:?} {expected:?}\n{shown}");
                let differs = |(found, seq): (&Option<u64>, &u64)| found.is_some_and(|found| found != *seq);
                assert!(!seqs.iter().zip(&expected).any(differs), "{seqs:?} {expected:?}\n{shown}");
                let missing = expected.last().map_or(0, |last| last + 1 - expected.len() as u64);
                assert_eq!(reader.swallowed, missing, "{shown}");
            }
            frames += expected.len();
            let marked = bytes.windows(6).filter(|window| window == b"wpcr1:").count();
            refused += marked - expected.len().min(marked);
        });
        assert!(frames > 5000 && refused > 5000, "{frames} frames, {refused} forged, cut or repeated: too few to say");
    }
}
