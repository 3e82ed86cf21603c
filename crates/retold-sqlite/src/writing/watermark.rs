//! Records how many appends each log has had, in a separate file next to the store's:
//! `PATH-watermark`.
//!
//! The last commits are only in the write-ahead log. If that is removed while no program has the
//! file open, or cut off by damage, the file is a valid one of an earlier time, and nothing in it
//! shows the loss. The watermark does: an opening and a verification compare it with the file. The
//! keeper writes it, at most every [`WAL_LOOK_INTERVAL`](crate::limits::WAL_LOOK_INTERVAL) and
//! when appends pause, without a sync, so an append pays nothing for it; it cannot detect losses of
//! the last moments before a crash.
//!
//! The file has lines of text: `log ID COUNT`; for losses that an opening found,
//! `missing ID COUNT FOUND`, which stays until the file is removed; at the end `sum HEX`, a
//! checksum of the earlier lines. A file that does not match its checksum is ignored, because it
//! could report false losses or hide real ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use retold_core::recording::{Corrupt, LogId, RecordError, checksum};
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::watcher::Logs;
use crate::error::before_commit;
use crate::file::head;
use crate::file::seq::LogKey;

/// Further lines are not read: every log has one, and there are few losses.
const LINES_MAX: usize = 100_000;

/// The content of the file.
#[derive(Debug, Default, PartialEq, Eq)]
struct WatermarkContent {
    counts: BTreeMap<LogId, u64>,
    /// For each log that lost appends: how many it had had, and how many were found.
    missing: BTreeMap<LogId, (u64, u64)>,
}

impl WatermarkContent {
    /// Reads the file. The content is empty if there is no file, or it is damaged or unreadable.
    fn read(path: &Path) -> Self {
        let mut content = Self::default();
        let Ok(bytes) = fs::read(path) else {
            return content;
        };
        let Some(text) = checked(&bytes) else {
            let path = path.display();
            tracing::warn!(%path, "the watermark of a store is damaged, and is restarted");
            return content;
        };
        for line in text.lines().take(LINES_MAX) {
            let words: Vec<&str> = line.split(' ').collect();
            let parsed = |id: &str, count: &str| {
                let id = Uuid::parse_str(id).ok()?;
                Some((LogId::new(id), count.parse().ok()?))
            };
            match words[..] {
                ["log", id, count] => content.counts.extend(parsed(id, count)),
                ["missing", id, count, found] => {
                    let (had, found) = (parsed(id, count), found.parse());
                    if let (Some((id, had)), Ok(found)) = (had, found) {
                        content.missing.insert(id, (had, found));
                    }
                }
                _ => {}
            }
        }
        content
    }

    /// Replaces the file.
    fn write(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut text = String::new();
        for (id, count) in &self.counts {
            text.push_str(&format!("log {id} {count}\n"));
        }
        for (id, (had, found)) in &self.missing {
            text.push_str(&format!("missing {id} {had} {found}\n"));
        }
        text.push_str(&sum_line(&text));
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", Uuid::now_v7().simple()));
        let new = PathBuf::from(name);
        let mut make = File::options();
        make.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            make.mode(mode);
        }
        let written = make
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            // It may not exist at all.
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// The last line of a file with this text before it.
fn sum_line(text: &str) -> String {
    format!("sum {:016x}\n", checksum::of_pieces([text.as_bytes()]))
}

/// Returns the lines before the last one, if that is their checksum.
fn checked(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let (lines, sum) = text.split_at_checked(text.rfind("sum ")?)?;
    (sum == sum_line(lines)).then_some(lines)
}

/// The file, for its writer.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    mode: u32,
    logs: Arc<Logs>,
    written: BTreeMap<LogId, u64>,
}

impl Watermark {
    pub(crate) fn new(path: PathBuf, mode: u32, logs: Arc<Logs>) -> Self {
        Self {
            path,
            mode,
            logs,
            written: BTreeMap::new(),
        }
    }

    /// Records appends since the last call. Other processes do the same: the higher count stays.
    pub(crate) fn write(&mut self) {
        let counts = self.logs.append_counts();
        let is_known = |(id, count): &(LogId, u64)| self.written.get(id) >= Some(count);
        if counts.iter().all(is_known) {
            return;
        }
        self.written.extend(counts.iter().copied());
        let mut content = WatermarkContent::read(&self.path);
        for (id, count) in counts {
            let there = content.counts.entry(id).or_default();
            *there = (*there).max(count);
        }
        if let Err(error) = content.write(&self.path, self.mode) {
            tracing::debug!(%error, "the watermark of a store could not be written");
        }
    }
}

/// Reports what is missing in the file according to its watermark.
///
/// # Errors
///
/// `Unavailable`, `Corrupt` if the file cannot be read.
pub(crate) fn find_missing(conn: &Connection, path: &Path) -> Result<Vec<Corrupt>, RecordError> {
    let content = WatermarkContent::read(path);
    let missing = missing_now(conn, &content)
        .map_err(|error| before_commit("comparing with the watermark", error))?;
    let earlier = content.missing.iter();
    let all: BTreeMap<_, _> = earlier.map(|(id, it)| (*id, *it)).chain(missing).collect();
    let findings = all.into_iter().map(|(id, (had, found))| {
        Corrupt::new(
            format!("the log with the id {id}"),
            format!(
                "{had} appends were acknowledged, and the file had {found} when it was opened: its \
                 write-ahead log was removed or damaged, or an older file was put in its place; {} \
                 keeps this finding until it is removed",
                path.display()
            ),
        )
    });
    Ok(findings.collect())
}

/// Records losses, so that they are still reported once the log has as many appends again.
pub(crate) fn keep_missing(conn: &Connection, path: &Path, mode: u32) {
    let mut content = WatermarkContent::read(path);
    let Ok(missing) = missing_now(conn, &content) else {
        return;
    };
    if missing.is_empty() {
        return;
    }
    for (id, (had, found)) in missing {
        content.missing.insert(id, (had, found));
        content.counts.insert(id, found);
    }
    if let Err(error) = content.write(path, mode) {
        tracing::warn!(%error, "the losses of a store could not be recorded");
    }
}

type Missing = Vec<(LogId, (u64, u64))>;

fn missing_now(conn: &Connection, content: &WatermarkContent) -> rusqlite::Result<Missing> {
    let mut missing = Vec::new();
    for (id, had) in &content.counts {
        let key = conn
            .prepare_cached("SELECT key FROM log WHERE id = ?1")?
            .query_row([id.uuid().as_bytes()], |row| row.get(0))
            .optional()?;
        let found = match key {
            Some(key) => head::read(conn, LogKey(key))?.append_count,
            None => 0,
        };
        if found < *had {
            missing.push((*id, (*had, found)));
        }
    }
    Ok(missing)
}
