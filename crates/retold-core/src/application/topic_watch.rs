//! Reading by topics without missing a topic that the program does not know.
//!
//! A reader queries a log for the topics of its types. Such a query would never return an event
//! that a newer program recorded under another topic, or that an older one recorded before a type
//! was renamed. So each page says how many topics the log has. When that number has changed, the
//! topics are listed, and those that the program does not know are read too. The reader then meets
//! their events in log order, and refuses them or waits before them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::Result;
use crate::domain::SUBJECT_FORGOTTEN_TOPIC;
use crate::mapping::{MappingError, TopicRegistry};
use crate::recording::limits::{PAGE_NAMES_MAX, QUERY_NAMES_MAX};
use crate::recording::{
    LogRead, Page, Query, QueryItem, RecordError, Recorder, StoredEvent, is_amendment_record,
};

/// Maximum number of unknown topics that a program reads in order to detect their events. A program
/// that does not know more topics than that does not know the log.
const UNKNOWN_TOPICS_MAX: usize = 100;

/// What one reader knows about the topics of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicWatch {
    /// How many topics the log had when they were last listed.
    listed: u64,
    /// How many names the registry knew at that time.
    names: usize,
    unknown: BTreeSet<Arc<str>>,
    /// Whether the log has events that record amendments, or that a subject was forgotten.
    has_amendments: bool,
}

impl TopicWatch {
    /// Reads a page. If the query names topics, the page includes the events of topics that the
    /// program does not know.
    ///
    /// # Errors
    ///
    /// `Invalid` if the log has too many topics that the program does not know; the recorder's
    /// errors.
    pub(crate) async fn read(
        &mut self,
        recorder: &dyn Recorder,
        registry: &TopicRegistry,
        read: LogRead,
    ) -> Result<Page, RecordError> {
        match asked(&read.query) {
            None => recorder.read_log(read).await,
            Some(asked) => {
                let is_asked = |topic: &str| asked.contains(topic);
                self.read_asking(recorder, registry, read, is_asked).await
            }
        }
    }

    /// As [`read`](Self::read), for a query of topics by a reader that knows the topics for which
    /// `is_asked` returns true, including those that the query omits.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub(crate) async fn read_asking(
        &mut self,
        recorder: &dyn Recorder,
        registry: &TopicRegistry,
        read: LogRead,
        is_asked: impl Fn(&str) -> bool,
    ) -> Result<Page, RecordError> {
        loop {
            let query = self.widened(&read.query);
            let page = recorder
                .read_log(LogRead {
                    query,
                    ..read.clone()
                })
                .await?;
            let names = registry.name_count();
            let may_be_known_now = !self.unknown.is_empty() && self.names != names;
            if page.topic_count == self.listed && !may_be_known_now {
                return Ok(page);
            }
            let is_unknown = |topic: &str| is_unknown(registry, topic, &is_asked);
            let ListedTopics {
                unknown,
                has_amendments,
            } = list_topics(recorder, is_unknown).await?;
            self.has_amendments = has_amendments;
            (self.listed, self.names) = (page.topic_count, names);
            if std::mem::replace(&mut self.unknown, unknown) == self.unknown {
                return Ok(page);
            }
        }
    }

    /// Returns whether the log had events that record amendments when its topics were last listed.
    pub(crate) fn has_amendments(&self) -> bool {
        self.has_amendments
    }

    /// Returns the query, extended by the unknown topics with the same streams and tags.
    pub(crate) fn widened(&self, query: &Query) -> Query {
        let Query::Items(items) = query else {
            return query.clone();
        };
        if self.unknown.is_empty() {
            return query.clone();
        }
        let mut items = items.clone();
        let restrictions: BTreeSet<_> = items
            .iter()
            .map(|item| (item.streams.clone(), item.tags.clone()))
            .collect();
        let unknown: Vec<_> = self.unknown.iter().collect();
        for (streams, tags) in restrictions {
            let room = QUERY_NAMES_MAX.saturating_sub(streams.len() + tags.len());
            items.extend(unknown.chunks(room.max(1)).map(|topics| {
                let mut item = QueryItem::new();
                item.streams = streams.clone();
                item.tags = tags.clone();
                item.topics = topics.iter().map(|topic| Arc::clone(topic)).collect();
                item
            }));
        }
        Query::Items(items)
    }
}

/// Returns the topics that a query names, or `None` if it selects events of any topic.
fn asked(query: &Query) -> Option<BTreeSet<Arc<str>>> {
    let Query::Items(items) = query else {
        return None;
    };
    if items.iter().any(|item| item.topics.is_empty()) {
        return None;
    }
    Some(items.iter().flat_map(|item| item.topics.clone()).collect())
}

/// Returns whether a program that queries some topics would miss this one without knowing it:
/// either no type has it, or a type has both it and a queried topic, so that it is another name of
/// a queried event.
pub(crate) fn is_unknown(
    registry: &TopicRegistry,
    topic: &str,
    is_asked: impl Fn(&str) -> bool,
) -> bool {
    !is_asked(topic) && (!registry.knows(topic) || registry.has_other_name(topic, is_asked))
}

/// The topics of a log that concern its readers.
struct ListedTopics {
    unknown: BTreeSet<Arc<str>>,
    has_amendments: bool,
}

async fn list_topics(
    recorder: &dyn Recorder,
    is_unknown: impl Fn(&str) -> bool,
) -> Result<ListedTopics, RecordError> {
    let (mut unknown, mut has_amendments) = (BTreeSet::new(), false);
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = recorder.topics(after.as_deref(), PAGE_NAMES_MAX).await?;
        let Some(last) = page.last() else {
            return Ok(ListedTopics {
                unknown,
                has_amendments,
            });
        };
        has_amendments |= page
            .iter()
            .any(|topic| is_amendment_record(topic) || **topic == *SUBJECT_FORGOTTEN_TOPIC);
        after = Some(Arc::clone(last));
        unknown.extend(page.into_iter().filter(|topic| is_unknown(topic)));
        if unknown.len() > UNKNOWN_TOPICS_MAX {
            let first = unknown.first();
            return Err(RecordError::invalid(format!(
                "the log {:?} has more than {UNKNOWN_TOPICS_MAX} topics that no type of this \
                 program has, for example {first:?}; register the types of the application, or \
                 declare retired topics with `retired`",
                recorder.log_name()
            )));
        }
    }
}

/// Refuses a log with a topic that the program does not know.
///
/// # Errors
///
/// [`MappingError::UnknownTopic`] for the first event with such a topic; the recorder's errors.
pub(crate) async fn check_topics(recorder: &dyn Recorder, registry: &TopicRegistry) -> Result<()> {
    let listed = list_topics(recorder, |topic| !registry.knows(topic)).await?;
    let Some(first) = listed.unknown.first() else {
        return Ok(());
    };
    let read = LogRead::of(Query::topic(Arc::clone(first))).limit(1);
    let page = recorder.read_log(read).await?;
    match page.events.first() {
        Some(event) => Err(unknown_topic(registry, event).into()),
        // The events that had it were amended.
        None => Ok(()),
    }
}

/// The error for an event whose topic the program does not know.
pub(crate) fn unknown_topic(registry: &TopicRegistry, event: &StoredEvent) -> MappingError {
    MappingError::UnknownTopic {
        place: event.into(),
        topic: event.topic().into(),
        type_name: "the application",
        known: registry.topics(),
    }
}
