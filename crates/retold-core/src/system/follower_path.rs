//! The path of a follower: its application and its name in one value.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::recording::Invalid;

/// Identifies a follower of a system: the name of its application and its own name, written
/// `application/follower`.
///
/// ```
/// use retold::system::FollowerPath;
///
/// let path: FollowerPath = "stock/reservations".parse()?;
/// assert_eq!(path, FollowerPath::new("stock", "reservations"));
/// assert_eq!(path.to_string(), "stock/reservations");
/// # Ok::<(), retold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerPath {
    application: Arc<str>,
    follower: Arc<str>,
}

impl FollowerPath {
    /// Returns the path of the follower of this name in this application.
    pub fn new(application: impl Into<Arc<str>>, follower: impl Into<Arc<str>>) -> Self {
        Self {
            application: application.into(),
            follower: follower.into(),
        }
    }

    /// Returns the name of its application.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Returns the name of the follower.
    pub fn follower(&self) -> &str {
        &self.follower
    }
}

impl fmt::Display for FollowerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            application,
            follower,
        } = self;
        write!(f, "{application}/{follower}")
    }
}

impl FromStr for FollowerPath {
    type Err = Invalid;

    /// The last `/` separates the names, because only the name of an application can contain one.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.rsplit_once('/') {
            Some((application, follower)) if !application.is_empty() && !follower.is_empty() => {
                Ok(Self::new(application, follower))
            }
            _ => Err(Invalid::new(format!(
                "{text:?} is not the path of a follower; write APPLICATION/FOLLOWER"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for path in [
            FollowerPath::new("stock", "reservations"),
            FollowerPath::new("shop/stock", "reservations"),
        ] {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        for text in ["", "stock", "/", "stock/", "/reservations"] {
            let refused = text.parse::<FollowerPath>();
            assert!(refused.is_err(), "{text:?} was read as {refused:?}");
        }
    }
}
