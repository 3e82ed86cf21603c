//! The basket with `cqrs-es` and `postgres-es`.

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateContext, DomainEvent, EventStore};
use postgres_es::{PostgresCqrs, PostgresEventRepository, default_postgress_pool, postgres_cqrs};
use serde::{Deserialize, Serialize};

use crate::{Library, Result};

/// The table that the library's documentation asks for.
const TABLE: &str = "CREATE TABLE events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL, event_version text NOT NULL,
    payload json NOT NULL, metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum BasketEvent {
    LineAdded { product: String, quantity: u32 },
}

impl DomainEvent for BasketEvent {
    fn event_type(&self) -> String {
        "LineAdded".to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Basket {
    lines: usize,
}

struct AddLine;

impl Aggregate for Basket {
    const TYPE: &'static str = "Basket";
    type Command = AddLine;
    type Event = BasketEvent;
    type Error = std::io::Error;
    type Services = ();

    async fn handle(
        &mut self,
        AddLine: AddLine,
        (): &(),
        sink: &EventSink<Self>,
    ) -> std::io::Result<()> {
        let line = BasketEvent::LineAdded {
            product: "espresso cup, white".to_owned(),
            quantity: 1 + self.lines as u32 % 4,
        };
        sink.write(line, self).await;
        Ok(())
    }

    fn apply(&mut self, BasketEvent::LineAdded { .. }: BasketEvent) {
        self.lines += 1;
    }
}

/// Commands, and a store to load from.
pub(crate) struct CqrsEs {
    commands: PostgresCqrs<Basket>,
    store: PersistedEventStore<PostgresEventRepository, Basket>,
}

impl CqrsEs {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let pool = default_postgress_pool(url).await;
        sqlx::query(TABLE).execute(&pool).await?;
        let repository = PostgresEventRepository::new(pool.clone());
        Ok(Self {
            commands: postgres_cqrs(pool, Vec::new(), ()),
            store: PersistedEventStore::new_event_store(repository),
        })
    }
}

impl Library for CqrsEs {
    async fn add_line(&self, basket: &str) -> Result<()> {
        Ok(self.commands.execute(basket, AddLine).await?)
    }

    async fn load(&self, basket: &str) -> Result<usize> {
        Ok(self.store.load_aggregate(basket).await?.aggregate().lines)
    }
}
