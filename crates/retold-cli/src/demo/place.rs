//! The store of the demonstration: a SQLite file that the user names, or one in a temporary folder.

use retold::sqlite::{SqliteOptions, SqliteStore};
use retold::store_url::{Durability, StoreUrl};
use retold::system::{Infrastructure, OpenSystem, Opening};
use tempfile::TempDir;

use super::{DemoArguments, report};
use crate::built_in;
use crate::failure::CommandFailure;
use crate::output::note;

/// The store of the demonstration.
pub(super) struct DemoPlace {
    pub(super) url: String,
    pub(super) is_kept: bool,
    /// Removed when this is dropped.
    folder: Option<TempDir>,
}

impl DemoPlace {
    pub(super) fn of(arguments: &DemoArguments) -> Result<Self, CommandFailure> {
        if let Some(url) = &arguments.store {
            return Ok(Self {
                url: url.clone(),
                is_kept: true,
                folder: None,
            });
        }
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("retold-demo-").tempdir();
        let folder = folder.map_err(|error| {
            CommandFailure::Failed(format!(
                "cannot create a temporary folder: {error}; name a file with --store sqlite:PATH"
            ))
        })?;
        let path = folder.path().join("flights.db");
        let Some(path) = path.to_str() else {
            return Err(CommandFailure::Failed(format!(
                "the path of the temporary folder {} is not valid UTF-8; name a file with --store \
                 sqlite:PATH",
                folder.path().display()
            )));
        };
        let url = format!("sqlite:{path}");
        let (folder, is_kept) = match arguments.keep {
            true => {
                // The user keeps it even if the demonstration fails.
                let _ = folder.keep();
                (None, true)
            }
            false => (Some(folder), false),
        };
        Ok(Self {
            url,
            is_kept,
            folder,
        })
    }

    /// Opens or creates the file.
    pub(super) fn open(&self) -> Result<SqliteStore, CommandFailure> {
        let url = self.url.parse::<StoreUrl>();
        let url = url.map_err(|error| CommandFailure::Failed(error.reason().to_owned()))?;
        let StoreUrl::Sqlite {
            path,
            durability,
            file_mode,
        } = url
        else {
            return Err(CommandFailure::Usage(format!(
                "the demonstration in one process needs a SQLite file, not {}; use --store \
                 sqlite:PATH",
                self.url
            )));
        };
        let mut options = SqliteOptions::new().durability(match durability {
            Durability::Normal => retold::sqlite::SqliteDurability::Normal,
            _ => retold::sqlite::SqliteDurability::Full,
        });
        if let Some(mode) = file_mode {
            options = options.file_mode(mode);
        }
        Ok(SqliteStore::open_with(path, &options)?)
    }

    /// Opens the logs of the system for reading only.
    pub(super) async fn reopen(&self) -> Result<OpenSystem, CommandFailure> {
        let store = retold::open_store_read_only(&self.url).await?;
        let infrastructure = Infrastructure::new(store);
        let system = built_in::system();
        Ok(OpenSystem::open(&system, &infrastructure, Opening::ReadOnly).await?)
    }

    /// Returns the failure for a run that Ctrl-C ended.
    pub(super) fn stopped(&self, events: u64) -> CommandFailure {
        let advice = match self.is_kept {
            true => format!(
                "the store is intact; to continue, run `{} demo --store {}`",
                report::program(),
                self.url
            ),
            false => "the temporary store is removed".into(),
        };
        CommandFailure::Failed(format!("stopped after {events} recorded events; {advice}"))
    }

    /// Removes the temporary folder.
    pub(super) fn end(self) {
        if let Some(folder) = self.folder
            && let Err(error) = folder.close()
        {
            note(&format!(
                "the temporary folder could not be removed: {error}"
            ));
        }
    }
}
