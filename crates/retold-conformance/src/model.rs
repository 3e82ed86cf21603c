//! Rule 18: random operations give the same answers on the store and on the memory log.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::operation::{Answer, Operation};
use super::random_operations::RandomOperations;
use super::scene::{Scene, open, seed};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::MemoryLog;
use retold_core::recording::Recorder;

/// The minimum number of operations to try, and the maximum if time allows.
const OPERATIONS: (usize, usize) = (600, 5000);
/// Operations on one log. Short histories exercise the same rules, and their failures are short to
/// print.
const EPISODE: usize = 250;
/// How long to continue after the minimum number of operations.
const TIME: Duration = Duration::from_secs(4);
/// How long to search for a shorter trace of a difference.
const SHORTENING_TIME: Duration = Duration::from_secs(8);

/// Rule 18. Random operations give the same answers on the store and on the memory log. A
/// difference is reported with the shortest sequence of operations that was found to lead to it.
pub async fn memory_is_the_model<S: Subject>() {
    let mut random = Rng::with_seed(seed());
    let scene = Scene::<S>::new().await;
    let begin = Instant::now();
    for tried in (0..OPERATIONS.1).step_by(EPISODE) {
        if tried >= OPERATIONS.0 && begin.elapsed() > TIME {
            break;
        }
        let mut pair = Pair::new(&scene, &format!("model-{tried}")).await;
        let mut source = RandomOperations::new(random.fork());
        let mut operations = Vec::new();
        for _ in 0..EPISODE {
            let operation = source.next(&pair.model);
            operations.push(operation.clone());
            if pair.difference(&operation).await.is_some() {
                let operations = shorten(&scene, operations).await;
                panic!("{}", show(&scene, &operations).await);
            }
        }
        whole(&*pair.log).await;
    }
}

/// A log of the store and its model.
struct Pair<S> {
    subject: Arc<S>,
    name: String,
    log: Arc<dyn Recorder>,
    model: MemoryLog,
}

impl<S: Subject> Pair<S> {
    async fn new(scene: &Scene<S>, name: &str) -> Self {
        Self {
            subject: scene.subject.clone(),
            name: name.to_owned(),
            log: open(&*scene.store, name).await,
            model: MemoryLog::new(),
        }
    }

    /// Executes the operation on both. Returns the store's answer and the model's if they differ.
    async fn difference(&mut self, operation: &Operation) -> Option<(Answer, Answer)> {
        if let Operation::Reopen = operation {
            self.log = open(&*self.subject.open().await, &self.name).await;
        }
        let found = operation.ask(&*self.log).await;
        let expected = operation.ask_model(&mut self.model, &self.log.limits());
        (found != expected).then_some((found, expected))
    }
}

/// Returns fewer operations that still lead to a difference, by leaving out pieces, larger ones
/// first, while the difference remains (Zeller and Hildebrandt, "Simplifying and isolating
/// failure-inducing input", 2002).
async fn shorten<S: Subject>(scene: &Scene<S>, mut operations: Vec<Operation>) -> Vec<Operation> {
    let begin = Instant::now();
    let mut replays = 0;
    let mut size = operations.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < operations.len() {
            if begin.elapsed() > SHORTENING_TIME {
                return operations;
            }
            let mut fewer = operations.clone();
            fewer.drain(start..(start + size).min(operations.len()));
            replays += 1;
            match replay(scene, &fewer, replays).await {
                Some(count) => operations = fewer.into_iter().take(count).collect(),
                None => start += size,
            }
        }
        size /= 2;
    }
    operations
}

/// Executes operations on a fresh log. Returns how many lead to a difference, if there is one.
async fn replay<S: Subject>(
    scene: &Scene<S>,
    operations: &[Operation],
    number: usize,
) -> Option<usize> {
    let mut pair = Pair::new(scene, &format!("shorter-{number}")).await;
    for (index, operation) in operations.iter().enumerate() {
        if pair.difference(operation).await.is_some() {
            return Some(index + 1);
        }
    }
    None
}

/// Formats the operations and both answers to the last one.
async fn show<S: Subject>(scene: &Scene<S>, operations: &[Operation]) -> String {
    let mut pair = Pair::new(scene, "shown").await;
    let mut text = String::from("the store's answer differs from the model's:\n");
    for operation in operations {
        let _ = writeln!(text, "- {operation:?}");
        if let Some((found, expected)) = pair.difference(operation).await {
            let _ = writeln!(text, "  store: {found:?}\n  model: {expected:?}");
        }
    }
    text
}
