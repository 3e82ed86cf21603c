//! Retelling: a check that the system, as it is now, makes the decisions that its logs record.
//!
//! The decisions of a follower depend only on the events that it processes and on their order, and
//! the logs record that order. The decisions can therefore be repeated and compared with the
//! record, event by event, in two forms: [each follower separately](FollowerRetelling), which
//! streams the logs and needs constant memory; and [the whole system](retell_whole), in memory, in
//! one schedule that is merged from all logs.
//!
//! Both forms only read. Some records cannot be repeated: effects that another policy version of a
//! follower recorded, parked events, and effects of an erased event. They are accepted as facts and
//! counted.

mod comparing;
mod generations;
mod recorded_event;
mod report;
mod upstream_cursor;

mod replaced;

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
pub use self::report::{Difference, Facts, FollowerReport, ShownEvent};
pub use self::system_simulation::SystemSimulation;
pub use self::whole::{WholeReport, retell_whole};

use crate::application::Result;
use crate::system::OpenSystem;

/// Retells every follower of the system separately, one after the other. To retell them in
/// parallel, use [`FollowerRetelling`].
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
/// not an error; the report contains it.
pub async fn retell(open: &OpenSystem) -> Result<Vec<FollowerReport>> {
    let mut reports = Vec::new();
    for follower in FollowerRetelling::all(open).await? {
        reports.push(follower.run().await?);
    }
    Ok(reports)
}
