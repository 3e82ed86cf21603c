//! Forgetting a subject: its keys are destroyed, and the log of the application records it.

use std::sync::Arc;

use super::error::{Error, Result};
use super::handle::Application;
use crate::domain::SubjectForgotten;
use crate::mapping::Envelope;
use crate::protection::{Forgotten, Protection, SubjectKeys};
use crate::recording::{Append, Origin};

impl Application {
    /// Forgets a subject: destroys its keys, so that its data in every log that shares these keys
    /// is unreadable, and records [`SubjectForgotten`] in the log of this application, for its
    /// projections and followers.
    ///
    /// From then on, an event that was data of the subject as a whole is read as an erased one, and
    /// other events are read without their fields of the subject. Cached states and snapshots of
    /// all processes that may have its data are not used anymore. New events with its data are
    /// refused until it is [readmitted](Self::readmit).
    ///
    /// `reason` is recorded in the log of the keys, for people. If several applications share the
    /// keys, call this for each. To remove the encrypted keys from the files of the store too, call
    /// [`Store::purge`](crate::recording::Store::purge) of the store of the keys.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a bad name, or an application without keys of subjects;
    /// [`Error::Unavailable`], [`Error::OutcomeUnknown`]. After an error, and if the process ended
    /// before this returned, call it again: it completes what is missing, and nothing is recorded
    /// twice.
    pub async fn forget(&self, subject: &str, reason: Option<&str>) -> Result<Forgotten> {
        let forgotten = self.subject_keys()?.forget(subject, reason).await?;
        self.record_forgotten(&forgotten).await?;
        Ok(forgotten)
    }

    /// Admits a forgotten subject again: events with its data are recorded, with a new key. What
    /// was forgotten stays forgotten. Returns whether the subject was forgotten.
    ///
    /// # Errors
    ///
    /// As for [`forget`](Self::forget).
    pub async fn readmit(&self, subject: &str) -> Result<bool> {
        Ok(self.subject_keys()?.readmit(subject).await?)
    }

    /// Records in the log of this application that a subject was forgotten, if it is not recorded
    /// yet. For programs that forget a subject of several applications with
    /// [`SubjectKeys::forget`].
    ///
    /// # Errors
    ///
    /// The errors of [`settle`](Self::settle).
    pub async fn record_forgotten(&self, forgotten: &Forgotten) -> Result<()> {
        let event = SubjectForgotten::new(Arc::clone(&forgotten.subject), forgotten.count);
        let envelope = Envelope {
            origin: Origin::Library,
            // The same id each time, so that it is recorded once.
            ..Envelope::new(forgotten.record, self.now())
        };
        let (event, _) = self.mapper().encode(&event, envelope)?;
        self.settle(Append::of([event])).await?;
        Ok(())
    }

    fn subject_keys(&self) -> Result<&Arc<SubjectKeys>> {
        let protection = self.core.protection.as_ref();
        protection.and_then(Protection::subjects).ok_or_else(|| {
            Error::invalid(format!(
                "the application {:?} has no keys of subjects; open it with \
                     `Protection::subject_keys`",
                self.name()
            ))
        })
    }
}
