//! A connection to the server, with the statements that were prepared on it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use retold_core::recording::RecordError;
use tokio::task::AbortHandle;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, Row, SimpleQueryMessage, Statement};

use super::kept_statements::KeptStatements;
use super::place::Place;
use super::reach::{Link, pool_between, reach};
use super::runtime::StoreRuntime;
use crate::error::{Refusal, of_statement};
use crate::options::{ANSWER_WAIT_MAX, CONNECT_WAIT_MAX};

/// Parameters of a statement.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// What moves its bytes.
    link: AbortHandle,
    pub(crate) standbys: StandbyWaits,
    schema: String,
    statements: HashMap<&'static str, Statement>,
    /// Those whose texts are made while the program runs.
    pub(crate) kept: KeptStatements,
    /// Whether an answer did not come in time, so that nobody should wait for the next.
    pub(crate) is_silent: bool,
}

/// What a connection is asked first: whether our settings came through, and that an acknowledged append
/// is durable, whatever the server's default is for others. A setting that waits for standbys as well
/// stays.
const FIRST: &str = "SELECT coalesce(current_setting('retold.settings_came', true), ''),
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
        THEN set_config('synchronous_commit', 'on', false) END";

/// Opens a connection. The task that moves its bytes ends with the connection, and keeps the runtime until
/// then.
pub(crate) async fn connect(
    place: &Place,
    runtime: &Arc<StoreRuntime>,
) -> Result<Connection, RecordError> {
    let (client, link) = reach(place).await?;
    let (kept, standbys) = (runtime.clone(), StandbyWaits::default());
    let link = runtime.spawn({
        let standbys = standbys.clone();
        async move {
            move_bytes(link, &standbys).await;
            drop(kept);
        }
    });
    let connection = Connection {
        client,
        link: link.abort_handle(),
        standbys,
        schema: place.quoted_schema(),
        statements: HashMap::new(),
        kept: KeptStatements::default(),
        is_silent: false,
    };
    connection.begin().await?;
    Ok(connection)
}

/// Moves the bytes of a connection until it ends, and hears what the server says of waits for standbys. What
/// ends the connection is an error of the next call that uses it.
async fn move_bytes(mut link: Link, standbys: &StandbyWaits) {
    poll_fn(|context| {
        loop {
            match ready!(link.poll_message(context)) {
                // It comes before the answer that the statement's caller gets.
                Some(Ok(AsyncMessage::Notice(notice))) => standbys.hear(&notice),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// How often the server stopped waiting for a standby in a commit of a connection, and said so.
#[derive(Clone, Default)]
pub(crate) struct StandbyWaits(Arc<AtomicU64>);

impl StandbyWaits {
    pub(crate) fn cancelled(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn hear(&self, notice: &DbError) {
        // The server's text is in the server's language; the name of the function that warns is not.
        let is_cancelled = notice.parsed_severity() == Some(Severity::Warning)
            && notice.routine() == Some("SyncRepWaitForLSN");
        if is_cancelled {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Connection {
    /// Ends it at once: what it still brings is not read. Dropped, it ends when the server has answered
    /// all it was asked, which a silent one never does.
    pub(crate) fn cut(self) {
        self.link.abort();
    }

    async fn begin(&self) -> Result<(), RecordError> {
        const WHAT: &str = "beginning a connection to the PostgreSQL server";
        let asked = self.client.simple_query(FIRST);
        let Ok(answer) = tokio::time::timeout(CONNECT_WAIT_MAX, asked).await else {
            return Err(RecordError::unavailable(WHAT, Refusal::Silent));
        };
        let answer = answer.map_err(|error| of_statement(WHAT, error))?;
        let came = answer.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("yes")),
        );
        if came { Ok(()) } else { Err(pool_between()) }
    }

    /// The statement of this text, which names the schema `"retold"`; prepared once.
    pub(crate) async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let text = in_schema(sql, &self.schema);
        let mut preparing = pin!(self.client.prepare(&text));
        let prepared = tokio::time::timeout(ANSWER_WAIT_MAX, &mut preparing).await;
        let statement = match prepared {
            Ok(prepared) => prepared?,
            Err(_) => {
                // The end of the connection is the answer then.
                self.is_silent = true;
                self.link.abort();
                preparing.await?
            }
        };
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// All rows of a statement that reads, or that may simply be done again.
    pub(crate) async fn rows(
        &mut self,
        what: &str,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, RecordError> {
        self.in_time(what, async |connection: &mut Self| {
            let statement = connection.prepared(sql).await?;
            connection.client.query(&statement, parameters).await
        })
        .await
    }

    /// What the server answers, or `Unavailable` if it does not in time.
    pub(crate) async fn in_time<T>(
        &mut self,
        what: &str,
        ask: impl AsyncFnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, RecordError> {
        match tokio::time::timeout(ANSWER_WAIT_MAX, ask(self)).await {
            Ok(answer) => answer.map_err(|error| of_statement(what, error)),
            Err(_) => {
                self.is_silent = true;
                Err(RecordError::unavailable(what, Refusal::Silent))
            }
        }
    }

    /// The only row of a statement, or none.
    pub(crate) async fn row(
        &mut self,
        what: &str,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, RecordError> {
        let rows = self.rows(what, sql, parameters).await?;
        Ok(rows.into_iter().next())
    }
}

/// The text of a statement, with the name of the schema in it.
pub(crate) fn in_schema(sql: &str, quoted_schema: &str) -> String {
    sql.replace("\"retold\".", &format!("{quoted_schema}."))
}
