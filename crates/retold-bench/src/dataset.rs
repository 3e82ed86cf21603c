//! The data that workloads write: events of 256 bytes, and the log of orders that reading workloads
//! use.
//!
//! Everything here is a function of an event's number. All stores and the bare driver therefore get
//! the same rows, and a workload knows which streams and tags exist.

use std::sync::Arc;

use bytes::Bytes;
use retold::recording::{EventId, NewEvent};
use uuid::Uuid;

/// Size of a payload, in bytes.
pub(crate) const PAYLOAD_SIZE: usize = 256;
/// Number of events per customer tag when the log is written.
pub(crate) const EVENTS_PER_CUSTOMER: u64 = 100;
/// The topic of one in [`RARE_ONE_IN`] events.
pub(crate) const RARE_TOPIC: &str = "Order.Audited";
/// Number of events per event of [`RARE_TOPIC`].
pub(crate) const RARE_ONE_IN: u64 = 1_000;
/// The topic of a tenth of the first half of the log, and of no event in the second half.
pub(crate) const EARLY_TOPIC: &str = "Order.Imported";

const REGION_COUNT: u64 = 50;
const COMMON_TOPICS: [&str; 8] = [
    "Order.Placed",
    "Order.LineAdded",
    "Order.LineRemoved",
    "Order.Paid",
    "Order.Packed",
    "Order.Shipped",
    "Order.Delivered",
    "Order.Closed",
];

/// The size of the log of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dataset {
    /// Number of events in the log.
    pub(crate) event_count: u64,
    /// Number of streams; each gets one event per round.
    pub(crate) stream_count: u64,
    /// Number of events per append.
    pub(crate) batch_size: u64,
}

impl Dataset {
    /// The full size: 100,000 streams of 10 events, each batch over 1,000 streams.
    pub(crate) const FULL: Self = Self {
        event_count: 1_000_000,
        stream_count: 100_000,
        batch_size: 1_000,
    };

    /// A small size, for a test.
    pub(crate) const QUICK: Self = Self {
        event_count: 2_000,
        stream_count: 200,
        batch_size: 100,
    };

    /// Returns the batches, each a list of the numbers of its events.
    pub(crate) fn batches(&self) -> impl Iterator<Item = std::ops::Range<u64>> + use<> {
        let Self {
            event_count,
            batch_size,
            ..
        } = *self;
        (0..event_count)
            .step_by(usize::try_from(batch_size).expect("a batch fits in memory"))
            .map(move |start| start..event_count.min(start + batch_size))
    }

    /// Creates the event of this number, with a new id.
    pub(crate) fn event(&self, number: u64) -> NewEvent {
        let id = EventId::new(Uuid::now_v7());
        NewEvent::new(id, self.topic(number), payload(number))
            .stream(stream_name(number % self.stream_count))
            .tag(customer_tag(scramble(number) % self.customer_count()))
            .tag(format!("region:{}", scramble(number) % REGION_COUNT))
    }

    /// Returns the number of customers.
    pub(crate) fn customer_count(&self) -> u64 {
        (self.event_count / EVENTS_PER_CUSTOMER).max(1)
    }

    fn topic(&self, number: u64) -> &'static str {
        if number.is_multiple_of(RARE_ONE_IN) {
            RARE_TOPIC
        } else if number < self.event_count / 2 && number % 10 == 1 {
            EARLY_TOPIC
        } else {
            COMMON_TOPICS[(scramble(number) % 8) as usize]
        }
    }
}

/// Returns the tag of the customer of this number.
pub(crate) fn customer_tag(customer: u64) -> Arc<str> {
    format!("customer:{customer}").into()
}

/// Creates an event of 256 bytes in this stream, without tags.
pub(crate) fn plain_event(number: u64, stream: impl Into<Arc<str>>) -> NewEvent {
    let id = EventId::new(Uuid::now_v7());
    NewEvent::new(id, COMMON_TOPICS[1], payload(number)).stream(stream)
}

/// Returns the name of the stream of this number. Names look like those of an application's streams
/// and are not ordered, so that writes are spread over the whole index of names.
pub(crate) fn stream_name(number: u64) -> Arc<str> {
    let uuid = Uuid::from_u64_pair(scramble(number), scramble(!number));
    format!("order/{uuid}").into()
}

/// Returns a JSON object of [`PAYLOAD_SIZE`] bytes.
fn payload(number: u64) -> Bytes {
    const HEAD: &[u8] = b"{\"text\":\"";
    const TAIL: &[u8] = b"\"}";
    let mut payload = Vec::with_capacity(PAYLOAD_SIZE);
    payload.extend_from_slice(HEAD);
    let mut letters = scramble(number);
    while payload.len() < PAYLOAD_SIZE - TAIL.len() {
        letters = letters.rotate_left(5).wrapping_add(number);
        payload.push(b'a' + (letters % 26) as u8);
    }
    payload.extend_from_slice(TAIL);
    payload.into()
}

/// Returns a pseudo-random number that depends only on its argument (the finalizer of SplitMix64,
/// Steele, Lea and Flood 2014).
pub(crate) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_of_the_stated_size() {
        let event = Dataset::QUICK.event(17);
        assert_eq!(event.size(), PAYLOAD_SIZE);
        assert_eq!(event.tags.len(), 2);
        let payload = event.payload.expect("the payload is not erased");
        assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
    }

    #[test]
    fn batches_cover_every_event_once() {
        let numbers: Vec<u64> = Dataset::QUICK.batches().flatten().collect();
        assert_eq!(numbers, (0..Dataset::QUICK.event_count).collect::<Vec<_>>());
    }
}
