//! A reading process: reads forward, page by page, as long as there are events, and counts
//! irregularities.

use std::io::BufRead;

use retold::recording::{EventId, LogRead, PageEnd, Position};
use tokio::sync::oneshot;

use super::lane::{LANES_PER_WRITER, SeenNumbers, lane_and_number};
use super::writing::open_log;
use crate::contender::Result;

/// Maximum length of a page. Short, so that pages end at arbitrary positions.
const PAGE_EVENTS_MAX: usize = 500;
/// The prime of FNV, which hashes the order of ids to one number.
const ORDER_FACTOR: u64 = 0x0100_0000_01b3;

/// The results of a reader.
#[derive(Debug, Default)]
struct Sight {
    last: u64,
    events: u64,
    skipped: u64,
    doubled: u64,
    order: u64,
    lanes: Vec<SeenNumbers>,
}

impl Sight {
    fn see(&mut self, position: Position, id: EventId) {
        let position = position.get();
        self.skipped += position.saturating_sub(self.last + 1);
        let (lane, number) = lane_and_number(id);
        let is_new = match self.lanes.get_mut(lane) {
            Some(seen) => seen.insert(number),
            None => false,
        };
        self.doubled += u64::from(!is_new || position <= self.last);
        self.last = self.last.max(position);
        self.events += 1;
        let bits = id.uuid().as_u128();
        let folded = (bits as u64) ^ ((bits >> 64) as u64);
        self.order = (self.order ^ folded).wrapping_mul(ORDER_FACTOR);
    }
}

/// Reads until the parent sends the end of the log, and prints the results.
///
/// The parent's line contains the last position, then the number of acknowledged events of each
/// lane.
pub(super) async fn read(url: &str, log: &str, writers: u32) -> Result<()> {
    let store = retold::open_store(url).await?;
    let recorder = open_log(&store, log).await?;
    println!("reading");
    let mut end = end_by_parent()?;
    let mut sight = Sight::default();
    let lanes = writers * LANES_PER_WRITER;
    sight
        .lanes
        .resize_with(lanes as usize, SeenNumbers::default);
    let (mut known, mut end_line): (u64, Option<Vec<u64>>) = (0, None);
    let mut read_to = None;
    loop {
        loop {
            // Pages of all sizes, the same in every run.
            let limit = 1 + (sight.events as usize * 31) % PAGE_EVENTS_MAX;
            let page = recorder
                .read_log(LogRead::new().after_checkpoint(read_to).limit(limit))
                .await?;
            read_to = page.read_to;
            for event in &page.events {
                sight.see(event.position(), event.id());
            }
            if page.end == PageEnd::Complete {
                break;
            }
        }
        if let Some(end_line) = &end_line
            && end_line.first().is_none_or(|last| sight.last >= *last)
        {
            break;
        }
        tokio::select! {
            count = recorder.changed_since(known) => known = count?,
            line = &mut end, if end_line.is_none() => end_line = Some(line?),
        }
    }
    let counts = end_line.unwrap_or_default();
    let acknowledged = counts.iter().skip(1);
    let missing = sight.lanes.iter().zip(acknowledged);
    let lost: u64 = missing.map(|(seen, count)| seen.missing_of(*count)).sum();
    let Sight {
        events,
        skipped,
        doubled,
        order,
        ..
    } = sight;
    println!("saw {events} {skipped} {doubled} {lost} {order}");
    Ok(())
}

/// The parent's line, once it arrives.
fn end_by_parent() -> Result<oneshot::Receiver<Vec<u64>>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let numbers = line.split_whitespace().map_while(|it| it.parse().ok());
        if read.is_ok_and(|length| length > 0) {
            // If this fails, the receiver is gone.
            drop(sender.send(numbers.collect()));
        }
    })?;
    Ok(receiver)
}
