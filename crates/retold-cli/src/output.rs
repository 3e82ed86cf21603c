//! The output of a command: records, as a table, as tab-separated lines or as JSON.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use crate::failure::Failure;
use crate::table::{self, Column, Layout};

/// Width of a terminal that does not tell its own, in characters.
const WIDTH_DEFAULT: u16 = 80;

/// Something that is printed: a row of cells for people, an object for programs.
pub(crate) trait Record: Serialize {
    /// The columns of its table.
    const COLUMNS: &'static [Column];

    /// Its cells, one for each column.
    fn cells(&self) -> Vec<String>;
}

/// Where records go, and in which form.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    form: Form,
    /// Of the table that is being printed.
    layout: Option<Layout>,
    is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One object per line.
    Json,
    /// A table of this width.
    Table(u16),
    /// Tab-separated values, nothing cut.
    Lines,
}

impl Output {
    /// The standard output: JSON if that is asked for, a table at a terminal, else lines.
    pub(crate) fn to_stdout(json: bool) -> Self {
        let stdout = io::stdout();
        let form = if json {
            Form::Json
        } else if stdout.is_terminal() {
            let size = terminal_size::terminal_size();
            Form::Table(size.map_or(WIDTH_DEFAULT, |(width, _)| width.0))
        } else {
            Form::Lines
        };
        Self {
            out: BufWriter::new(stdout),
            form,
            layout: None,
            is_cut: false,
        }
    }

    /// Whether it is read by programs.
    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Prints records below those of the same kind that were printed before, and shows them at once.
    pub(crate) fn records<R: Record>(&mut self, records: &[R]) -> Result<(), Failure> {
        match self.form {
            Form::Json => {
                for record in records {
                    self.object(record)?;
                }
            }
            Form::Table(width) => {
                let rows = records.iter().map(Record::cells).collect();
                let page = table::print(R::COLUMNS, rows, width, &mut self.layout);
                self.is_cut |= page.is_cut;
                self.out.write_all(page.text.as_bytes())?;
            }
            Form::Lines => {
                for record in records {
                    writeln!(self.out, "{}", record.cells().join("\t"))?;
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    /// Begins a new page: at a terminal what is shown is wiped, programs notice nothing.
    pub(crate) fn new_page(&mut self) -> Result<(), Failure> {
        self.new_table();
        match self.form {
            // Home, then erase what follows (ECMA-48).
            Form::Table(_) => write!(self.out, "\x1b[H\x1b[J")?,
            Form::Lines => writeln!(self.out)?,
            Form::Json => {}
        }
        Ok(())
    }

    /// Begins a new table.
    pub(crate) fn new_table(&mut self) {
        self.layout = None;
    }

    /// Prints an object on a line of its own.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, object).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints a line for people; nothing for programs.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        if !self.is_json() {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Shows what is not shown yet.
    pub(crate) fn show(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Shows what is not shown yet, and says if something was cut to fit.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        if self.is_cut {
            note("some cells are cut to fit (…); --json, or a pipe, shows all of them");
        }
        Ok(())
    }
}

/// A text as a cell, which is on one line and has no tabs.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|it: char| it.is_ascii_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Says something beside the output.
pub(crate) fn note(text: &str) {
    // Who does not read notes is not told that they cannot be written.
    let _ = writeln!(io::stderr(), "{text}");
}
