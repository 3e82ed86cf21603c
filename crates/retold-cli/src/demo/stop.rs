//! Ctrl-C, heard once and told to every part of the demonstration.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

/// How often a progress bar looks how far the work is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Whether the user asked for an end. A clone hears the same.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on.
    pub(super) fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            // If Ctrl-C cannot be heard it ends the process, which the store survives too.
            if tokio::signal::ctrl_c().await.is_ok() {
                sender.send_replace(true);
            }
        });
        Self(receiver)
    }

    /// Waits until it is asked for.
    pub(super) async fn wait(&mut self) {
        if self.0.wait_for(|is_asked| *is_asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A progress bar on the error output; none that shows if that is no terminal.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Does this work while `look` keeps the bar up to date. When an end is asked for `ask` tells the work,
/// which goes on to the end that it finds good.
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

/// The same for work that can be left at any moment: none if an end was asked for.
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
