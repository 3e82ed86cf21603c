//! Taking snapshots: after a command when one is due, and on demand.

use std::sync::{Arc, PoisonError};

use super::cache::Folded;
use super::error::{Error, Result};
use super::handle::{Access, Application};
use super::repository::absent;
use super::telemetry;
use crate::domain::{Aggregate, Id, SnapshotRule};
use crate::mapping::check_round_trip;
use crate::recording::{StoredSnapshot, Version};

impl Application {
    /// Takes a snapshot of the aggregate as it is now, and returns its version.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::Invalid`] if the aggregate's type has no rule for snapshots,
    /// the state does not become JSON, or comes back from it as another.
    pub async fn take_snapshot<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Version> {
        let stream: Arc<str> = id.into().stream().into();
        let folded = self.load::<A>(&stream).await?;
        let version = folded.version.ok_or_else(|| absent(stream.clone(), None))?;
        self.put_snapshot(&stream, version, &*folded.state).await?;
        Ok(version)
    }

    /// Takes a snapshot of the aggregate as it was at a version.
    ///
    /// # Errors
    ///
    /// As [`take_snapshot`](Self::take_snapshot); [`Error::NotFound`] also if it has no such version
    /// yet.
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
        self.put_snapshot(&stream, version, &*folded.state).await
    }

    /// Drops all snapshots of the aggregate. Nothing is lost but time: the events alone are the
    /// truth.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; [`Error::Invalid`] if the application was opened for reading only.
    pub async fn drop_snapshots<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<()> {
        let stream = id.into().stream();
        Ok(self.core.recorder.drop_snapshots(&stream).await?)
    }

    /// Takes a snapshot if the events after `before` made one due. That it could not be taken is
    /// told, and fails nothing.
    pub(super) async fn take_snapshot_if_due<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        before: Option<Version>,
        folded: &Folded<A>,
    ) {
        let (Some(rule), Some(version)) = (&A::SNAPSHOTS, folded.version) else {
            return;
        };
        // One that only looks at the past, as a retelling does, leaves none.
        if !is_due(rule, before, version) || matches!(self.core.access, Access::ReadOnly) {
            return;
        }
        if let Err(error) = self.put_snapshot(stream, version, &*folded.state).await {
            telemetry::count(telemetry::SNAPSHOTS_FAILED);
            // It is the state that is wrong: the next one of the type most likely is too.
            if matches!(error, Error::Invalid(_)) && !self.is_first_unfit(A::TYPE) {
                return;
            }
            tracing::warn!(%stream, version = version.get(), %error, "a snapshot was not taken");
        }
    }

    /// Whether this is the first state of the type that is not fit for a snapshot.
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
        state: &A,
    ) -> Result<()> {
        let Some(rule) = &A::SNAPSHOTS else {
            return Err(Error::invalid(format!(
                "{:?} has no rule for snapshots; say one with `SNAPSHOTS`",
                A::TYPE
            )));
        };
        let payload = written(rule, state)
            .map_err(|reason| Error::invalid(format!("the state of {stream:?} {reason}")))?;
        let mut snapshot = StoredSnapshot::new(Arc::clone(stream), version, A::TYPE, payload);
        snapshot.revision = rule.revision;
        snapshot.time = self.now();
        self.core.recorder.put_snapshot(snapshot).await?;
        telemetry::count(telemetry::SNAPSHOTS_TAKEN);
        Ok(())
    }
}

/// The state as JSON, from which the same state is read; else why not. A snapshot that makes another
/// state would have whoever begins with it decide otherwise than whoever folds all events.
fn written<A>(rule: &SnapshotRule<A>, state: &A) -> std::result::Result<Vec<u8>, String> {
    let write = |state: &A| {
        let json = (rule.encode)(state);
        json.map_err(|error| format!("does not become JSON: {error}"))
    };
    let read = |json: &[u8]| {
        let state = (rule.decode)(json);
        state.map_err(|error| format!("cannot be read back from its JSON: {error}"))
    };
    let json = write(state)?;
    let read_back = read(&json)?;
    let again = write(&read_back)?;
    check_round_trip(&json, &again, |json| write(&read(json)?)).map_err(|difference| {
        format!("is not kept, because it comes back from its JSON as another: {difference}")
    })?;
    match rule.is_equal {
        Some(is_equal) if !is_equal(state, &read_back) => Err(
            "is not kept, because it comes back from its JSON as another that is not equal; does serde skip a field of it?".into(),
        ),
        _ => Ok(json),
    }
}

/// Whether a multiple of the interval lies between the versions, so that processes that do not know
/// of each other's snapshots take them at about the same places.
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
