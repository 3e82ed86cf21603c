//! Compression with zstd (RFC 8878), with dictionaries for topics whose payloads are small.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use zstd::zstd_safe::{self, CCtx, CDict, DCtx, DDict};

use crate::recording::Invalid;

/// The name of this compression in encodings.
pub(super) const ZSTD: &str = "zstd";

/// Payloads below this size are not compressed by default. At level 1, JSON events of 256 bytes
/// shrink by about a quarter, smaller ones by less than the time is worth.
const SIZE_MIN_DEFAULT: usize = 256;

/// The default level: higher ones take several times as long for a few percent.
const LEVEL_DEFAULT: i32 = 1;

/// Maximum size of a dictionary, in bytes; zstd recommends about 100 KB.
pub const DICTIONARY_SIZE_MAX: usize = 1024 * 1024;

/// How payloads and snapshots are compressed. What does not become smaller is stored as it is.
#[derive(Clone)]
pub struct Compression {
    level: i32,
    size_min: usize,
    by_topic: HashMap<Arc<str>, Arc<Dictionary>>,
    by_id: HashMap<NonZeroU32, Arc<Dictionary>>,
}

struct Dictionary {
    id: NonZeroU32,
    writing: CDict<'static>,
    reading: DDict<'static>,
}

thread_local! {
    /// The working memory of zstd, which takes longer to create than an event takes to compress.
    static WRITING: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static READING: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

impl Compression {
    /// Compresses with zstd, without dictionaries.
    pub fn zstd() -> Self {
        Self {
            level: LEVEL_DEFAULT,
            size_min: SIZE_MIN_DEFAULT,
            by_topic: HashMap::new(),
            by_id: HashMap::new(),
        }
    }

    /// Sets the level; 1 by default. Call it before dictionaries are added.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for a level that zstd does not have.
    pub fn level(mut self, level: i32) -> Result<Self, Invalid> {
        let levels = zstd_safe::min_c_level()..=zstd_safe::max_c_level();
        if !levels.contains(&level) {
            return Err(Invalid::new(format!(
                "zstd has the levels {} to {}, not {level}",
                levels.start(),
                levels.end()
            )));
        }
        self.level = level;
        Ok(self)
    }

    /// Does not compress payloads below this size, in bytes, unless their topic has a dictionary;
    /// 256 by default.
    #[must_use]
    pub fn above(mut self, size_min: usize) -> Self {
        self.size_min = size_min;
        self
    }

    /// Compresses events of this topic with a dictionary, which [`train_dictionary`] makes from
    /// samples. Keep every dictionary that was ever used: add a former one with
    /// [`reading`](Self::reading).
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the bytes are not a dictionary, or another one has the same id.
    pub fn dictionary(
        mut self,
        topic: impl Into<Arc<str>>,
        dictionary: &[u8],
    ) -> Result<Self, Invalid> {
        let dictionary = self.added(dictionary)?;
        self.by_topic.insert(topic.into(), dictionary);
        Ok(self)
    }

    /// Reads what was compressed with this dictionary.
    ///
    /// # Errors
    ///
    /// As [`dictionary`](Self::dictionary).
    pub fn reading(mut self, dictionary: &[u8]) -> Result<Self, Invalid> {
        self.added(dictionary)?;
        Ok(self)
    }

    fn added(&mut self, bytes: &[u8]) -> Result<Arc<Dictionary>, Invalid> {
        let invalid = |what: &str| Invalid::new(format!("a dictionary {what}"));
        if bytes.len() > DICTIONARY_SIZE_MAX {
            return Err(invalid("is larger than 1 MiB"));
        }
        let not_one = || invalid("is not one that zstd trained, with an id");
        let id = zstd_safe::get_dict_id(bytes).ok_or_else(not_one)?;
        if self.by_id.contains_key(&id) {
            return Err(invalid(&format!("has the id {id} of another")));
        }
        let writing = CDict::try_create(bytes, self.level).ok_or_else(not_one)?;
        let reading = DDict::try_create(bytes).ok_or_else(not_one)?;
        let dictionary = Arc::new(Dictionary {
            id,
            writing,
            reading,
        });
        self.by_id.insert(id, Arc::clone(&dictionary));
        Ok(dictionary)
    }

    /// Returns the content compressed; none if it is too small or does not become smaller. `topic`
    /// is that of an event.
    pub(super) fn compress(&self, topic: Option<&str>, content: &[u8]) -> Option<Vec<u8>> {
        let dictionary = topic.and_then(|topic| self.by_topic.get(topic));
        if dictionary.is_none() && content.len() < self.size_min {
            return None;
        }
        let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
        WRITING
            .with_borrow_mut(|context| match dictionary {
                Some(it) => context.compress_using_cdict(&mut compressed, content, &it.writing),
                None => context.compress(&mut compressed, content, self.level),
            })
            .ok()?;
        (compressed.len() < content.len()).then_some(compressed)
    }

    /// Returns the content; at most `size_max` bytes, so that damaged or hostile bytes do not use
    /// up memory. `known` are dictionaries, if there are any.
    pub(super) fn decompress(
        known: Option<&Self>,
        compressed: &[u8],
        size_max: usize,
    ) -> Result<Vec<u8>, String> {
        let size = match zstd_safe::get_frame_content_size(compressed) {
            Ok(Some(size)) => size,
            Ok(None) => return Err("it does not state its size".into()),
            Err(_) => return Err("it is not zstd".into()),
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= size_max);
        let size = size.ok_or_else(|| format!("it states a size above {size_max} bytes"))?;
        let dictionary = match zstd_safe::get_dict_id_from_frame(compressed) {
            None => None,
            Some(id) => {
                let found = known.and_then(|it| it.by_id.get(&id));
                let missing = || {
                    format!("it was compressed with the dictionary {id}, which this program lacks")
                };
                Some(found.ok_or_else(missing)?)
            }
        };
        let mut content = Vec::with_capacity(size);
        let done = READING.with_borrow_mut(|context| match dictionary {
            Some(it) => context.decompress_using_ddict(&mut content, compressed, &it.reading),
            None => context.decompress(&mut content, compressed),
        });
        match done {
            Ok(_) if content.len() == size => Ok(content),
            Ok(_) => Err("its size is not the one that it states".into()),
            Err(code) => Err(zstd_safe::get_error_name(code).into()),
        }
    }
}

/// Makes a dictionary of at most this size from samples of payloads: many small ones that resemble
/// those to come. About 100 times the size of the dictionary is a good amount of samples.
///
/// The dictionary has pieces of the samples in the clear, and every program that reads needs it:
/// use samples without personal data.
///
/// # Errors
///
/// [`Invalid`] if there are too few samples, or the size is above [`DICTIONARY_SIZE_MAX`].
pub fn train_dictionary<S: AsRef<[u8]>>(
    samples: &[S],
    size_max: usize,
) -> Result<Vec<u8>, Invalid> {
    if size_max > DICTIONARY_SIZE_MAX {
        return Err(Invalid::new("a dictionary has at most 1 MiB".into()));
    }
    zstd::dict::from_samples(samples, size_max).map_err(|error| {
        Invalid::new(format!(
            "no dictionary can be made from these samples: {error}; give more of them"
        ))
    })
}

impl fmt::Debug for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dictionaries: Vec<_> = self.by_id.keys().collect();
        dictionaries.sort_unstable();
        let topics = self.by_topic.iter().map(|(topic, it)| (topic, it.id));
        f.debug_struct("Compression")
            .field("level", &self.level)
            .field("size_min", &self.size_min)
            .field("by_topic", &topics.collect::<HashMap<_, _>>())
            .field("dictionaries", &dictionaries)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(size: usize) -> Vec<u8> {
        let line = |number: usize| format!("{{\"number\":{number},\"name\":\"Fido\"}}");
        let text: String = (0..size / 20 + 1).map(line).collect();
        text.as_bytes()[..size].to_vec()
    }

    fn back(known: Option<&Compression>, compressed: &[u8]) -> Result<Vec<u8>, String> {
        Compression::decompress(known, compressed, 1 << 20)
    }

    #[test]
    fn only_what_becomes_smaller_is_compressed() {
        let compression = Compression::zstd();
        assert_eq!(compression.compress(None, &text(255)), None);
        let compressed = compression.compress(None, &text(2_000)).unwrap();
        assert_eq!(back(None, &compressed).unwrap(), text(2_000));
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..2_000).map(|_| random.u8(..)).collect();
        assert_eq!(compression.compress(None, &noise), None);
        assert!(Compression::zstd().level(1_000).is_err());
    }

    #[test]
    fn dictionaries_are_found_by_their_ids() {
        let sample = |number: u32| format!("{{\"customer\":\"c-{number}\",\"amount\":{number}}}");
        let samples: Vec<_> = (0..5_000).map(sample).collect();
        let dictionary = train_dictionary(&samples, 4_096).unwrap();
        let with = Compression::zstd().dictionary("Paid", &dictionary).unwrap();
        let small = sample(77_777);
        let compressed = with.compress(Some("Paid"), small.as_bytes()).unwrap();
        assert_eq!(with.compress(Some("Other"), small.as_bytes()), None);
        assert_eq!(back(Some(&with), &compressed).unwrap(), small.as_bytes());
        let reader = Compression::zstd().reading(&dictionary).unwrap();
        assert_eq!(back(Some(&reader), &compressed).unwrap(), small.as_bytes());
        let error = back(Some(&Compression::zstd()), &compressed).unwrap_err();
        assert!(error.contains("dictionary"), "{error}");
        assert!(Compression::zstd().reading(b"no dictionary").is_err());
        assert!(with.reading(&dictionary).is_err());
        assert!(train_dictionary(&["a"], 4_096).is_err());
    }

    #[test]
    fn a_bomb_is_an_error() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 10_000);
        let error = back(None, &bomb).unwrap_err();
        assert!(error.contains("above 1048576 bytes"), "{error}");
        // A frame that does not state its size, as streams write it: one block of one byte.
        let unknown = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 9, 0, 0, b'a'];
        let error = back(None, &unknown).unwrap_err();
        assert!(error.contains("state its size"), "{error}");
        // Frames that follow state more than the first.
        let small = zstd::bulk::compress(&[0; 10], 1).unwrap();
        let twice = [small.clone(), bomb].concat();
        assert!(back(None, &twice).is_err());
        let twice = [small.clone(), small].concat();
        assert!(back(None, &twice).is_err());
    }

    /// Any bytes are content or an error.
    #[test]
    fn no_bytes_make_decompressing_panic() {
        let good = Compression::zstd().compress(None, &text(1_000)).unwrap();
        for at in 0..good.len() {
            assert!(back(None, &good[..at]).is_err());
            for bit in 0..8 {
                let mut altered = good.clone();
                altered[at] ^= 1 << bit;
                let _ = back(None, &altered);
            }
        }
        assert!(back(None, b"").is_err());
    }
}
