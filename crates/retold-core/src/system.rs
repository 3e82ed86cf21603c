//! Systems: applications that follow each other's logs, and what makes them go.

pub mod simulation;
