use retold::application::Logged;
use retold::postgres::{Postgres, PostgresTransaction};
use retold::prelude::*;
use retold::projection::Projection;
use retold::system::{Context, Follower};

#[derive(Event, Serialize, Deserialize)]
struct Placed {
    item: String,
}

fn main() {
    let limit = String::from("long");
    let _ = Follower::new("a").on(async move |placed: &Placed, _: &mut Context| {
        assert!(placed.item.len() < limit.len());
        Ok(())
    });
    let _ = Projection::<Postgres>::new("b", 1, "orders").on_async(
        async move |_: &PostgresTransaction<'_>, placed: &Logged<Placed>| {
            assert!(placed.event.item.len() < limit.len());
            Ok(())
        },
    );
}
