//! The task that commits the appends of a log in groups: each group is one statement and one
//! transaction.
//!
//! It runs while appends are waiting. A caller may be dropped; the task continues.

mod with_views;

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold_core::recording::{Append, Appended, RecordError};
use tokio::sync::{SemaphorePermit, oneshot};
use tokio_postgres::{Row, Statement};

use super::amending::Amending;
use super::answer::{Answer, answers, is_amended_meanwhile};
use super::group::{self, Group, Session};
use crate::birth::replaced;
use crate::error::{
    Refusal, is_of_amended_events, is_of_content, is_of_dropped_type, is_of_rights, of_group,
    of_statement,
};
use crate::limits::{
    ANSWER_WAIT_MAX, GATHER_SHARE, GATHER_WAIT_MAX, GROUP_LENGTH_MAX, PLACE_SIZE, QUEUE_PLACES_MAX,
    QUEUE_WAIT_MAX, SENDINGS_MAX,
};
use crate::log::{Born, Log, Met};
use crate::queue::{Member, size};
use crate::server::connection::Connection;
use crate::server::place::ServerPlace;
use crate::server::pool::Pooled;
use crate::server::roles::amender_role;
use crate::shared::Shared;
use crate::sql_text::{quote, shell_word};
use crate::telemetry::{GROUP_LENGTH, GROUP_SECONDS};

/// Queues an append and waits for its result.
///
/// # Errors
///
/// As documented for the recorder's `append`.
pub(crate) async fn append(
    shared: &Arc<Shared>,
    log: &Arc<Log>,
    append: Append,
) -> Result<Appended, RecordError> {
    const WHAT: &str = "appending";
    let size = size(&append);
    let places = u32::try_from(size / PLACE_SIZE + 1).unwrap_or(u32::MAX);
    let places = log
        .places
        .clone()
        .acquire_many_owned(places.min(QUEUE_PLACES_MAX));
    let Ok(Ok(places)) = tokio::time::timeout(QUEUE_WAIT_MAX, places).await else {
        return Err(RecordError::unavailable(WHAT, Refusal::QueueFull));
    };
    let (sender, receiver) = oneshot::channel();
    let member = Member {
        append,
        size,
        answer: sender,
        _places: places,
    };
    if log.queue.push(member) {
        let service = Service {
            shared: shared.clone(),
            log: log.clone(),
            serving: Serving::Now,
        };
        if shared.inline_of(&log.name).is_some() {
            // Handlers of the program take part, and may block.
            shared.runtime.spawn_apart(service.serve());
        } else {
            shared.runtime.spawn(service.serve());
        }
    }
    match receiver.await {
        Ok(answer) => answer,
        Err(_) => Err(RecordError::outcome_unknown(WHAT, Refusal::WriterStopped)),
    }
}

/// Serves the queue of a log until it is empty.
struct Service {
    shared: Arc<Shared>,
    log: Arc<Log>,
    serving: Serving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    Now,
    /// The queue was empty and is marked as not served.
    Done,
}

/// However the task ends, the queue is not left without a task; also if the task never started.
impl Drop for Service {
    fn drop(&mut self) {
        if self.serving == Serving::Now {
            self.log.queue.abandon();
        }
    }
}

impl Service {
    async fn serve(mut self) {
        let (mut answered, mut took) = (0, Duration::ZERO);
        loop {
            self.gather(answered, took).await;
            let group = self.log.queue.take_group();
            if group.is_empty() {
                // The next append finds the queue not served, and starts another task.
                self.serving = Serving::Done;
                return;
            }
            let begun = Instant::now();
            answered = group.len();
            self.commit(group).await;
            took = begun.elapsed();
        }
    }

    /// Gives the callers of the previous group a moment to append again, unless one caller is
    /// alone. Otherwise the first of them would get a group to itself, and all others would wait
    /// for its sync.
    async fn gather(&self, answered: usize, took: Duration) {
        let expected = (self.log.queue.length() + answered).min(GROUP_LENGTH_MAX);
        if expected <= 1 {
            return;
        }
        let wait_max = (took / GATHER_SHARE).min(GATHER_WAIT_MAX);
        self.log.queue.gather(expected, wait_max).await;
    }

    /// Sends a group until its members have their results.
    async fn commit(&self, members: Vec<Member>) {
        metrics::histogram!(GROUP_LENGTH).record(members.len() as f64);
        let inline = self.shared.inline_of(&self.log.name);
        let mut unsettled = members;
        for _ in 0..SENDINGS_MAX {
            let again = match inline {
                Some(inline) => self.commit_with_views_once(unsettled, inline).await,
                None => self.commit_once(unsettled).await,
            };
            match again {
                Some(again) => unsettled = again,
                None => return,
            }
        }
        let error = RecordError::unavailable("appending", Refusal::KeptChanging);
        refuse(unsettled, &error);
    }

    /// Sends a group. Returns it if nothing of it was written and it must be sent again.
    async fn commit_once(&self, members: Vec<Member>) -> Option<Vec<Member>> {
        let begun = Instant::now();
        let is_amending = members.iter().any(|it| !it.append.amendments().is_empty());
        let prepared = match self.prepare(is_amending).await {
            Ok(prepared) => prepared,
            Err(error) => {
                refuse(members, &error);
                return None;
            }
        };
        let Prepared {
            permit,
            born,
            mut connection,
            statement,
        } = prepared;
        let cancelled_before = connection.standbys.cancelled();
        let sent = self.send(&mut connection, &statement, born, &members).await;
        match sent {
            Ok(rows) if is_amended_meanwhile(&rows) => return Some(members),
            Ok(rows) if rows.is_empty() => {
                let name = &self.log.name;
                let error = replaced(&mut connection, Met { name, born }).await;
                refuse(members, &error);
            }
            Ok(rows) if connection.standbys.cancelled() != cancelled_before => {
                self.leave_open(members, &rows);
            }
            Ok(rows) => {
                metrics::histogram!(GROUP_SECONDS).record(begun.elapsed().as_secs_f64());
                self.settle(members, &rows);
            }
            Err(Unsent::Failed(error)) if members.len() > 1 && is_of_content(&error) => {
                drop((connection, permit));
                // One of them is at fault. Each is sent by itself, so that the one at fault fails
                // alone.
                for member in members {
                    Box::pin(self.commit(vec![member])).await;
                }
            }
            Err(Unsent::Failed(error)) if is_of_amended_events(&error) => return Some(members),
            Err(Unsent::Failed(error)) if is_amending && is_of_rights(&error) => {
                let error = may_not_amend(&mut connection, &self.shared.pool.place).await;
                refuse(members, &error);
            }
            Err(Unsent::Unread(error)) => refuse(members, &error),
            Err(Unsent::Failed(error)) if is_of_dropped_type(&error) => {
                // A new connection finds the types of the present schema, or that there is none.
                connection.close();
                return Some(members);
            }
            Err(unsent) => {
                let error = unsent.reported();
                if matches!(error, RecordError::OutcomeUnknown(_)) {
                    // It is silent, or cut, though the driver may not know that yet.
                    connection.close();
                }
                refuse(members, &error);
            }
        }
        None
    }

    /// Prepares everything before the group is sent; after a failure here, certainly nothing was
    /// written.
    async fn prepare(&self, is_amending: bool) -> Result<Prepared<'_>, RecordError> {
        let no_connection =
            |_| RecordError::unavailable("waiting for a connection", Refusal::NoConnection);
        let permit = self.shared.writers.acquire().await.map_err(no_connection)?;
        let born = self.log.born();
        let born = born.ok_or_else(|| RecordError::unavailable("appending", Refusal::NotBorn))?;
        let mut connection = self.shared.pool.take().await?;
        let statement = group::prepare(&mut connection, is_amending).await;
        let statement = statement.map_err(|error| of_statement("preparing to append", error))?;
        Ok(Prepared {
            permit,
            born,
            connection,
            statement,
        })
    }

    async fn send(
        &self,
        connection: &mut Pooled,
        statement: &Statement,
        born: Born,
        members: &[Member],
    ) -> Result<Vec<Row>, Unsent> {
        let group = Group::of(born.id, members.iter().map(|member| &member.append));
        let amending = amending_of(connection, born, members);
        let amending = amending.await.map_err(Unsent::Unread)?;
        let session = Session::Alone(&connection.client);
        let sent = group.send(session, statement, born, amending.as_ref());
        match tokio::time::timeout(ANSWER_WAIT_MAX, sent).await {
            Ok(sent) => sent.map_err(Unsent::Failed),
            Err(_) => Err(Unsent::Silent),
        }
    }

    fn settle(&self, members: Vec<Member>, rows: &[Row]) {
        let answers = self.announce(&members, rows);
        for (member, answer) in members.into_iter().zip(answers) {
            // The caller may be gone.
            let _ = member.answer.send(answer.answer);
        }
    }

    /// Returns an unknown outcome for a group that is committed, but may be missing on its
    /// standbys: readers see it, and its callers send it again, which waits for the standbys as
    /// well.
    fn leave_open(&self, members: Vec<Member>, rows: &[Row]) {
        self.announce(&members, rows);
        refuse(members, &Unsent::NotReplicated.reported());
    }

    /// Turns the rows into a result for each member, and notifies waiting readers of the new append
    /// count.
    fn announce(&self, members: &[Member], rows: &[Row]) -> Vec<Answer> {
        let answers = answers(rows, members.iter().map(|member| &member.append));
        let recorded = answers
            .iter()
            .filter(|it| matches!(it.answer, Ok(Appended::Recorded(_))));
        if let Some(append_count) = recorded.map(|it| it.append_count).max() {
            self.log.announce(append_count);
            self.shared.notifier.announce(self.log.born());
        }
        answers
    }
}

/// What a group is sent with.
struct Prepared<'a> {
    permit: SemaphorePermit<'a>,
    born: Born,
    connection: Pooled,
    statement: Statement,
}

/// Why a group has no result.
enum Unsent {
    /// The events to amend could not be read.
    Unread(RecordError),
    Failed(tokio_postgres::Error),
    Silent,
    /// It is committed, but the server did not wait for its standbys.
    NotReplicated,
}

impl Unsent {
    /// Returns the error for the members.
    fn reported(self) -> RecordError {
        match self {
            Self::Unread(error) => error,
            Self::Failed(error) => of_group(error),
            Self::Silent => RecordError::outcome_unknown("appending", Refusal::Silent),
            Self::NotReplicated => {
                RecordError::outcome_unknown("appending", Refusal::NotReplicated)
            }
        }
    }
}

/// Prepares the amendments of a group: that of an append with amendments has no other append.
async fn amending_of<'a>(
    connection: &mut Connection,
    born: Born,
    members: &'a [Member],
) -> Result<Option<Amending<'a>>, RecordError> {
    match members {
        [member] => Amending::of(connection, born, &member.append).await,
        _ => Ok(None),
    }
}

/// Returns the error for an append with amendments whose role lacks the right to amend.
async fn may_not_amend(connection: &mut Connection, place: &ServerPlace) -> RecordError {
    const WHAT: &str = "asking for the name of the role";
    let sql = "SELECT current_user::text";
    let role = match connection.row(WHAT, sql, &[]).await {
        Ok(row) => row.and_then(|row| row.try_get(0).ok()),
        Err(error) => return error,
    };
    let role: String = role.unwrap_or_default();
    RecordError::invalid(format!(
        "the role {role:?} is not allowed to amend the recorded events of the store in the schema \
         {0:?}. As the owner of the schema, or a superuser, run: GRANT {1} TO {2}; if that role is \
         missing, `retold schema postgres --schema {3} --only roles` prints SQL that creates it",
        place.schema,
        quote(&amender_role(&place.schema)),
        quote(&role),
        shell_word(&place.schema)
    ))
}

/// Returns the same error to all members.
fn refuse(members: Vec<Member>, error: &RecordError) {
    for member in members {
        let _ = member.answer.send(Err(error.clone()));
    }
}
