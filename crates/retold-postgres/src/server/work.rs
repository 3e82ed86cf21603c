//! A transaction on views, with the prepared statements of its connection.
//!
//! Connections for views begin read-only transactions unless writing is requested, so that a
//! handler that ends the transaction it was given writes nothing after that.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement, Transaction};

use super::connection::Connection;
use super::kept_statements::KeptStatements;

/// An open transaction. Rolled back when it is dropped.
pub(crate) struct Work<'a> {
    pub(crate) transaction: Transaction<'a>,
    pub(crate) statements: &'a KeptStatements,
}

/// The purpose of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
}

impl<'a> Work<'a> {
    /// Begins a transaction.
    pub(crate) async fn begin(
        connection: &'a mut Connection,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        let builder = connection.client.build_transaction();
        let transaction = builder.read_only(purpose == Purpose::Read).start().await?;
        Ok(Self {
            transaction,
            statements: &connection.kept,
        })
    }

    async fn prepared(&self, sql: &str) -> Result<Statement, Error> {
        self.statements.prepared(&self.transaction, sql).await
    }

    pub(crate) async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.query(&statement, parameters).await
    }

    /// Returns the first row, if there is one.
    pub(crate) async fn row(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let rows = self.rows(sql, parameters).await?;
        Ok(rows.into_iter().next())
    }

    /// Executes a statement and returns how many rows it changed.
    pub(crate) async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let statement = self.prepared(sql).await?;
        self.transaction.execute(&statement, parameters).await
    }
}
