//! News of one log: one task waits for appends and notifies all followers of the log in this
//! process, so that a log is queried once however many followers it has.

use std::sync::Arc;

use futures_util::future::select_all;
use retold_core::recording::Recorder;
use retold_core::system::OpenSystem;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::back_off::BackOff;
use crate::options::MultiThreadOptions;
use crate::panics::caught;

/// Receives the number of appends of a log; the number is a hint, like the hints of recorders.
pub(crate) type News = watch::Receiver<u64>;

/// Watches the logs of all applications, in the order of declaration, until the tasks are aborted.
pub(crate) fn watch_logs(
    open: &OpenSystem,
    options: &MultiThreadOptions,
) -> (Vec<News>, Vec<AbortHandle>) {
    let watched = open.applications().iter().map(|application| {
        let (sender, news) = watch::channel(0);
        let recorder = Arc::clone(application.recorder());
        let watching = tokio::spawn(watch_log(recorder, sender, options.clone()));
        (news, watching.abort_handle())
    });
    watched.unzip()
}

/// Watches a log until the task is aborted. A failure is sent as news, so that followers then meet
/// the failure themselves.
async fn watch_log(
    recorder: Arc<dyn Recorder>,
    news: watch::Sender<u64>,
    options: MultiThreadOptions,
) {
    let mut back_off = BackOff::new(options.back_off);
    let mut count = 0;
    loop {
        let failure = match caught(recorder.changed_since(count)).await {
            // There are fewer if the log was restored from an older copy; its readers must find
            // that out.
            Ok(Ok(now)) if now != count => {
                count = now;
                back_off.reset();
                news.send_replace(count);
                continue;
            }
            Ok(Ok(now)) => format!("the store reported news, but still has {now} appends"),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        tracing::warn!(
            log = recorder.log_name(),
            failure,
            "a log cannot be watched"
        );
        news.send_replace(count);
        tokio::time::sleep(back_off.next()).await;
    }
}

/// Marks all news received so far as known.
pub(crate) fn mark_known(news: &mut [News]) {
    for it in news {
        it.mark_unchanged();
    }
}

/// Waits for news of any of these logs. May be dropped at any time.
pub(crate) async fn any_news(news: &mut [News]) {
    let each = news.iter_mut().map(|it| Box::pin(next_news(it)));
    select_all(each).await;
}

/// Waits for news of this log. May be dropped at any time.
pub(crate) async fn next_news(news: &mut News) {
    if news.changed().await.is_err() {
        // The watching task has ended because the runner was dropped; this task will end soon.
        std::future::pending::<()>().await;
    }
}
