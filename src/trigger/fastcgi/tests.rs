//! Records that are damaged, cut off and cut up at random. Peers that misbehave in one way each are in `trigger/tests.rs`.

use std::time::Duration;

use super::super::{Answer, Item, Source};
use super::*;
use crate::fuzz::{self, Random};
use crate::protocol::Frame;
use crate::protocol::frames::FrameReader;
use crate::protocol::signature::Key;

const LONGEST_RECORD: usize = 8 + 65_535 + 255;
const NONCE: &str = "0123456789abcdef0123456789abcdef";

fn key() -> Key {
    Key::from_hex(&"1f".repeat(32)).unwrap()
}

fn stream(connection: Option<Connection>) -> Stream {
    Stream { connection, buffer: Vec::new(), head: Some(Vec::new()), pending: None, seen_record: false, is_near: true }
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    head: Option<Head>,
    body: Vec<u8>,
    stderr: Vec<u8>,
    end: Option<EndOfStream>,
}

impl Seen {
    fn take(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Head(head) => {
                assert!(self.head.is_none() && self.body.is_empty(), "a second head, or one after the body");
                self.head = Some(head);
            }
            Chunk::Body(bytes) => {
                assert!(self.head.is_some() && !bytes.is_empty(), "a body without a head");
                self.body.extend(bytes);
            }
            Chunk::Stderr(bytes) => self.stderr.extend(bytes),
            Chunk::End(end) => self.end = Some(without_quote(end)),
        }
    }
}

/// What is quoted of a stranger's words is as much as had come.
fn without_quote(end: EndOfStream) -> EndOfStream {
    match end {
        EndOfStream::Nothing(Failure::Misconfigured(why)) => {
            EndOfStream::Nothing(Failure::Misconfigured(why.split('"').next().unwrap().to_string()))
        }
        other => other,
    }
}

/// As [`Stream::next`] does, with `pieces` for what each read of the connection gives.
fn read(pieces: &[&[u8]]) -> Seen {
    let (mut stream, mut seen) = (stream(None), Seen::default());
    for piece in pieces {
        stream.buffer.extend_from_slice(piece);
        while let Some(chunk) = stream.pending.take().or_else(|| stream.next_record()) {
            seen.take(chunk);
            if seen.end.is_some() {
                return seen;
            }
        }
        assert!(stream.buffer.len() < LONGEST_RECORD, "a whole record is kept");
        assert!(stream.head.as_ref().is_none_or(|head| head.len() <= LONGEST_HEAD), "an endless head is kept");
    }
    seen.take(stream.end(EndOfStream::Eof { death_proven: true }));
    seen
}

/// What whole records there are up to the end of the request: the bytes of stdout and of stderr, and whether it ended.
fn expected(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((&[1, kind @ 1..=11, _, _, high, low, padding, _], rest)) = bytes.split_first_chunk::<8>() {
        let length = usize::from(high) * 256 + usize::from(low);
        let Some(content) = rest.get(..length).filter(|_| rest.len() >= length + usize::from(padding)) else { break };
        match kind {
            END_REQUEST => return (stdout, stderr, true),
            STDOUT => stdout.extend(content),
            STDERR => stderr.extend(content),
            _ => {}
        }
        bytes = &rest[length + usize::from(padding)..];
    }
    (stdout, stderr, false)
}

fn padded(message: &mut Vec<u8>, kind: u8, content: &[u8], padding: u8) {
    let start = message.len();
    record(message, kind, content);
    message[start + 6] = padding;
    message.extend(vec![0xaa; usize::from(padding)]);
}

/// An answer as php-fpm gives it: text of a hook and frames, in records of any length, words on stderr between them.
fn whole_answer(random: &mut Random) -> Vec<u8> {
    let status = random.pick(&["200 OK", "200 OK", "200 OK", "404 Not Found", "503 Busy"]);
    let mut text = format!("Status: {status}\r\nContent-Type: application/x-wp-cron-runner\r\n\r\n");
    for seq in 0..random.within(0, 5) {
        text += *random.pick::<&str>(&["", "printed", "\n\nmore\n", "wpcr1:"]);
        text += &key().frame(NONCE, seq, &format!(r#"{{"t":"next","next":{seq}}}"#));
    }
    let mut message = Vec::new();
    for piece in random.cut(text.as_bytes()) {
        if random.one_in(5) {
            padded(&mut message, STDERR, b"PHP Warning:  words\n", 0);
        }
        let padding = if random.one_in(12) { random.byte() } else { random.byte() % 8 };
        padded(&mut message, STDOUT, piece, padding);
    }
    padded(&mut message, STDOUT, &[], 0);
    record(&mut message, END_REQUEST, &[0; 8]);
    message
}

/// Another version, another kind, another length; or anything.
fn break_records(random: &mut Random, message: &mut Vec<u8>) {
    let mut starts = vec![0];
    while let Some(at) = starts.last().copied().filter(|at| at + 8 < message.len()) {
        let length = usize::from(message[at + 4]) * 256 + usize::from(message[at + 5]);
        starts.push(at + 8 + length + usize::from(message[at + 6]));
    }
    let at = *random.pick(&starts);
    match random.within(0, 7) {
        _ if at + 8 > message.len() => message.truncate(message.len() - 3),
        0 => message[at] = random.byte(),
        1 => message[at + 1] = random.byte() % 14,
        2 => message[at + 4] = random.byte(),
        3 => message[at + 5] = random.byte(),
        4 => message[at + 6] = random.byte(),
        5 => message.truncate(message.len() - 16),
        6 => message.truncate(at),
        _ => random.damage(message),
    }
}

#[test]
fn damaged_records_end_the_same_wherever_they_are_cut_and_without_their_end_never_well() {
    let (mut ended, mut not_ended) = (0, 0);
    fuzz::each(3000, |random| {
        let mut message = whole_answer(random);
        if !random.one_in(4) {
            break_records(random, &mut message);
        }
        let seen = read(&[&message]);
        for _ in 0..3 {
            assert_eq!(read(&random.cut(&message)), seen, "{}", text::lossy(&message));
        }
        let (stdout, stderr, ends) = expected(&message);
        assert_eq!(seen.stderr, stderr);
        assert!(stdout.ends_with(&seen.body));
        assert!(seen.head.is_none() || ends || stdout[..stdout.len() - seen.body.len()].ends_with(b"\n"));
        let is_well = matches!(seen.end, Some(EndOfStream::EndRequest | EndOfStream::Nothing(Failure::QueueFull)));
        assert_eq!(is_well, ends, "{:?}: {}", seen.end, text::lossy(&message));
        // Whoever spoke FastCGI may have begun something.
        let is_nothing = matches!(seen.end, Some(EndOfStream::Nothing(Failure::Misconfigured(_))));
        assert!(!is_nothing || stdout.is_empty() && stderr.is_empty(), "{:?}: {}", seen.end, text::lossy(&message));
        if ends { ended += 1 } else { not_ended += 1 }
    });
    assert!(ended > 500 && not_ended > 500, "{ended} ended, {not_ended} did not: too few to say");
}

#[test]
fn an_answer_that_breaks_off_at_any_byte_has_no_end_of_its_own() {
    fuzz::each(5, |random| {
        let message = whole_answer(random);
        assert_eq!(read(&[&message]).end, Some(EndOfStream::EndRequest));
        for length in 0..message.len() {
            let end = read(&[&message[..length]]).end;
            assert_eq!(end, Some(EndOfStream::Eof { death_proven: true }), "cut off after {length} bytes");
        }
    });
}

/// The numbers of its frames, its output, its end.
async fn answer(pieces: Vec<Vec<u8>>) -> (Vec<i64>, Vec<u8>, EndOfStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writer = tokio::spawn(async move {
        for piece in pieces {
            // Whoever has read enough hangs up.
            if theirs.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let source = Source::FastCgi(stream(Some(Connection::Unix(ours))));
    let mut answer = Answer::new(NONCE.to_string(), 0, FrameReader::new(key(), NONCE.to_string()), Ok(source));
    let (mut frames, mut output) = (Vec::new(), Vec::new());
    loop {
        match answer.next().await {
            Item::Frame(frame) => match *frame {
                Frame::Next { next } => frames.push(next.unwrap()),
                other => panic!("{other:?}"),
            },
            Item::Output(bytes) => output.extend(bytes),
            Item::End(end) => {
                assert!(answer.stderr().len() <= 2048, "an endless stderr is kept");
                writer.await.unwrap();
                return (frames, output, without_quote(end));
            }
        }
    }
}

#[test]
fn what_an_answer_says_does_not_hang_on_how_it_came() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = |pieces: Vec<&[u8]>| {
        let pieces = pieces.into_iter().map(<[u8]>::to_vec).collect();
        let limited = async { tokio::time::timeout(Duration::from_secs(10), answer(pieces)).await.unwrap() };
        runtime.block_on(limited)
    };
    fuzz::each(250, |random| {
        let mut message = whole_answer(random);
        if random.one_in(2) {
            break_records(random, &mut message);
        }
        let whole = read(vec![&message]);
        assert!(whole.0.is_sorted_by(|a, b| a < b), "{:?}", whole.0);
        for _ in 0..2 {
            assert_eq!(read(random.cut(&message)), whole, "{}", text::lossy(&message));
        }
    });
}
