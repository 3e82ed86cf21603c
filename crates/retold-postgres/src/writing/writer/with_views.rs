//! Records a group in a log with inline projections: one transaction around the statement of the
//! group and the handlers.
//!
//! If a handler fails, everything is rolled back and each append is sent by itself, so that the one
//! at fault fails alone.

use std::time::Instant;

use retold_core::recording::{Appended, RecordError};
use tokio::sync::SemaphorePermit;
use tokio_postgres::Row;

use super::{Service, Unsent, amending_of, may_not_amend, refuse};
use crate::birth::replaced;
use crate::error::{
    Refusal, describe, is_of_amended_events, is_of_content, is_of_dropped_type, is_of_rights,
    of_statement, of_statement_on_views,
};
use crate::limits::{ANSWER_WAIT_MAX, VIEW_WAIT_MAX};
use crate::log::{Born, Met};
use crate::projection::inline::{Hindrance, Inline, PositionSpan};
use crate::queue::Member;
use crate::server::pool::Pooled;
use crate::server::work::{Purpose, Work};
use crate::telemetry::GROUP_SECONDS;
use crate::writing::answer::{answers, is_amended_meanwhile};
use crate::writing::group;
use crate::writing::group::{Group, Session};

const WHAT: &str = "appending with inline projections";

/// Why a group was not recorded.
enum Unrecorded {
    /// An error for all its members.
    Refused(RecordError),
    /// An error for one of them, or for the only one.
    AtFault(RecordError),
    /// The schema was dropped after the statement was prepared.
    Outdated,
    /// Recorded events that concern it were amended meanwhile.
    Amended,
    /// The role lacks the right to amend.
    NotAllowed,
    /// It may have been recorded: the connection was lost during the commit.
    Unknown(Unsent),
    /// It was recorded, but the server did not wait for its standbys; with the group's rows.
    NotReplicated(Vec<Row>),
}

impl Service {
    /// Sends a group. Returns it if nothing of it was written and it must be sent again.
    pub(super) async fn commit_with_views_once(
        &self,
        members: Vec<Member>,
        inline: &Inline,
    ) -> Option<Vec<Member>> {
        let begun = Instant::now();
        let (permit, mut connection, born) = match self.prepare_with_views(inline).await {
            Ok(prepared) => prepared,
            Err(error) => {
                refuse(members, &error);
                return None;
            }
        };
        let recorded = self.record(&mut connection, born, &members, inline).await;
        let error = match recorded {
            Ok(rows) if rows.is_empty() => {
                let name = &self.log.name;
                replaced(&mut connection, Met { name, born }).await
            }
            Ok(rows) => {
                metrics::histogram!(GROUP_SECONDS).record(begun.elapsed().as_secs_f64());
                self.settle(members, &rows);
                return None;
            }
            Err(Unrecorded::AtFault(_)) if members.len() > 1 => {
                drop((connection, permit));
                for member in members {
                    Box::pin(self.commit(vec![member])).await;
                }
                return None;
            }
            Err(Unrecorded::AtFault(error)) => error,
            Err(Unrecorded::Outdated) => {
                connection.close();
                return Some(members);
            }
            Err(Unrecorded::Amended) => return Some(members),
            Err(Unrecorded::NotAllowed) => {
                may_not_amend(&mut connection, &self.shared.pool.place).await
            }
            Err(Unrecorded::Refused(error)) => {
                // It may be cut or silent, though the driver does not know that yet.
                connection.close();
                error
            }
            Err(Unrecorded::NotReplicated(rows)) => {
                self.leave_open(members, &rows);
                return None;
            }
            Err(Unrecorded::Unknown(unsent)) => {
                connection.close();
                unsent.reported()
            }
        };
        refuse(members, &error);
        None
    }

    async fn prepare_with_views(
        &self,
        inline: &Inline,
    ) -> Result<(SemaphorePermit<'_>, Pooled, Born), RecordError> {
        let no_connection =
            |_| RecordError::unavailable("waiting for a connection", Refusal::NoConnection);
        let permit = self.shared.writers.acquire().await.map_err(no_connection)?;
        let connection = inline.views.take().await?;
        let born = self.log.born();
        let born = born.ok_or_else(|| RecordError::unavailable(WHAT, Refusal::NotBorn))?;
        Ok((permit, connection, born))
    }

    /// Records a group and runs the projections on it. When this returns rows, everything is
    /// durable; without rows nothing is recorded, because the log does not exist.
    async fn record(
        &self,
        connection: &mut Pooled,
        born: Born,
        members: &[Member],
        inline: &Inline,
    ) -> Result<Vec<Row>, Unrecorded> {
        let failed = |error| Unrecorded::Refused(of_statement(WHAT, error));
        let is_amending = members.iter().any(|it| !it.append.amendments().is_empty());
        let statement = group::prepare(connection, is_amending)
            .await
            .map_err(failed)?;
        let group = Group::of(born.id, members.iter().map(|member| &member.append));
        let amending = amending_of(connection, born, members).await;
        let amending = amending.map_err(Unrecorded::Refused)?;
        let standbys = connection.standbys.clone();
        let sending = async {
            // If the server is silent before the commit is sent, certainly nothing was written.
            let silent = |_| {
                let error = RecordError::unavailable(WHAT, Refusal::Silent);
                Unrecorded::Refused(error)
            };
            let beginning = Work::begin(connection, Purpose::Write);
            let begun = tokio::time::timeout(ANSWER_WAIT_MAX, beginning).await;
            let work = begun.map_err(silent)?.map_err(failed)?;
            let session = Session::Within(&work.transaction);
            let sending = group.send(session, &statement, born, amending.as_ref());
            let sent = tokio::time::timeout(ANSWER_WAIT_MAX, sending).await;
            let rows = match sent.map_err(silent)? {
                Err(error) if is_amending && is_of_rights(&error) => {
                    return Err(Unrecorded::NotAllowed);
                }
                sent => sent.map_err(at_fault)?,
            };
            if is_amended_meanwhile(&rows) {
                return Err(Unrecorded::Amended);
            }
            if rows.is_empty() {
                return Ok(rows);
            }
            self.let_take_part(&work, born, members, &rows, inline)
                .await?;
            // The result of the commit is handled by itself.
            let cancelled_before = standbys.cancelled();
            let committed = tokio::time::timeout(VIEW_WAIT_MAX, work.transaction.commit()).await;
            match committed {
                Ok(Ok(())) if standbys.cancelled() != cancelled_before => {
                    Err(Unrecorded::NotReplicated(rows))
                }
                Ok(Ok(())) => Ok(rows),
                Ok(Err(error)) if is_of_content(&error) => {
                    // A deferred constraint of a view.
                    let text = format!(
                        "an inline projection of {:?} cannot be committed, so nothing is \
                         recorded: {}",
                        self.log.name,
                        describe(&error),
                    );
                    Err(Unrecorded::AtFault(RecordError::invalid(text)))
                }
                Ok(Err(error)) => Err(Unrecorded::Unknown(Unsent::Failed(error))),
                Err(_) => Err(Unrecorded::Unknown(Unsent::Silent)),
            }
        };
        sending.await
    }

    /// Runs the projections on the events that the group's rows report as recorded.
    async fn let_take_part(
        &self,
        work: &Work<'_>,
        born: Born,
        members: &[Member],
        rows: &[Row],
        inline: &Inline,
    ) -> Result<(), Unrecorded> {
        let answers = answers(rows, members.iter().map(|member| &member.append));
        let recorded = answers.into_iter().filter_map(|it| match it.answer {
            Ok(Appended::Recorded(positions)) => positions.first().zip(positions.last()),
            _ => None,
        });
        let recorded: Vec<_> = recorded.collect();
        let (Some((first, _)), Some((_, last))) = (recorded.first(), recorded.last()) else {
            return Ok(());
        };
        let appended = PositionSpan {
            first: *first,
            last: *last,
        };
        let taking = inline.take_part(work, (&self.log.name, born), appended);
        match tokio::time::timeout(VIEW_WAIT_MAX, taking).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Hindrance::Behind)) => {
                let error = RecordError::unavailable(WHAT, Refusal::ViewsBehind);
                Err(Unrecorded::Refused(error))
            }
            Ok(Err(Hindrance::Refused(error))) => Err(Unrecorded::AtFault(error)),
            Ok(Err(Hindrance::Failed(error))) => {
                Err(Unrecorded::Refused(of_statement_on_views(WHAT, error)))
            }
            Err(_) => {
                let error = RecordError::unavailable(WHAT, Refusal::Silent);
                Err(Unrecorded::Refused(error))
            }
        }
    }
}

/// Maps an error of a group's statement within a transaction: nothing is committed.
fn at_fault(error: tokio_postgres::Error) -> Unrecorded {
    if is_of_dropped_type(&error) {
        return Unrecorded::Outdated;
    }
    if is_of_amended_events(&error) {
        return Unrecorded::Amended;
    }
    let is_of_content = is_of_content(&error);
    let error = of_statement("appending", error);
    match is_of_content {
        true => Unrecorded::AtFault(error),
        false => Unrecorded::Refused(error),
    }
}
