//! Slots: the instances that agree on the sequence of commands, identified by their keys.

/// Prefix of the keys of slots. Other keys must not have it.
pub const SLOT_PREFIX: &str = "slot-";

/// Returns the key of the instance that decides the command of a slot, from 1.
pub fn slot_key(slot: u64) -> String {
    format!("{SLOT_PREFIX}{slot}")
}

/// Returns the slot of the instance with this key, or `None` if it is not that of a slot.
pub fn slot_of(key: &str) -> Option<u64> {
    key.strip_prefix(SLOT_PREFIX)?.parse().ok()
}
