//! `retold follower partition`: requests another number of partitions for a follower.

use clap::builder::NonEmptyStringValueParser;

use super::FollowerTarget;
use super::report::{Action, ActionReport};
use crate::failure::CommandFailure;

/// Change the number of partitions of a follower, which work in parallel.
///
/// The programs that run the follower make the change while they run. The present partitions
/// process all events up to the position of the one that is farthest ahead; then the new partitions
/// start there. No event is processed twice or left out, and events with the same key stay in
/// order. Programs need no restart. A program with fewer pipelines than partitions runs several
/// partitions in one pipeline.
///
/// Requesting the present number cancels an earlier request.
#[derive(Debug, clap::Args)]
pub(super) struct Partition {
    #[command(flatten)]
    target: FollowerTarget,
    /// The number of partitions, 1 to 64
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    partitions: u32,
    /// The rule that says which events belong together, by its name in the programs: `stream`, `tag
    /// PREFIX`, or one of your own [default: the present rule]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

impl Partition {
    pub(super) async fn act(&self) -> Result<ActionReport, CommandFailure> {
        self.target.look().await?;
        let follower = self.target.for_writing().await?;
        let requested = follower.repartition(self.partitions, self.by.as_deref());
        let is_recorded = requested.await?;
        let after = follower.record().await?;
        let action = Action::Partition {
            partitions: after.partitions,
            partitioning: after.partitioning.map(|it| it.partitions),
        };
        Ok(self.target.report(is_recorded, action))
    }
}
