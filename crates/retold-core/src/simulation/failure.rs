//! Why a simulated run failed, and how to see it again.

use std::fmt;

/// A run that failed: under which seed, why, and what happened last.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(crate) seed: u64,
    pub(crate) reason: String,
    /// Steps that were made.
    pub(crate) steps: u64,
    /// What happened last, a line each.
    pub(crate) trace: Vec<String>,
    /// How many lines are left out before those.
    pub(crate) dropped: u64,
}

impl Failure {
    /// The seed that repeats it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is wrong.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What happened last, a line each.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, reason, .. } = self;
        writeln!(f, "the simulation failed at step {}: {reason}", self.steps)?;
        writeln!(f, "to repeat: RETOLD_SEED={seed}")?;
        if self.dropped > 0 {
            writeln!(f, "       … {} lines before", self.dropped)?;
        }
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The reason alone, for a check that hands it on: whoever prints it adds seed and trace.
impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.reason
    }
}
