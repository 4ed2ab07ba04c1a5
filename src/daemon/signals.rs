//! Signals: TERM and INT end, HUP loads the configuration anew. What is sent by mistake (USR1, USR2) ends nothing.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: [Signal; 2],
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    /// The first signal stops; a second one after the first second ends the process at once: `systemctl stop` and Ctrl-C may
    /// well send two in one go. Gives what to wait for: the stop, and the hang-ups.
    pub fn attend(self) -> (CancellationToken, Signal) {
        let Self { mut terminate, mut interrupt, hang_up, user: [mut user1, mut user2] } = self;
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            token.cancel();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("a second signal: ending at once; PHP goes on with what it runs");
            std::process::exit(0);
        });
        tokio::spawn(async move {
            loop {
                either(&mut user1, &mut user2).await;
                tracing::debug!("SIGUSR1 and SIGUSR2 mean nothing here; SIGHUP loads the configuration anew");
            }
        });
        (stop, hang_up)
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
