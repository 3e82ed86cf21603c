//! What is told of the work of a command that runs a system: on standard error, errors only unless
//! `RUST_LOG` names another level.

use std::io;

use tracing_subscriber::filter::LevelFilter;

/// Shows from now on what goes wrong. A second call changes nothing.
pub(crate) fn show() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(level(std::env::var("RUST_LOG").ok().as_deref()));
    // That there is one already is as good.
    let _ = subscriber.try_init();
}

/// One of `off`, `error`, `warn`, `info`, `debug` and `trace`; errors for anything else.
fn level(text: Option<&str>) -> LevelFilter {
    let level = text.and_then(|text| text.parse().ok());
    level.unwrap_or(LevelFilter::ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_unless_told_otherwise() {
        assert_eq!(level(None), LevelFilter::ERROR);
        assert_eq!(level(Some("retold=debug")), LevelFilter::ERROR);
        assert_eq!(level(Some("off")), LevelFilter::OFF);
        assert_eq!(level(Some("INFO")), LevelFilter::INFO);
    }
}
