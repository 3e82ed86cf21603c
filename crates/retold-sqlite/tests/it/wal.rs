//! Write-ahead logs that are damaged or missing: the loss of acknowledged appends is reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use retold_core::recording::{Append, Corrupt, Store};
use retold_sqlite::SqliteStore;

use crate::place::{Place, event, log};

const WAIT_MAX: Duration = Duration::from_secs(60);

fn sibling(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Returns the files of a store whose process was killed after these appends: the last ones are
/// only in the write-ahead log. Waits until the watermark has this number of appends.
async fn killed_after(appends: u128) -> Place {
    let living = Place::new();
    let recorder = log(&living.open(), "dogs").await;
    recorder.append(Append::of([event(1)])).await.unwrap();
    let other = rusqlite::Connection::open(living.path()).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    for id in 2..=appends {
        recorder.append(Append::of([event(id)])).await.unwrap();
    }
    let watermark = sibling(&living.path(), "-watermark");
    let count = format!(" {appends}\n");
    let begun = Instant::now();
    while !fs::read_to_string(&watermark).is_ok_and(|it| it.contains(&count)) {
        assert!(begun.elapsed() < WAIT_MAX, "the watermark is not written");
        tokio::task::yield_now().await;
    }
    let left = Place::new();
    for end in ["", "-wal", "-watermark"] {
        fs::copy(sibling(&living.path(), end), sibling(&left.path(), end)).unwrap();
    }
    left
}

/// The findings of an opening and a verification.
async fn findings(place: &Place) -> Vec<Corrupt> {
    let read_only = SqliteStore::open_read_only(place.path()).unwrap();
    let found = read_only.verify().await.unwrap();
    drop(read_only);
    let store = place.open();
    let again = store.verify().await.unwrap();
    assert_eq!(found.is_empty(), again.is_empty(), "{found:?} {again:?}");
    again
}

async fn append_count(place: &Place) -> u64 {
    log(&place.open(), "dogs")
        .await
        .head()
        .await
        .unwrap()
        .append_count
}

#[tokio::test]
async fn an_intact_write_ahead_log_is_not_reported() {
    let place = killed_after(5).await;
    assert_eq!(findings(&place).await, []);
    assert_eq!(append_count(&place).await, 5);
}

/// Sizes of the header of a write-ahead log, of a frame's header, and of a page.
const SIZES: (usize, usize, usize) = (32, 24, 4096);

/// Goal: a damaged frame that hides acknowledged appends is found. Method: flip a bit of the page,
/// of the salt, or of the checksum of the first frame.
#[tokio::test]
async fn a_damaged_write_ahead_log_is_reported() {
    let (header, frame, _) = SIZES;
    for at in [
        header + frame + 100,
        header + 9,
        header + 17,
        header + frame + 4095,
    ] {
        let place = killed_after(5).await;
        let wal = sibling(&place.path(), "-wal");
        let mut bytes = fs::read(&wal).unwrap();
        bytes[at] ^= 4;
        fs::write(&wal, bytes).unwrap();
        // Not by the watermark.
        fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
        let found = findings(&place).await;
        let reported = found
            .iter()
            .any(|it| it.what().contains("frame 1 is not valid"));
        assert!(reported, "{at}: {found:?}");
        assert_eq!(append_count(&place).await, 1);
    }
}

/// The last frame too, after which there is nothing: its page and its salt.
#[tokio::test]
async fn a_flipped_bit_in_the_last_frame_is_reported() {
    let (_, frame, page) = SIZES;
    for before_end in [page / 2, page + frame - 9] {
        let place = killed_after(5).await;
        let wal = sibling(&place.path(), "-wal");
        let mut bytes = fs::read(&wal).unwrap();
        let at = bytes.len() - before_end;
        bytes[at] ^= 64;
        fs::write(&wal, bytes).unwrap();
        fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
        let found = findings(&place).await;
        assert!(
            found.iter().any(|it| it.what().contains("is not valid")),
            "{before_end}: {found:?}"
        );
    }
}

/// Goal: a damaged header, with which SQLite reads nothing of the log, is reported. Method: flip a
/// bit of each of its fields, or overwrite all of it.
#[tokio::test]
async fn a_damaged_header_of_a_write_ahead_log_is_reported() {
    let (header, _, _) = SIZES;
    let damage = |bytes: &mut [u8], field: usize| match field {
        8 => bytes[..header].fill(0),
        9 => bytes[..header].fill(0xa5),
        _ => bytes[field * 4 + 2] ^= 16,
    };
    for field in 0..10 {
        let place = killed_after(5).await;
        let wal = sibling(&place.path(), "-wal");
        let mut bytes = fs::read(&wal).unwrap();
        damage(&mut bytes, field);
        fs::write(&wal, bytes).unwrap();
        // Not by the watermark.
        fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
        let found = findings(&place).await;
        let reported = found
            .iter()
            .any(|it| it.what().contains("its header is not valid"));
        assert!(reported, "{field}: {found:?}");
        assert_eq!(append_count(&place).await, 1, "{field}");
    }
}

/// Bytes that were never written are not damage: a file that was extended, or only its header.
#[tokio::test]
async fn blank_bytes_are_not_damage() {
    let (header, frame, page) = SIZES;
    let place = killed_after(5).await;
    let wal = sibling(&place.path(), "-wal");
    let whole = fs::read(&wal).unwrap();
    fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
    for kept in [0, header] {
        let mut bytes = whole[..kept].to_vec();
        bytes.resize(header + 5 * (frame + page), 0);
        fs::write(&wal, bytes).unwrap();
        assert_eq!(findings(&place).await, [], "{kept}");
    }
    let mut bytes = whole;
    bytes.resize(bytes.len() + 3 * (frame + page), 0);
    fs::write(&wal, bytes).unwrap();
    assert_eq!(findings(&place).await, []);
}

/// Goal: nothing is reported that a power cut may have cut off, whichever of the frames of the last
/// transaction reached the disk. Method: each of them in turn has its earlier content: blank, or of
/// an older generation.
#[tokio::test]
async fn a_frame_that_did_not_reach_the_disk_is_not_damage() {
    let (header, frame, page) = SIZES;
    let size = frame + page;
    let whole = fs::read(sibling(&killed_after(2).await.path(), "-wal")).unwrap();
    let frames = (whole.len() - header) / size;
    assert!(frames > 2, "the transaction has frames: {frames}");
    for lost in 0..frames {
        for old_salt in [0, 0x5a] {
            let place = killed_after(2).await;
            let wal = sibling(&place.path(), "-wal");
            let mut bytes = fs::read(&wal).unwrap();
            let start = header + lost * size;
            bytes[start..start + size].fill(old_salt);
            fs::write(&wal, bytes).unwrap();
            fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
            assert_eq!(findings(&place).await, [], "{lost} {old_salt}");
            assert_eq!(append_count(&place).await, 1);
        }
    }
}

/// Goal: a damaged watermark neither causes false reports nor prevents opening the store. Method:
/// flip a bit of each byte, and truncate it at every length.
#[tokio::test]
async fn a_damaged_watermark_reports_nothing() {
    let place = killed_after(5).await;
    let watermark = sibling(&place.path(), "-watermark");
    let whole = fs::read(&watermark).unwrap();
    let flipped = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    let cut = (0..whole.len()).map(|size| whole[..size].to_vec());
    for bytes in flipped.chain(cut) {
        fs::write(&watermark, &bytes).unwrap();
        let store = SqliteStore::open_read_only(place.path()).unwrap();
        let found = store.verify().await.unwrap();
        assert_eq!(found, [], "{}", String::from_utf8_lossy(&bytes));
    }
}

/// A transaction that was cut off is not damage: nothing of it was acknowledged.
#[tokio::test]
async fn a_truncated_end_is_not_damage() {
    let (header, frame, page) = SIZES;
    let place = killed_after(5).await;
    let wal = sibling(&place.path(), "-wal");
    let bytes = fs::read(&wal).unwrap();
    let frames = (bytes.len() - header) / (frame + page);
    // The commit is in the last frame of a transaction.
    let is_commit = |it: usize| bytes[header + it * (frame + page) + 4..][..4] != [0; 4];
    let first = (0..frames).find(|it| is_commit(*it)).unwrap() + 1;
    let torn = header + first * (frame + page) + 1000;
    let mut cut = bytes[..torn].to_vec();
    fs::write(&wal, &cut).unwrap();
    fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
    assert_eq!(findings(&place).await, []);
    assert_eq!(append_count(&place).await, 2);
    // A page that did not reach the disk, in a transaction whose other frames did.
    cut = bytes[..header + (first + 2) * (frame + page)].to_vec();
    let start = header + first * (frame + page) + frame;
    cut[start..start + page].fill(0);
    fs::write(&wal, &cut).unwrap();
    assert_eq!(findings(&place).await, []);
}

/// Goal: the loss of acknowledged appends with the write-ahead log is reported by every opening and
/// verification, even after the log has as many appends again.
#[tokio::test]
async fn a_write_ahead_log_that_was_deleted_is_reported() {
    let place = killed_after(5).await;
    fs::remove_file(sibling(&place.path(), "-wal")).unwrap();
    for _ in 0..2 {
        let found = findings(&place).await;
        let [finding] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(
            finding
                .what()
                .contains("5 appends were acknowledged, and the file had 1"),
            "{finding}"
        );
        let recorder = log(&place.open(), "dogs").await;
        for _ in 0..6 {
            let id = uuid::Uuid::now_v7().as_u128();
            recorder.append(Append::of([event(id)])).await.unwrap();
        }
    }
    fs::remove_file(sibling(&place.path(), "-watermark")).unwrap();
    assert_eq!(findings(&place).await, []);
}

/// A new file at the path of a removed one is not compared with the old watermark.
#[tokio::test]
async fn a_new_file_has_no_old_watermark() {
    let place = killed_after(5).await;
    for end in ["", "-wal"] {
        fs::remove_file(sibling(&place.path(), end)).unwrap();
    }
    drop(log(&place.open(), "dogs").await);
    assert_eq!(findings(&place).await, []);
}
