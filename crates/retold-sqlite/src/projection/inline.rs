//! Inline projections: views in the store's own file that change in the transaction of the append.
//!
//! Readers of the view see every recorded event, at once and without waiting. The cost is paid by
//! each append to the log: a savepoint, the handlers, the checkpoint.

use std::fmt;
use std::sync::Arc;

use retold_core::projection::{
    Applied, OnPoison, Projection, SkippedEvent, StartFrom, StoredView, Supersede, ViewPage,
    VisibleView, error_of_another_program,
};
use retold_core::recording::{Checkpoint, Invalid, Position, RecordError, StoredEvent};

use super::{Halt, Sqlite, SqliteTables, SqliteView};
use crate::error::answered;
use crate::file::head;
use crate::file::log::{Born, Log};
use crate::reading::matches::Span;
use crate::reading::page::log_events;
use crate::transaction::Transaction;

/// Events processed in one transaction while an inline projection catches up when its log is
/// opened: enough that the commits cost little, few enough that other writers hardly wait.
pub(crate) const CATCH_UP_PAGE_EVENTS: usize = 1_000;

/// The projections that take part in the appends of a store that is [opened with
/// them](crate::SqliteStore::open_with_projections).
///
/// A handler that fails or panics fails the append that it processes, and only that one: the append
/// is `Invalid`, the error names the projection and the reason, and nothing of the append is
/// recorded. Thus no event is skipped there, regardless of the projection's setting for poison.
///
/// Each projection catches up with its log when the log is opened, before its first append, and
/// within an append with events that other programs recorded without it. An event that it cannot
/// process then fails the opening (or the append), unless the projection [skips](OnPoison::Skip)
/// such events.
///
/// The events of a protected log are opened with the keys of the projection's mapper: give it one
/// with the protection of the application (`Projection::mapper`).
///
/// A program with a newer version of a projection supersedes the older one: appends of programs
/// that still have the older version are refused from then on, because they would leave the view
/// behind.
#[derive(Clone, Default)]
pub struct SqliteInlineProjections {
    views: Vec<Arc<SqliteView>>,
}

impl SqliteInlineProjections {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a projection, with the tables of its view. Several projections over one log run in the
    /// order in which they were added.
    #[must_use]
    pub fn with(mut self, projection: Projection<Sqlite>, tables: SqliteTables) -> Self {
        self.views
            .push(Arc::new(SqliteView::new(projection, tables)));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        self.views.iter().try_for_each(|it| it.check())
    }

    /// Whether no projection is over this log.
    pub(crate) fn are_none_of(&self, log: &str) -> bool {
        self.views.iter().all(|it| *it.outline().upstream != *log)
    }

    /// Returns the projections over a log.
    pub(crate) fn of(&self, log: &str) -> Vec<Arc<SqliteView>> {
        let of_log = |it: &&Arc<SqliteView>| *it.outline().upstream == *log;
        self.views.iter().filter(of_log).cloned().collect()
    }
}

impl fmt::Debug for SqliteInlineProjections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlines = self.views.iter().map(|it| it.outline());
        f.debug_list().entries(outlines).finish()
    }
}

/// Whether a projection has processed its whole log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CatchUp {
    Done,
    More,
}

/// Why an inline projection does not take part: the database failed, or the error for the caller.
pub(crate) type Refused = Result<RecordError, rusqlite::Error>;

pub(crate) fn refused(halt: Halt) -> Refused {
    match halt {
        Halt::Sqlite(error) => Err(error),
        Halt::Refused(error) => Ok(error.into_append_error()),
    }
}

/// The writer's task that advances a projection by one page toward the head of its log.
pub(crate) fn catch_up_by_page(
    transaction: &mut Transaction<'_>,
    view: &SqliteView,
    log: &Log,
) -> rusqlite::Result<Result<CatchUp, RecordError>> {
    let born = match transaction.meet(log)? {
        Ok(born) => born,
        Err(replaced) => return Ok(Err(replaced)),
    };
    match catch_up(transaction, view, born) {
        Ok(caught_up) => Ok(Ok(caught_up)),
        Err(halt) => refused(halt).map(Err),
    }
}

/// Processes a page of the log beyond the checkpoint; begins the version if it has not begun, and
/// publishes it to readers once it has caught up.
fn catch_up(transaction: &Transaction<'_>, view: &SqliteView, born: Born) -> Result<CatchUp, Halt> {
    let conn = transaction.conn;
    let head = head::read(conn, born.key)?.checkpoint;
    let kept = match view.kept(conn)? {
        Some(kept) if kept.has_begun_over(born.id) => kept,
        _ => {
            let start = match view.outline().start_from {
                StartFrom::FirstEvent => None,
                StartFrom::Now => head,
            };
            view.begin(conn, born.id, start)?
        }
    };
    check_upstream(transaction, view, born, &kept)?;
    let position = |checkpoint: Option<Checkpoint>| {
        Position::number(checkpoint.map(|checkpoint| checkpoint.position))
    };
    let mut checkpoint = kept.checkpoint;
    if position(checkpoint) < position(head) {
        let span = Span {
            first: born.key.seq(position(checkpoint) + 1),
            last: born.key.seq(position(head)),
        };
        let events = log_events(conn, born, span, CATCH_UP_PAGE_EVENTS).map_err(|error| {
            match answered(error) {
                Ok(damage) => Halt::Refused(view.rules().error(damage)),
                Err(error) => Halt::Sqlite(error),
            }
        })?;
        if let Some(last) = events.last() {
            checkpoint = take_page(transaction, view, checkpoint, &events, last.checkpoint())?;
        }
    }
    if checkpoint != head {
        return Ok(CatchUp::More);
    }
    if kept.seen == VisibleView::Older {
        view.switch(conn, checkpoint, head, Supersede::Reached)?;
    }
    Ok(CatchUp::Done)
}

/// Processes the events of a page as far as possible, and returns the resulting checkpoint.
fn take_page(
    transaction: &Transaction<'_>,
    view: &SqliteView,
    after: Option<Checkpoint>,
    events: &[StoredEvent],
    to: Checkpoint,
) -> Result<Option<Checkpoint>, Halt> {
    let taken: Vec<_> = events.iter().filter(|it| view.takes(it)).cloned().collect();
    let page = ViewPage {
        after,
        events: taken,
        to,
    };
    match view.apply(transaction.conn, &page)? {
        Applied::Whole => Ok(Some(to)),
        Applied::Elsewhere(checkpoint) => Ok(checkpoint),
        Applied::Until { count, error } => {
            let event = &page.events[count];
            let (topic, checkpoint) = (event.topic(), event.checkpoint());
            let is_known = error_of_another_program(&*error).is_none();
            if view.outline().on_poison != OnPoison::Skip || !is_known {
                return Err(Halt::Refused(view.rules().invalid(format!(
                    "it cannot catch up over the event {topic:?} at position {}: {error}",
                    checkpoint.position
                ))));
            }
            let before = page.events[..count]
                .last()
                .map(StoredEvent::checkpoint)
                .or(after);
            let text = error.to_string();
            let skipped = SkippedEvent::from_parts(checkpoint, topic, text, transaction.now);
            view.skip(transaction.conn, before, &skipped)?;
            Ok(Some(checkpoint))
        }
    }
}

/// Checks that the view is of this log in its present state.
fn check_upstream(
    transaction: &Transaction<'_>,
    view: &SqliteView,
    born: Born,
    kept: &StoredView,
) -> Result<(), Halt> {
    let Some(checkpoint) = kept.checkpoint else {
        return Ok(());
    };
    let found = head::checkpoint_at(transaction.conn, born.key.seq(checkpoint.position.get()))?;
    let checked = view.rules().check_upstream(kept, born.id, found);
    checked.map_err(Halt::Refused)
}

/// Advances a projection to the head of its log within the transaction of an append.
pub(crate) fn prepare(
    transaction: &mut Transaction<'_>,
    view: &SqliteView,
    log: &Log,
    head: Option<Checkpoint>,
) -> Result<(), Refused> {
    let born = log.birth();
    // It has usually caught up already.
    match view.checkpoint(transaction.conn) {
        Ok(Some((upstream, checkpoint))) if (upstream, checkpoint) == (born.id, head) => {
            return Ok(());
        }
        Ok(_) => {}
        Err(error) => return Err(Err(error)),
    }
    loop {
        match catch_up(transaction, view, born) {
            Ok(CatchUp::Done) => return Ok(()),
            Ok(CatchUp::More) => {}
            Err(halt) => return Err(refused(halt)),
        }
    }
}
