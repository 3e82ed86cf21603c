//! What a node of the demonstration says to its parent: one line each.

use std::io::Write;

use crate::failure::Failure;

/// A line of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It takes itineraries.
    Ready,
    /// So many commands of this life were answered.
    Commands(u64),
    /// All of the itinerary of this number is recorded.
    Told(usize),
    /// Why an itinerary cannot be told.
    Failed(String),
    /// The view, at the end.
    View(String),
}

impl Word {
    /// Says it to the parent.
    pub(super) fn say(&self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Ready => writeln!(out, "ready")?,
            Self::Commands(count) => writeln!(out, "commands {count}")?,
            Self::Told(number) => writeln!(out, "told {number}")?,
            Self::Failed(reason) => writeln!(out, "failed {}", reason.replace('\n', " "))?,
            Self::View(view) => writeln!(out, "view {view}")?,
        }
        Ok(out.flush()?)
    }

    /// None for a line that is none of these.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "ready" => Some(Self::Ready),
            "commands" => rest.parse().ok().map(Self::Commands),
            "told" => rest.parse().ok().map(Self::Told),
            "failed" => Some(Self::Failed(rest.into())),
            "view" => Some(Self::View(rest.into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        for (line, word) in [
            ("ready", Word::Ready),
            ("commands 17", Word::Commands(17)),
            ("told 3", Word::Told(3)),
            ("failed it is no more", Word::Failed("it is no more".into())),
            ("view OnTime({})", Word::View("OnTime({})".into())),
        ] {
            assert_eq!(Word::parse(line), Some(word), "{line}");
        }
        assert_eq!(Word::parse("told"), None);
        assert_eq!(Word::parse("hello"), None);
    }
}
