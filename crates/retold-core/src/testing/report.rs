//! The text of a failure: what was given, the decision, and expected and actual events side by
//! side.

use std::fmt::Write;

use super::shown_event::ShownEvent;

const MARK: &str = "> ";
const NO_MARK: &str = "  ";

/// Lists events by number, each with its content; `nothing` if there are none.
pub(super) fn listed(events: &[ShownEvent]) -> String {
    if events.is_empty() {
        return "      nothing\n".into();
    }
    let mut text = String::new();
    for (number, event) in (1..).zip(events) {
        let lines = event.lines();
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 {
                format!("{number}.")
            } else {
                String::new()
            };
            writeln!(text, "  {label:>3} {line}").expect("a string takes what is written");
        }
    }
    text
}

/// Puts blocks of lines side by side: the first of the left next to the first of the right, and so
/// on. Marks the first line that differs.
pub(super) fn side_by_side(expected: &[Vec<String>], actual: &[Vec<String>]) -> String {
    let width = expected
        .iter()
        .flatten()
        .map(|line| line.chars().count())
        .chain(["expected".len()])
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    let mut is_marked = false;
    let mut row = |label: &str, left: &str, right: &str, is_judged: bool| {
        let is_first = is_judged && left != right && !is_marked;
        is_marked |= is_first;
        let mark = if is_first { MARK } else { NO_MARK };
        let pad = width - left.chars().count();
        let line = format!("{mark}{label:>3} {left}{:pad$} | {right}", "");
        text.push_str(line.trim_end());
        if is_first {
            text.push_str("   <- the first difference");
        }
        text.push('\n');
    };
    row("", "expected", "actual", false);
    for index in 0..expected.len().max(actual.len()) {
        let left = block(expected, index);
        let right = block(actual, index);
        for line in 0..left.len().max(right.len()) {
            let label = if line == 0 {
                format!("{}.", index + 1)
            } else {
                String::new()
            };
            let text_of = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            row(&label, &text_of(&left), &text_of(&right), true);
        }
    }
    text
}

fn block(blocks: &[Vec<String>], index: usize) -> Vec<String> {
    blocks
        .get(index)
        .cloned()
        .unwrap_or_else(|| vec!["nothing".into()])
}

/// Returns the blocks of these events.
pub(super) fn blocks(events: &[ShownEvent]) -> Vec<Vec<String>> {
    events.iter().map(ShownEvent::lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_shown_side_by_side() {
        let block = |lines: &[&str]| lines.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let text = side_by_side(
            &[block(&["a", "b"]), block(&["c"])],
            &[block(&["a"]), block(&["d"]), block(&["e"])],
        );
        assert_eq!(
            text,
            "      expected | actual
   1. a        | a
>     b        |   <- the first difference
   2. c        | d
   3. nothing  | e
"
        );
    }
}
