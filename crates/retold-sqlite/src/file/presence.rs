//! Whether the files at a path are still those that were opened.
//!
//! A process that has a file open keeps it when somebody removes, renames or replaces it: what it
//! commits then is in a file that no path leads to, and gone when the process ends. SQLite does not
//! look. So the store compares device and inode of the path with those of the file that it opened:
//! before and after each commit, when it opens a connection, and from time to time while it reads.
//! The write-ahead log counts as well, for what is committed is there until a checkpoint. Once a
//! difference was found, the store refuses everything until it is opened again.
//!
//! A file that is read without locks (see [`Access::Immutable`](super::connection::Access)) must
//! not change at all. There the size and the times of the file are compared too, before and after
//! each read.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use retold_core::recording::RecordError;

use crate::error::Refusal;
use crate::options::POLL_INTERVAL;

/// Which file a path leads to. Where the system has no inodes it lets nobody remove or rename a
/// file that is open, so that a file which is there is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FileId {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Self {
        Self {}
    }
}

/// What changes of a file when somebody writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt;
                (metadata.ctime(), metadata.ctime_nsec())
            },
        }
    }
}

/// What was opened.
#[derive(Debug)]
struct Opened {
    file: FileId,
    /// Beside the file; none if it was not there.
    wal: Option<FileId>,
    wal_path: PathBuf,
    /// Of a file that is read without locks.
    stamp: Option<Stamp>,
}

/// The files at a path, and whether they are those that were opened.
#[derive(Debug)]
pub(crate) struct Presence {
    path: PathBuf,
    opened: OnceLock<Opened>,
    /// Why the files are not those that were opened; for ever, once it is known.
    lost: OnceLock<Refusal>,
    began: Instant,
    /// When it was looked last, in microseconds after `began`.
    looked_micros: AtomicU64,
}

/// A look at the file before it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before(Option<(FileId, Stamp)>);

impl Presence {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            opened: OnceLock::new(),
            lost: OnceLock::new(),
            began: Instant::now(),
            looked_micros: AtomicU64::new(0),
        }
    }

    /// Looks at the file before it is opened.
    pub(crate) fn before_opening(&self) -> Before {
        let found = fs::metadata(&self.path);
        Before(
            found
                .ok()
                .map(|found| (FileId::of(&found), Stamp::of(&found))),
        )
    }

    /// Takes note of what was opened: the file that was there before, and what is at `wal` now.
    ///
    /// # Errors
    ///
    /// `Unavailable` if another file is there now; of a file that is read without locks, also if
    /// somebody has written to it.
    pub(crate) fn learn(
        &self,
        Before(before): Before,
        wal_path: PathBuf,
        is_immutable: bool,
    ) -> Result<(), RecordError> {
        // The first connection of a store says which file is meant.
        if let Some((file, stamp)) = before {
            self.opened.get_or_init(|| Opened {
                file,
                wal: fs::metadata(&wal_path).ok().map(|found| FileId::of(&found)),
                wal_path,
                stamp: is_immutable.then_some(stamp),
            });
        }
        self.check()
    }

    /// Looks whether the files are those that were opened.
    ///
    /// # Errors
    ///
    /// `Unavailable` if they are not, and from then on at each call; or if that cannot be told.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        if self.lost.get().is_none() {
            let found = self.find_loss();
            let found = found.map_err(|error| {
                RecordError::unavailable(self.path.display().to_string(), error)
            })?;
            let Some(loss) = found else {
                let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.looked_micros.store(micros, Ordering::Relaxed);
                return Ok(());
            };
            tracing::error!(path = %self.path.display(), "{loss}");
            self.lost.get_or_init(|| loss);
        }
        match self.lost.get() {
            Some(lost) => Err(RecordError::unavailable(
                self.path.display().to_string(),
                lost.clone(),
            )),
            None => Ok(()),
        }
    }

    /// The same, if the last look was some time ago.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub(crate) fn check_now_and_then(&self) -> Result<(), RecordError> {
        let looked = Duration::from_micros(self.looked_micros.load(Ordering::Relaxed));
        let is_recent = self.began.elapsed().saturating_sub(looked) < POLL_INTERVAL;
        if is_recent && self.lost.get().is_none() {
            return Ok(());
        }
        self.check()
    }

    fn find_loss(&self) -> io::Result<Option<Refusal>> {
        let Some(opened) = self.opened.get() else {
            return Ok(None);
        };
        let Some(found) = there(&self.path)? else {
            return Ok(Some(Refusal::FileGone));
        };
        if FileId::of(&found) != opened.file {
            return Ok(Some(Refusal::FileReplaced));
        }
        if let Some(stamp) = opened.stamp {
            let is_written = Stamp::of(&found) != stamp || there(&opened.wal_path)?.is_some();
            return Ok(is_written.then_some(Refusal::FileChanged));
        }
        if let Some(wal) = opened.wal {
            let found = there(&opened.wal_path)?;
            if found.map(|found| FileId::of(&found)) != Some(wal) {
                return Ok(Some(Refusal::WalReplaced));
            }
        }
        Ok(None)
    }
}

/// What is at a path, if anything is.
fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
