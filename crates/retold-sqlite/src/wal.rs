//! The write-ahead log beside the file, as far as its size is concerned.

use std::fs;
use std::path::PathBuf;

use super::connection::Place;

/// Where it is, and how large it may be.
#[derive(Debug)]
pub(crate) struct Wal {
    path: PathBuf,
    size_max: u64,
}

impl Wal {
    /// That of the file at `place`, which may have `size_max` bytes.
    pub(crate) fn new(place: &Place, size_max: u64) -> Self {
        Self {
            path: place.wal_path(),
            size_max,
        }
    }

    /// Whether it is to be emptied. One whose size cannot be told is left alone.
    pub(crate) fn is_too_large(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|wal| wal.len() > self.size_max)
    }
}
