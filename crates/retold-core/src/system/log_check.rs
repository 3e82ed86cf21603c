//! Checking whether a program can still read and fold all of its logs, with the types of the
//! library and of the followers.

use super::open_system::OpenSystem;
use crate::application::{AmendmentRecord, Application, LogCheck, Result};
use crate::domain::SubjectForgotten;
use crate::following::{FollowerEvent, TimerEvent};
use crate::mapping::EventReader;

impl Application {
    /// Checks whether this program can still read and fold the whole log: every event is read as
    /// one of the application's declared types, every aggregate of a declared type is folded, and
    /// its snapshots are compared with the state folded from the events. A topic that belongs to no
    /// declared type is a finding.
    ///
    /// Run it in CI before a program is deployed, on a copy of the log that the program will use.
    /// It reads the whole log once and the streams of declared aggregates a second time, in bounded
    /// memory, and writes nothing. Events recorded after the check started are left out.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let check = school.check_log().await?;
    /// assert!(check.is_sound(), "{check}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::application::Error::Unavailable),
    /// [`Error::Corrupt`](crate::application::Error::Corrupt) if the log cannot be read. Events
    /// that the program cannot read or fold are not errors: they are in the report.
    pub async fn check_log(&self) -> Result<LogCheck> {
        self.check_against(&of_the_library()).await
    }
}

impl OpenSystem {
    /// Checks the log of an application as [`Application::check_log`] does, and also reads every
    /// event as the followers of that log do.
    ///
    /// # Errors
    ///
    /// As for [`Application::check_log`]; [`Error::Invalid`](crate::application::Error::Invalid) if
    /// the system has no application of this name.
    pub async fn check_log(&self, application: &str) -> Result<LogCheck> {
        let checked = self.application(application)?;
        let members = self.system().members().iter();
        let followers = members.flat_map(|member| member.followers());
        let readers = followers
            .filter(|follower| follower.upstreams().any(|it| it == application))
            .flat_map(|follower| follower.policies().readers())
            .chain(of_the_library())
            .collect::<Vec<_>>();
        checked.check_against(&readers).await
    }

    /// Checks the logs of all applications, in the order of declaration.
    ///
    /// # Errors
    ///
    /// As for [`check_log`](Self::check_log).
    pub async fn check_logs(&self) -> Result<Vec<LogCheck>> {
        let mut checks = Vec::new();
        for member in self.system().members() {
            checks.push(self.check_log(member.name()).await?);
        }
        Ok(checks)
    }
}

fn of_the_library() -> [EventReader; 4] {
    [
        EventReader::of::<FollowerEvent>(),
        EventReader::of::<TimerEvent>(),
        EventReader::of::<AmendmentRecord>(),
        EventReader::of::<SubjectForgotten>(),
    ]
}
