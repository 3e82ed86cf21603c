//! The frames of a write-ahead log, as SQLite's file format lays them out
//! (<https://www.sqlite.org/fileformat2.html>, section 4): whether it contains transactions
//! that SQLite does not see.
//!
//! SQLite accepts a write-ahead log up to the last commit whose frames are all valid. The checksum
//! of a frame covers the frame and all earlier ones, and begins with that of the header. A damaged
//! frame silently ends the log: later commits are lost, although they are in the file. A damaged
//! header loses the whole log in the same way.
//!
//! Such damage leaves frames of the same generation (the salt of the header) after the last valid
//! one. But these have other causes, too. A transaction that was rolled back or cut off, by a power
//! cut or the end of the process, leaves frames, of which any may be missing, and later ones
//! overwrite their beginning. Therefore they count as damage only if nothing else explains them:
//!
//! - the frame that ends the log would be valid except for one word of 32 bits;
//! - or it is valid except for its salt, which the checksum does not cover;
//! - or two commits follow it: the second began when the first was complete;
//! - or the header is not valid, and a sequence of frames follows it in which each follows from the
//!   previous one. SQLite syncs the header before it writes a frame after it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

const HEADER_SIZE: usize = 32;
const FRAME_HEADER_SIZE: usize = 24;
/// The magic number; its last bit determines the byte order of checksums.
const MAGIC: u32 = 0x377f_0682;
const PAGE_SIZE_MIN: usize = 512;
const PAGE_SIZE_MAX: usize = 65_536;

/// The content after the last frame that SQLite accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The first frame that is not valid, counted from 1; 0 for the header.
    pub(crate) frame: u64,
    /// How many frames of the same generation begin there.
    pub(crate) frames: u64,
    /// How many of them end a transaction.
    pub(crate) commits: u64,
    /// Whether only damage can explain it.
    pub(crate) is_damage: bool,
}

/// A running checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    /// Whether the sum is that of bytes that were never written. Frames of zeros would be a valid
    /// sequence.
    fn is_blank(self) -> bool {
        self == Self(0, 0)
    }
}

struct Frames {
    is_big_endian: bool,
    salt: [u8; 8],
    frame: Vec<u8>,
}

/// Returns what follows the last valid frame, or `None` if no frame of this generation does or
/// there is no log.
///
/// # Errors
///
/// The operating system's error.
pub(crate) fn tail(path: &Path) -> io::Result<Option<Tail>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_SIZE];
    if !fills(&mut input, &mut header)? {
        return Ok(None);
    }
    let magic = word(&header, 0, true);
    let page_size = word(&header, 8, true) as usize;
    let is_possible = magic & !1 == MAGIC
        && page_size.is_power_of_two()
        && (PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(&page_size);
    let header_sum = stored(&header, 24);
    if !is_possible {
        return tail_of_damaged_header(&mut input, header_sum);
    }
    let mut salt = [0; 8];
    salt.copy_from_slice(&header[16..24]);
    let mut frames = Frames::new(magic & 1 == 1, page_size, salt);
    let mut sum = frames.sum(Sum(0, 0), &header[..24]);
    if sum != header_sum {
        return tail_of_damaged_header(&mut input, header_sum);
    }
    let mut number = 0;
    loop {
        number += 1;
        if !fills(&mut input, &mut frames.frame)? {
            return Ok(None);
        }
        let after = frames.sum_of_frame(sum);
        if !frames.is_of_generation() || after != frames.stored() {
            break;
        }
        sum = after;
    }
    frames.tail(&mut input, number, sum)
}

/// Returns what follows an invalid header, of which SQLite reads nothing: the frames of a
/// generation, if the first follows from the checksum of the header or the second from the first.
/// The page size and the byte order in the header may be damaged, so all are tried.
fn tail_of_damaged_header(
    input: &mut (impl Read + Seek),
    header_sum: Sum,
) -> io::Result<Option<Tail>> {
    let mut page_size = PAGE_SIZE_MIN;
    while page_size <= PAGE_SIZE_MAX {
        for is_big_endian in [false, true] {
            input.seek(SeekFrom::Start(HEADER_SIZE as u64))?;
            let mut frames = Frames::new(is_big_endian, page_size, [0; 8]);
            if !fills(input, &mut frames.frame)? {
                return Ok(None);
            }
            frames.salt.copy_from_slice(&frames.frame[8..16]);
            let mut sum = frames.stored();
            let mut tail = Tail {
                frame: 0,
                frames: 1,
                commits: u64::from(frames.is_commit()),
                is_damage: !sum.is_blank() && frames.sum_of_frame(header_sum) == sum,
            };
            while fills(input, &mut frames.frame)? && frames.is_of_generation() {
                let follows = !sum.is_blank() && frames.sum_of_frame(sum) == frames.stored();
                tail.is_damage |= follows;
                if !tail.is_damage {
                    break;
                }
                tail.frames += 1;
                tail.commits += u64::from(frames.is_commit());
                sum = frames.stored();
            }
            if tail.is_damage {
                return Ok(Some(tail));
            }
        }
        page_size *= 2;
    }
    Ok(None)
}

impl Frames {
    fn new(is_big_endian: bool, page_size: usize, salt: [u8; 8]) -> Self {
        Self {
            is_big_endian,
            salt,
            frame: vec![0; FRAME_HEADER_SIZE + page_size],
        }
    }

    /// Reads from the first invalid frame, the present one, to the end; `sum` is that of all
    /// earlier frames.
    fn tail(mut self, input: &mut impl Read, number: u64, sum: Sum) -> io::Result<Option<Tail>> {
        let is_damage = match self.is_of_generation() {
            true => self.is_valid_but_for_a_word(sum),
            // Valid except for the salt.
            false => self.sum_of_frame(sum) == self.stored(),
        };
        let is_counted = self.is_of_generation() || is_damage;
        let mut commits_in_row = u64::from(is_counted && self.is_commit());
        let mut tail = Tail {
            frame: number,
            frames: u64::from(is_counted),
            commits: commits_in_row,
            is_damage,
        };
        // Commits in a row are of frames that follow each other, as one program writes them.
        let mut sum = self.stored();
        while fills(input, &mut self.frame)? {
            if !self.is_of_generation() {
                break;
            }
            tail.frames += 1;
            let follows = self.sum_of_frame(sum) == self.stored();
            if !follows {
                commits_in_row = 0;
            }
            if self.is_commit() {
                tail.commits += 1;
                commits_in_row += 1;
            }
            tail.is_damage |= commits_in_row > 1;
            sum = self.stored();
        }
        Ok((tail.frames > 0).then_some(tail))
    }

    fn is_of_generation(&self) -> bool {
        self.frame[8..16] == self.salt
    }

    fn is_commit(&self) -> bool {
        word(&self.frame, 4, true) != 0
    }

    fn stored(&self) -> Sum {
        stored(&self.frame, 16)
    }

    fn sum_of_frame(&self, sum: Sum) -> Sum {
        let sum = self.sum(sum, &self.frame[..8]);
        self.sum(sum, &self.frame[FRAME_HEADER_SIZE..])
    }

    fn sum(&self, Sum(mut first, mut second): Sum, bytes: &[u8]) -> Sum {
        for pair in bytes.chunks_exact(8) {
            first = first
                .wrapping_add(word(pair, 0, self.is_big_endian))
                .wrapping_add(second);
            second = second
                .wrapping_add(word(pair, 4, self.is_big_endian))
                .wrapping_add(first);
        }
        Sum(first, second)
    }

    /// Whether one flipped bit or a damaged sum explains the difference, after frames of this sum.
    /// The sums are linear: a word that differs by `d` changes them by `d` times two numbers that
    /// depend only on its place; otherwise one of the stored sums differs.
    fn is_valid_but_for_a_word(&self, sum: Sum) -> bool {
        let (computed, stored) = (self.sum_of_frame(sum), self.stored());
        let change = Sum(
            stored.0.wrapping_sub(computed.0),
            stored.1.wrapping_sub(computed.1),
        );
        if change.0 == 0 || change.1 == 0 {
            return true;
        }
        // From the last word to the first: how an added 1 changes the sums at the end.
        let words = 2 + (self.frame.len() - FRAME_HEADER_SIZE) / 4;
        let (mut of_first, mut of_second) = (Sum(1, 1), Sum(0, 1));
        for index in 0..words {
            let effect = if index % 2 == 0 { of_second } else { of_first };
            // One bit, or any difference in a place where it can be determined.
            let is_one_bit = (0..32).any(|bit| {
                let plus = 1_u32 << bit;
                let scaled =
                    |by: u32| Sum(effect.0.wrapping_mul(by), effect.1.wrapping_mul(by)) == change;
                scaled(plus) || scaled(plus.wrapping_neg())
            });
            if is_one_bit {
                return true;
            }
            if index % 2 == 1 {
                // One pair further from the end.
                of_first = next(of_first);
                of_second = next(of_second);
            }
        }
        false
    }
}

/// Updates sums by one more pair of words that are 0.
fn next(Sum(first, second): Sum) -> Sum {
    let first = first.wrapping_add(second);
    Sum(first, second.wrapping_add(first))
}

fn stored(bytes: &[u8], at: usize) -> Sum {
    Sum(word(bytes, at, true), word(bytes, at + 4, true))
}

fn word(bytes: &[u8], at: usize, is_big_endian: bool) -> u32 {
    let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    match is_big_endian {
        true => u32::from_be_bytes(word),
        false => u32::from_le_bytes(word),
    }
}

/// Fills the buffer; returns whether there was enough data.
fn fills(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
