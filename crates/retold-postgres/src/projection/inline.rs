//! Inline projections: views in the store's own database that change in the transaction of the
//! append.
//!
//! Readers of the view see every recorded event at once, without waiting. Each group of appends to
//! the log pays for it: with a transaction of several round trips, the handlers and the checkpoint.

use std::fmt;
use std::sync::Arc;

use retold_core::projection::{Projection, ProjectionError, ProjectionPipeline};
use retold_core::recording::{Checkpoint, Invalid, Position, RecordError, Recorder, StoredEvent};

use super::views::PostgresViews;
use super::{Halt, Home, Postgres, PostgresTables, PostgresView, VIEW_NAMES};
use crate::error::Refusal;
use crate::limits::{INLINE_LAG_MAX, INLINE_PAGE_EVENTS};
use crate::log::Born;
use crate::reading::page;
use crate::server::place::ServerPlace;
use crate::server::runtime::StoreRuntime;
use crate::server::work::Work;

/// The projections that take part in the appends of a store that is [opened with
/// them](crate::PostgresStore::open_with_projections).
///
/// A handler that fails, or panics, fails the append that it processes, and only that one: the
/// append is `Invalid`, the error names the projection and the reason, and nothing of the append is
/// recorded. So there is nothing to skip, regardless of the projection's setting for poison.
/// Appends of the same group are sent again, each by itself; where handlers often fail, appends are
/// slow.
///
/// Each projection catches up with its log when the log is opened, before the first append, and
/// before a later append if other programs recorded events without it. An event that it cannot
/// process then fails the opening (or the append), unless the projection skips such events.
///
/// The events of a protected log are opened with the keys of the projection's mapper: give it one
/// with the protection of the application (`Projection::mapper`).
///
/// A program with a newer version of a projection supersedes the older one: appends of programs
/// that still have the older version are refused from then on, because they would leave the view
/// behind.
#[derive(Clone)]
pub struct PostgresInlineProjections {
    declared: Vec<(Arc<Projection<Postgres>>, PostgresTables)>,
    /// `None` for the schema of the store.
    schema: Option<Arc<str>>,
}

impl PostgresInlineProjections {
    /// Returns an empty set; the views will be in the schema of the store.
    pub fn new() -> Self {
        Self {
            declared: Vec::new(),
            schema: None,
        }
    }

    /// Returns an empty set; the views will be in this schema, which is created with the first one
    /// if it is missing.
    pub fn in_schema(schema: impl Into<Arc<str>>) -> Self {
        Self {
            declared: Vec::new(),
            schema: Some(schema.into()),
        }
    }

    /// Adds a projection, with the tables of its view. Several projections over one log run in the
    /// order in which they were added.
    #[must_use]
    pub fn with(mut self, projection: Projection<Postgres>, tables: PostgresTables) -> Self {
        self.declared.push((Arc::new(projection), tables));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if let Some(schema) = &self.schema {
            VIEW_NAMES.check("the schema", schema)?;
        }
        self.declared.iter().try_for_each(|(projection, tables)| {
            projection.outline().check()?;
            tables.check()
        })
    }
}

impl Default for PostgresInlineProjections {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PostgresInlineProjections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlines = self.declared.iter().map(|(it, _)| it.outline());
        f.debug_list().entries(outlines).finish()
    }
}

/// The projections that take part in the appends of an open store, and where their views are.
pub(crate) struct Inline {
    declared: Vec<Arc<PostgresView>>,
    pub(crate) views: PostgresViews,
}

/// Why inline projections do not take part in an append: the transaction must be rolled back.
pub(crate) enum Hindrance {
    /// They must catch up first.
    Behind,
    /// The append must not be recorded.
    Refused(RecordError),
    /// The server failed.
    Failed(tokio_postgres::Error),
}

impl Inline {
    /// Returns `None` if there are no projections.
    pub(crate) fn new(
        projections: PostgresInlineProjections,
        place: &ServerPlace,
        runtime: &Arc<StoreRuntime>,
    ) -> Option<Self> {
        let home = match &projections.schema {
            Some(schema) => Home::given(schema),
            None => Home::of_store(&place.schema),
        };
        let declared = projections.declared.into_iter();
        let declared = declared
            .map(|(projection, tables)| PostgresView::new(projection, tables, home.clone()))
            .map(Arc::new);
        let declared: Vec<_> = declared.collect();
        (!declared.is_empty()).then(|| Self {
            declared,
            views: PostgresViews::beside_appends(place, home, runtime.clone()),
        })
    }

    fn of<'a>(&'a self, log: &'a str) -> impl Iterator<Item = &'a Arc<PostgresView>> {
        let of_log = move |it: &&Arc<PostgresView>| *it.outline().upstream == *log;
        self.declared.iter().filter(of_log)
    }

    /// Whether a projection is over this log.
    pub(crate) fn has_any_of(&self, log: &str) -> bool {
        self.of(log).next().is_some()
    }

    /// Whether a projection over this log needs keys to open events.
    pub(crate) fn needs_keys(&self, log: &str) -> bool {
        self.of(log).any(|view| view.needs_keys())
    }

    /// Makes the projections over a log process all of its events.
    pub(crate) async fn catch_up(&self, log: &Arc<dyn Recorder>) -> Result<(), RecordError> {
        for view in self.of(log.log_name()) {
            let view_store = self.views.view_store(view.clone());
            let log = view.opening(log).unwrap_or_else(|| log.clone());
            let pipeline = ProjectionPipeline::new(log, view_store);
            let mut pipeline = pipeline.page_size(INLINE_PAGE_EVENTS);
            pipeline
                .catch_up()
                .await
                .map_err(ProjectionError::into_append_error)?;
        }
        Ok(())
    }

    /// Makes the projections over a log process the events recorded in this transaction, and those
    /// that others recorded without them before, if there are few.
    pub(crate) async fn take_part(
        &self,
        work: &Work<'_>,
        log: (&str, Born),
        appended: PositionSpan,
    ) -> Result<(), Hindrance> {
        let (name, born) = log;
        let mut read: Option<(u64, Vec<StoredEvent>)> = None;
        for view in self.of(name) {
            let checkpoint = claim(work, view, born).await?;
            let from = Position::number(checkpoint.map(|checkpoint| checkpoint.position));
            if appended.first.get() > from + 1 + INLINE_LAG_MAX {
                return Err(Hindrance::Behind);
            }
            if read.as_ref().is_none_or(|(first, _)| *first != from) {
                // Reads from the event of the checkpoint on, to check that the log still has it.
                let schema = self.views.place().quoted_schema();
                let span = page::span(work, &schema, born, (from, appended.last.get()));
                let events = span.await.map_err(Hindrance::Failed)?;
                read = Some((from, events.map_err(Hindrance::Refused)?));
            }
            let events = read.as_ref().map_or(&[][..], |(_, events)| events);
            let events = match (checkpoint, events.split_first()) {
                (None, _) => events,
                (Some(checkpoint), Some((first, events))) if first.checkpoint() == checkpoint => {
                    events
                }
                // Catching up reports the problem.
                (Some(_), _) => return Err(Hindrance::Behind),
            };
            match view.take_new(work, events).await {
                Ok(None) => {}
                Ok(Some(refusal)) => return Err(Hindrance::Refused(refusal)),
                Err(halt) => return Err(hindrance(halt)),
            }
        }
        Ok(())
    }
}

/// The first and the last position recorded in a transaction.
#[derive(Clone, Copy)]
pub(crate) struct PositionSpan {
    pub(crate) first: Position,
    pub(crate) last: Position,
}

/// Returns the checkpoint of a projection, which this transaction holds from now on.
async fn claim(
    work: &Work<'_>,
    view: &PostgresView,
    born: Born,
) -> Result<Option<Checkpoint>, Hindrance> {
    match view.claim(work).await {
        Ok(Some(stored)) if stored.is_seen && stored.upstream == born.id => Ok(stored.checkpoint),
        // Dropped, discarded, or of another log: catching up reports which.
        Ok(_) => Err(Hindrance::Behind),
        Err(error) if error.code() == Some(&UNDEFINED_TABLE) => Err(Hindrance::Behind),
        Err(error) => Err(Hindrance::Failed(error)),
    }
}

const UNDEFINED_TABLE: tokio_postgres::error::SqlState =
    tokio_postgres::error::SqlState::UNDEFINED_TABLE;

fn hindrance(halt: Halt) -> Hindrance {
    match halt {
        Halt::Postgres(error) => Hindrance::Failed(error),
        halt => Hindrance::Refused(match halt.into_error() {
            Ok(error) => error.into_append_error(),
            Err(error) => error,
        }),
    }
}

/// Whether an append waits for the inline projections of its log.
pub(crate) fn is_of_views_behind(error: &RecordError) -> bool {
    matches!(Refusal::of(error), Some(Refusal::ViewsBehind))
}
