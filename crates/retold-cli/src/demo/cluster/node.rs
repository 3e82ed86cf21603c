//! One process of the demonstration of a cluster: a node that runs the system, and sends the commands
//! that its parent hands to it.
//!
//! What they say to each other are lines. The parent names itineraries, by their numbers; the node says
//! how far it is ([`Word`]). When its input ends, which it also does when the parent is gone, the node
//! shows its view, leaves the cluster and ends.
//!
//! Commands have ids, so an itinerary of which nobody knows how far it was told is told again.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use retold::prelude::Application;
use retold::runner::{Cluster, ClusterOptions, JoinError};
use retold::system::memory_view::MemoryView;
use retold::system::{Infrastructure, OpenSystem, Opening};
use retold_flights::itinerary::{Itinerary, itineraries};
use retold_flights::on_time::OnTime;
use retold_flights::on_time_in_memory::keep_on_time_in_memory;
use retold_flights::on_time_view::ON_TIME;
use retold_flights::record::FlightRecord;
use retold_flights::replay::{Progress, tell};
use retold_flights::system::FLIGHTS;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::{JoinHandle, JoinSet};

use super::course::patiently;
use super::monitor::{Joined, Monitor};
use super::word::Word;
use crate::built_in;
use crate::demo::read_input;
use crate::failure::{Failure, Verdict};
use crate::opening;

/// Names the store to a node: a URL may have a password in it, which other users could read among the
/// arguments.
pub(super) const URL: &str = "RETOLD_DEMO_URL";

/// How long the leases of the demonstration last: short, so that the work of a node that is killed
/// goes on soon.
pub(super) const TIME_TO_LIVE: Duration = Duration::from_secs(2);

/// How often a node looks at all leases.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a node that is started again waits for its own former lease to end: for that, and for a
/// machine that does much else.
const NAME_WAIT_MAX: Duration = Duration::from_secs(30);

/// Pause after a failure of the store before an itinerary is gone on with.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How often a node says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Longest wait for the view at the end, when nothing is recorded any more.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(60);

/// One process of `retold demo --cluster`, which starts it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node's name
    #[arg(long)]
    name: String,
    /// As of the parent
    #[arg(long)]
    data: Option<PathBuf>,
    /// As of the parent
    #[arg(long)]
    flights_max: Option<NonZeroUsize>,
    /// Where it answers `/metrics`, `/live` and `/ready`
    #[arg(long)]
    metrics: Option<SocketAddr>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Verdict, Failure> {
    let url = std::env::var(URL).map_err(|_| {
        Failure::Usage("this is a part of `retold demo --cluster N`, which starts it".into())
    })?;
    let joined: Joined = Joined::default();
    if let Some(address) = arguments.metrics {
        Monitor::install(address, joined.clone()).await?;
    }
    let input = read_input(arguments.data, arguments.flights_max).await?;
    let infrastructure = Infrastructure::new(opening::writable(&url).await?);
    let view = MemoryView::new();
    let keeper = keep_on_time_in_memory(&view).map_err(retold::Error::from)?;
    // Commands need no lease: they are sent while the node waits for its name.
    let open = OpenSystem::open(&built_in::system(), &infrastructure, Opening::Write).await?;
    let feeder = Feeder {
        app: open.application(FLIGHTS)?.clone(),
        itineraries: itineraries(&input.flights).into(),
        flights: input.flights.into(),
        progress: Arc::default(),
    };
    Word::Ready.say()?;
    let joining = tokio::spawn(async move {
        let options = ClusterOptions::new()
            .time_to_live(TIME_TO_LIVE)
            .look_interval(LOOK_INTERVAL)
            .name_wait_max(NAME_WAIT_MAX);
        let (infrastructure, system) = (infrastructure.view(keeper), built_in::system());
        let cluster = Cluster::join(&system, &infrastructure, &arguments.name, options).await?;
        let cluster = Arc::new(cluster);
        joined.set(&cluster);
        Ok(cluster)
    });
    let cluster = feeder.feed(joining).await?;
    finish(&cluster, &view).await
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
    /// Tells what the input names, until it ends; gives the node then.
    async fn feed(
        &self,
        mut joining: JoinHandle<Result<Arc<Cluster>, JoinError>>,
    ) -> Result<Arc<Cluster>, Failure> {
        let mut cluster = None;
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        let mut looks = tokio::time::interval(PROGRESS_INTERVAL);
        let mut told: JoinSet<Word> = JoinSet::new();
        let mut is_over = false;
        let mut commands = 0;
        loop {
            let is_done = is_over && told.is_empty();
            if let Some(cluster) = cluster.take_if(|_| is_done) {
                return Ok(cluster);
            }
            tokio::select! {
                joined = &mut joining, if cluster.is_none() => {
                    let joined = joined.map_err(|error| Failure::Failed(error.to_string()))?;
                    cluster = Some(joined.map_err(|error| Failure::Failed(error.to_string()))?);
                }
                line = input.next_line(), if !is_over => match line? {
                    Some(line) => self.begin(&line, &mut told)?,
                    None => is_over = true,
                },
                Some(word) = told.join_next() => match word {
                    Ok(word) => word.say()?,
                    Err(error) => return Err(Failure::Failed(error.to_string())),
                },
                _ = looks.tick() => {
                    let now = self.progress.commands();
                    if now > commands {
                        commands = now;
                        Word::Commands(commands).say()?;
                    }
                }
            }
        }
    }

    fn begin(&self, line: &str, told: &mut JoinSet<Word>) -> Result<(), Failure> {
        let number = line.parse::<usize>().ok();
        let number = number.filter(|number| *number < self.itineraries.len());
        let number = number
            .ok_or_else(|| Failure::Usage(format!("{line:?} is the number of no itinerary")))?;
        let feeder = self.clone();
        told.spawn(async move { feeder.tell(number).await });
        Ok(())
    }

    /// Tells an itinerary, through all failures of the store that pass.
    async fn tell(self, number: usize) -> Word {
        loop {
            let itinerary = &self.itineraries[number];
            match tell(&self.app, &self.flights, itinerary, &self.progress).await {
                Ok(_) => return Word::Told(number),
                Err(
                    retold::Error::Unavailable(_)
                    | retold::Error::OutcomeUnknown { .. }
                    | retold::Error::Conflict(_),
                ) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => return Word::Failed(error.to_string()),
            }
        }
    }
}

/// Shows the view when it has everything, and leaves.
async fn finish(cluster: &Cluster, view: &MemoryView<OnTime>) -> Result<Verdict, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let app = cluster.application(FLIGHTS)?;
    let head = patiently(async || app.head().await).await?.position();
    if let Some(head) = head {
        let shown = cluster.wait_for_view(ON_TIME, head, VIEW_WAIT_MAX);
        shown.await.map_err(|error| failed(&error))?;
    }
    Word::View(view.read(|it| format!("{it:?}"))).say()?;
    let report = cluster.leave().await;
    if !report.is_clean() {
        return Err(Failure::Failed(format!("it left with {report:?}")));
    }
    std::io::stdout().flush()?;
    Ok(Verdict::Fine)
}
