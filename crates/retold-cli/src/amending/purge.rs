//! `retold purge`: removes what erased events left in the files of a store.

use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::{Output, Report};

/// Remove what erased and replaced events left in the files of a store.
///
/// The commands that amend events do this themselves, unless they have --no-purge. Backups,
/// replicas and copies of the store are not reached. Appends wait while the store is purged.
#[derive(Debug, clap::Args)]
pub(crate) struct PurgeArguments {
    /// The store, for example sqlite:flights.db
    url: String,
}

#[derive(Debug, Serialize)]
struct PurgeReport {
    action: &'static str,
    purged: bool,
    remains: Vec<String>,
}

impl Report for PurgeReport {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.purged {
            true => "Nothing of what was erased is left in the files of the store.".to_owned(),
            false => "Some of what was erased is still in the files of the store:".to_owned(),
        }];
        lines.extend(self.remains.iter().map(|it| format!("  {it}")));
        lines
    }
}

pub(crate) async fn run(
    arguments: PurgeArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    // A store that does not exist is not created.
    opening::store(&arguments.url).await?;
    let store = opening::writable(&arguments.url).await?;
    let purged = store.purge().await?;
    output.report(&PurgeReport {
        action: "purge",
        purged: purged.is_complete(),
        remains: purged.remains,
    })?;
    Ok(CommandVerdict::Fine)
}
