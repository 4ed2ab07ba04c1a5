//! A PHP process of this host that somebody else has started (a php-fpm worker), ended by the runner where PHP itself may not.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// As long as PHP itself gives it.
const TERM_PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// Which process a number means: the plugin says the same of its own (process.php).
#[derive(Debug, Clone, Copy)]
pub struct Worker<'a> {
    pub host: &'a str,
    pub pid: i64,
    pub start: &'a str,
}

impl Worker<'_> {
    /// TERM, two seconds, KILL.
    ///
    /// # Errors
    /// Why it still lives, for a person.
    pub async fn end(self) -> Result<(), String> {
        let number = i32::try_from(self.pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
        let Some(pid) = number.filter(|_| self.is_here()) else {
            return Err(format!(
                "process {} of {} is not to be seen by this runner",
                self.pid,
                crate::text::safe(self.host)
            ));
        };
        for (signal, patience) in [(Signal::TERM, TERM_PATIENCE), (Signal::KILL, KILL_PATIENCE)] {
            if let Err(error) = kill_process(pid, signal) {
                return if self.is_here() {
                    Err(format!("this runner may not signal process {}: {error}", self.pid))
                } else {
                    Ok(())
                };
            }
            let until = tokio::time::Instant::now() + patience;
            while tokio::time::Instant::now() < until {
                if !self.is_here() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Err(format!("process {} does not die", self.pid))
    }

    /// Where /proc hides it (ProtectProc=invisible), that there is a process of this number has to do: the caller has just heard
    /// that its lock is held, so it lives, and its number is nobody else's.
    fn is_here(self) -> bool {
        let host = rustix::system::uname();
        let mut then = self.start.split(':');
        let (Some(boot), Some(namespace), Some(ticks)) = (then.next(), then.next(), then.next()) else { return false };
        let is_of_here = host.nodename().to_bytes() == self.host.as_bytes()
            && boot_id().is_none_or(|here| here == boot || boot == "-")
            && pid_namespace().as_deref() == Some(namespace);
        is_of_here
            && match start_of(self.pid) {
                Some(start) => start == ticks,
                None => self.exists(),
            }
    }

    fn exists(self) -> bool {
        let number = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        number.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
}

/// None where it is hidden: ProcSubset=pid.
fn boot_id() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    boot.get(..8).map(str::to_string)
}

fn pid_namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().chars().filter(char::is_ascii_digit).collect())
}

/// In clock ticks since boot (proc(5), /proc/PID/stat field 22).
fn start_of(pid: i64) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may contain anything; fields are counted behind its end.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn host() -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn sleeper() -> (Child, i64) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i64::from(child.id());
        (child, pid)
    }

    #[tokio::test]
    async fn the_process_that_is_meant_is_ended_and_no_other_of_its_number() {
        let (mut child, pid) = sleeper();
        let start = format!("{}:{}:{}", boot_id().unwrap(), pid_namespace().unwrap(), start_of(pid).unwrap());
        let host = host();
        let other = format!("{start}1");
        for wrong in [
            Worker { host: &host, pid, start: &other },
            Worker { host: &host, pid, start: "" },
            Worker { host: &host, pid, start: &format!("0{start}") },
            Worker { host: "web-2", pid, start: &start },
            Worker { host: &host, pid: 1, start: &start },
            Worker { host: &host, pid: -pid, start: &start },
        ] {
            wrong.end().await.unwrap_err();
        }
        assert!(child.try_wait().unwrap().is_none(), "nobody was ended");
        // Our own child stays a zombie until it is waited for, so somebody has to.
        let waiter = std::thread::spawn(move || child.wait());
        Worker { host: &host, pid, start: &start }.end().await.unwrap();
        waiter.join().unwrap().unwrap();
    }
}
