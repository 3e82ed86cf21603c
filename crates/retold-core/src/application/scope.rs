//! The scope of a command: what the command is about, so that reuse of a command id for another
//! command is detected.
//!
//! The scope of a command on one aggregate is its stream, that of a creation is the type of the
//! aggregate, and that of a decision over a query is the names in the query. If an event's stream
//! does not show the scope, it is recorded in the metadata of the command's first event. Topics are
//! compared loosely, because a later program knows more of them: two queries are the same if they
//! name the same streams and tags and share a topic.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::command_id::CommandId;
use super::error::{Error, Result};
use crate::recording::{Condition, Query, StoredEvent};

/// Number of topics that a scope keeps, the ones with the smallest hashes: enough to share one with
/// a query that has a few more, and few enough for metadata.
const TOPICS_KEPT_MAX: usize = 8;

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The aggregate of this stream.
    Stream(Arc<str>),
    /// The creation of an aggregate of this type.
    Creation(Arc<str>),
    /// The input of a decision that is not about one aggregate.
    Query {
        /// A hash of the names of streams and tags.
        names: String,
        /// Hashes of topics, sorted; empty for a query that names none.
        topics: Vec<String>,
    },
}

impl Scope {
    pub(super) fn stream(stream: &Arc<str>) -> Self {
        Self::Stream(Arc::clone(stream))
    }

    /// The scope of a decision with these conditions.
    pub(super) fn of_conditions(conditions: &[Condition]) -> Self {
        if let [Condition::StreamAt { stream, .. }] = conditions {
            return Self::stream(stream);
        }
        let (mut names, mut topics) = (BTreeSet::new(), BTreeSet::new());
        for condition in conditions {
            match condition {
                Condition::StreamAt { stream, .. } => {
                    names.insert(("stream", Arc::clone(stream)));
                }
                Condition::NoneMatch {
                    query: Query::Items(items),
                    ..
                } => {
                    for item in items {
                        let streams = item.streams.iter().map(|it| ("stream", Arc::clone(it)));
                        let tags = item.tags.iter().map(|it| ("tag", Arc::clone(it)));
                        names.extend(streams.chain(tags));
                        topics.extend(item.topics.iter().map(|it| hash([&**it], 4)));
                    }
                }
                Condition::NoneMatch { .. } | Condition::TopicCount { .. } => {}
            }
        }
        let texts = names.iter().flat_map(|(kind, name)| [*kind, &**name]);
        Self::Query {
            names: hash(texts, 8),
            topics: topics.into_iter().take(TOPICS_KEPT_MAX).collect(),
        }
    }

    /// The text that is recorded.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Stream(stream) => format!("stream {stream}"),
            Self::Creation(aggregate) => format!("create {aggregate}"),
            Self::Query { names, topics } => format!("query {names} {}", topics.join(",")),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        Some(match kind {
            "stream" => Self::Stream(rest.into()),
            "create" => Self::Creation(rest.into()),
            "query" => {
                let (names, topics) = rest.split_once(' ')?;
                let topics = topics.split(',').filter(|it| !it.is_empty());
                Self::Query {
                    names: names.into(),
                    topics: topics.map(Into::into).collect(),
                }
            }
            _ => return None,
        })
    }

    /// Returns the scope of the command whose first event this is; `None` if it is of an unknown
    /// kind.
    fn of_first(first: &StoredEvent) -> Result<Option<Self>> {
        let metadata = first.metadata()?;
        Ok(match metadata.command_scope() {
            Some(text) => Self::parse(text),
            None => first.stream().map(|it| Self::Stream(it.into())),
        })
    }

    fn is(&self, recorded: &Self) -> bool {
        match (self, recorded) {
            (
                Self::Query { names, topics },
                Self::Query {
                    names: recorded_names,
                    topics: recorded_topics,
                },
            ) => {
                let is_any = topics.is_empty() || recorded_topics.is_empty();
                let is_shared = topics.iter().any(|it| recorded_topics.contains(it));
                names == recorded_names && (is_any || is_shared)
            }
            (own, recorded) => own == recorded,
        }
    }

    /// Checks that the command under this id, whose first event is `first`, had this scope.
    pub(super) fn check(&self, command: &CommandId, first: &StoredEvent) -> Result<()> {
        if first.is_erased() && first.metadata_bytes().is_empty() {
            // Its scope was erased too; the id alone says that it is the same command.
            return Ok(());
        }
        let recorded = Self::of_first(first)?;
        match recorded {
            Some(recorded) if self.is(&recorded) => Ok(()),
            recorded => Err(reused(command, first, recorded.as_ref())),
        }
    }
}

/// The error for a command id that was used for a command of another scope.
pub(super) fn reused(command: &CommandId, first: &StoredEvent, recorded: Option<&Scope>) -> Error {
    let topic = first.topic();
    let used_for = match recorded {
        Some(Scope::Stream(stream)) => format!("{topic:?} about {stream:?}"),
        Some(Scope::Creation(aggregate)) => format!("{topic:?}, which created a {aggregate:?}"),
        Some(Scope::Query { .. }) => format!("{topic:?}, decided over a query"),
        None => format!("{topic:?}"),
    };
    Error::CommandIdReused {
        command: command.as_str().into(),
        used_for: used_for.into(),
        position: first.position(),
    }
}

/// Returns the first `bytes` bytes of SHA-256 over texts, in hexadecimal.
fn hash<'t>(texts: impl IntoIterator<Item = &'t str>, bytes: usize) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::QueryItem;

    fn over(item: QueryItem) -> Scope {
        let query = Query::Items(vec![item]);
        Scope::of_conditions(&[Condition::NoneMatch { query, after: None }])
    }

    const WALKED: &str = "query 3c84bbc5a3bd618e c12800f9";

    /// Scopes are recorded: if their text changed, repeated commands would be refused.
    #[test]
    fn texts_of_scopes_are_stable() {
        for (scope, text) in [
            (Scope::Stream("Dog/1".into()), "stream Dog/1"),
            (Scope::Creation("Dog".into()), "create Dog"),
            (
                over(QueryItem::new().tag("dog:rex").topic("DogEvent.Walked")),
                WALKED,
            ),
        ] {
            assert_eq!(scope.text(), text);
            assert_eq!(Scope::parse(text), Some(scope));
        }
    }

    #[test]
    fn a_query_that_knows_more_topics_is_the_same() {
        let named = |tag: &str, topics: &[&str]| {
            let item = QueryItem::new().tag(tag);
            over(topics.iter().fold(item, |item, topic| item.topic(*topic)))
        };
        let old = named("dog:rex", &["Walked", "Fed"]);
        assert!(named("dog:rex", &["Walked", "Fed", "Washed"]).is(&old));
        assert!(!named("dog:fido", &["Walked", "Fed"]).is(&old));
        assert!(!named("dog:rex", &["Sold"]).is(&old));
    }
}
