//! Rule 20: a read after a checkpoint returns a page only if the log has the event of the
//! checkpoint at that position.

use super::reading::{ExpectedPage, check_page, six_events};
use super::scene::{
    LOG, Scene, append_to, checkpoint, position, read, read_stream, record, version,
};
use super::subject::Subject;
use retold_core::recording::Checkpoint;
use retold_core::recording::Query;
use retold_core::recording::RecordError;
use retold_core::recording::{LogRead, Page, PageEnd, Recorder, StreamRead};

/// Rule 20. A read after a checkpoint returns a page only if the log has the event of the
/// checkpoint at that position.
pub async fn a_read_proves_its_place<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let nothing = log
        .read_log(LogRead::new().after_checkpoint(checkpoint(1, 1)))
        .await;
    check_diverged("of an empty log", nothing, (checkpoint(1, 1), None));
    let nothing =
        StreamRead::new("dog/1").after_checkpoint(Some(version(1)), Some(checkpoint(1, 1)));
    let nothing = log.read_stream(nothing).await;
    check_diverged("of an unknown stream", nothing, (checkpoint(1, 1), None));
    let unborn = scene
        .store
        .open_read_only("cats")
        .await
        .expect("the log opens");
    let nothing = unborn
        .read_log(LogRead::new().after_checkpoint(checkpoint(1, 1)))
        .await;
    check_unborn("of a log that does not exist", nothing);
    let nothing =
        StreamRead::new("dog/1").after_checkpoint(Some(version(1)), Some(checkpoint(1, 1)));
    let nothing = unborn.read_stream(nothing).await;
    check_unborn("of its streams", nothing);
    six_events(log).await;
    check_pages(log).await;
    check_stream_pages(log).await;
    // Through any handle, and for events recorded by another.
    let another = scene.another_handle().await;
    record(log, append_to("dog/1", [7])).await;
    let page = read(&*another, LogRead::new().after_checkpoint(checkpoint(7, 7))).await;
    check_page("another handle", &page, (&[], 7, PageEnd::Complete));
}

async fn check_pages(log: &dyn Recorder) {
    use PageEnd::{Complete, Full};
    let after = |at, number| LogRead::new().after_checkpoint(checkpoint(at, number));
    let tag = |at, number| LogRead::of(Query::tag("tag")).after_checkpoint(checkpoint(at, number));
    let rows: Vec<(LogRead, ExpectedPage<'_>)> = vec![
        (
            LogRead::new().after_checkpoint(None).limit(1),
            (&[1], 1, Full),
        ),
        (after(4, 4), (&[5, 6], 6, Complete)),
        (after(4, 4).limit(1), (&[5], 5, Full)),
        (after(6, 6), (&[], 6, Complete)),
        (after(2, 2).until(position(4)), (&[3, 4], 4, Complete)),
        (after(3, 3).until(position(3)), (&[], 3, Complete)),
        (after(3, 3).backward(), (&[2, 1], 6, Complete)),
        (tag(1, 1), (&[2, 5], 6, Complete)),
        (tag(5, 5), (&[], 6, Complete)),
        // A position without an id is not checked.
        (after(4, 9).after(position(4)), (&[5, 6], 6, Complete)),
    ];
    for (log_read, expected) in rows {
        let page = read(log, log_read.clone()).await;
        check_page(&format!("{log_read:?}"), &page, expected);
    }
    let four = Some(checkpoint(4, 4));
    let rows = [
        (after(4, 9), four),
        (after(4, 5), four),
        (after(4, 9).limit(1), four),
        (after(4, 9).until(position(4)), four),
        (after(4, 9).backward(), four),
        (tag(4, 9), four),
        (tag(6, 5), Some(checkpoint(6, 6))),
        (tag(4, 9).backward(), four),
        (after(7, 7), None),
        (tag(7, 7), None),
        (after(u64::MAX, 6), None),
        (after(1 << 63, 6).backward(), None),
    ];
    for (log_read, found) in rows {
        let expected = log_read
            .checkpoint()
            .expect("the read is after a checkpoint");
        let answer = log.read_log(log_read.clone()).await;
        check_diverged(&format!("{log_read:?}"), answer, (expected, found));
    }
}

async fn check_stream_pages(log: &dyn Recorder) {
    use PageEnd::{Complete, Full};
    let after = |number, at, event| {
        StreamRead::new("dog/1")
            .after_checkpoint(Some(version(number)), Some(checkpoint(at, event)))
    };
    let rows: Vec<(StreamRead, ExpectedPage<'_>)> = vec![
        (after(1, 1, 1), (&[3, 6], 6, Complete)),
        (after(1, 1, 1).limit(1), (&[3], 3, Full)),
        (after(3, 6, 6), (&[], 6, Complete)),
        (after(1, 1, 1).until(version(2)), (&[3], 3, Complete)),
        (after(2, 3, 3).backward(), (&[1], 6, Complete)),
        (after(1, 9, 9).after(version(1)), (&[3, 6], 6, Complete)),
    ];
    for (stream_read, expected) in rows {
        let page = read_stream(log, stream_read.clone()).await;
        check_page(&format!("{stream_read:?}"), &page, expected);
    }
    let rows = [
        (after(2, 3, 9), Some(checkpoint(3, 3))),
        (after(2, 2, 3), Some(checkpoint(3, 3))),
        (after(2, 3, 9).limit(1), Some(checkpoint(3, 3))),
        (after(2, 3, 9).backward(), Some(checkpoint(3, 3))),
        // The event is there, but not with this version.
        (after(2, 6, 6), Some(checkpoint(3, 3))),
        (after(3, 3, 3).until(version(3)), Some(checkpoint(6, 6))),
        (after(4, 6, 6), None),
        (after(u64::MAX, 6, 6), None),
    ];
    for (stream_read, found) in rows {
        let (_, expected) = stream_read
            .checkpoint()
            .expect("the read is after a checkpoint");
        let answer = log.read_stream(stream_read.clone()).await;
        check_diverged(&format!("{stream_read:?}"), answer, (expected, found));
    }
}

fn check_unborn(what: &str, answer: Result<Page, RecordError>) {
    let is_meant = matches!(&answer, Err(RecordError::Diverged { found: None, .. }));
    assert!(is_meant, "{what}: {answer:?}");
}

fn check_diverged(
    what: &str,
    answer: Result<Page, RecordError>,
    (expected, there): (Checkpoint, Option<Checkpoint>),
) {
    match answer {
        Err(RecordError::Diverged {
            log,
            checkpoint,
            found,
        }) => {
            assert_eq!((&*log, checkpoint, found), (LOG, expected, there), "{what}");
        }
        other => panic!("{what}: a read after a checkpoint that the log lacks returns {other:?}"),
    }
}
