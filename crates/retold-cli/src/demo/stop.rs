//! Handles Ctrl-C for every part of the demonstration, and shows progress bars.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

/// How often a progress bar is updated.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Whether the user pressed Ctrl-C.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Starts handling Ctrl-C.
    pub(super) fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            // If Ctrl-C cannot be handled, it ends the process. The store survives that too.
            if tokio::signal::ctrl_c().await.is_ok() {
                sender.send_replace(true);
            }
        });
        Self(receiver)
    }

    /// Waits until the user presses Ctrl-C.
    pub(super) async fn wait(&mut self) {
        if self.0.wait_for(|is_stopped| *is_stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns a progress bar on standard error, hidden unless that is a terminal.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Runs work to its end while `look` updates the bar. On Ctrl-C it calls `ask` once, which asks the
/// work to end soon.
pub(super) async fn until_done<T>(
    work: impl Future<Output = T>,
    bar: &ProgressBar,
    look: impl AsyncFn(&ProgressBar),
    stop: &Stop,
    ask: impl Fn(),
) -> T {
    let mut stop = stop.clone();
    let mut is_asked = false;
    let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = interval.tick() => look(bar).await,
            () = stop.wait(), if !is_asked => {
                is_asked = true;
                ask();
            }
        }
    };
    bar.finish_and_clear();
    done
}

/// Runs work that can be dropped at any moment. Returns none if Ctrl-C ended it.
pub(super) async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    bar: &ProgressBar,
    look: impl AsyncFn(&ProgressBar),
    stop: &Stop,
) -> Option<T> {
    let mut asked = stop.clone();
    let work = async {
        tokio::select! {
            done = work => Some(done),
            () = asked.wait() => None,
        }
    };
    until_done(work, bar, look, stop, || ()).await
}
