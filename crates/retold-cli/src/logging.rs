//! Logging for the commands that run a system: errors on standard error, or the level that
//! `RUST_LOG` names.

use std::io;

use tracing_subscriber::filter::LevelFilter;

/// Starts logging. A second call changes nothing.
pub(crate) fn start() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(level(std::env::var("RUST_LOG").ok().as_deref()));
    // It fails if a subscriber is installed already, which then logs.
    let _ = subscriber.try_init();
}

/// Parses `off`, `error`, `warn`, `info`, `debug` or `trace`. Returns `error` for any other text.
fn level(text: Option<&str>) -> LevelFilter {
    let level = text.and_then(|text| text.parse().ok());
    level.unwrap_or(LevelFilter::ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_error_by_default() {
        assert_eq!(level(None), LevelFilter::ERROR);
        assert_eq!(level(Some("retold=debug")), LevelFilter::ERROR);
        assert_eq!(level(Some("off")), LevelFilter::OFF);
        assert_eq!(level(Some("INFO")), LevelFilter::INFO);
    }
}
