//! The result of a decision, and the assertions about it that all cases share.

use std::fmt::Debug;

use super::report::{blocks, listed, side_by_side};
use super::shown_event::ShownEvent;

/// The result of a decision, with everything that the message of a failing assertion needs.
#[derive(Debug)]
pub(super) struct DecisionOutcome<R> {
    pub(super) given: Vec<ShownEvent>,
    /// Further notes about the given events, one per line.
    pub(super) notes: Vec<String>,
    pub(super) when: String,
    pub(super) decided: Result<Vec<ShownEvent>, R>,
}

impl<R> DecisionOutcome<R> {
    #[track_caller]
    pub(super) fn fail(&self, what: &str, comparison: &str) -> ! {
        let given = listed(&self.given);
        let notes: String = self.notes.iter().map(|it| format!("  {it}\n")).collect();
        panic!(
            "{what}\n\ngiven\n{given}{notes}when\n      {}\n\n{comparison}",
            self.when
        )
    }

    #[track_caller]
    pub(super) fn check_events(&self, expected: &[ShownEvent])
    where
        R: Debug,
    {
        let (what, actual) = match &self.decided {
            Ok(decided) if decided == expected => return,
            Ok(decided) if expected.is_empty() => (
                "no events were expected, but some were decided",
                blocks(decided),
            ),
            Ok(decided) => (
                "other events were decided than expected",
                blocks_or_nothing(decided),
            ),
            Err(refusal) => (
                "the decision was refused, but it was expected to be accepted",
                vec![refused(refusal)],
            ),
        };
        self.fail(what, &side_by_side(&blocks_or_nothing(expected), &actual));
    }

    #[track_caller]
    pub(super) fn check_refused(&self, expected: &R)
    where
        R: PartialEq + Debug,
    {
        let (what, actual) = match &self.decided {
            Err(refusal) if refusal == expected => return,
            Err(refusal) => (
                "the decision was refused for another reason",
                vec![refused(refusal)],
            ),
            Ok(decided) => (
                "a refusal was expected, but the decision was accepted",
                blocks_or_nothing(decided),
            ),
        };
        self.fail(what, &side_by_side(&[refused(expected)], &actual));
    }
}

fn blocks_or_nothing(events: &[ShownEvent]) -> Vec<Vec<String>> {
    if events.is_empty() {
        return vec![vec!["nothing".into()]];
    }
    blocks(events)
}

fn refused(refusal: &impl Debug) -> Vec<String> {
    format!("refused: {refusal:#?}")
        .lines()
        .map(str::to_owned)
        .collect()
}
