//! The basket with Retold.

use std::sync::Arc;

use retold::application::Application;
use retold::domain::event::Apply;
use retold_derive::{Aggregate, Event};
use retold_postgres::PostgresStore;
use serde::{Deserialize, Serialize};

use crate::{Cache, Library};

#[derive(Event, Serialize, Deserialize)]
enum BasketEvent {
    LineAdded { product: String, quantity: u32 },
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = BasketEvent, key = String)]
struct Basket {
    lines: usize,
}

impl Apply<BasketEvent> for Basket {
    fn apply(&mut self, event: &BasketEvent) {
        let BasketEvent::LineAdded { .. } = event;
        self.lines += 1;
    }
}

/// An application on a schema of its own.
pub(crate) struct Retold(Application);

impl Retold {
    pub(crate) async fn open(url: &str, cache: Cache) -> crate::Result<Self> {
        let store = Arc::new(PostgresStore::open(url).await?);
        let application = Application::builder("shop").store(store);
        let application = match cache {
            Cache::Default => application,
            Cache::None => application.cache_size(0),
        };
        Ok(Self(application.open().await?))
    }
}

impl Library for Retold {
    async fn add_line(&self, basket: &str) -> crate::Result<()> {
        let line = |basket: &Basket| BasketEvent::LineAdded {
            product: "espresso cup, white".to_owned(),
            quantity: 1 + basket.lines as u32 % 4,
        };
        self.0.execute_or_create(basket, line).await?;
        Ok(())
    }

    async fn load(&self, basket: &str) -> crate::Result<usize> {
        Ok(self.0.get::<Basket>(basket).await?.state.lines)
    }
}
