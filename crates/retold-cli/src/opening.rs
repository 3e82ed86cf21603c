//! Opens the store, the log and the follower that a command line names, and explains which names
//! exist if one does not.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use retold::prelude::Application;
use retold::recording::limits::PAGE_NAMES_MAX;
use retold::recording::{Invalid, LogEntry, RecordError, Recorder, Store};
use retold::store_url::StoreUrl;
use retold::system::FollowerOperator;

use crate::failure::CommandFailure;
use crate::keys;
use crate::output::note;

/// How long opening a store may take before a note says so.
const QUIET_WAIT: Duration = Duration::from_secs(2);

/// Maximum number of names that an error lists.
const NAMES_MAX: usize = 20;

/// Opens the store at this URL for reading only. Creates no file. Logs that are compressed or
/// encrypted are read, the latter with the keys of the command line.
pub(crate) async fn store(url: &str) -> Result<Arc<dyn Store>, CommandFailure> {
    let store = raw(url).await?;
    Ok(keys::protection(&store).store(store))
}

/// Opens the store at this URL for reading only, as it is stored.
pub(crate) async fn raw(url: &str) -> Result<Arc<dyn Store>, CommandFailure> {
    let parsed: StoreUrl = url
        .parse()
        .map_err(|error: Invalid| CommandFailure::Usage(error.reason().to_owned()))?;
    match parsed.file() {
        None if matches!(parsed, StoreUrl::Memory { .. }) => {
            return Err(CommandFailure::Usage(format!(
                "{url} is in the memory of the program that opened it; no other program can read it"
            )));
        }
        Some(file) if !file.exists() => {
            return Err(CommandFailure::Failed(format!(
                "there is no file {}; check the path in {url}, which is relative to the working \
                 directory unless it starts with /",
                file.display()
            )));
        }
        _ => {}
    }
    Ok(retold::open_store_read_only(url).await?)
}

/// Opens the store at this URL for writing, with the keys of the command line if there are any.
/// Writes a note if it has to wait.
pub(crate) async fn writable(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    let store = writable_raw(url).await?;
    match keys::are_given() {
        true => Ok(keys::protection(&store).store(store)),
        false => Ok(store),
    }
}

/// Opens the store at this URL for writing, as it is stored.
pub(crate) async fn writable_raw(url: &str) -> Result<Arc<dyn Store>, RecordError> {
    let mut opening = pin!(retold::open_store(url));
    tokio::select! {
        biased;
        opened = &mut opening => opened,
        () = tokio::time::sleep(QUIET_WAIT) => {
            note(&format!("{} is busy or unreachable; waiting", shown(url)));
            opening.await
        }
    }
}

/// Returns the URL without its password, for messages.
pub(crate) fn shown(url: &str) -> String {
    url.parse::<StoreUrl>()
        .map_or_else(|_| "the store".to_owned(), |parsed| parsed.to_string())
}

/// Returns all logs of a store.
pub(crate) async fn logs(store: &dyn Store) -> Result<Vec<LogEntry>, CommandFailure> {
    let mut logs: Vec<LogEntry> = Vec::new();
    loop {
        let after = logs.last().map(|log| log.name.clone());
        let page = store.logs(after.as_deref(), PAGE_NAMES_MAX).await?;
        if page.is_empty() {
            return Ok(logs);
        }
        logs.extend(page);
    }
}

/// Opens a log. If there is none of this name, the error lists the logs of the store.
pub(crate) async fn log(
    store: &dyn Store,
    url: &str,
    name: &str,
) -> Result<Arc<dyn Recorder>, CommandFailure> {
    let recorder = store.open_read_only(name).await?;
    if recorder.log_id().await?.is_some() {
        return Ok(recorder);
    }
    let logs = logs(store).await?;
    let url = shown(url);
    Err(CommandFailure::Failed(if logs.is_empty() {
        format!("there is no log {name:?} in {url}; the store has no logs yet")
    } else {
        let names = listed(logs.iter().map(|log| &*log.name));
        format!("there is no log {name:?} in {url}; its logs are: {names}")
    }))
}

/// Opens the application of a log that exists, for reading only.
pub(crate) async fn application(
    store: &Arc<dyn Store>,
    log: &str,
) -> Result<Application, CommandFailure> {
    let builder = Application::builder(log).store(Arc::clone(store));
    Ok(builder.read_only().open().await?)
}

/// Returns a follower that has started in the application's log. If there is none of this name, the
/// error lists the followers of the log.
pub(crate) async fn follower(
    application: &Application,
    name: &str,
) -> Result<FollowerOperator, CommandFailure> {
    let all = FollowerOperator::all(application).await?;
    let log = application.name();
    if let Some(follower) = all.iter().find(|it| it.name() == name) {
        return Ok(follower.clone());
    }
    Err(CommandFailure::Failed(if all.is_empty() {
        format!("no follower {name:?} has started in the log {log:?}; no other has either")
    } else {
        let names = listed(all.iter().map(FollowerOperator::name));
        format!("no follower {name:?} has started in the log {log:?}; its followers are: {names}")
    }))
}

/// Joins names for an error, up to a limit.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let mut listed: Vec<String> = names.take(NAMES_MAX).map(str::to_owned).collect();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    listed.join(", ")
}
