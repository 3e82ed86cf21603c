-- The tables of a Retold store, version 4. Existing files depend on them: a change requires a new
-- version, with a conversion of the old one.
--
-- Append-only data is stored in the order in which it is written, so that an append touches as few
-- pages as possible: `seq` combines the key of a log and a position in it into one number (see
-- seq.rs), so a log's events are adjacent and new ones follow them.

-- The logs. The key is used only in this file; the id is the log's permanent one.
CREATE TABLE log (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    id BLOB NOT NULL,
    born_at INTEGER NOT NULL
) STRICT;

-- Names that many events use, as numbers.
CREATE TABLE stream (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (log, name)
) STRICT;
CREATE TABLE topic (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (log, name)
) STRICT;
CREATE TABLE tag (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (log, name)
) STRICT;

-- The events. `append_number` counts the appends of the log; `tags` is the event's own list, where
-- each tag is a length of one byte and its text; a payload that is NULL was erased. Times are
-- microseconds since 1970. The checksums are those of checksum.rs in the core and are verified at
-- every read: one of the payload, inverted if that was erased, and one of everything else. Since
-- version 4 an erased payload has the checksum -1, the inverted one of no payload, so that nothing
-- of its content is left.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    append_number INTEGER NOT NULL,
    place_index INTEGER NOT NULL,
    place_count INTEGER NOT NULL,
    stream INTEGER,
    version INTEGER,
    topic INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    time INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    encoding TEXT NOT NULL,
    origin TEXT NOT NULL,
    tags BLOB NOT NULL,
    metadata BLOB NOT NULL,
    payload_checksum INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    payload BLOB
) STRICT;
-- SQLite appends the seq to each index. Ids are unique in a log, not in the file, because a log may
-- be stored next to its copy; the recorder ensures it in the transaction that writes.
CREATE INDEX event_id ON event (id);
CREATE INDEX event_stream ON event (stream, version) WHERE stream IS NOT NULL;
CREATE INDEX event_topic ON event (topic);
CREATE TABLE event_tag (
    tag INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tag, seq)
) STRICT, WITHOUT ROWID;

-- The followers of logs, and the ranges that they have processed. The seq of a stretch combines the
-- key of the log that recorded it and the stretch's ordinal in it. A stretch has a checksum like an
-- event. Positions of an upstream may be any number; from 2^63 on they are stored less 2^64.
CREATE TABLE follower (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    upstream BLOB NOT NULL,
    UNIQUE (log, name, upstream)
) STRICT;
CREATE TABLE stretch (
    seq INTEGER PRIMARY KEY,
    follower INTEGER NOT NULL,
    after INTEGER,
    to_position INTEGER NOT NULL,
    to_event_id BLOB NOT NULL,
    edition INTEGER NOT NULL,
    head INTEGER,
    with_events INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX stretch_follower ON stretch (follower);

-- The number of the last append without events, for logs that have one. The append count of a log
-- is the greater of this and the append number of its last event.
CREATE TABLE eventless_append (
    log INTEGER PRIMARY KEY,
    append_number INTEGER NOT NULL
) STRICT;

-- Hints and placements: not part of history. A snapshot's version is stored as eight bytes, highest
-- first, so that any version sorts correctly.
CREATE TABLE snapshot (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    stream TEXT NOT NULL,
    version BLOB NOT NULL,
    state_type TEXT NOT NULL,
    revision INTEGER NOT NULL,
    time INTEGER NOT NULL,
    encoding TEXT NOT NULL,
    payload BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (log, stream, version)
) STRICT;
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    term INTEGER NOT NULL,
    since INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The only way to amend events: while a log is listed here, its events may be erased or replaced,
-- within the limits of the triggers below. The transaction of an append with amendments lists the
-- log here with the seq of its last event, and removes it once the events of the append are
-- recorded, so this table is empty in every committed state. It cannot be removed without an event
-- that records an amendment after this one.
CREATE TABLE amending (
    log INTEGER PRIMARY KEY,
    head INTEGER NOT NULL
) STRICT;
-- The streams that have records of amendments, each with the version of the last one: a snapshot of
-- an earlier version is not stored.
CREATE TABLE last_record (
    stream INTEGER PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT;

-- Recorded data does not change, even if another program writes to the file: these triggers refuse
-- it to every tool that uses SQL. REPLACE does not fire DELETE triggers, so inserts are checked
-- too.
CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event
WHEN EXISTS (SELECT 1 FROM event WHERE seq = new.seq)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a recorded event is never replaced');
END;
-- Position, id, place, stream, version, times and origin never change. An erased event loses its
-- payload, and perhaps its tags and its metadata. A replaced event keeps its metadata. The record
-- of an amendment is never amended, and no event becomes one. There is no IN, for which SQLite
-- makes a table in memory for each event.
CREATE TRIGGER event_never_changes BEFORE UPDATE ON event
WHEN NOT (
    EXISTS (SELECT 1 FROM amending WHERE log = old.seq >> 40)
    AND (new.seq, new.id, new.append_number, new.place_index, new.place_count)
        = (old.seq, old.id, old.append_number, old.place_index, old.place_count)
    AND new.stream IS old.stream AND new.version IS old.version
    AND (new.time, new.recorded_at, new.origin) = (old.time, old.recorded_at, old.origin)
    AND NOT EXISTS (
        SELECT 1 FROM topic WHERE key = old.topic AND CASE name
            WHEN 'retold.erased' THEN 1 WHEN 'retold.amended' THEN 1
            WHEN 'retold.deleted' THEN 1 WHEN 'retold.reopened' THEN 1 ELSE 0 END
    )
    AND (new.topic = old.topic OR NOT EXISTS (
        SELECT 1 FROM topic WHERE key = new.topic AND CASE name
            WHEN 'retold.erased' THEN 1 WHEN 'retold.amended' THEN 1
            WHEN 'retold.deleted' THEN 1 WHEN 'retold.reopened' THEN 1 ELSE 0 END
    ))
    AND CASE WHEN new.payload IS NULL
        THEN (new.topic, new.revision, new.encoding) = (old.topic, old.revision, old.encoding)
            AND new.payload_checksum = -1
            AND (new.tags = old.tags OR new.tags = x'')
            AND (new.metadata = old.metadata OR new.metadata = x'')
        ELSE old.payload IS NOT NULL AND new.metadata = old.metadata
        END
)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a recorded event never changes');
END;
CREATE TRIGGER amending_begins_at_the_head BEFORE INSERT ON amending
WHEN new.head IS NOT (
    SELECT max(seq) FROM event WHERE seq >= new.log << 40 AND seq < (new.log + 1) << 40
)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: amending begins at the last event of a log');
END;
CREATE TRIGGER amending_never_changes BEFORE UPDATE ON amending
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: amending ends as it began');
END;
CREATE TRIGGER amending_is_recorded BEFORE DELETE ON amending
WHEN NOT EXISTS (
    SELECT 1 FROM topic
    JOIN event ON event.topic = topic.key AND event.seq > old.head
        AND event.seq < (old.log + 1) << 40
    WHERE topic.log = old.log AND topic.name IN
        ('retold.erased', 'retold.amended', 'retold.deleted', 'retold.reopened')
)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: an amendment is recorded by an event');
END;
CREATE TRIGGER event_is_never_deleted BEFORE DELETE ON event
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded event is never deleted');
END;
CREATE TRIGGER event_tag_never_changes BEFORE UPDATE ON event_tag
BEGIN
    SELECT RAISE(ABORT, 'retold: the tags of a recorded event never change');
END;
CREATE TRIGGER event_tag_is_never_deleted BEFORE DELETE ON event_tag
WHEN NOT EXISTS (SELECT 1 FROM amending WHERE log = old.seq >> 40)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: the tags of a recorded event are never deleted');
END;

CREATE TRIGGER log_is_never_replaced BEFORE INSERT ON log
WHEN EXISTS (SELECT 1 FROM log WHERE key = new.key OR name = new.name)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a log is never replaced');
END;
CREATE TRIGGER log_never_changes BEFORE UPDATE ON log
BEGIN
    SELECT RAISE(ABORT, 'retold: a log never changes its name or id');
END;
CREATE TRIGGER log_is_never_deleted BEFORE DELETE ON log
BEGIN
    SELECT RAISE(ABORT, 'retold: a log is never deleted');
END;

CREATE TRIGGER stream_is_never_replaced BEFORE INSERT ON stream
WHEN EXISTS (SELECT 1 FROM stream WHERE key = new.key OR (log = new.log AND name = new.name))
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a stream is never replaced');
END;
CREATE TRIGGER stream_never_changes BEFORE UPDATE ON stream
BEGIN
    SELECT RAISE(ABORT, 'retold: a stream never changes its name');
END;
CREATE TRIGGER stream_is_never_deleted BEFORE DELETE ON stream
BEGIN
    SELECT RAISE(ABORT, 'retold: a stream is never deleted');
END;
CREATE TRIGGER topic_is_never_replaced BEFORE INSERT ON topic
WHEN EXISTS (SELECT 1 FROM topic WHERE key = new.key OR (log = new.log AND name = new.name))
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a topic is never replaced');
END;
CREATE TRIGGER topic_never_changes BEFORE UPDATE ON topic
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded topic never changes');
END;
CREATE TRIGGER topic_is_never_deleted BEFORE DELETE ON topic
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded topic is never deleted');
END;
CREATE TRIGGER tag_is_never_replaced BEFORE INSERT ON tag
WHEN EXISTS (SELECT 1 FROM tag WHERE key = new.key OR (log = new.log AND name = new.name))
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a tag is never replaced');
END;
CREATE TRIGGER tag_never_changes BEFORE UPDATE ON tag
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded tag never changes');
END;
-- The last event that had it lost it by an amendment.
CREATE TRIGGER tag_is_never_deleted BEFORE DELETE ON tag
WHEN NOT EXISTS (SELECT 1 FROM amending WHERE log = old.log)
    OR EXISTS (SELECT 1 FROM event_tag WHERE tag = old.key)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a recorded tag is never deleted');
END;

-- A stretch grows while neither its append nor the next one had events; otherwise it never changes.
CREATE TRIGGER follower_is_never_replaced BEFORE INSERT ON follower
WHEN EXISTS (
    SELECT 1 FROM follower
    WHERE key = new.key OR (log = new.log AND name = new.name AND upstream = new.upstream)
)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a follower is never replaced');
END;
CREATE TRIGGER follower_never_changes BEFORE UPDATE ON follower
BEGIN
    SELECT RAISE(ABORT, 'retold: a follower never changes its name or upstream');
END;
CREATE TRIGGER follower_is_never_deleted BEFORE DELETE ON follower
BEGIN
    SELECT RAISE(ABORT, 'retold: a follower is never deleted');
END;
CREATE TRIGGER stretch_is_never_replaced BEFORE INSERT ON stretch
WHEN EXISTS (SELECT 1 FROM stretch WHERE seq = new.seq)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a recorded stretch is never replaced');
END;
CREATE TRIGGER stretch_only_grows BEFORE UPDATE ON stretch
WHEN NOT (
    old.with_events = 0 AND new.with_events = 0
    AND (new.to_position > old.to_position)
        = ((new.to_position < 0) = (old.to_position < 0))
    AND (new.seq, new.follower, new.edition) = (old.seq, old.follower, old.edition)
    AND new.after IS old.after AND new.head IS old.head
)
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded stretch never changes');
END;
CREATE TRIGGER stretch_is_never_deleted BEFORE DELETE ON stretch
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded stretch is never deleted');
END;
