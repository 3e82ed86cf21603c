//! The report of the demonstration: sections that are printed one after the other, or collected
//! into one object for programs.
//!
//! Each section is data with its sentences ([`Report`]). The sections of one process are in
//! [`sections`], those of a cluster in [`of_cluster`].

pub(super) mod of_cluster;
mod punctuality;
pub(super) mod sections;

use serde_json::{Map, Value};

use crate::failure::CommandFailure;
use crate::output::{Output, Report};

/// Width of the lines, in characters: that of a terminal that was never widened.
const WIDTH: usize = 80;

/// Returns how the program was called, so that commands in the report can be copied.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "retold".into())
}

/// Prints sections.
pub(super) struct DemoReport<'a> {
    output: &'a mut Output,
    object: Map<String, Value>,
}

impl<'a> DemoReport<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        Self {
            output,
            object: Map::new(),
        }
    }

    /// Prints a section, or adds its fields to the object for programs.
    pub(super) fn show(&mut self, section: &impl Report) -> Result<(), CommandFailure> {
        if !self.output.is_json() {
            self.output.report(section)?;
            return self.output.show();
        }
        let fields = serde_json::to_value(section);
        let fields = fields.map_err(|error| CommandFailure::Failed(error.to_string()))?;
        if let Value::Object(fields) = fields {
            self.object.extend(fields);
        }
        Ok(())
    }

    /// Prints the object for programs.
    pub(super) fn finish(self) -> Result<(), CommandFailure> {
        match self.output.is_json() {
            true => self.output.object(&self.object),
            false => Ok(()),
        }
    }
}

/// Breaks a sentence into lines that fit.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".into()));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_and_indented() {
        let text = ["word"; 20].join(" ");
        let first = ["word"; 16].join(" ");
        let second = format!("  {}", ["word"; 4].join(" "));
        assert_eq!(wrapped(&text), [first, second]);
        assert_eq!(wrapped("short"), ["short"]);
    }
}
