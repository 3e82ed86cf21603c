//! Slots: the instances that agree on the sequence of commands, by their keys.

/// What the keys of slots begin with; other keys do not.
pub const SLOT_PREFIX: &str = "slot-";

/// Key of the instance that decides the command of a slot: 1, 2, 3 and so on.
pub fn slot_key(slot: u64) -> String {
    format!("{SLOT_PREFIX}{slot}")
}

/// The slot of the instance with this key; none if it is of no slot.
pub fn slot_of(key: &str) -> Option<u64> {
    key.strip_prefix(SLOT_PREFIX)?.parse().ok()
}
