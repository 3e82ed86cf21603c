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
use super::place::ServerPlace;
use super::reach::{Link, pool_between, reach};
use super::runtime::StoreRuntime;
use crate::error::{Refusal, of_statement};
use crate::limits::{ANSWER_WAIT_MAX, CONNECT_WAIT_MAX};

/// Parameters of a statement.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The task that moves its bytes.
    link: AbortHandle,
    pub(crate) standbys: StandbyWaits,
    schema: String,
    statements: HashMap<&'static str, Statement>,
    /// Prepared statements whose texts are built at run time.
    pub(crate) kept: KeptStatements,
    /// Whether a response did not arrive in time, so that no caller should wait for the next.
    pub(crate) is_silent: bool,
    /// Whether its settings were changed, so that it is closed after its use.
    pub(crate) is_changed: bool,
}

/// The first statement on a connection: it checks that our settings arrived, and makes acknowledged
/// appends durable, regardless of the server's defaults. A setting that also waits for standbys is
/// kept.
const FIRST: &str = "SELECT coalesce(current_setting('retold.settings_came', true), ''),
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
        THEN set_config('synchronous_commit', 'on', false) END";

/// Opens a connection. The task that moves its bytes ends with the connection, and keeps the
/// runtime alive until then.
pub(crate) async fn connect(
    place: &ServerPlace,
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
        is_changed: false,
    };
    connection.begin().await?;
    Ok(connection)
}

/// Moves the bytes of a connection until it ends, and receives the server's warnings about waits
/// for standbys. An error that ends the connection is returned by the next call that uses it.
async fn move_bytes(mut link: Link, standbys: &StandbyWaits) {
    poll_fn(|context| {
        loop {
            match ready!(link.poll_message(context)) {
                // The notice arrives before the response that the statement's caller receives.
                Some(Ok(AsyncMessage::Notice(notice))) => standbys.hear(&notice),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// How often the server reported that it stopped waiting for a standby in a commit of a connection.
#[derive(Clone, Default)]
pub(crate) struct StandbyWaits(Arc<AtomicU64>);

impl StandbyWaits {
    pub(crate) fn cancelled(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn hear(&self, notice: &DbError) {
        // The server's text is in the server's language; the name of the function that warns is
        // not.
        let is_cancelled = notice.parsed_severity() == Some(Severity::Warning)
            && notice.routine() == Some("SyncRepWaitForLSN");
        if is_cancelled {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Connection {
    /// Ends the connection at once without reading what it still brings. A connection that is only
    /// dropped ends when the server has responded to everything, which a silent server never does.
    pub(crate) fn cut(self) {
        self.link.abort();
    }

    async fn begin(&self) -> Result<(), RecordError> {
        const WHAT: &str = "preparing a connection to the PostgreSQL server";
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

    /// Returns the prepared statement of this text, in which the schema is called `"retold"`;
    /// prepares it once.
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
                // The result is then that the connection ended.
                self.is_silent = true;
                self.link.abort();
                preparing.await?
            }
        };
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Returns all rows of a statement that reads, or that can safely be repeated.
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

    /// Returns the server's response, or `Unavailable` if it does not arrive in time.
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

    /// Returns the only row of a statement, if there is one.
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

/// Returns the text of a statement with the schema's name filled in.
pub(crate) fn in_schema(sql: &str, quoted_schema: &str) -> String {
    sql.replace("\"retold\".", &format!("{quoted_schema}."))
}
