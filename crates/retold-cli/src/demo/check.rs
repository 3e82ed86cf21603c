//! Checks that the runs recorded the same: each is retold, then they are compared key by key.

use std::time::{Duration, Instant};

use retold::retelling::{
    ConfluenceReport, FollowerReport, FollowerRetelling, RetellingProgress, Times, WholeReport,
    compare_runs, retell_whole,
};
use retold::system::OpenSystem;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::stop::{Stop, bar, unless_stopped};
use crate::failure::CommandFailure;

const RETELLING_BAR: &str = "{bar:32} {human_pos} of {human_len} events retold ({elapsed})";
const COMPARING_BAR: &str = "{spinner} comparing the aircraft of both runs ({elapsed})";

/// The result of retelling.
pub(super) struct Retelling {
    /// Each follower of each run, with the name of the run.
    pub(super) followers: Vec<(&'static str, FollowerReport)>,
    /// A whole run in one schedule, if one was retold.
    pub(super) whole: Option<(WholeOf, WholeReport)>,
    pub(super) elapsed: Duration,
}

/// The run that is retold as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WholeOf {
    /// The run in one thread in memory.
    Memory,
    /// The run of the cluster.
    Cluster,
}

impl WholeOf {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "in memory",
            Self::Cluster => "of the cluster",
        }
    }
}

impl Retelling {
    /// Returns the number of events that policies processed again, including those of the whole
    /// run.
    pub(super) fn processed(&self) -> u64 {
        let followers = self.followers.iter().map(|(_, report)| report.processed);
        followers.sum::<u64>() + self.whole.as_ref().map_or(0, |(_, whole)| whole.processed)
    }

    /// Returns the number of effects that were decided again and are equal, including those of the
    /// whole run.
    pub(super) fn effects(&self) -> u64 {
        let followers = self.followers.iter().map(|(_, report)| report.effects);
        followers.sum::<u64>() + self.whole.as_ref().map_or(0, |(_, whole)| whole.effects)
    }

    /// Returns all differences in full, each with its run.
    pub(super) fn differences(&self) -> Vec<String> {
        let followers = self.followers.iter();
        let different = followers.filter(|(_, report)| report.difference.is_some());
        let mut found: Vec<_> = different
            .map(|(run, report)| format!("{run}: {report}"))
            .collect();
        let whole = self.whole.iter();
        let whole = whole.filter(|(_, report)| report.difference.is_some());
        found.extend(whole.map(|(of, report)| format!("{}, {report}", of.name())));
        found
    }
}

/// The result of one task.
enum RetoldRun {
    Follower(usize, &'static str, FollowerReport),
    Whole(WholeOf, WholeReport),
}

/// Retells all followers of these runs, and `whole` in one schedule, all in parallel. Returns none
/// if it was stopped.
pub(super) async fn retell(
    runs: &[(&'static str, &OpenSystem)],
    whole: Option<(WholeOf, &OpenSystem)>,
    stop: &Stop,
) -> Result<Option<Retelling>, CommandFailure> {
    let began = Instant::now();
    let bar = bar(0, RETELLING_BAR);
    let mut followed: Vec<RetellingProgress> = Vec::new();
    // Retelling seldom yields. On blocking threads it does not delay the handling of Ctrl-C.
    let mut tasks: JoinSet<retold::Result<RetoldRun>> = JoinSet::new();
    for (run, open) in runs {
        let run = *run;
        for retelling in FollowerRetelling::all(open).await? {
            bar.inc_length(retelling.position_count().await?);
            let index = followed.len();
            followed.push(retelling.progress());
            tasks.spawn_blocking(move || {
                let report = Handle::current().block_on(retelling.run())?;
                Ok(RetoldRun::Follower(index, run, report))
            });
        }
    }
    if let Some((of, open)) = whole {
        let open = open.clone();
        tasks.spawn_blocking(move || {
            let report = Handle::current().block_on(retell_whole(&open))?;
            Ok(RetoldRun::Whole(of, report))
        });
    }
    let look = async |bar: &indicatif::ProgressBar| {
        bar.set_position(followed.iter().map(RetellingProgress::covered).sum());
    };
    let Some(retold) = unless_stopped(tasks.join_all(), &bar, look, stop).await else {
        return Ok(None);
    };
    let mut followers = Vec::new();
    let mut whole = None;
    for retold in retold {
        match retold? {
            RetoldRun::Follower(index, run, report) => followers.push((index, run, report)),
            RetoldRun::Whole(of, report) => whole = Some((of, report)),
        }
    }
    followers.sort_by_key(|(index, ..)| *index);
    let followers = followers.into_iter();
    Ok(Some(Retelling {
        followers: followers.map(|(_, run, report)| (run, report)).collect(),
        whole,
        elapsed: began.elapsed(),
    }))
}

/// Compares the two runs, aircraft by aircraft. Returns none if it was stopped.
pub(super) async fn compare(
    memory: &OpenSystem,
    sqlite: &OpenSystem,
    stop: &Stop,
) -> Result<Option<(ConfluenceReport, Duration)>, CommandFailure> {
    let began = Instant::now();
    let (memory, sqlite) = (memory.clone(), sqlite.clone());
    let work = tokio::task::spawn_blocking(move || {
        // The commands of each run take their times from the system clock.
        Handle::current().block_on(compare_runs(&memory, &sqlite, Times::PassedOver))
    });
    let bar = bar(0, COMPARING_BAR);
    let look = async |bar: &indicatif::ProgressBar| bar.tick();
    let Some(done) = unless_stopped(work, &bar, look, stop).await else {
        return Ok(None);
    };
    let done =
        done.map_err(|error| CommandFailure::Failed(format!("comparing was aborted: {error}")))?;
    Ok(Some((done?, began.elapsed())))
}
