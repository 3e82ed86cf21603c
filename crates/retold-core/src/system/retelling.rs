//! Retelling: showing that recorded logs are a story that the system tells.
//!
//! Followers are functions of the events they answer, in the order in which they answered them, and the
//! logs have that order. So what followers recorded can be decided once more and compared, event by
//! event. In two forms: [each follower by itself](follower_retelling), against the recorded logs,
//! streaming and in constant memory; and [the whole system](whole), by one merged schedule on memory.
//!
//! Both only read. What another edition of a follower recorded, what was parked, and what answered an
//! erased event is taken as a fact and counted.

mod comparing;
mod generations;
mod reaction;
pub mod report;

mod upstream_cursor;

pub mod follower_retelling;
pub mod whole;

pub use follower_retelling::{FollowerRetelling, RetellingProgress};
pub use report::{Difference, FollowerReport, Shown};
pub use whole::{WholeReport, retell_whole};

use super::open_system::OpenSystem;
use crate::application::Result;

/// Retells every follower of the system by itself, one after the other; see
/// [`FollowerRetelling`] for doing it in parallel.
///
/// ```
/// # use retold::system::{OpenSystem, retelling};
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
/// [`Error::Corrupt`](crate::application::Error::Corrupt), if a log cannot be read. A difference is no
/// error: it is in the report.
pub async fn retell(open: &OpenSystem) -> Result<Vec<FollowerReport>> {
    let mut reports = Vec::new();
    for follower in FollowerRetelling::all(open).await? {
        reports.push(follower.run().await?);
    }
    Ok(reports)
}
