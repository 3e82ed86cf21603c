//! The token in the response of a command. A later request sends it back to read what the command
//! wrote. It is the name of a log and a position in it, such as `bookings:17`.

use std::fmt;
use std::str::FromStr;

use retold::recording::Position;

/// A position in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Name of the log.
    pub log: String,
    /// Position in it.
    pub position: Position,
}

/// A text that is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a token: send the Retold-Position of a command's response, such as bookings:17"
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
    fn a_token_survives_a_round_trip() {
        let token: Token = "bookings:17".parse().unwrap();
        assert_eq!(token.log, "bookings");
        assert_eq!(token.position.get(), 17);
        assert_eq!(token.to_string(), "bookings:17");
        for text in ["", "17", ":17", "bookings:", "bookings:0", "bookings:-1"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
