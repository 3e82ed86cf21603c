//! A step: one program that runs to its end at the workspace's root, with its output unchanged.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program to run, with a readable name.
pub(crate) struct Step {
    name: String,
    command: Command,
}

/// A step that failed, and the command that repeats it.
pub(crate) struct Failure {
    step: String,
    what: String,
    command: String,
}

impl Step {
    /// Calls the same cargo that runs this program.
    pub(crate) fn cargo(name: impl Into<String>, arguments: &[&str]) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(workspace_root());
        Self {
            name: name.into(),
            command,
        }
    }

    /// Adds arguments.
    pub(crate) fn arguments(mut self, arguments: &[String]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The step's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The command line as a person would type it.
    pub(crate) fn line(&self) -> String {
        let variables = self.command.get_envs().filter_map(|(name, value)| {
            let value = value?.to_string_lossy();
            Some(format!("{}={value:?}", name.to_string_lossy()))
        });
        let arguments = self
            .command
            .get_args()
            .map(|it| it.to_string_lossy().into());
        let words: Vec<String> = variables
            .chain(["cargo".to_owned()])
            .chain(arguments)
            .collect();
        words.join(" ")
    }

    /// Runs the program to its end.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let status = self.command.status();
        let what = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("failed ({status})"),
            Err(error) => format!("could not be started ({error})"),
        };
        Err(Failure {
            command: self.line(),
            step: self.name,
            what,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            what,
            command,
        } = self;
        write!(f, "{step} {what}; to see it again: {command}")
    }
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate is at crates/xtask")
        .to_owned()
}
