//! Purging: rewrites the file, so that nothing is left in it of what is no longer part of it.
//!
//! Overwriting what is deleted (`secure_delete`) is not enough. When SQLite needs room in a page,
//! it moves rows within it or to other pages (`rebuildPage` in its `btree.c`). Copies of them stay
//! in the unused part of the page until other rows happen to need the place, so a row that is
//! erased later may have copies in several pages. `VACUUM` writes all pages again from the rows.
//! The former pages are then in the file until the write-ahead log is copied into it, and the log
//! has the former rows until it is truncated.

use std::time::Duration;

use retold_core::recording::{Purged, RecordError};

use super::Writing;
use crate::error::before_commit;

impl Writing {
    /// Rewrites the file and empties the write-ahead log, and reports what was not possible because
    /// another connection used the file for longer than `patience`, or the disk is full.
    ///
    /// # Errors
    ///
    /// `Corrupt`; `Unavailable` if the file is not the one that was opened.
    pub(crate) fn purge(&mut self, patience: Duration) -> Result<Purged, RecordError> {
        self.presence.check()?;
        if !self.conn.is_autocommit() {
            // Left by a panic.
            self.roll_back();
        }
        self.known.forget();
        let mut purged = Purged::default();
        if let Some(error) = self.without_corruption("rewriting the file", |it| {
            it.conn.busy_timeout(patience)?;
            let rewritten = it.conn.execute_batch("VACUUM");
            it.conn.busy_timeout(Duration::ZERO)?;
            rewritten
        })? {
            purged = purged.remains(format!(
                "The file could not be rewritten ({error}), so unused parts of it may contain \
                 erased data. SQLite needs the right to write, and as much free space as the file \
                 has, next to the file and in the folder for temporary files (SQLITE_TMPDIR)."
            ));
        }
        let mut is_emptied = false;
        let failure = self.without_corruption("emptying the write-ahead log", |it| {
            is_emptied = it.empty_wal(patience)?;
            Ok(())
        })?;
        if !is_emptied {
            let reason = match failure {
                Some(error) => error.to_string(),
                None => format!("another connection has been using it for {patience:?}"),
            };
            purged = purged.remains(format!(
                "The write-ahead log could not be emptied ({reason}), so it and the file may \
                 contain erased data."
            ));
        }
        self.presence.check()?;
        Ok(purged)
    }

    /// Does something, and returns a failure that leaves the file intact.
    fn without_corruption(
        &mut self,
        what: &str,
        something: impl FnOnce(&mut Self) -> rusqlite::Result<()>,
    ) -> Result<Option<RecordError>, RecordError> {
        match something(self).map_err(|error| before_commit(what, error)) {
            Ok(()) => Ok(None),
            Err(error @ RecordError::Unavailable(_)) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }
}
