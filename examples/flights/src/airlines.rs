//! Airlines: the names behind the carrier codes.

use std::collections::HashMap;

use crate::input::InputError;

const AIRLINES_CSV: &str = include_str!("../data/airlines.csv");

/// The names of the airlines that departed from New York City in 2013.
#[derive(Debug)]
pub struct Airlines(HashMap<String, String>);

impl Airlines {
    /// Reads the airlines that are built into the program.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the built-in file is damaged.
    pub fn built_in() -> Result<Self, InputError> {
        csv::Reader::from_reader(AIRLINES_CSV.as_bytes())
            .into_deserialize()
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|error| InputError::Damaged("airlines.csv".into(), error.into()))
    }

    /// Returns the name of the airline with this code, or the code itself if it is unknown.
    pub fn name<'a>(&'a self, carrier: &'a str) -> &'a str {
        self.0.get(carrier).map_or(carrier, String::as_str)
    }
}
