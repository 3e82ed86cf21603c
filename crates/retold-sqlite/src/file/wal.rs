//! The write-ahead log of the file: its size, and whether it is intact.

mod frames;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use retold_core::recording::Corrupt;

use self::frames::Tail;
use super::connection::FilePlace;

/// How often a write-ahead log that looks damaged is read: another process may be writing to it.
const LOOKS: u32 = 3;
/// Pause between two reads.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Finds damage to the write-ahead log at this path: transactions in it that SQLite does not see
/// because the header or a frame before them is damaged. Frames that may be the rest of an
/// incomplete transaction are only logged, and so is a failure to read.
pub(crate) fn find_damage(path: &Path) -> Option<Corrupt> {
    let tail = match settled_tail(path) {
        Ok(tail) => tail?,
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "a write-ahead log could not be read");
            return None;
        }
    };
    let Tail {
        frame,
        frames,
        commits,
        is_damage,
    } = tail;
    let what = match frame {
        0 => "its header is not valid, and with it ".to_owned(),
        _ => format!("frame {frame} is not valid, and with it "),
    };
    let what = format!(
        "{what}{frames} frames of the same generation are left out, which end {commits} \
         transactions"
    );
    if is_damage {
        let what = format!(
            "{what}: it is damaged, and what was acknowledged with them is lost, unless it had \
             been copied into the file before"
        );
        return Some(Corrupt::new(path.display().to_string(), what));
    }
    if commits > 0 {
        tracing::warn!(
            path = %path.display(),
            "{what}: a torn end, of a transaction that was not completed when a process or the \
             power ended, or damage"
        );
    }
    None
}

/// Returns what follows the last valid frame, if that is stable.
fn settled_tail(path: &Path) -> io::Result<Option<Tail>> {
    let mut last = frames::tail(path)?;
    for _ in 1..LOOKS {
        if last.is_none_or(|tail| tail.commits == 0 && !tail.is_damage) {
            return Ok(None);
        }
        thread::sleep(LOOK_PAUSE);
        let next = frames::tail(path)?;
        if next != last {
            // Another process is writing: the end is not settled, or a later check will find it
            // settled.
            return Ok(None);
        }
        last = next;
    }
    Ok(last)
}

/// The path and the maximum size.
#[derive(Debug)]
pub(crate) struct Wal {
    path: PathBuf,
    size_max: u64,
}

impl Wal {
    /// The write-ahead log of the file at `place`, which may have `size_max` bytes.
    pub(crate) fn new(place: &FilePlace, size_max: u64) -> Self {
        Self {
            path: place.wal_path(),
            size_max,
        }
    }

    /// Whether it must be emptied. If the size cannot be determined, it is not emptied.
    pub(crate) fn is_too_large(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|wal| wal.len() > self.size_max)
    }
}
