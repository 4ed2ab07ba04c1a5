//! This process, as /proc/self shows it also where nothing else of /proc is to be seen.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// What cannot be read is left out.
#[derive(Debug, Default)]
pub struct Process {
    pub cpu_seconds: f64,
    pub started_seconds: f64,
    pub resident_bytes: Option<u64>,
    pub open_files: Option<u64>,
    pub most_files: Option<u64>,
}

impl Process {
    #[allow(clippy::cast_precision_loss, reason = "times within centuries")]
    pub fn read(started_ms: i64) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let word = |file: &str, line: &str, at: usize| -> Option<u64> {
            let text = fs::read_to_string(file).ok()?;
            text.lines().find_map(|found| found.strip_prefix(line))?.split_whitespace().nth(at)?.parse().ok()
        };
        // One of them is the folder that is being read.
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1));
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            started_seconds: started_ms as f64 / 1000.0,
            resident_bytes: word("/proc/self/status", "VmRSS:", 0).map(|kilobytes| kilobytes * 1024),
            open_files: files.and_then(|files| u64::try_from(files).ok()),
            // Not asked of the kernel: the unit's filter of system calls may forbid that.
            most_files: word("/proc/self/limits", "Max open files", 0),
        }
    }
}
