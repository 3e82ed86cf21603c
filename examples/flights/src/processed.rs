//! Checks whether a system in other processes has processed everything, from its logs alone.

use retold::system::{FollowerOperator, OpenSystem};

/// Returns whether each follower has recorded the end of each log that it follows.
///
/// # Errors
///
/// Errors of the store.
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
            if checkpoint.is_none() || checkpoint != upstream.head().await?.checkpoint {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
