//! Reading the followed logs in pages, and processing a page.

use super::Pipeline;
use crate::application::{Result, TopicWatch};
use crate::following::limits::{FOLLOW_PAGE_EVENTS, UNFLUSHED_EVENTS_MAX};
use crate::recording::{Checkpoint, LogRead, Page, PageEnd, StoredEvent};

/// A page of a followed log.
pub(super) struct UpstreamPage {
    /// The index of the log in the order of declaration.
    index: usize,
    /// It begins just after this checkpoint, which the log has.
    after: Option<Checkpoint>,
    page: Page,
    /// The log's known topics since the page was read.
    topics: TopicWatch,
}

impl UpstreamPage {
    /// Returns whether it contains events.
    pub(super) fn has_events(&self) -> bool {
        !self.page.events.is_empty()
    }

    /// Returns whether it continues from this checkpoint: it begins there or contains it. A page
    /// that was read before the follower moved elsewhere may be of a history that no longer exists.
    fn continues_from(&self, reached: Option<Checkpoint>) -> bool {
        let is_reached = |event: &StoredEvent| Some(event.checkpoint()) == reached;
        self.after == reached || self.page.events.iter().any(is_reached)
    }
}

impl Pipeline {
    /// Reads the next page of the log at this index, after the events that were processed.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] if the log no longer has the last processed event; [`Error::Replaced`],
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub(super) async fn read(&self, index: usize) -> Result<UpstreamPage> {
        let upstream = &self.upstreams[index];
        let after = upstream.reached;
        // The position may be past the limit: another pipeline may have advanced since this one
        // stopped there.
        let until = upstream.read_until();
        if until.is_some_and(|until| until <= upstream.reached_position()) {
            return Ok(UpstreamPage {
                index,
                after,
                page: Page::new(Vec::new(), upstream.reached, PageEnd::Complete),
                topics: upstream.topics.clone(),
            });
        }
        let mut topics = upstream.topics.clone();
        let mut read = LogRead::of(self.query.clone())
            .after_checkpoint(after)
            .limit(FOLLOW_PAGE_EVENTS);
        if let Some(Some(until)) = until
            && Some(until) > read.after
        {
            read = read.until(until);
        }
        let recorder = &*upstream.recorder;
        let page = match self.follower.holds_before_unknown() {
            true => topics.read(recorder, &upstream.registry, read).await?,
            false => recorder.read_log(read).await?,
        };
        Ok(UpstreamPage {
            index,
            after,
            page,
            topics,
        })
    }

    /// Processes a page. Events that were already processed are skipped. A page that does not
    /// continue from the last processed event, because events must be decided again, is skipped as
    /// a whole.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub(super) async fn take(&mut self, page_read: UpstreamPage) -> Result<()> {
        self.upstreams[page_read.index].topics = page_read.topics.clone();
        self.report_page(page_read.index, &page_read.page);
        if !page_read.continues_from(self.upstreams[page_read.index].reached) {
            return Ok(());
        }
        let UpstreamPage { index, page, .. } = page_read;
        for event in &page.events {
            if !self.is_ready() || self.record.is_halted() {
                return Ok(());
            }
            self.process_next(index, event).await?;
        }
        if let Some(read_to) = page.read_to
            && self.is_ready()
            && !self.record.is_halted()
        {
            self.pass(index, read_to);
            if self.upstreams[index].unflushed() >= UNFLUSHED_EVENTS_MAX {
                self.flush().await?;
            }
        }
        Ok(())
    }
}
