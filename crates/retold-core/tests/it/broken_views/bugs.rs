//! The bugs of view stores, in the order of the rules they break.

use retold_core::projection::{
    Applied, SkippedEvent, StoredView, Supersede, Switched, ViewPage, ViewStore,
};
use retold_core::recording::{Checkpoint, LogId, Position, StoredEvent};

use super::broken::{Bug, Result};

/// No bug.
pub(super) struct NoBug;

impl Bug for NoBug {}

/// The stored checkpoint, as it is at the moment.
async fn stored(inner: &dyn ViewStore) -> Option<Checkpoint> {
    inner.kept().await.ok().flatten()?.checkpoint
}

/// Rule 1: only the checkpoint moves.
pub(super) struct EventsLost;

impl Bug for EventsLost {
    async fn apply(inner: &dyn ViewStore, mut page: ViewPage) -> Result<Applied> {
        page.events.clear();
        inner.apply(page).await
    }
}

/// Rule 1: a page without events is forgotten.
pub(super) struct EmptyPageIgnored;

impl Bug for EmptyPageIgnored {
    async fn apply(inner: &dyn ViewStore, page: ViewPage) -> Result<Applied> {
        match page.events.is_empty() {
            true => Ok(Applied::Whole),
            false => inner.apply(page).await,
        }
    }
}

/// Rule 2: a page is applied wherever the checkpoint is.
pub(super) struct CheckpointUnchecked;

impl Bug for CheckpointUnchecked {
    async fn apply(inner: &dyn ViewStore, mut page: ViewPage) -> Result<Applied> {
        page.after = stored(inner).await;
        // As a database does while it works.
        tokio::task::yield_now().await;
        loop {
            match inner.apply(page.clone()).await? {
                Applied::Elsewhere(checkpoint) => page.after = checkpoint,
                applied => return Ok(applied),
            }
        }
    }
}

/// Rule 2: only the position of the checkpoint is compared.
pub(super) struct CheckpointByPosition;

impl Bug for CheckpointByPosition {
    async fn apply(inner: &dyn ViewStore, mut page: ViewPage) -> Result<Applied> {
        let stored = stored(inner).await;
        if stored.map(|it| it.position) == page.after.map(|it| it.position) {
            page.after = stored;
        }
        inner.apply(page).await
    }
}

/// Rule 2: an event is skipped wherever the checkpoint is.
pub(super) struct SkipUnchecked;

impl Bug for SkipUnchecked {
    async fn skip(
        inner: &dyn ViewStore,
        _: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> Result<Applied> {
        inner.skip(stored(inner).await, skipped).await
    }
}

/// Rule 2: readers see the version wherever its checkpoint is.
pub(super) struct SwitchUnchecked;

impl Bug for SwitchUnchecked {
    async fn switch(
        inner: &dyn ViewStore,
        _: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switched> {
        inner.switch(stored(inner).await, to, supersede).await
    }
}

/// Whether a handler fails at the event.
fn is_poison(event: &StoredEvent) -> bool {
    let payload = event.payload();
    [&b"\"bite\""[..], b"\"panic\""]
        .map(Some)
        .contains(&payload)
}

/// Rule 3: an event that fails also undoes the events before it.
pub(super) struct FailedWhole;

impl Bug for FailedWhole {
    async fn apply(inner: &dyn ViewStore, mut page: ViewPage) -> Result<Applied> {
        let Some(count) = page.events.iter().position(is_poison) else {
            return inner.apply(page).await;
        };
        page.events.drain(..count);
        match inner.apply(page).await? {
            Applied::Until { error, .. } => Ok(Applied::Until { count, error }),
            applied => Ok(applied),
        }
    }
}

/// Rule 3: an event that fails is passed over.
pub(super) struct FailedPassed;

impl Bug for FailedPassed {
    async fn apply(inner: &dyn ViewStore, mut page: ViewPage) -> Result<Applied> {
        let applied = inner.apply(page.clone()).await?;
        if let Applied::Until { count, .. } = &applied {
            page.after = stored(inner).await;
            page.to = page.events[*count].checkpoint();
            page.events.clear();
            inner.apply(page).await?;
        }
        Ok(applied)
    }
}

/// Rule 4: a skipped event moves only the checkpoint.
pub(super) struct SkipUnlisted;

impl Bug for SkipUnlisted {
    async fn skip(
        inner: &dyn ViewStore,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> Result<Applied> {
        let (events, to) = (Vec::new(), skipped.checkpoint);
        inner.apply(ViewPage { after, events, to }).await
    }
}

/// Rule 4: every page of the list is the first.
pub(super) struct ListFromTheStart;

impl Bug for ListFromTheStart {
    async fn skipped(
        inner: &dyn ViewStore,
        _: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SkippedEvent>> {
        inner.skipped(None, limit).await
    }
}

/// Rule 5: a page is applied in two steps, each of which moves the checkpoint only at its end.
pub(super) struct DropTears;

impl Bug for DropTears {
    async fn apply(inner: &dyn ViewStore, page: ViewPage) -> Result<Applied> {
        let half = page.events.len() / 2;
        let Some(last) = half.checked_sub(1) else {
            return inner.apply(page).await;
        };
        let (first, rest) = page.events.split_at(half);
        let middle = page.events[last].checkpoint();
        let first = ViewPage {
            after: page.after,
            events: first.to_vec(),
            to: middle,
        };
        let Applied::Whole = inner.apply(first).await? else {
            return inner.apply(page).await;
        };
        tokio::task::yield_now().await;
        let rest = ViewPage {
            after: Some(middle),
            events: rest.to_vec(),
            to: page.to,
        };
        inner.apply(rest).await
    }
}

/// Rule 6: a version that has begun begins from the start.
pub(super) struct BeginsAgain;

impl Bug for BeginsAgain {
    async fn begin(
        inner: &dyn ViewStore,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<StoredView> {
        if inner.kept().await?.is_some() {
            inner.discard().await?;
        }
        inner.begin(upstream, start).await
    }
}

/// Rule 6: a version that has processed nothing keeps the log over which it began.
pub(super) struct FirstLogKept;

impl Bug for FirstLogKept {
    async fn begin(
        inner: &dyn ViewStore,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<StoredView> {
        match inner.kept().await? {
            Some(kept) => Ok(kept),
            None => inner.begin(upstream, start).await,
        }
    }
}

/// Rule 7: readers see every version as soon as it begins.
pub(super) struct SeenTooEarly;

impl Bug for SeenTooEarly {
    async fn begin(
        inner: &dyn ViewStore,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<StoredView> {
        let kept = inner.begin(upstream, start).await?;
        inner
            .switch(kept.checkpoint, kept.checkpoint, Supersede::Diverged)
            .await?;
        Ok(kept)
    }
}

/// Rule 8: a version replaces an older one that is ahead.
pub(super) struct AlwaysSwitches;

impl Bug for AlwaysSwitches {
    async fn apply(inner: &dyn ViewStore, page: ViewPage) -> Result<Applied> {
        let to = page.to;
        let applied = inner.apply(page).await?;
        if let Applied::Whole = applied {
            let to = Some(to);
            inner.switch(to, to, Supersede::Diverged).await?;
        }
        Ok(applied)
    }
}

/// Rule 8: a version waits for an older one even if the log was cut.
pub(super) struct NeverDiverged;

impl Bug for NeverDiverged {
    async fn switch(
        inner: &dyn ViewStore,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        _: Supersede,
    ) -> Result<Switched> {
        inner.switch(after, to, Supersede::Reached).await
    }
}

/// Rule 8: the checkpoint of a version that readers see stays where it was.
pub(super) struct SwitchStays;

impl Bug for SwitchStays {
    async fn switch(
        inner: &dyn ViewStore,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switched> {
        match inner.switch(after, after, supersede).await? {
            Switched::Behind(ahead) if to.map(|it| it.position) >= Some(ahead.position) => {
                inner.switch(after, after, Supersede::Diverged).await
            }
            switched => Ok(switched),
        }
    }
}

/// Rule 9: an older version seems to begin, although readers see a newer one.
pub(super) struct OlderBegins;

impl Bug for OlderBegins {
    async fn begin(
        inner: &dyn ViewStore,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<StoredView> {
        let begun = inner.begin(upstream, start).await;
        begun.or(Ok(StoredView {
            upstream,
            checkpoint: start,
            seen: retold_core::projection::VisibleView::Older,
            skipped: 0,
        }))
    }
}

/// Rule 10: a page makes a version begin that is not stored.
pub(super) struct BeginsUnasked;

impl Bug for BeginsUnasked {
    async fn apply(inner: &dyn ViewStore, page: ViewPage) -> Result<Applied> {
        if inner.kept().await?.is_none() {
            let upstream = LogId::new(uuid::Uuid::from_u128(1));
            inner.begin(upstream, page.after).await?;
        }
        inner.apply(page).await
    }
}

/// Rule 11: a version that is discarded stays.
pub(super) struct DiscardIgnored;

impl Bug for DiscardIgnored {
    async fn discard(_: &dyn ViewStore) -> Result<()> {
        Ok(())
    }
}

/// Rule 12: the logs of other versions are not compared.
pub(super) struct LogUnchecked;

impl Bug for LogUnchecked {
    async fn begin(
        inner: &dyn ViewStore,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<StoredView> {
        if inner.kept().await?.is_none() {
            inner.discard().await?;
        }
        inner.begin(upstream, start).await
    }
}
