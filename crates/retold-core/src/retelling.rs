//! Retelling: a check that the recorded logs are what the system does.
//!
//! Followers are functions of the events that they process and of their order, and the logs record
//! that order. The recorded decisions of followers can therefore be repeated and compared, event by
//! event, in two forms: [each follower separately](FollowerRetelling), against the recorded logs,
//! streaming and in constant memory; and [the whole system](retell_whole), in memory, in one merged
//! schedule.
//!
//! Both forms only read. Effects that another edition of a follower recorded, parked events, and
//! effects of an erased event are accepted as facts and counted.

mod comparing;
mod generations;
mod recorded_event;
mod report;
mod upstream_cursor;

mod reaction;

mod follower_retelling;
mod whole;

mod confluence;

mod system_simulation;

pub use self::confluence::{
    ConfluenceCounts, ConfluenceDifference, ConfluenceReport, EventsByKey, Times, compare,
    compare_runs, events_by_key, first_difference,
};
pub use self::follower_retelling::{FollowerRetelling, RetellingProgress};
pub use self::report::{Difference, Facts, FollowerReport, Shown};
pub use self::system_simulation::SystemSimulation;
pub use self::whole::{WholeReport, retell_whole};

use crate::application::Result;
use crate::system::OpenSystem;

/// Retells every follower of the system separately, one after the other; see [`FollowerRetelling`]
/// for doing it in parallel.
///
/// ```
/// # use retold::system::OpenSystem;
/// # use retold::retelling;
/// # async fn example(open: &OpenSystem) -> retold::Result<()> {
/// for report in retelling::retell(open).await? {
///     assert!(report.difference.is_none(), "{report}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Unavailable`](crate::application::Error::Unavailable),
/// [`Error::Corrupt`](crate::application::Error::Corrupt), if a log cannot be read. A difference is
/// not an error: it is in the report.
pub async fn retell(open: &OpenSystem) -> Result<Vec<FollowerReport>> {
    let mut reports = Vec::new();
    for follower in FollowerRetelling::all(open).await? {
        reports.push(follower.run().await?);
    }
    Ok(reports)
}
