//! The error of a codec, with the place in the payload.

use std::fmt;
use std::sync::Arc;

use serde_path_to_error::Segment;

/// An error of a codec, or of the event's own serde implementation, about a payload.
#[derive(Clone)]
pub struct CodecError {
    /// The path in the payload, for example `lines[2].price`; empty if it is unknown.
    path: Arc<str>,
    error: Arc<dyn std::error::Error + Send + Sync>,
}

impl CodecError {
    pub(super) fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::at(String::new(), error)
    }

    pub(super) fn from_box(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self {
            path: "".into(),
            error: error.into(),
        }
    }

    pub(super) fn at(path: String, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            path: path.into(),
            error: Arc::new(error),
        }
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", at(&self.path), self.error)
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Returns a path as text; empty if none of its parts is known.
pub(super) fn shown(path: &serde_path_to_error::Path) -> String {
    let is_known = |it: &Segment| !matches!(it, Segment::Unknown);
    let mut text = path.to_string();
    if !path.iter().any(is_known) {
        text.clear();
    }
    text
}

/// Returns the prefix of a message that names a place; empty for the whole.
fn at(path: &str) -> String {
    match path {
        "" => String::new(),
        path => format!("at `{path}`: "),
    }
}
