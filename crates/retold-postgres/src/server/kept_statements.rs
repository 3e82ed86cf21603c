//! Prepared statements of a connection whose texts are built at run time: those of handlers, and
//! those with the name of a schema of views. Each is prepared once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::{Error, Statement, Transaction};

use crate::limits::KEPT_STATEMENTS_MAX;

/// The statements by their texts.
#[derive(Default)]
pub(crate) struct KeptStatements {
    statements: Mutex<HashMap<String, Statement>>,
}

impl KeptStatements {
    fn statements(&self) -> MutexGuard<'_, HashMap<String, Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the prepared statement of this text on the connection of these statements.
    pub(crate) async fn prepared(
        &self,
        transaction: &Transaction<'_>,
        sql: &str,
    ) -> Result<Statement, Error> {
        let kept = self.statements().get(sql).cloned();
        if let Some(statement) = kept {
            return Ok(statement);
        }
        let statement = transaction.prepare(sql).await?;
        let mut statements = self.statements();
        if statements.len() >= KEPT_STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Drops them all, because the tables that they name have been replaced.
    pub(crate) fn forget(&self) {
        self.statements().clear();
    }
}
