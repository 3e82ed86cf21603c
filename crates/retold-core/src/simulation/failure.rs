//! Why a simulated run failed, and how to repeat it.

use std::fmt;

/// A run that failed: its seed, the reason, and the end of its trace.
#[derive(Clone, Debug)]
pub struct SimulationFailure {
    pub(crate) seed: u64,
    pub(crate) reason: String,
    /// The number of steps that were made.
    pub(crate) steps: u64,
    /// The last entries of the trace, one per line.
    pub(crate) trace: Vec<String>,
    /// The number of earlier lines that were dropped.
    pub(crate) dropped: u64,
}

impl SimulationFailure {
    /// Returns the seed that repeats the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the last entries of the trace, one per line.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }
}

impl fmt::Display for SimulationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, reason, .. } = self;
        writeln!(f, "the simulation failed at step {}: {reason}", self.steps)?;
        writeln!(f, "to repeat: RETOLD_SEED={seed}")?;
        if self.dropped > 0 {
            writeln!(f, "       … {} earlier lines", self.dropped)?;
        }
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SimulationFailure {}

/// Returns only the reason, for a check whose caller adds the seed and the trace.
impl From<SimulationFailure> for String {
    fn from(failure: SimulationFailure) -> Self {
        failure.reason
    }
}
