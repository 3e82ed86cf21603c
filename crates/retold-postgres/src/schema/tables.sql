-- The tables and functions of a Retold store, version 9. They must stay compatible with existing
-- databases: a change is a new version, with a conversion from the old one.
--
-- "retold" stands for the schema of the store. Texts are compared by their bytes. Times are
-- microseconds since 1970. Positions of other logs and unsigned 32-bit numbers are stored as the
-- signed numbers of the same bits.

CREATE TABLE "retold".schema_version (
    version integer PRIMARY KEY
);
INSERT INTO "retold".schema_version VALUES (9);

-- The logs, each with its end. An append locks the log's row before it writes, so appends to a log
-- come one after the other and positions are in the order of commit; logs do not wait for each
-- other. The fill factor leaves room for new versions of a row that every append changes.
CREATE TABLE "retold".log (
    key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    id uuid NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    head_id uuid,
    append_count bigint NOT NULL DEFAULT 0,
    stretch_count bigint NOT NULL DEFAULT 0,
    topic_count bigint NOT NULL DEFAULT 0,
    amendment_count bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 30);

-- The events. `tags` is the event's own list, each tag a length of one byte and its text; a payload
-- that is NULL was erased. Payloads are not compressed here: the mapper does that. The checksums
-- are those of checksum.rs in the core, checked at every read: one of the payload, or -1 if it was
-- erased, and one of everything else. The part of the second that is known in advance comes with
-- the event; position, version and time are combined with it where the event is recorded, as
-- described in checksum.rs.
CREATE TABLE "retold".event (
    log integer NOT NULL,
    position bigint NOT NULL,
    id uuid NOT NULL,
    stream text COLLATE "C",
    version bigint,
    place_index integer NOT NULL,
    place_count integer NOT NULL,
    topic text COLLATE "C" NOT NULL,
    revision integer NOT NULL,
    tags bytea NOT NULL,
    time bigint NOT NULL,
    recorded_at bigint NOT NULL,
    encoding text COLLATE "C" NOT NULL,
    origin text COLLATE "C" NOT NULL,
    metadata bytea NOT NULL,
    payload bytea,
    payload_checksum bigint NOT NULL,
    checksum bigint NOT NULL,
    PRIMARY KEY (log, position),
    CHECK ((stream IS NULL) = (version IS NULL))
);
ALTER TABLE "retold".event ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Plans are made once for each connection, usually while the tables are empty, when all indexes
-- look equally good to the planner. So each statement leaves it only one choice: the indexes begin
-- with different columns or are partial; an event is looked up by its id with `log + 0`, which no
-- index begins with, and by topic in the order of `position + 0`, which the primary key does not
-- have. A version is looked up as an ordered range, because for a single row there is no order that
-- leads the planner to the index of streams.
CREATE UNIQUE INDEX event_id ON "retold".event (id, log);
CREATE UNIQUE INDEX event_stream ON "retold".event (log, stream, version) WHERE stream IS NOT NULL;
CREATE INDEX event_topic ON "retold".event (topic, log, (position + 0));
CREATE TABLE "retold".event_tag (
    log integer NOT NULL,
    tag text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (log, tag, position)
);

-- Which events of a block of 8192 positions have a topic (kind `o`) or a tag (`t`), one bit for
-- each position. It contains nothing that the indexes do not: where several long lists must be
-- intersected, a block of bits is compared instead of thousands of rows. Blocks of a name are
-- created when an append is first checked by it, without a gap from the first one on. An amendment
-- that changes who has the name drops its blocks from that of the event on.
CREATE TABLE "retold".presence (
    log integer NOT NULL,
    kind "char" NOT NULL,
    name text COLLATE "C" NOT NULL,
    block bigint NOT NULL,
    bits bit(8192) NOT NULL,
    PRIMARY KEY (log, kind, name, block)
);

-- The ranges of other logs that followers have processed, counted by ordinal in each log. One is
-- extended while neither its append nor the next one has events. It has two checksums, checked at
-- every read: `to_checksum` of its end, which changes when it is extended, and `checksum` of
-- everything else. The parts that depend on ordinal and head are combined with them where the
-- stretch is recorded, as checksum.rs in the core describes for positions and versions.
CREATE TABLE "retold".stretch (
    log integer NOT NULL,
    ordinal bigint NOT NULL,
    follower text COLLATE "C" NOT NULL,
    upstream uuid NOT NULL,
    after bigint,
    to_position bigint NOT NULL,
    to_id uuid NOT NULL,
    edition integer NOT NULL,
    head bigint,
    with_events boolean NOT NULL,
    checksum bigint NOT NULL,
    to_checksum bigint NOT NULL,
    PRIMARY KEY (log, ordinal)
);
CREATE INDEX stretch_follower ON "retold".stretch (follower, upstream, log, (ordinal + 0));

-- Hints and placements, which are not history. A snapshot can be of any version: eight bytes, the
-- highest first, so that they are in order.
CREATE TABLE "retold".snapshot (
    log integer NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bytea NOT NULL,
    state_type text COLLATE "C" NOT NULL,
    revision integer NOT NULL,
    time bigint NOT NULL,
    encoding text COLLATE "C" NOT NULL,
    payload bytea NOT NULL,
    checksum bigint NOT NULL,
    PRIMARY KEY (log, stream, version)
);
CREATE TABLE "retold".lease (
    name text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C" NOT NULL,
    term bigint NOT NULL,
    since bigint NOT NULL,
    renewed_at bigint NOT NULL,
    ends_at bigint NOT NULL
);
