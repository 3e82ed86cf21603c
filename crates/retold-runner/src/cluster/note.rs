//! Notes and findings: a node's messages to all processes about the last failure of a unit that it
//! holds, and about the unit's current problem.
//!
//! A finding is a lease that the node holds while the unit has the problem; the name of its holder
//! is the text. It ends with the node. A note is a lease with no time to live: no node ever holds
//! it, the name of its holder is the text, and it ended when the note was written, by the store's
//! clock. So there is at most one for each unit, however often it fails, and a store needs nothing
//! for it beyond its support for leases.

use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::health::{Finding, Trouble};
use retold_core::recording::Lease;
use retold_core::recording::limits::NAME_SIZE_MAX;

/// A note as read from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// When it was written, by the store's clock.
    pub(crate) at: Timestamp,
    /// The name of the node and its failure, on one line, cut if too long.
    pub(crate) text: Arc<str>,
}

impl Note {
    pub(crate) fn of(lease: &Lease) -> Self {
        Self {
            at: lease.ends_at,
            text: Arc::clone(&lease.holder),
        }
    }
}

/// Returns the text of a note, as the name of a lease's holder.
pub(crate) fn text(node: &str, failure: &str) -> String {
    cut(&format!("{node}: {failure}"))
}

/// Returns the text of a finding, as the name of a lease's holder.
pub(crate) fn text_of_finding(node: &str, finding: &Finding) -> String {
    cut(&format!(
        "{} on {node}: {}",
        finding.trouble, finding.reason
    ))
}

/// Returns the problem, and the node with the reason; `None` if no node wrote the text.
pub(crate) fn parse_finding(text: &str) -> Option<(Trouble, String)> {
    let (trouble, rest) = text.split_once(' ')?;
    Some((Trouble::parse(trouble)?, rest.to_owned()))
}

/// Returns the text without control characters, and with `…` at its end if it was cut.
pub(crate) fn cut(whole: &str) -> String {
    const CUT: char = '…';
    let mut text: String = whole
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    if text.len() > NAME_SIZE_MAX {
        let room = NAME_SIZE_MAX - CUT.len_utf8();
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_the_name_of_a_holder() {
        assert_eq!(text("one", "it\nbroke"), "one: it broke");
        let long = text("one", &"ü".repeat(NAME_SIZE_MAX));
        assert!(
            long.len() <= NAME_SIZE_MAX && long.ends_with("ü…"),
            "{long}"
        );
        retold_core::recording::limits::check_name("name", &long).unwrap();
    }

    #[test]
    fn a_finding_is_read_as_it_was_written() {
        let finding = Finding::new(
            retold_core::health::FindingKind::View,
            "placed",
            Trouble::Holding,
            "it\nholds",
        );
        let text = text_of_finding("eu/west 7", &finding);
        let expected = (Trouble::Holding, "on eu/west 7: it holds".to_owned());
        assert_eq!(parse_finding(&text), Some(expected));
        assert_eq!(parse_finding("one/67e55044"), None);
    }
}
