//! Systems of applications that follow each other, over every store.

mod shop;

mod adversary;
mod amending;
mod belonging;
mod changing;
mod changing_events;
mod confluence;
mod deadlines;
mod evolving;
mod log_check;
mod operated;
mod operating;
mod outbox;
mod partitions;
mod partitions_simulated;
mod planted_bugs;
mod policies;
mod read_back;
mod retelling;
mod retelling_cost;
mod simulated;
mod single_thread;
mod views;
