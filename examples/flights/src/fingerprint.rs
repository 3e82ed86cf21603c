//! The fingerprint of a log, to compare two readings of it.

use retold::application::LogReader;
use retold::recording::Checkpoint;
use sha2::{Digest, Sha256};

/// A summary of all events of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Number of events.
    pub count: u64,
    /// The last event; `None` if there are none.
    pub head: Option<Checkpoint>,
    /// SHA-256 of everything recorded about all events, in hexadecimal digits.
    pub hash: String,
}

impl Fingerprint {
    /// Reads all events of a log.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub async fn of(log: &LogReader) -> retold::Result<Self> {
        let mut count = 0;
        let mut head = None;
        let mut hash = Sha256::new();
        let mut events = log.stored().read().events();
        while let Some(event) = events.next().await? {
            count += 1;
            head = Some(event.checkpoint());
            hash.update(event.position().get().to_be_bytes());
            hash.update(event.id().to_string());
            let version = event.version().map_or(0, retold::recording::Version::get);
            hash.update(version.to_be_bytes());
            hash.update(event.time().as_micros().to_be_bytes());
            hash.update(event.recorded_at().as_micros().to_be_bytes());
            hash.update(event.revision().to_be_bytes());
            let texts = [
                event.stream().unwrap_or_default().as_bytes(),
                event.topic().as_bytes(),
                event.packed_tags(),
                event.encoding_text().as_bytes(),
                event.origin_text().as_bytes(),
                event.metadata_bytes(),
                event.payload().unwrap_or_default(),
            ];
            for text in texts {
                // Includes the length, so that no bytes can move from one text to the next
                // unnoticed.
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
        let digits = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            count,
            head,
            hash: digits,
        })
    }
}
