//! Systems: what follows the logs of applications, and the views that are kept of them.
//!
//! Nothing in here knows a thread, a timer or a database: it says what one step is, and whoever
//! drives it, a runner or a test, decides when. The modules stand in order; each uses only those of
//! groups above its own.

pub mod projection;

pub mod memory_view;
