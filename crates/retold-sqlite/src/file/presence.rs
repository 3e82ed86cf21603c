//! Checks whether the files at a path are still those that were opened.
//!
//! A process that has a file open keeps it when the file is removed, renamed or replaced: later
//! commits then go into a file that no path leads to, and are lost when the process ends. SQLite
//! does not check this. Therefore the store compares device and inode of the path with those of the
//! file that it opened: before each group of appends, after each one that has written, when it
//! opens a connection, and from time to time while it reads. The write-ahead log is checked as
//! well, because it contains what is committed until a checkpoint. Once a difference was found, the
//! store refuses everything until it is reopened.
//!
//! A file that is read without locks (see [`Access::Immutable`](super::connection::Access)) must
//! not change at all. For such a file, size and times are compared too, before and after each read.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use retold_core::recording::RecordError;

use crate::error::Refusal;
use crate::limits::POLL_INTERVAL;

/// The identity of the file at a path. On systems without inodes, an open file cannot be removed or
/// renamed, so that any existing file counts as the same.
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

/// The properties of a file that change when it is written to.
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

/// The files that were opened.
#[derive(Debug)]
struct Opened {
    file: FileId,
    /// The write-ahead log; `None` if it did not exist.
    wal: Option<FileId>,
    wal_path: PathBuf,
    /// For a file that is read without locks.
    stamp: Option<Stamp>,
}

/// The files at a path, and whether they are those that were opened.
#[derive(Debug)]
pub(crate) struct FilePresence {
    path: PathBuf,
    opened: OnceLock<Opened>,
    /// Why the files are not those that were opened; permanent, once it is known.
    lost: OnceLock<Refusal>,
    began: Instant,
    /// When the files were last checked, in microseconds after `began`.
    looked_micros: AtomicU64,
}

/// The state of a file before it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileBefore(Option<(FileId, Stamp)>);

impl FilePresence {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            opened: OnceLock::new(),
            lost: OnceLock::new(),
            began: Instant::now(),
            looked_micros: AtomicU64::new(0),
        }
    }

    /// Reads the state of the file before it is opened.
    pub(crate) fn before_opening(&self) -> FileBefore {
        let found = fs::metadata(&self.path);
        FileBefore(
            found
                .ok()
                .map(|found| (FileId::of(&found), Stamp::of(&found))),
        )
    }

    /// Records which files were opened: the file that was there before, and the one that is at
    /// `wal` now.
    ///
    /// # Errors
    ///
    /// `Unavailable` if another file is there now or, for a file that is read without locks, if it
    /// was written to.
    pub(crate) fn learn(
        &self,
        FileBefore(before): FileBefore,
        wal_path: PathBuf,
        is_immutable: bool,
    ) -> Result<(), RecordError> {
        // The first connection of a store determines the file.
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

    /// Checks whether the files are those that were opened.
    ///
    /// # Errors
    ///
    /// `Unavailable` if they are not, and from then on at each call, or if this cannot be
    /// determined.
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

    /// Makes the present size and content of the write-ahead log durable.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn sync_wal(&self) -> io::Result<()> {
        match self.opened.get() {
            Some(opened) => fs::File::open(&opened.wal_path)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Does the same if the last check was some time ago.
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

/// Returns the identity of the file at a path, if there is one.
fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
