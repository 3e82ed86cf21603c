//! The output of a command: a table, tab-separated lines or JSON, always made from the same data.
//!
//! A command hands over [`Record`]s, which are the rows of a table, or one [`Report`], which is
//! printed as sentences. Both serialize into the objects of `--json`.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use crate::failure::CommandFailure;
use crate::table::{self, Column, Layout};

/// Width of a terminal that does not report its own, in characters.
const WIDTH_DEFAULT: u16 = 80;

/// The heading of these options in the help.
const HEADING: &str = "Output";

/// The options that select the form of the output.
#[derive(Debug, clap::Args)]
pub(crate) struct Format {
    /// Print one JSON object per line
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        conflicts_with_all = ["wide", "header"]
    )]
    json: bool,

    /// At a terminal, show all columns and full times, and cut nothing
    #[arg(long, global = true, help_heading = HEADING)]
    wide: bool,

    /// In a pipe, print the names of the columns first
    #[arg(long, global = true, help_heading = HEADING)]
    header: bool,
}

/// A row of a table, and an object for programs.
pub(crate) trait Record: Serialize {
    /// The columns of the table.
    const COLUMNS: &'static [Column];

    /// The columns that a terminal shows without `--wide`.
    const COLUMNS_BRIEF: &'static [Column] = Self::COLUMNS;

    /// Returns one cell for each of [`COLUMNS`](Self::COLUMNS).
    fn cells(&self) -> Vec<String>;

    /// Returns one cell for each of [`COLUMNS_BRIEF`](Self::COLUMNS_BRIEF): by default those of
    /// [`COLUMNS`](Self::COLUMNS) with the same names.
    fn cells_brief(&self) -> Vec<String> {
        let is_brief = |name| Self::COLUMNS_BRIEF.iter().any(|it| it.name == name);
        let cells = Self::COLUMNS.iter().zip(self.cells());
        let brief = cells.filter(|(column, _)| is_brief(column.name));
        brief.map(|(_, cell)| cell).collect()
    }
}

/// The result of a command, as sentences and as one object for programs.
pub(crate) trait Report: Serialize {
    /// Returns the sentences, one per line.
    fn lines(&self) -> Vec<String>;
}

/// Writes records and reports in the form that the user selected.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    form: Form,
    /// The layout of the table that is being printed.
    layout: Option<Layout>,
    /// Whether the names of the columns of this table are printed.
    is_headed: bool,
    is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One object per line.
    Json,
    /// A table of this width.
    Table(u16),
    /// A table of all columns, as wide as its contents.
    WideTable,
    /// Tab-separated values.
    Lines { has_header: bool },
}

impl Output {
    /// Opens standard output.
    pub(crate) fn to_stdout(format: &Format) -> Self {
        let stdout = io::stdout();
        let form = match format {
            Format { json: true, .. } => Form::Json,
            _ if !stdout.is_terminal() => Form::Lines {
                has_header: format.header,
            },
            Format { wide: true, .. } => Form::WideTable,
            _ => {
                let size = terminal_size::terminal_size();
                Form::Table(size.map_or(WIDTH_DEFAULT, |(width, _)| width.0))
            }
        };
        Self {
            out: BufWriter::new(stdout),
            form,
            layout: None,
            is_headed: false,
            is_cut: false,
        }
    }

    /// Returns whether the output is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Prints records below those of the same kind that were printed before, and flushes.
    pub(crate) fn records<R: Record>(&mut self, records: &[R]) -> Result<(), CommandFailure> {
        match self.form {
            Form::Json => {
                for record in records {
                    self.object(record)?;
                }
            }
            Form::Table(width) => {
                let rows = records.iter().map(Record::cells_brief).collect();
                self.rows(R::COLUMNS_BRIEF, rows, width)?;
            }
            Form::WideTable => {
                let rows = records.iter().map(Record::cells).collect();
                self.rows(R::COLUMNS, rows, u16::MAX)?;
            }
            Form::Lines { has_header } => {
                if has_header && !self.is_headed {
                    let names: Vec<_> = R::COLUMNS.iter().map(|it| it.name).collect();
                    writeln!(self.out, "{}", names.join("\t"))?;
                }
                for record in records {
                    writeln!(self.out, "{}", record.cells().join("\t"))?;
                }
            }
        }
        self.is_headed = true;
        self.out.flush()?;
        Ok(())
    }

    fn rows(
        &mut self,
        columns: &[Column],
        rows: Vec<Vec<String>>,
        width: u16,
    ) -> Result<(), CommandFailure> {
        let page = table::print(columns, rows, width, &mut self.layout);
        self.is_cut |= page.is_cut;
        Ok(self.out.write_all(page.text.as_bytes())?)
    }

    /// Prints a report.
    pub(crate) fn report(&mut self, report: &impl Report) -> Result<(), CommandFailure> {
        if self.is_json() {
            return self.object(report);
        }
        report.lines().iter().try_for_each(|line| self.line(line))
    }

    /// Starts a new page: clears the screen at a terminal.
    pub(crate) fn new_page(&mut self) -> Result<(), CommandFailure> {
        self.new_table();
        match self.form {
            // Home, then erase what follows (ECMA-48).
            Form::Table(_) | Form::WideTable => write!(self.out, "\x1b[H\x1b[J")?,
            Form::Lines { .. } => writeln!(self.out)?,
            Form::Json => {}
        }
        Ok(())
    }

    /// Starts a new table.
    pub(crate) fn new_table(&mut self) {
        self.layout = None;
        self.is_headed = false;
    }

    /// Prints an object on a line of its own.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), CommandFailure> {
        serde_json::to_writer(&mut self.out, object).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints a line, except with `--json`.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), CommandFailure> {
        if !self.is_json() {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Flushes the output.
    pub(crate) fn show(&mut self) -> Result<(), CommandFailure> {
        Ok(self.out.flush()?)
    }

    /// Flushes the output, and adds a note if cells were cut.
    pub(crate) fn finish(&mut self) -> Result<(), CommandFailure> {
        self.out.flush()?;
        if self.is_cut {
            note("some cells are cut to fit (…); add --wide or --json to see everything");
        }
        Ok(())
    }
}

/// Returns a text on one line and without tabs, for a cell.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|it: char| it.is_ascii_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Returns a count with its noun, as in `1 process` and `3 processes`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{} {many}", grouped(count)),
    }
}

/// Returns a number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a note to standard error.
pub(crate) fn note(text: &str) {
    // A note is not worth failing for.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_count_has_its_noun() {
        assert_eq!(counted(1, "process", "processes"), "1 process");
        assert_eq!(counted(0, "process", "processes"), "0 processes");
        assert_eq!(counted(2_000, "event", "events"), "2,000 events");
    }
}
