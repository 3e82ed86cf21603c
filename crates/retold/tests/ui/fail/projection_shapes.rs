use retold::postgres::Postgres;
use retold::prelude::*;
use retold::projection::{BoxError, MemoryView, Projection};
use retold::application::Logged;

#[derive(Event, Serialize, Deserialize)]
struct Placed {
    item: String,
}

async fn count(_: &u64, _: &Logged<Placed>) -> Result<(), BoxError> {
    Ok(())
}

fn main() {
    // A synchronous view with an asynchronous handler.
    let _ = Projection::<MemoryView<u64>>::new("a", 1, "orders").on_async::<Placed, _>(count);
    // A view on a server with a synchronous handler.
    let _ = Projection::<Postgres>::new("b", 1, "orders").on::<Placed>(|_, _| Ok(()));
    // A handler that is not asynchronous.
    let _ = Projection::<Postgres>::new("d", 1, "orders").on_async(
        |_: &retold::postgres::PostgresTransaction<'_>, _: &Logged<Placed>| Ok(()),
    );
}
