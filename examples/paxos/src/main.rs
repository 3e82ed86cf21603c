//! Demonstrates three participants that agree, in one thread and in memory:
//! `cargo run -p retold-paxos`.

use std::error::Error;

use retold::system::{Infrastructure, Runner, SingleThread};
use retold_paxos::client::{answer, decided, propose, replica, submit};
use retold_paxos::command::{Command, Request};
use retold_paxos::electorate::Electorate;
use retold_paxos::invariants::History;
use retold_paxos::participant::system;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let three = Electorate::tolerating(1)?;
    let memory = Infrastructure::memory();
    let runner = SingleThread::start(&system(three)?, &memory).await?;

    println!("Each participant proposes a drink at the same time:");
    let open = runner.open_system();
    for (participant, drink) in open.applications().iter().zip(["tea", "milk", "rum"]) {
        println!("  {} proposes {drink}", participant.name());
        propose(participant, three, "drink", drink).await?;
    }
    runner.catch_up().await?;
    for participant in open.applications() {
        let drink = decided(participant, "drink").await?;
        println!("  {} decided: {drink:?}", participant.name());
    }

    println!("Each participant submits a command to the store, one after the other:");
    let commands = [
        Command::set("stock", "rum"),
        Command::rename("stock", "cellar"),
        Command::get("cellar"),
    ];
    for (name, command) in three.names().zip(commands) {
        // A command on the runner returns after all its effects are recorded.
        let participant = runner.application(&name)?;
        submit(&participant, three, &Request::new(name, command)).await?;
    }
    for participant in open.applications() {
        let name = participant.name();
        let replica = replica(participant).await?;
        let answer = answer(participant, name).await?;
        println!(
            "  {name} got {answer:?}, and its store is {:?}",
            replica.values()
        );
    }

    let history = History::read(open.applications()).await?;
    println!("Violations: {:?}", history.violations(three));
    Ok(())
}
