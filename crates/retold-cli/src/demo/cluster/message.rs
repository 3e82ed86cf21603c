//! The messages of a node to its parent process: one line each.

use std::io::Write;

use crate::failure::CommandFailure;

/// A message of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The node accepts itineraries.
    Ready,
    /// The number of commands that this process has done.
    Commands(u64),
    /// All commands of the itinerary with this number are recorded.
    Done(usize),
    /// Why the commands of an itinerary cannot be sent.
    Failed(String),
    /// The view, at the end.
    View(String),
}

impl Message {
    /// Sends it to the parent.
    pub(super) fn send(&self) -> Result<(), CommandFailure> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Ready => writeln!(out, "ready")?,
            Self::Commands(count) => writeln!(out, "commands {count}")?,
            Self::Done(number) => writeln!(out, "done {number}")?,
            Self::Failed(reason) => writeln!(out, "failed {}", reason.replace('\n', " "))?,
            Self::View(view) => writeln!(out, "view {view}")?,
        }
        Ok(out.flush()?)
    }

    /// Parses a line. Returns none for any other line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "ready" => Some(Self::Ready),
            "commands" => rest.parse().ok().map(Self::Commands),
            "done" => rest.parse().ok().map(Self::Done),
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
    fn lines_are_parsed() {
        for (line, message) in [
            ("ready", Message::Ready),
            ("commands 17", Message::Commands(17)),
            ("done 3", Message::Done(3)),
            (
                "failed it does not exist",
                Message::Failed("it does not exist".into()),
            ),
            ("view OnTime({})", Message::View("OnTime({})".into())),
        ] {
            assert_eq!(Message::parse(line), Some(message), "{line}");
        }
        assert_eq!(Message::parse("done"), None);
        assert_eq!(Message::parse("hello"), None);
    }
}
