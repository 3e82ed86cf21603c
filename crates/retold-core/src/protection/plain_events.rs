//! Which events a program reads although they are not encrypted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::recording::Position;

/// Which events a program that has keys reads although they are not encrypted.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainEvents {
    are_all_read: bool,
    /// The last position of each log that was not encrypted from its beginning.
    until: BTreeMap<Arc<str>, Position>,
}

impl PlainEvents {
    pub(super) fn read_all(&mut self) {
        self.are_all_read = true;
    }

    pub(super) fn read_until(&mut self, log: Arc<str>, position: Position) {
        self.until.insert(log, position);
    }

    /// Returns whether a plain event at this position is read.
    pub(super) fn is_read(&self, log: &str, position: Position) -> bool {
        self.are_all_read || self.until.get(log).is_some_and(|last| position <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_events_are_read_up_to_a_position_of_one_log() {
        let at = |number| Position::new(number).unwrap();
        let mut plain = PlainEvents::default();
        assert!(!plain.is_read("a", at(1)));
        plain.read_until("a".into(), at(2));
        assert!(plain.is_read("a", at(1)) && plain.is_read("a", at(2)));
        assert!(!plain.is_read("a", at(3)) && !plain.is_read("b", at(1)));
        plain.read_all();
        assert!(plain.is_read("b", at(9)));
    }
}
