//! Paxos: participants that follow each other agree on values and replicate a key-value store.
//!
//! The algorithm is that of Leslie Lamport, "Paxos Made Simple" (ACM SIGACT News 32, 4, 2001). The
//! example shows the structure of a system of applications that follow each other: the rules are
//! pure methods of an aggregate, messages are events in the participants' logs, and a policy only
//! passes a message to a rule. The code does not depend on whether the participants share a thread
//! or run on several machines.
//!
//! Read the modules in this order:
//!
//! 1. [`ballot`] and [`electorate`]: the numbers of proposals, and the participants.
//! 2. [`message`]: the events. Those that are messages have the names of their phases.
//! 3. [`instance`]: the algorithm for one key, as seen by one participant; and how duels end.
//! 4. [`participant`]: which message is passed to which rule, and the whole system.
//! 5. [`command`], [`slot`], [`replica`]: a sequence of instances agrees on a sequence of commands,
//!    which each participant executes on its copy of the store.
//! 6. [`client`]: the operations propose, submit and read.
//! 7. [`invariants`]: what must hold for the logs in every run.
//!
//! ```
//! use retold::system::{Infrastructure, Runner, SingleThread};
//! use retold_paxos::client::{answer, decided, propose, submit};
//! use retold_paxos::command::{Answer, Command, Request};
//! use retold_paxos::electorate::Electorate;
//! use retold_paxos::participant::system;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let three = Electorate::tolerating(1)?;
//! let memory = Infrastructure::memory();
//! let runner = SingleThread::start(&system(three)?, &memory).await?;
//! let (one, other) = (runner.application("participant-0")?, runner.application("participant-2")?);
//!
//! propose(&one, three, "drink", "tea").await?;
//! assert_eq!(decided(&other, "drink").await?, Some("tea".into()));
//! let late = propose(&other, three, "drink", "coffee").await.unwrap_err();
//! assert!(late.to_string().contains("already decided"));
//!
//! submit(&one, three, &Request::new("r1", Command::set("drink", "tea"))).await?;
//! submit(&other, three, &Request::new("r2", Command::get("drink"))).await?;
//! assert_eq!(answer(&one, "r2").await?, Some(Answer::Value("tea".into())));
//! # Ok(())
//! # }
//! ```

pub mod ballot;
pub mod command;
pub mod electorate;
pub mod slot;

pub mod message;

pub mod instance;
pub mod replica;

pub mod participant;

pub mod client;
pub mod invariants;
