//! Opening what a command line names: a store by its URL and a log by its name, for reading only.

use std::sync::Arc;

use retold::recording::error::Invalid;
use retold::recording::limits::PAGE_NAMES_MAX;
use retold::recording::recorder::Recorder;
use retold::recording::store::{LogEntry, Store};
use retold::store_url::StoreUrl;

use crate::failure::Failure;

/// Most names that an error lists.
const NAMES_MAX: usize = 20;

/// Opens the store at this URL for reading. Makes no file.
pub(crate) async fn store(url: &str) -> Result<Arc<dyn Store>, Failure> {
    let parsed: StoreUrl = url
        .parse()
        .map_err(|error: Invalid| Failure::Usage(error.reason().to_owned()))?;
    match parsed.file() {
        None => {
            return Err(Failure::Usage(format!(
                "{url} is in the memory of the program that opened it; no other can look into it"
            )));
        }
        Some(file) if !file.exists() => {
            return Err(Failure::Failed(format!(
                "there is no file {}; check the path in {url}, which is relative to the working directory unless it begins with /",
                file.display()
            )));
        }
        Some(_) => {}
    }
    Ok(retold::open_store_read_only(url).await?)
}

/// All logs of a store.
pub(crate) async fn logs(store: &dyn Store) -> Result<Vec<LogEntry>, Failure> {
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

/// Opens a log that is there; one that is not is refused with those that are.
pub(crate) async fn log(
    store: &dyn Store,
    url: &str,
    name: &str,
) -> Result<Arc<dyn Recorder>, Failure> {
    let recorder = store.open_read_only(name).await?;
    if recorder.log_id().await?.is_some() {
        return Ok(recorder);
    }
    let logs = logs(store).await?;
    let mut names: Vec<&str> = logs.iter().map(|log| &*log.name).take(NAMES_MAX).collect();
    let more = format!("and {} more", logs.len() - names.len());
    if logs.len() > names.len() {
        names.push(&more);
    }
    Err(Failure::Failed(if names.is_empty() {
        format!("there is no log {name:?} in {url}; it has no logs yet")
    } else {
        format!(
            "there is no log {name:?} in {url}; it has: {}",
            names.join(", ")
        )
    }))
}
