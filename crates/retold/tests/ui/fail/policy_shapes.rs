use retold::prelude::*;
use retold::system::{Context, Follower};

#[derive(Event, Serialize, Deserialize)]
struct Placed {
    item: String,
}

fn not_async(_: &Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

async fn of_two_events(_: &Placed, _: &Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

async fn without_a_context(_: &Placed) -> retold::Result<()> {
    Ok(())
}

async fn of_no_event(_: &String, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

async fn without_a_result(_: &Placed, _: &mut Context) {}

fn main() {
    let _ = Follower::new("a").on(not_async);
    let _ = Follower::new("b").on(of_two_events);
    let _ = Follower::new("c").on(without_a_context);
    let _ = Follower::new("d").on(of_no_event);
    let _ = Follower::new("e").on(without_a_result);
}
