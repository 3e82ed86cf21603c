//! `retold follower partition`: a follower is split into another number of partitions.

use clap::builder::NonEmptyStringValueParser;
use retold::system::FollowerRecord;
use serde_json::json;

use super::{Which, notice_by_themselves};
use crate::failure::Failure;
use crate::output::Output;

/// Lets a follower be split into so many partitions, which work side by side.
///
/// It comes about while programs run the follower: its partitions answer everything up to where the
/// farthest of them is, and when all are there, the new ones begin there. Nothing is answered twice or
/// left out, and the events of one key keep their order. Programs need not be started again; one that
/// has fewer pipelines for the follower than there are partitions does the work of several by one.
///
/// Asking for the number that there is takes back what was asked for before.
#[derive(Debug, clap::Args)]
pub(super) struct Partition {
    #[command(flatten)]
    which: Which,
    /// How many partitions there are to be, 1 to 64
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    partitions: u32,
    /// Name of the rule that says which events belong together, as programs have it: `stream`, `tag
    /// PREFIX`, or their own; the present one, unless said otherwise
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

impl Partition {
    pub(super) async fn act(&self, output: &mut Output) -> Result<(), Failure> {
        let which = &self.which;
        which.look().await?;
        let follower = which.for_writing().await?;
        let asked = follower.repartition(self.partitions, self.by.as_deref());
        let is_recorded = asked.await?;
        let after = follower.record().await?;
        if output.is_json() {
            let wanted = after.partitioning.as_ref();
            return output.object(&json!({
                "act": "partition", "log": which.log, "follower": which.name,
                "recorded": is_recorded, "partitions": after.partitions,
                "partitioning": wanted.map(|it| it.partitions),
            }));
        }
        output.line(&self.told(is_recorded, &after))?;
        match is_recorded {
            true => notice_by_themselves(output),
            false => Ok(()),
        }
    }

    fn told(&self, is_recorded: bool, after: &FollowerRecord) -> String {
        let (which, wanted) = (self.which.text(), self.partitions);
        let present = match after.partitions {
            1 => "1 partition".to_owned(),
            count => format!("{count} partitions"),
        };
        match (after.partitioning.is_some(), is_recorded) {
            (true, true) => format!("{which} has {present} and is to be split into {wanted}."),
            (true, false) => format!(
                "{which} has {present} and is to be split into {wanted} already. Nothing was recorded."
            ),
            (false, true) => format!("{which} keeps its {present}."),
            (false, false) => format!("{which} has {present} already. Nothing was recorded."),
        }
    }
}
