//! Systems of applications that follow each other, over every store.

mod shop;

mod deadlines;
mod operating;
mod policies;
mod retelling;
mod simulated;
mod single_thread;
