//! `retold system retire`: records that no program has a unit any more: timers, an outbox or a
//! view.

use clap::builder::NonEmptyStringValueParser;
use retold::runner::{ClusterOverview, UnitOverview};
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::{Output, Report};

/// Record that no program has a unit any more: timers, an outbox or a view that was removed from
/// the programs.
///
/// The unit is then shown as retired. If a program has it nevertheless, it runs, and is no longer
/// retired. To retire a follower, use `retold follower retire`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Retire {
    /// The store, for example sqlite:flights.db
    url: String,
    /// The system, as in column SYSTEM of `retold system status`
    system: String,
    /// The kind, as in column KIND
    #[arg(value_parser = ["timers", "view", "outbox"])]
    kind: String,
    /// The unit, as in column UNIT
    unit: String,
    /// Why; the status of the unit shows it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

const AFTER_HELP: &str = "\
Examples:
  retold system retire URL shop timers letters --reason \"no more letters\"
  retold system retire URL shop view stock/on-time/1 --reason \"see version 2\"";

/// The result of retiring a unit.
#[derive(Debug, Serialize)]
struct RetireReport {
    action: &'static str,
    system: String,
    kind: String,
    unit: String,
    /// False if it was already retired.
    recorded: bool,
    /// The recorded reason.
    retired: String,
}

impl Report for RetireReport {
    fn lines(&self) -> Vec<String> {
        let Self {
            kind,
            unit,
            retired,
            ..
        } = self;
        vec![match self.recorded {
            true => format!("{kind} {unit}: retired."),
            false => format!("{kind} {unit}: already retired: {retired}. Nothing was recorded."),
        }]
    }
}

pub(crate) async fn run(
    retire: Retire,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    // With the store opened for reading only, so that a mistyped name writes nothing.
    let store = opening::store(&retire.url).await?;
    let clusters = ClusterOverview::read_all(&*store).await?;
    let (cluster, unit) = retire.find(&clusters)?;
    let store = opening::writable(&retire.url).await?;
    let recorded = cluster.retire(&*store, unit, &retire.reason).await?;
    let before = unit.retired.as_ref().map(|(_, reason)| reason.clone());
    output.report(&RetireReport {
        action: "retire",
        retired: before.unwrap_or_else(|| retire.reason.clone()),
        system: retire.system,
        kind: retire.kind,
        unit: retire.unit,
        recorded,
    })?;
    Ok(CommandVerdict::Fine)
}

impl Retire {
    /// Finds the unit. If there is none, the error lists those of the store.
    fn find<'c>(
        &self,
        clusters: &'c [ClusterOverview],
    ) -> Result<(&'c ClusterOverview, &'c UnitOverview), CommandFailure> {
        let url = opening::shown(&self.url);
        let Some(cluster) = clusters.iter().find(|it| *it.system == *self.system) else {
            let system = &self.system;
            let systems = opening::listed(clusters.iter().map(|it| &*it.system));
            return Err(CommandFailure::Failed(match systems.as_str() {
                "" => format!("no system {system:?} has run on {url}; no other has either"),
                _ => format!("no system {system:?} has run on {url}; its systems are: {systems}"),
            }));
        };
        let of_kind = cluster.units.iter().filter(|it| *it.kind == *self.kind);
        let units: Vec<_> = of_kind.map(|it| (it.names.join("/"), it)).collect();
        if let Some((_, unit)) = units.iter().find(|(name, _)| *name == self.unit) {
            return Ok((cluster, unit));
        }
        let (kind, unit) = (&self.kind, &self.unit);
        let names = opening::listed(units.iter().map(|(name, _)| name.as_str()));
        Err(CommandFailure::Failed(match names.as_str() {
            "" => format!("the system has no {kind} {unit:?}, and no other {kind}"),
            _ => format!("the system has no {kind} {unit:?}; units of this kind are: {names}"),
        }))
    }
}
