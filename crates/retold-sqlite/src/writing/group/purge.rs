//! Purging: rewrites the file, so that nothing is left in it of what is no longer part of it.
//!
//! Overwriting what is deleted (`secure_delete`) is not enough. When SQLite needs room in a page,
//! it moves rows within it or to other pages (`rebuildPage` in its `btree.c`). Copies of them stay
//! in the unused part of the page until other rows happen to need the place, so a row that is
//! erased later may have copies in several pages. `VACUUM` writes all pages again from the rows.
//! The former pages are then in the file until the write-ahead log is copied into it, and the log
//! has the former rows until it is truncated.

use std::time::Duration;

use retold_core::recording::{Corrupt, Purged, RecordError};
use rusqlite::{Error, ErrorCode};

use super::Writing;
use crate::error::is_busy;

impl Writing {
    /// Rewrites the file and empties the write-ahead log, and reports what was not possible because
    /// another connection used the file for longer than `patience`, the disk is full, or SQLite
    /// refuses it for another reason.
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
        let rewritten = self.waiting(patience, || self.conn.execute_batch("VACUUM"));
        let emptied = self.empty_wal(patience);
        self.presence.check()?;
        let mut purged = Purged::default();
        if let Err(error) = intact("rewriting the file", rewritten)? {
            purged = purged.remains(not_rewritten(&error, patience));
        }
        let reason = match intact("emptying the write-ahead log", emptied)? {
            Ok(true) => None,
            Ok(false) => Some(in_use(patience)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            return Ok(purged.remains(format!(
                "The write-ahead log could not be emptied ({reason}), so it and the file may \
                 contain erased data. Purge the store again when no read of it runs for long."
            )));
        }
        Ok(match self.presence.sync_wal() {
            Ok(()) => purged,
            Err(error) => purged.remains(format!(
                "The write-ahead log was emptied but not synced ({error}), so a power failure may \
                 bring its former content back. Purge the store again."
            )),
        })
    }
}

fn not_rewritten(error: &Error, patience: Duration) -> String {
    let (reason, remedy) = match is_busy(error) {
        true => (in_use(patience), "when no other program writes to it"),
        false => (
            error.to_string(),
            "when SQLite can do that: it needs the right to write, as much free space as the file \
             has, next to the file and in the folder for temporary files (SQLITE_TMPDIR), and \
             tables of other programs that it can copy without their functions",
        ),
    };
    format!(
        "The file could not be rewritten ({reason}), so unused parts of it may contain erased \
         data. Purge the store again {remedy}."
    )
}

fn in_use(patience: Duration) -> String {
    format!("other connections have been using it for {patience:?}")
}

/// Returns the result of something that is not possible in every intact file.
///
/// # Errors
///
/// `Corrupt` if the file is damaged.
fn intact<T>(what: &str, done: rusqlite::Result<T>) -> Result<Result<T, Error>, RecordError> {
    match done {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ) =>
        {
            Err(Corrupt::new(what, error.to_string()).into())
        }
        done => Ok(done),
    }
}
