//! Taking snapshots: after a command when one is due, and on demand.

use std::sync::{Arc, PoisonError};

use super::cache::Folded;
use super::error::{Error, Result};
use super::handle::{Application, OpenPurpose};
use super::repository::absent;
use super::telemetry;
use crate::domain::{Aggregate, Id, SnapshotRule};
use crate::mapping::check_round_trip;
use crate::recording::{Checkpoint, StoredSnapshot, Version};

impl Application {
    /// Takes a snapshot of the aggregate's current state, and returns its version.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::Invalid`] if the aggregate's type has no rule for snapshots,
    /// or if the state cannot be encoded as JSON or differs after decoding.
    pub async fn take_snapshot<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Version> {
        let stream: Arc<str> = id.into().stream().into();
        let folded = self.load::<A>(&stream).await?;
        let version = folded.version.ok_or_else(|| absent(stream.clone(), None))?;
        self.put_snapshot(&stream, version, &folded).await?;
        Ok(version)
    }

    /// Takes a snapshot of the aggregate as of a version.
    ///
    /// # Errors
    ///
    /// As [`take_snapshot`](Self::take_snapshot); [`Error::NotFound`] also if it does not have this
    /// version yet.
    pub async fn take_snapshot_at<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        version: Version,
    ) -> Result<()> {
        let stream: Arc<str> = id.into().stream().into();
        let folded = self.load_at::<A>(&stream, version).await?;
        if folded.version != Some(version) {
            return Err(absent(stream, Some(version)));
        }
        self.put_snapshot(&stream, version, &folded).await
    }

    /// Drops all snapshots of the aggregate. Nothing is lost, because the events are the source of
    /// truth; a later load may take longer.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; [`Error::Invalid`] if the application was opened read-only.
    pub async fn drop_snapshots<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<()> {
        let stream = id.into().stream();
        Ok(self.core.recorder.drop_snapshots(&stream).await?)
    }

    /// Applies events that were just recorded to the state that they were decided on, caches the
    /// result, and takes a snapshot if one is due. `last` is the checkpoint of the last event.
    pub(super) async fn remember<'e, A: Aggregate>(
        &self,
        stream: &Arc<str>,
        base: Folded<A>,
        events: impl IntoIterator<Item = &'e A::Event>,
        last: Option<Checkpoint>,
    ) -> Folded<A> {
        let before = base.version;
        let folded = self.core.cache.advance(stream, base, events, last);
        self.take_snapshot_if_due(stream, before, &folded).await;
        folded
    }

    /// Takes a snapshot if the events after `before` made one due. A failure is logged and does not
    /// fail the command.
    pub(super) async fn take_snapshot_if_due<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        before: Option<Version>,
        folded: &Folded<A>,
    ) {
        let (Some(rule), Some(version)) = (&A::SNAPSHOTS, folded.version) else {
            return;
        };
        // A read-only application, such as one of a retelling, takes no snapshots.
        if !is_due(rule, before, version) || matches!(self.core.access, OpenPurpose::ReadOnly) {
            return;
        }
        if let Err(error) = self.put_snapshot(stream, version, folded).await {
            telemetry::count(telemetry::SNAPSHOTS_FAILED);
            // The state itself is unfit, and so the next one of this type probably is too: warn
            // only once.
            if matches!(error, Error::Invalid(_)) && !self.is_first_unfit(A::TYPE) {
                return;
            }
            tracing::warn!(%stream, version = version.get(), %error, "a snapshot was not taken");
        }
    }

    /// Returns whether this is the first state of the type that is unfit for a snapshot.
    fn is_first_unfit(&self, stream_type: &'static str) -> bool {
        let unfit = self.core.unfit_for_snapshots.lock();
        unfit
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stream_type)
    }

    async fn put_snapshot<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        version: Version,
        folded: &Folded<A>,
    ) -> Result<()> {
        let Some(rule) = &A::SNAPSHOTS else {
            return Err(Error::invalid(format!(
                "{:?} has no rule for snapshots; define one as `SNAPSHOTS`",
                A::TYPE
            )));
        };
        let payload = written(rule, &*folded.state)
            .map_err(|reason| Error::invalid(format!("the state of {stream:?} {reason}")))?;
        let mut snapshot = StoredSnapshot::new(Arc::clone(stream), version, A::TYPE, payload);
        snapshot.revision = rule.revision;
        snapshot.time = self.now();
        snapshot.forgets = folded.forgets;
        self.core.recorder.put_snapshot(snapshot).await?;
        telemetry::count(telemetry::SNAPSHOTS_TAKEN);
        Ok(())
    }
}

/// Returns the state as JSON that decodes to the same state, or the reason why that is not
/// possible. With a snapshot that decodes to another state, decisions would differ from those on a
/// fold of all events.
fn written<A>(rule: &SnapshotRule<A>, state: &A) -> std::result::Result<Vec<u8>, String> {
    let write = |state: &A| {
        let json = (rule.encode)(state);
        json.map_err(|error| format!("cannot be encoded as JSON: {error}"))
    };
    let read = |json: &[u8]| {
        let state = (rule.decode)(json);
        state.map_err(|error| format!("cannot be read back from its JSON: {error}"))
    };
    let json = write(state)?;
    let read_back = read(&json)?;
    let again = write(&read_back)?;
    check_round_trip(&json, &again, |json| write(&read(json)?)).map_err(|difference| {
        format!("is not kept because it differs when it is read back from its JSON: {difference}")
    })?;
    match rule.is_equal {
        Some(is_equal) if !is_equal(state, &read_back) => Err(
            "is not kept because what is read back from its JSON is not equal; \
             does serde skip a field of it?"
                .into(),
        ),
        _ => Ok(json),
    }
}

/// Returns whether a multiple of the interval lies between the versions. Processes that do not know
/// of each other's snapshots then take them at about the same versions.
fn is_due<A>(rule: &SnapshotRule<A>, before: Option<Version>, after: Version) -> bool {
    let interval = |version: u64| version.checked_div(rule.every);
    interval(Version::number(before)) < interval(after.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_due_at_multiples_of_the_interval() {
        let check = |every, before, after, due| {
            let rule = SnapshotRule::<String>::new(every, 1);
            let after = Version::new(after).unwrap();
            assert_eq!(is_due(&rule, Version::new(before), after), due);
        };
        check(10, 0, 9, false);
        check(10, 9, 10, true);
        check(10, 10, 11, false);
        check(10, 5, 31, true);
        check(1, 0, 1, true);
        check(0, 0, 100, false);
    }
}
