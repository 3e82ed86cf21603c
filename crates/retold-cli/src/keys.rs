//! The keys with which the command line reads and writes protected logs.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use retold::protection::{
    KEYS_VARIABLE, KeyError, KeyRing, Protection, SubjectKeys, key_file_warning,
};
use retold::recording::Store;

use crate::failure::CommandFailure;
use crate::output::note;

/// The heading of these options in the help.
const HEADING: &str = "Encrypted logs";

/// Where the keys of encrypted logs are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeyArguments {
    /// Read keys from this file: on each line an id and 64 hexadecimal digits; the first key
    /// writes. Without it, keys are read from the environment variable RETOLD_KEYS, if it is set
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    key_file: Option<PathBuf>,
    /// The log of the keys of subjects, in the same store
    #[arg(
        long,
        global = true,
        value_name = "LOG",
        default_value = "keys",
        help_heading = HEADING
    )]
    key_log: String,
}

/// The keys of this run of the command.
static KEYS: OnceLock<(KeyRing, String)> = OnceLock::new();

impl KeyArguments {
    /// Reads the keys, for all stores that are opened later.
    pub(crate) fn load(self) -> Result<(), CommandFailure> {
        let failed = |error: KeyError| CommandFailure::Failed(error.to_string());
        let keys = match &self.key_file {
            Some(file) => {
                if let Some(warning) = key_file_warning(file) {
                    note(&warning);
                }
                Some(KeyRing::from_file(file).map_err(failed)?)
            }
            None => KeyRing::from_environment(KEYS_VARIABLE).map_err(failed)?,
        };
        if let Some(keys) = keys {
            let _ = KEYS.set((keys, self.key_log));
        }
        Ok(())
    }
}

/// Returns how the logs of a store are protected. Without keys, logs that are only compressed are
/// read. Events that are not encrypted are read too: a store may also have logs without encryption.
pub(crate) fn protection(store: &Arc<dyn Store>) -> Protection {
    match KEYS.get() {
        None => Protection::new(),
        Some((keys, _)) => {
            let protection = Protection::new().keys(keys.clone()).reading_plain();
            match subject_keys(store) {
                Some(subjects) => protection.subject_keys(Arc::new(subjects)),
                None => protection,
            }
        }
    }
}

/// Returns the keys of subjects in a store, if the command line has keys.
pub(crate) fn subject_keys(store: &Arc<dyn Store>) -> Option<SubjectKeys> {
    let (keys, log) = KEYS.get()?;
    Some(SubjectKeys::new(Arc::clone(store), &**log, keys.clone()))
}

/// Returns whether the command line has keys.
pub(crate) fn are_given() -> bool {
    KEYS.get().is_some()
}
