//! Events that are no longer recorded, read as the events of another type: the code behind
//! `#[event(past(…))]`.

use serde::Deserializer;

use super::event::{Event, EventType};
use super::upcast::{Decoded, PastEvent, SplitInto, Upcasted};

/// Returns the types of an event that is no longer recorded and is read as others. `N` is their
/// number.
#[doc(hidden)]
pub const fn past_types<const N: usize>(types: &'static [EventType]) -> [EventType; N] {
    let mut past = [EventType::of::<()>(""); N];
    let mut index = 0;
    while index < N {
        past[index] = types[index].past();
        index += 1;
    }
    past
}

/// Reads the content of a past event `P`, and converts it to events of type `E`.
///
/// # Errors
///
/// Errors of the deserializer. The inner result is that of the conversion.
#[doc(hidden)]
pub fn read_past_as<'de, P: Event + SplitInto<E>, E, D: Deserializer<'de>>(
    type_index: usize,
    deserializer: D,
    past: &PastEvent<'_>,
) -> Result<Upcasted<E>, D::Error> {
    let is_converted = |it: &EventType| it.is_converted(past.revision());
    let read = match P::TYPES.get(type_index).is_some_and(is_converted) {
        true => P::read_past(type_index, deserializer, past)?,
        false => Ok(Decoded::One(P::deserialize_payload(
            type_index,
            deserializer,
        )?)),
    };
    Ok(read.and_then(|events| split_each(events, past)))
}

/// Returns what an erased past event `P` is read as, if its type declares it.
#[doc(hidden)]
pub fn erased_past_as<P: Event + SplitInto<E>, E>(
    type_index: usize,
    past: &PastEvent<'_>,
) -> Option<Upcasted<E>> {
    let erased = P::erased(type_index, past)?;
    Some(erased.and_then(|events| split_each(events, past)))
}

fn split_each<P: SplitInto<E>, E>(events: Decoded<P>, past: &PastEvent<'_>) -> Upcasted<E> {
    match events {
        Decoded::Nothing => Ok(Decoded::Nothing),
        Decoded::One(event) => event.split(past),
        Decoded::Several(events) => {
            let mut all = Vec::with_capacity(events.len());
            for event in events {
                all.extend(event.split(past)?);
            }
            Ok(Decoded::Several(all))
        }
    }
}
