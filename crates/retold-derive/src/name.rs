//! Recorded names, checked at compile time: topics and types of streams.

use proc_macro2::Span;
use syn::{Error, Result};

/// The limits of the core, which no derive can depend on; a test of `retold` compares them.
const NAME_SIZE_MAX: usize = 255;
const STREAM_TYPE_SIZE_MAX: usize = 200;
const RESERVED_PREFIX: &str = "retold.";

/// Checks a topic.
pub(crate) fn check_topic(topic: &str, span: Span) -> Result<()> {
    check(topic, span, "a topic", NAME_SIZE_MAX)
}

/// Checks a type of streams.
pub(crate) fn check_stream_type(name: &str, span: Span) -> Result<()> {
    if name.contains('/') {
        return Err(Error::new(
            span,
            "the type of a stream has no `/`: the stream's name is `TYPE/key`",
        ));
    }
    check(name, span, "the type of a stream", STREAM_TYPE_SIZE_MAX)
}

fn check(name: &str, span: Span, what: &str, size_max: usize) -> Result<()> {
    if name.is_empty() || name.len() > size_max {
        return Err(Error::new(
            span,
            format!(
                "{what} has 1 to {size_max} bytes; this one has {}",
                name.len()
            ),
        ));
    }
    if let Some(control) = name.chars().find(|it| it.is_control()) {
        return Err(Error::new(
            span,
            format!("{what} has no control characters; this one has {control:?}"),
        ));
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err(Error::new(
            span,
            format!(
                "names that begin with `{RESERVED_PREFIX}` belong to the library; choose another"
            ),
        ));
    }
    Ok(())
}
