//! Commits a group: many members in one transaction and one sync. Each is judged against the log
//! with the earlier ones, and each gets its own outcome once the transaction is durable.
//!
//! A member that is refused has written nothing and affects no other. If the database fails while a
//! member writes, the transaction is rolled back and every member runs separately, so that the
//! failure of one does not affect the others. This way no savepoints are needed if nothing fails.

mod purge;

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold_core::recording::RecordError;
use rusqlite::Connection;

use super::member::{End, Group};
use crate::error::{Refusal, before_commit, carried, is_busy, of_commit};
use crate::file::connection::{BUSY_PAUSE, data_version};
use crate::file::known::Known;
use crate::file::presence::FilePresence;
use crate::telemetry::{GROUP_LENGTH, GROUP_SECONDS};
use crate::transaction::Transaction;

/// The connection that writes, with the writer's memory of the file.
#[derive(Debug)]
pub(crate) struct Writing {
    conn: Connection,
    presence: Arc<FilePresence>,
    known: Known,
}

/// Another connection writes to the file. Contains the group, or the rest of it, unprocessed.
pub(crate) struct Busy(pub(crate) Group);

impl Writing {
    pub(crate) fn new(conn: Connection, presence: Arc<FilePresence>) -> Self {
        Self {
            conn,
            presence,
            known: Known::default(),
        }
    }

    /// Commits a group and delivers the outcomes to its members.
    ///
    /// # Errors
    ///
    /// [`Busy`] if another connection writes for longer than `patience`.
    pub(crate) fn commit(&mut self, group: Group, patience: Duration) -> Result<(), Busy> {
        if group.is_empty() {
            return Ok(());
        }
        metrics::histogram!(GROUP_LENGTH).record(group.len() as f64);
        let began = Instant::now();
        if let Err(error) = self.presence.check() {
            settle(group, &End::Failed(error));
            return Ok(());
        }
        match self.begin(patience) {
            Ok(()) => {}
            Err(error) if is_busy(&error) => return Err(Busy(group)),
            Err(error) => {
                settle(
                    group,
                    &End::Failed(before_commit("beginning to write", error)),
                );
                return Ok(());
            }
        }
        let performed = self.perform_and_settle(group, patience);
        metrics::histogram!(GROUP_SECONDS).record(began.elapsed());
        performed
    }

    /// SQLite's counter of others' changes, as the last group found it; `None` if that was
    /// discarded.
    pub(crate) fn known_data_version(&self) -> Option<i64> {
        self.known.data_version
    }

    /// SQLite's counter of others' changes.
    pub(crate) fn data_version(&self) -> rusqlite::Result<i64> {
        data_version(&self.conn)
    }

    /// Copies the whole write-ahead log into the file and empties it, once no read needs it.
    /// Returns whether that was possible within `patience`.
    pub(crate) fn empty_wal(&self, patience: Duration) -> rusqlite::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_busy: bool = self.waiting(left, || {
                let empty = "PRAGMA wal_checkpoint(TRUNCATE)";
                self.conn.query_row(empty, [], |row| row.get(0))
            })?;
            if !is_busy || Instant::now() >= deadline {
                return Ok(!is_busy);
            }
            // SQLite does not wait for a connection that copies the log at the moment.
            std::thread::sleep(BUSY_PAUSE);
        }
    }

    /// Does something for which SQLite waits for other connections.
    fn waiting<T>(
        &self,
        patience: Duration,
        something: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.conn.busy_timeout(patience)?;
        let done = something();
        self.conn.busy_timeout(Duration::ZERO)?;
        done
    }

    fn perform_and_settle(&mut self, mut group: Group, patience: Duration) -> Result<(), Busy> {
        let end = match self.perform(&mut group) {
            Ok(()) => match self.execute("COMMIT") {
                // What was only read was in the file when the group began.
                Ok(()) if !group.iter().any(|member| member.has_written()) => End::Committed,
                Ok(()) => match self.presence.check() {
                    Ok(()) => End::Committed,
                    // It may be in a file that no path leads to.
                    Err(error) => End::Failed(RecordError::outcome_unknown("committing", error)),
                },
                Err(error) => {
                    self.roll_back();
                    End::Failed(of_commit(error))
                }
            },
            Err(error) => {
                self.roll_back();
                if group.len() > 1 {
                    return self.one_by_one(group, patience);
                }
                End::Failed(before_commit("writing", error))
            }
        };
        if let End::Failed(error) = &end {
            tracing::warn!(%error, members = group.len(), "a group was not committed");
        }
        settle(group, &end);
        Ok(())
    }

    /// After a rollback: runs every member in a separate transaction.
    fn one_by_one(&mut self, group: Group, patience: Duration) -> Result<(), Busy> {
        let mut members = group.into_iter();
        while let Some(member) = members.next() {
            let alone = vec![member];
            match self.begin(patience) {
                Ok(()) => self.perform_and_settle(alone, patience)?,
                Err(error) if is_busy(&error) => {
                    return Err(Busy(alone.into_iter().chain(members).collect()));
                }
                Err(error) => {
                    let error = before_commit("beginning to write", error);
                    settle(alone, &End::Failed(error));
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, group: &mut Group) -> rusqlite::Result<()> {
        let mut transaction = Transaction::enter(&self.conn, &mut self.known)?;
        for member in group {
            member.perform(&mut transaction)?;
            // What the next member writes would otherwise be committed at once, and be judged by
            // what the earlier ones only seemed to write.
            if transaction.conn.is_autocommit() {
                let error = RecordError::unavailable("writing", Refusal::TransactionEnded);
                return Err(carried(error));
            }
        }
        Ok(())
    }

    /// Takes SQLite's write lock, which only one connection of all processes can hold.
    fn begin(&mut self, patience: Duration) -> rusqlite::Result<()> {
        if !self.conn.is_autocommit() {
            // Left by a panic; its members got no outcome.
            self.roll_back();
        }
        let deadline = Instant::now() + patience;
        loop {
            match self.execute("BEGIN IMMEDIATE") {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Ends a transaction without a trace, and discards what was read in it.
    fn roll_back(&mut self) {
        self.known.forget();
        if !self.conn.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }
}

fn settle(group: Group, end: &End) {
    for mut member in group {
        member.settle(end);
    }
}

/// Delivers the outcome to a group that waited too long for another process.
pub(crate) fn give_up(group: Group, patience: Duration) {
    let error = RecordError::unavailable(
        format!("another process has been writing to the file for {patience:?}"),
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None),
    );
    settle(group, &End::Failed(error));
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use retold_core::recording::{
        Amendment, Append, Appended, Condition, Conflict, ERASED_TOPIC, ErasedParts, EventId,
        ExpectedVersion, Failure, LogId, NewEvent, Query,
    };
    use rusqlite::limits::Limit;
    use uuid::Uuid;

    use super::*;
    use crate::file::connection::FilePlace;
    use crate::file::log::{Born, Log};
    use crate::file::seq::LogKey;
    use crate::options::SqliteOptions;
    use crate::projection::inline::SqliteInlineProjections;
    use crate::writing::member::{AppendMember, OutcomeSlot, WorkMember};

    type Answer<T = Appended> = Result<T, RecordError>;

    struct Fixture {
        writing: Writing,
        log: Arc<Log>,
        _folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let place = FilePlace::writable(&folder.path().join("dogs.db")).unwrap();
            let conn = place.open_writer(&SqliteOptions::new()).unwrap();
            conn.execute("INSERT INTO log VALUES (1, 'dogs', zeroblob(16), 0)", [])
                .unwrap();
            let log = Log::unborn("dogs");
            log.learn_birth(Born {
                key: LogKey(1),
                id: LogId::new(Uuid::nil()),
            });
            Self {
                writing: Writing::new(conn, place.presence().clone()),
                log: Arc::new(log),
                _folder: folder,
            }
        }

        /// Appends these as one group; returns the outcomes in their order.
        fn commit(&mut self, appends: impl IntoIterator<Item = Append>) -> Vec<Answer> {
            let (mut group, mut slots) = (Group::new(), Vec::new());
            for append in appends {
                let slot = Arc::new(OutcomeSlot::new());
                let member = AppendMember::new(self.log.clone(), none(), append, slot.clone());
                group.push(Box::new(member));
                slots.push(slot);
            }
            assert!(self.writing.commit(group, Duration::ZERO).is_ok());
            slots.iter().map(|slot| answer(slot)).collect()
        }
    }

    fn answer<T>(slot: &OutcomeSlot<T>) -> Answer<T> {
        let waiting = pin!(std::future::poll_fn(|context| slot.poll(context.waker())));
        match waiting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("every member of a group gets an outcome"),
        }
    }

    fn none() -> SqliteInlineProjections {
        SqliteInlineProjections::new()
    }

    fn append(id: u128) -> Append {
        Append::of([
            NewEvent::new(EventId::new(Uuid::from_u128(id)), "Dog.Registered", "{}")
                .stream("dog/1"),
        ])
    }

    fn new_dog(id: u128) -> Append {
        append(id).condition(Condition::stream_at("dog/1", ExpectedVersion::None))
    }

    /// Goal: a conflict with an append of the same group is not reported before that append is
    /// durable. Method: SQLite refuses the commit.
    #[test]
    fn a_group_that_is_not_committed_leaves_nothing() {
        let mut fixture = Fixture::new();
        fixture.writing.conn.commit_hook(Some(|| true)).unwrap();
        for answer in fixture.commit([new_dog(1), new_dog(2), append(1)]) {
            assert!(
                matches!(answer, Err(RecordError::Unavailable(_))),
                "{answer:?}"
            );
        }
        fixture
            .writing
            .conn
            .commit_hook(None::<fn() -> bool>)
            .unwrap();
        let answers = fixture.commit([new_dog(3), new_dog(2), append(3)]);
        assert!(
            matches!(answers[0], Ok(Appended::Recorded(_))),
            "{answers:?}"
        );
        assert!(
            matches!(
                &answers[1],
                Err(RecordError::Conflict(Conflict::Stream { .. }))
            ),
            "{answers:?}"
        );
        assert!(
            matches!(answers[2], Ok(Appended::Repeated(_))),
            "{answers:?}"
        );
    }

    /// A topic of a group that is not committed leaves its number to another topic.
    #[test]
    fn topics_of_a_group_that_is_not_committed_are_forgotten() {
        let mut fixture = Fixture::new();
        let of = |id, topic: &'static str| {
            let id = EventId::new(Uuid::from_u128(id));
            Append::of([NewEvent::new(id, topic, "{}")])
        };
        let none_of =
            |topic: &'static str| append(9).condition(Condition::none_match(Query::topic(topic)));
        fixture.writing.conn.commit_hook(Some(|| true)).unwrap();
        fixture.commit([of(1, "Dog.Barked"), none_of("Dog.Barked")]);
        let none = None::<fn() -> bool>;
        fixture.writing.conn.commit_hook(none).unwrap();
        let answers = fixture.commit([of(2, "Dog.Sat"), none_of("Dog.Sat")]);
        assert!(
            matches!(
                &answers[1],
                Err(RecordError::Conflict(Conflict::Query { .. }))
            ),
            "{answers:?}"
        );
    }

    /// The outcome of members that would be recorded is then unknown; refused members have
    /// certainly recorded nothing.
    #[test]
    fn an_unknown_outcome_reaches_only_what_was_to_be_recorded() {
        let mut fixture = Fixture::new();
        let (mut group, mut slots) = (Group::new(), Vec::new());
        for append in [new_dog(1), new_dog(2)] {
            let slot = Arc::new(OutcomeSlot::new());
            group.push(Box::new(AppendMember::new(
                fixture.log.clone(),
                none(),
                append,
                slot.clone(),
            )));
            slots.push(slot);
        }
        fixture.writing.begin(Duration::ZERO).unwrap();
        fixture.writing.perform(&mut group).unwrap();
        fixture.writing.roll_back();
        let failure = Failure::new("committing", std::io::Error::other("the disk is gone"));
        settle(group, &End::Failed(RecordError::OutcomeUnknown(failure)));
        assert!(matches!(
            answer(&slots[0]),
            Err(RecordError::OutcomeUnknown(_))
        ));
        assert!(matches!(
            answer(&slots[1]),
            Err(RecordError::Unavailable(_))
        ));
        assert!(matches!(
            fixture.commit([new_dog(1)])[0],
            Ok(Appended::Recorded(_))
        ));
    }

    /// Goal: the failure of one member does not affect the others, even if another process writes
    /// between the group and its members. Method: it begins to write as soon as the group is rolled
    /// back.
    #[test]
    fn members_of_a_group_that_failed_wait_for_other_processes() {
        let mut fixture = Fixture::new();
        let path = fixture.writing.conn.path().unwrap().to_owned();
        let other = Arc::new(std::sync::Mutex::new(Connection::open(path).unwrap()));
        let begin = other.clone();
        let hook = move || drop(begin.lock().unwrap().execute_batch("BEGIN IMMEDIATE"));
        fixture.writing.conn.rollback_hook(Some(hook)).unwrap();

        let (failed, recorded) = (
            Arc::new(OutcomeSlot::<()>::new()),
            Arc::new(OutcomeSlot::new()),
        );
        let failing = |_: &mut Transaction<'_>| -> rusqlite::Result<Result<(), RecordError>> {
            Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
                None,
            ))
        };
        let group: Group = vec![
            Box::new(WorkMember::new(0, failing, failed.clone())),
            Box::new(AppendMember::new(
                fixture.log.clone(),
                none(),
                new_dog(1),
                recorded.clone(),
            )),
        ];
        let Err(Busy(group)) = fixture.writing.commit(group, Duration::ZERO) else {
            panic!("they wait: {:?}", answer(&recorded));
        };
        fixture.writing.conn.rollback_hook(None::<fn()>).unwrap();
        other.lock().unwrap().execute_batch("ROLLBACK").unwrap();
        assert!(fixture.writing.commit(group, Duration::ZERO).is_ok());
        assert!(matches!(answer(&recorded), Ok(Appended::Recorded(_))));
        assert!(matches!(answer(&failed), Err(RecordError::Unavailable(_))));
    }

    /// Goal: if SQLite rolls the transaction back while a member runs, the members after it are not
    /// recorded without those before it. Method: a member ends the transaction but answers as if
    /// nothing had happened, as a failed read of a judgment could.
    #[test]
    fn nothing_is_recorded_after_the_transaction_ended() {
        let mut fixture = Fixture::new();
        let ending = |transaction: &mut Transaction<'_>| {
            transaction.conn.execute_batch("ROLLBACK")?;
            let error = RecordError::unavailable("reading", Refusal::NoReader);
            Ok::<Result<(), _>, _>(Err(error))
        };
        let ended = Arc::new(OutcomeSlot::new());
        let (mut group, mut slots) = (Group::new(), Vec::new());
        for id in 1..=3 {
            let (log, slot) = (fixture.log.clone(), Arc::new(OutcomeSlot::new()));
            group.push(Box::new(AppendMember::new(
                log,
                none(),
                append(id),
                slot.clone(),
            )));
            slots.push(slot);
            if id == 1 {
                group.push(Box::new(WorkMember::new(0, ending, ended.clone())));
            }
        }
        assert!(fixture.writing.commit(group, Duration::ZERO).is_ok());
        for slot in &slots {
            let answer = answer(slot);
            assert!(matches!(answer, Ok(Appended::Recorded(_))), "{answer:?}");
        }
        assert!(matches!(answer(&ended), Err(RecordError::Unavailable(_))));
        let positions = "SELECT group_concat(seq & 255) FROM event";
        let positions: String = fixture
            .writing
            .conn
            .query_row(positions, [], |row| row.get(0))
            .unwrap();
        assert_eq!(positions, "1,2,3");
    }

    /// Goal: an append is not answered with an error after which SQLite may have rolled back.
    /// Method: a row is larger than SQLite may read; that error is as little damage as a failed
    /// read.
    #[test]
    fn a_failed_read_is_no_judgment() {
        let mut fixture = Fixture::new();
        let mut large = append(1).new_events()[0].clone().tag("large");
        large.payload = Some(vec![b'x'; 100_000].into());
        assert!(fixture.commit([Append::of([large])])[0].is_ok());
        let mut judge = |append: Append| {
            let Writing { conn, known, .. } = &mut fixture.writing;
            conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, 50_000).unwrap();
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            let mut transaction = Transaction::enter(conn, known).unwrap();
            let judged = transaction.append(&fixture.log, &none(), &append);
            conn.execute_batch("ROLLBACK").unwrap();
            judged.map(|(answer, _)| answer)
        };
        let record = NewEvent::new(EventId::new(Uuid::from_u128(2)), ERASED_TOPIC, "{}");
        let erase = Append::of([record.stream("dog/1")]).amendment(Amendment::EraseEvent {
            event: EventId::new(Uuid::from_u128(1)),
            stream: Some("dog/1".into()),
            parts: ErasedParts::ALL,
        });
        let unique = append(2).condition(Condition::none_match(Query::tag("large")));
        for append in [erase, unique] {
            let judged = judge(append);
            assert!(judged.is_err(), "{judged:?}");
        }
        fixture.writing.known.forget();
        let Writing { conn, known, .. } = &mut fixture.writing;
        let met = Transaction::enter(conn, known).unwrap().meet(&fixture.log);
        assert!(met.is_err(), "{met:?}");
    }

    /// A commit while the file is moved away is in a file that no path leads to: its outcome is
    /// unknown, and every later one is refused.
    #[test]
    fn what_is_committed_into_a_lost_file_is_unknown() {
        let mut fixture = Fixture::new();
        let path = fixture.writing.conn.path().unwrap().to_owned();
        let moved = format!("{path}.away");
        let (taken, recorded) = (Arc::new(OutcomeSlot::new()), Arc::new(OutcomeSlot::new()));
        let take_away = move |_: &mut Transaction<'_>| {
            std::fs::rename(&path, &moved).unwrap();
            Ok(Ok(()))
        };
        let group: Group = vec![
            Box::new(AppendMember::new(
                fixture.log.clone(),
                none(),
                append(1),
                recorded.clone(),
            )),
            Box::new(WorkMember::new(0, take_away, taken.clone())),
        ];
        assert!(fixture.writing.commit(group, Duration::ZERO).is_ok());
        assert!(matches!(
            answer(&recorded),
            Err(RecordError::OutcomeUnknown(_))
        ));
        let refused = fixture.commit([append(2)]);
        assert!(
            matches!(refused[0], Err(RecordError::Unavailable(_))),
            "{refused:?}"
        );
    }

    /// A member that is dropped by a panic of the writer still gets an outcome.
    #[test]
    fn a_member_that_is_dropped_is_unknown() {
        let fixture = Fixture::new();
        let slot = Arc::new(OutcomeSlot::new());
        drop(AppendMember::new(
            fixture.log.clone(),
            none(),
            append(1),
            slot.clone(),
        ));
        assert!(matches!(answer(&slot), Err(RecordError::OutcomeUnknown(_))));
    }
}
