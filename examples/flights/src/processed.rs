//! Whether a system that runs elsewhere has come to rest, as its logs tell whoever opens them.

use retold::system::{FollowerOperator, OpenSystem};

/// Whether each follower has recorded that it is at the end of each log that it follows.
///
/// # Errors
///
/// What the store reports.
pub async fn is_processed(open: &OpenSystem) -> retold::Result<bool> {
    for (application, pipeline) in open.pipelines() {
        let app = &open.applications()[application];
        let operator = FollowerOperator::new(app, pipeline.follower().name());
        let record = operator.record().await?;
        for upstream in pipeline.follower().upstreams() {
            let upstream = open.application(upstream)?;
            let Some(log) = upstream.log_id().await? else {
                return Ok(false);
            };
            let checkpoint = operator.checkpoint(&record, log).await?;
            if checkpoint.is_none() || checkpoint != upstream.head().await?.mark {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
