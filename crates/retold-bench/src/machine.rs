//! Facts about the machine, so that absolute figures can be judged: cores, and how fast its disk
//! syncs.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What a sync of the probe writes, in bytes: a page of a database.
const SYNC_SIZE: usize = 4096;

/// What the figures were measured on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Threads that run at once.
    pub(crate) cores: usize,
    /// Operating system and processor family.
    pub(crate) platform: String,
    /// Whether the compiler optimised; figures of other builds mean nothing.
    pub(crate) optimised: bool,
    /// Appends of 4 KiB to a file in the folder of the stores, each with `fdatasync`, per second.
    pub(crate) syncs_per_second: f64,
}

impl Machine {
    /// The facts, with the disk of `folder` probed for `budget`.
    ///
    /// # Errors
    ///
    /// What writing to the folder reports.
    pub(crate) fn probe(folder: &Path, budget: Duration) -> std::io::Result<Self> {
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            optimised: !cfg!(debug_assertions),
            syncs_per_second: syncs_per_second(folder, budget)?,
        })
    }
}

fn syncs_per_second(folder: &Path, budget: Duration) -> std::io::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut durations = Vec::new();
    let start = Instant::now();
    while start.elapsed() < budget || durations.is_empty() {
        let sync = Instant::now();
        file.write_all(&[0x5a; SYNC_SIZE])?;
        file.sync_data()?;
        durations.push(sync.elapsed());
    }
    durations.sort_unstable();
    Ok(1.0 / durations[durations.len() / 2].as_secs_f64())
}

/// The most memory this process ever had at once, in bytes; none where the system does not tell.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
