//! One process of the demonstration of a cluster: a node that runs the system and sends the
//! commands that its parent gives to it.
//!
//! Parent and node exchange lines. The parent sends the numbers of itineraries; the node reports
//! its progress ([`Message`]). When its input ends, which also happens when the parent ends, the
//! node prints its view, leaves the cluster and ends.
//!
//! Commands have ids, so an itinerary whose progress is unknown can be sent again.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use retold::prelude::Application;
use retold::projection::MemoryView;
use retold::runner::{Cluster, ClusterOptions, JoinError};
use retold::system::{Goal, Infrastructure, OpenSystem, Opening, Runner};
use retold_flights::itinerary::{Itinerary, itineraries};
use retold_flights::on_time::OnTime;
use retold_flights::on_time_in_memory::keep_on_time_in_memory;
use retold_flights::on_time_view::ON_TIME;
use retold_flights::record::FlightRecord;
use retold_flights::replay::{Progress, replay_itinerary};
use retold_flights::system::FLIGHTS;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::{JoinHandle, JoinSet};

use super::course::patiently;
use super::message::Message;
use super::monitor::{Joined, Monitor};
use crate::demo::read_input;
use crate::failure::{CommandFailure, CommandVerdict};
use crate::{built_in, opening};

/// The environment variable with the URL of the store. The URL may contain a password, which other
/// users could read among the arguments.
pub(super) const URL: &str = "RETOLD_DEMO_URL";

/// How long the leases of the demonstration last: short, so that other nodes soon take over from a
/// killed node.
pub(super) const TIME_TO_LIVE: Duration = Duration::from_secs(2);

/// How often a node looks at all leases.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a restarted node waits for its former lease to end, also on a busy machine.
const NAME_WAIT_MAX: Duration = Duration::from_secs(30);

/// Pause after a failure of the store before an itinerary is continued.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How often a node reports its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Maximum wait for the view at the end, when recording has ended.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(60);

/// One process of `retold demo --cluster`, which starts it.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoNodeArguments {
    /// The node's name
    #[arg(long)]
    name: String,
    /// The same as for the parent
    #[arg(long)]
    data: Option<PathBuf>,
    /// The same as for the parent
    #[arg(long)]
    flights_max: Option<NonZeroUsize>,
    /// Where it serves `/metrics`, `/live` and `/ready`
    #[arg(long)]
    metrics: Option<SocketAddr>,
}

pub(crate) async fn run(arguments: DemoNodeArguments) -> Result<CommandVerdict, CommandFailure> {
    let url = std::env::var(URL).map_err(|_| {
        CommandFailure::Usage(
            "this command is internal: `retold demo --cluster N` starts it".into(),
        )
    })?;
    let joined: Joined = Joined::default();
    if let Some(address) = arguments.metrics {
        Monitor::install(address, joined.clone()).await?;
    }
    let input = read_input(arguments.data, arguments.flights_max).await?;
    let infrastructure = Infrastructure::new(opening::writable(&url).await?);
    let view = MemoryView::new();
    let view_store = keep_on_time_in_memory(&view).map_err(retold::Error::from)?;
    // Commands need no lease, so the node sends them while it waits for its name.
    let open = OpenSystem::open(&built_in::system(), &infrastructure, Opening::Write).await?;
    let feeder = Feeder {
        app: open.application(FLIGHTS)?.clone(),
        itineraries: itineraries(&input.flights).into(),
        flights: input.flights.into(),
        progress: Arc::default(),
    };
    Message::Ready.send()?;
    let joining = tokio::spawn(async move {
        let options = ClusterOptions::new()
            .time_to_live(TIME_TO_LIVE)
            .look_interval(LOOK_INTERVAL)
            .name_wait_max(NAME_WAIT_MAX);
        let (infrastructure, system) = (infrastructure.view(view_store), built_in::system());
        let cluster = Cluster::join(&system, &infrastructure, &arguments.name, options).await?;
        let node: Arc<dyn Runner> = Arc::new(cluster);
        joined.set(Arc::clone(&node));
        Ok(node)
    });
    let node = feeder.feed(joining).await?;
    finish(&*node, &view).await
}

/// Sends commands.
#[derive(Clone)]
struct Feeder {
    app: Application,
    flights: Arc<[FlightRecord]>,
    itineraries: Arc<[Itinerary]>,
    progress: Arc<Progress>,
}

impl Feeder {
    /// Sends the commands of the itineraries that the input names. Returns the node when the input
    /// ends.
    async fn feed(
        &self,
        mut joining: JoinHandle<Result<Arc<dyn Runner>, JoinError>>,
    ) -> Result<Arc<dyn Runner>, CommandFailure> {
        let mut node = None;
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        let mut looks = tokio::time::interval(PROGRESS_INTERVAL);
        let mut tasks: JoinSet<Message> = JoinSet::new();
        let mut is_over = false;
        let mut commands = 0;
        loop {
            let is_done = is_over && tasks.is_empty();
            if let Some(node) = node.take_if(|_| is_done) {
                return Ok(node);
            }
            tokio::select! {
                joined = &mut joining, if node.is_none() => {
                    let joined = joined.map_err(|error| CommandFailure::Failed(error.to_string()))?;
                    let failed = |error: JoinError| CommandFailure::Failed(error.to_string());
                    node = Some(joined.map_err(failed)?);
                }
                line = input.next_line(), if !is_over => match line? {
                    Some(line) => self.begin(&line, &mut tasks)?,
                    None => is_over = true,
                },
                Some(message) = tasks.join_next() => match message {
                    Ok(message) => message.send()?,
                    Err(error) => return Err(CommandFailure::Failed(error.to_string())),
                },
                _ = looks.tick() => {
                    let now = self.progress.commands();
                    if now > commands {
                        commands = now;
                        Message::Commands(commands).send()?;
                    }
                }
            }
        }
    }

    fn begin(&self, line: &str, tasks: &mut JoinSet<Message>) -> Result<(), CommandFailure> {
        let number = line.parse::<usize>().ok();
        let number = number.filter(|number| *number < self.itineraries.len());
        let number = number
            .ok_or_else(|| CommandFailure::Usage(format!("there is no itinerary {line:?}")))?;
        let feeder = self.clone();
        tasks.spawn(async move { feeder.send(number).await });
        Ok(())
    }

    /// Sends the commands of an itinerary. Retries after failures of the store that may pass.
    async fn send(self, number: usize) -> Message {
        loop {
            let itinerary = &self.itineraries[number];
            match replay_itinerary(&self.app, &self.flights, itinerary, &self.progress).await {
                Ok(_) => return Message::Done(number),
                Err(
                    retold::Error::Unavailable(_)
                    | retold::Error::OutcomeUnknown { .. }
                    | retold::Error::Conflict(_),
                ) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => return Message::Failed(error.to_string()),
            }
        }
    }
}

/// Prints the view once it is complete, and stops the node.
async fn finish(
    node: &dyn Runner,
    view: &MemoryView<OnTime>,
) -> Result<CommandVerdict, CommandFailure> {
    let failed = |error: &dyn std::fmt::Display| CommandFailure::Failed(error.to_string());
    let app = node.application(FLIGHTS)?;
    let head = patiently(async || app.head().await).await?.position();
    if let Some(head) = head {
        let shown = node.wait(Goal::shown_by(ON_TIME, head), VIEW_WAIT_MAX);
        shown.await.map_err(|error| failed(&error))?;
    }
    Message::View(view.read(|it| format!("{it:?}"))).send()?;
    let report = node.stop().await;
    if !report.is_clean() {
        return Err(CommandFailure::Failed(format!(
            "the node did not leave cleanly: {report:?}"
        )));
    }
    std::io::stdout().flush()?;
    Ok(CommandVerdict::Fine)
}
