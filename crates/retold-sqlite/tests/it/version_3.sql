-- A store of version 3: two logs of four events, a processed range and a snapshot each. One payload
-- was erased with SQL, which was the only way in that version.
PRAGMA application_id = 0x52746c64;
PRAGMA user_version = 3;
CREATE TABLE log (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    id BLOB NOT NULL,
    born_at INTEGER NOT NULL
) STRICT;
INSERT INTO log VALUES(1,'dogs',X'00000000000000000000000000000001',1796010364837346);
INSERT INTO log VALUES(2,'cats',X'00000000000000000000000000000002',1796010364860319);
CREATE TABLE stream (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (log, name)
) STRICT;
INSERT INTO stream VALUES(1,1,'dog/1');
INSERT INTO stream VALUES(2,2,'dog/1');
CREATE TABLE topic (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (log, name)
) STRICT;
INSERT INTO topic VALUES(1,1,'Dog.Registered');
INSERT INTO topic VALUES(2,2,'Dog.Registered');
CREATE TABLE tag (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (log, name)
) STRICT;
INSERT INTO tag VALUES(1,1,'good');
INSERT INTO tag VALUES(2,1,'bad');
INSERT INTO tag VALUES(3,2,'good');
INSERT INTO tag VALUES(4,2,'bad');
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
INSERT INTO event VALUES(1099511627777,X'00000000000000000000000000000001',1,0,3,1,1,1,1,0,
    1796010364844403,'json','',X'04676f6f64',X'',-6577546555792446178,983421250917743180,X'7b7d');
INSERT INTO event VALUES(1099511627778,X'00000000000000000000000000000002',1,1,3,1,2,1,1,0,
    1796010364844403,'json','',X'04676f6f64',X'',-6577546555792446178,-9108712419956812685,X'7b7d');
INSERT INTO event VALUES(1099511627779,X'00000000000000000000000000000003',1,2,3,1,3,1,1,0,
    1796010364844403,'json','',X'04676f6f64',X'',-6577546555792446178,3049536172384527833,X'7b7d');
INSERT INTO event VALUES(1099511627780,X'00000000000000000000000000000004',2,0,1,NULL,NULL,1,1,0,
    1796010364845921,'json','',X'03626164',X'',-6577546555792446178,7257951231773000310,X'7b7d');
INSERT INTO event VALUES(2199023255553,X'00000000000000000000000000000001',1,0,3,2,1,2,1,0,
    1796010364864155,'json','',X'04676f6f64',X'',-6577546555792446178,6655879986304927424,X'7b7d');
INSERT INTO event VALUES(2199023255554,X'00000000000000000000000000000002',1,1,3,2,2,2,1,0,
    1796010364864155,'json','',X'04676f6f64',X'',6577546555792446177,-7182408692066197051,NULL);
INSERT INTO event VALUES(2199023255555,X'00000000000000000000000000000003',1,2,3,2,3,2,1,0,
    1796010364864155,'json','',X'04676f6f64',X'',-6577546555792446178,-2888392635977076910,X'7b7d');
INSERT INTO event VALUES(2199023255556,X'00000000000000000000000000000004',2,0,1,NULL,NULL,2,1,0,
    1796010364868106,'json','',X'03626164',X'',-6577546555792446178,8957113363336841935,X'7b7d');
CREATE TABLE event_tag (
    tag INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tag, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO event_tag VALUES(1,1099511627777);
INSERT INTO event_tag VALUES(1,1099511627778);
INSERT INTO event_tag VALUES(1,1099511627779);
INSERT INTO event_tag VALUES(2,1099511627780);
INSERT INTO event_tag VALUES(3,2199023255553);
INSERT INTO event_tag VALUES(3,2199023255554);
INSERT INTO event_tag VALUES(3,2199023255555);
INSERT INTO event_tag VALUES(4,2199023255556);
CREATE TABLE follower (
    key INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    name TEXT NOT NULL,
    upstream BLOB NOT NULL,
    UNIQUE (log, name, upstream)
) STRICT;
INSERT INTO follower VALUES(1,1,'f',X'00000000000000000000000000000005');
INSERT INTO follower VALUES(2,2,'f',X'00000000000000000000000000000005');
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
INSERT INTO stretch VALUES(1099511627777,1,NULL,1,X'00000000000000000000000000000006',1,NULL,1,
    -2705583153403890123);
INSERT INTO stretch VALUES(2199023255553,2,NULL,1,X'00000000000000000000000000000006',1,NULL,1,
    -7601411352397091808);
CREATE TABLE eventless_append (
    log INTEGER PRIMARY KEY,
    append_number INTEGER NOT NULL
) STRICT;
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
INSERT INTO snapshot VALUES(1,1,'dog/1',X'0000000000000001','Dog',1,0,'json',X'7b7d',
    -269421797902493471);
INSERT INTO snapshot VALUES(2,2,'dog/1',X'0000000000000001','Dog',1,0,'json',X'7b7d',
    -911246875191059233);
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    term INTEGER NOT NULL,
    since INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE erasing (
    log INTEGER PRIMARY KEY
) STRICT;
CREATE INDEX event_id ON event (id);
CREATE INDEX event_stream ON event (stream, version) WHERE stream IS NOT NULL;
CREATE INDEX event_topic ON event (topic);
CREATE INDEX stretch_follower ON stretch (follower);
CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event
WHEN EXISTS (SELECT 1 FROM event WHERE seq = new.seq)
BEGIN
    SELECT RAISE(ROLLBACK, 'retold: a recorded event is never replaced');
END;
CREATE TRIGGER event_never_changes BEFORE UPDATE ON event
WHEN NOT (
    EXISTS (SELECT 1 FROM erasing WHERE log = old.seq >> 40)
    AND new.payload IS NULL
    AND new.payload_checksum = CASE WHEN old.payload IS NULL
        THEN old.payload_checksum ELSE ~old.payload_checksum END
    AND (new.seq, new.id, new.append_number, new.place_index, new.place_count, new.topic)
        = (old.seq, old.id, old.append_number, old.place_index, old.place_count, old.topic)
    AND new.stream IS old.stream AND new.version IS old.version
    AND (new.revision, new.time, new.recorded_at, new.encoding, new.origin, new.tags,
            new.metadata, new.checksum)
        = (old.revision, old.time, old.recorded_at, old.encoding, old.origin, old.tags,
            old.metadata, old.checksum)
)
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded event never changes');
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
BEGIN
    SELECT RAISE(ABORT, 'retold: the tags of a recorded event are never deleted');
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
CREATE TRIGGER tag_is_never_deleted BEFORE DELETE ON tag
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded tag is never deleted');
END;
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
