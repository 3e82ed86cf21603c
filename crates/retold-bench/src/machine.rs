//! Facts about the machine that put absolute figures into perspective: the number of cores and the
//! sync rate of the disk.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Number of bytes per sync of the probe: a database page.
const SYNC_SIZE: usize = 4096;

/// The machine of the measurements.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Number of threads that run in parallel.
    pub(crate) cores: usize,
    /// Operating system and processor family.
    pub(crate) platform: String,
    /// Whether the compiler optimized; figures of other builds are meaningless.
    pub(crate) optimised: bool,
    /// Number of appends per second of 4 KiB to a file in the folder of the stores, each with
    /// `fdatasync`.
    pub(crate) syncs_per_second: f64,
}

impl Machine {
    /// Collects the facts, probing the disk of `folder` for `budget`.
    ///
    /// # Errors
    ///
    /// Errors of writing to the folder.
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

/// Returns the peak memory of this process in bytes, or `None` if the operating system does not
/// report it.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
