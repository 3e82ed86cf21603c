//! Why a stored event, which is compressed or encrypted, could not be opened.

use std::sync::Arc;

/// The reason why the content of a stored event could not be opened. The event is returned as it is
/// stored, and an attempt to decode it returns this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealFault {
    /// It is encrypted with a key that the program does not have.
    #[error(
        "it is encrypted with the key {key:?}, which this program does not have; add the key to \
         those that it reads with"
    )]
    KeyMissing {
        /// The id of the key.
        key: Arc<str>,
    },
    /// It does not open with its key.
    #[error(
        "it does not open with the key {key:?}: it was altered, cut or copied from another event, \
         or another key has this id; restore the event from a backup, or the right key"
    )]
    NotAuthentic {
        /// The id of the key.
        key: Arc<str>,
    },
    /// It cannot be decompressed.
    #[error("it cannot be decompressed: {reason}")]
    NotDecompressed {
        /// The reason.
        reason: Arc<str>,
    },
    /// It has data of subjects, and the program was not given the log of their keys.
    #[error(
        "it has data of subjects, and this program does not know their keys; give it the log of \
         the keys: `Protection::subject_keys`"
    )]
    SubjectKeysMissing,
    /// It is not encrypted, and the program reads only encrypted events there.
    #[error(
        "it is not encrypted, and this program has keys; if it was recorded before the log was \
         encrypted, let the program read it: `Protection::reading_plain_until`; otherwise it was \
         recorded by a program without the keys"
    )]
    NotEncrypted,
    /// Its form is not one that a program writes.
    #[error("it is damaged: {reason}")]
    Damaged {
        /// The reason.
        reason: Arc<str>,
    },
}

impl SealFault {
    /// Returns whether the stored event itself is wrong, so that no key opens it.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NotAuthentic { .. } | Self::NotEncrypted | Self::Damaged { .. } => true,
            Self::KeyMissing { .. } | Self::SubjectKeysMissing => false,
            Self::NotDecompressed { .. } => true,
        }
    }
}
