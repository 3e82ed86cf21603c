//! A connection to the server, with the statements that were prepared on it.

use std::collections::HashMap;

use retold_core::recording::error::RecordError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

use super::error::{Refusal, of_statement};
use super::kept_statements::KeptStatements;
use super::options::ANSWER_WAIT_MAX;
use super::place::Place;

/// Parameters of a statement.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    schema: String,
    statements: HashMap<&'static str, Statement>,
    /// Those whose texts are made while the program runs.
    pub(crate) kept: KeptStatements,
    /// Whether an answer did not come in time, so that nobody should wait for the next.
    pub(crate) is_silent: bool,
}

/// Opens a connection. The task that moves its bytes ends with the connection.
pub(crate) async fn connect(place: &Place) -> Result<Connection, RecordError> {
    let failed = |error| of_statement("connecting to the PostgreSQL server", error);
    let (client, task) = place.config.connect(NoTls).await.map_err(failed)?;
    tokio::spawn(async move {
        // What ends the connection is told to whoever uses it next.
        let _ = task.await;
    });
    let connection = Connection {
        client,
        schema: place.quoted_schema(),
        statements: HashMap::new(),
        kept: KeptStatements::default(),
        is_silent: false,
    };
    connection.demand_durability().await.map_err(failed)?;
    Ok(connection)
}

impl Connection {
    /// An acknowledged append is durable, whatever the server's default is for others. A setting that
    /// waits for standbys as well stays.
    async fn demand_durability(&self) -> Result<(), Error> {
        const SQL: &str = "SELECT set_config('synchronous_commit', 'on', false)
            WHERE current_setting('synchronous_commit') IN ('off', 'local')";
        self.client.simple_query(SQL).await.map(drop)
    }

    /// The statement of this text, which names the schema `"retold"`; prepared once.
    pub(crate) async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let text = in_schema(sql, &self.schema);
        let statement = self.client.prepare(&text).await?;
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
