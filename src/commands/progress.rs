//! A line on the terminal while something takes its time, gone before the answer is printed.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(1);

/// `what` is being done; nothing is shown within a second, or where stderr is no terminal.
pub async fn shown<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let done = CancellationToken::new();
    // A task of its own: some of the work waits in its thread.
    let line = tokio::spawn(count(what.to_string(), done.clone()));
    let result = work.await;
    done.cancel();
    let _ = line.await;
    result
}

async fn count(what: String, done: CancellationToken) {
    let mut seconds = 0_u64;
    while done.run_until_cancelled(tokio::time::sleep(PATIENCE)).await.is_some() {
        seconds += 1;
        write(&format!("\r{what}, {seconds} s\u{1b}[K"));
    }
    if seconds > 0 {
        write("\r\u{1b}[K");
    }
}

fn write(text: &str) {
    let mut out = std::io::stderr();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
