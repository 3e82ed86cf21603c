//! The token that a command answers with, and that a later request gives back to read what the command
//! wrote: a log by its name, and a position in it, as in `bookings:17`.

use std::fmt;
use std::str::FromStr;

use retold::recording::identity::Position;

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Name of the log.
    pub log: String,
    /// Position in it.
    pub position: Position,
}

/// A text that is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no token: send what a command answered in its header Retold-Position, as in bookings:17"
)]
pub struct NoToken(String);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log, self.position)
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let parsed = text.rsplit_once(':').and_then(|(log, position)| {
            let position = position.parse().ok().and_then(Position::new)?;
            let log = log.to_owned();
            (!log.is_empty()).then_some(Self { log, position })
        });
        parsed.ok_or_else(|| NoToken(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token: Token = "bookings:17".parse().unwrap();
        assert_eq!(token.log, "bookings");
        assert_eq!(token.position.get(), 17);
        assert_eq!(token.to_string(), "bookings:17");
        for text in ["", "17", ":17", "bookings:", "bookings:0", "bookings:-1"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
