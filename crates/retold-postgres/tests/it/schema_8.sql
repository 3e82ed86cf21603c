-- The tables and functions of a Retold store, version 8. They must stay compatible with existing
-- databases: a change is a new version, with a conversion from the old one.
--
-- "retold" stands for the schema of the store. Texts are compared by their bytes. Times are
-- microseconds since 1970. Positions of other logs and unsigned 32-bit numbers are stored as the
-- signed numbers of the same bits.

CREATE TABLE "retold".schema_version (
    version integer PRIMARY KEY
);
INSERT INTO "retold".schema_version VALUES (8);

-- The logs, each with its end. An append locks the log's row first, so appends to a log come one
-- after the other and positions are in the order of commit; logs do not wait for each other. The
-- fill factor leaves room for new versions of a row that every append changes.
CREATE TABLE "retold".log (
    key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    id uuid NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    head_id uuid,
    append_count bigint NOT NULL DEFAULT 0,
    stretch_count bigint NOT NULL DEFAULT 0,
    topic_count bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 30);

-- The events. `tags` is the event's own list, each tag a length of one byte and its text; a payload
-- that is NULL was erased. Payloads are not compressed here: the mapper does that. The checksums
-- are those of checksum.rs in the core, checked at every read: one of the payload, inverted if it
-- was erased, and one of everything else. The part of the second that is known in advance comes
-- with the event; position, version and time are combined with it where the event is recorded, as
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
-- created when an append is first checked by it, without a gap from the first one on. They stay
-- valid because events never change.
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

-- Refuses every change of recorded history, for every role.
CREATE FUNCTION "retold".refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'retold: %', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER event_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".event
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a recorded event never changes');
CREATE TRIGGER event_tag_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".event_tag
    FOR EACH STATEMENT
    EXECUTE FUNCTION "retold".refuse('the tags of a recorded event never change');
CREATE TRIGGER presence_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".presence
    FOR EACH STATEMENT
    EXECUTE FUNCTION "retold".refuse('the index of recorded events never changes');
CREATE TRIGGER log_is_never_deleted BEFORE DELETE OR TRUNCATE ON "retold".log
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a log is never deleted');
CREATE TRIGGER log_only_grows BEFORE UPDATE ON "retold".log FOR EACH ROW
    WHEN (NOT (
        (new.key, new.name, new.id) = (old.key, old.name, old.id)
        AND new.position >= old.position
        AND new.append_count > old.append_count
        AND new.stretch_count >= old.stretch_count
        AND new.topic_count >= old.topic_count
    ))
    EXECUTE FUNCTION "retold".refuse('a log only grows, and keeps its name and id');
CREATE TRIGGER stretch_is_never_deleted BEFORE DELETE OR TRUNCATE ON "retold".stretch
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a recorded stretch is never deleted');
CREATE TRIGGER stretch_only_grows BEFORE UPDATE ON "retold".stretch FOR EACH ROW
    WHEN (NOT (
        NOT old.with_events AND NOT new.with_events
        AND (new.log, new.ordinal, new.follower, new.upstream, new.edition, new.checksum)
            = (old.log, old.ordinal, old.follower, old.upstream, old.edition, old.checksum)
        AND new.after IS NOT DISTINCT FROM old.after
        AND new.head IS NOT DISTINCT FROM old.head
    ))
    EXECUTE FUNCTION "retold".refuse('a recorded stretch never changes');

-- The types of the parameters and results of `append_group`. The program sends rows only if the
-- fields of the composite type are those that it knows, in the same order.

-- A new event. Keys are indexes, counted from 1, in the lists of ids, streams and topics of the
-- group. An event without a stream has neither `stream_key` nor `stream_ordinal`, which counts the
-- events of the stream in the group from 1. `tags` are the tags of `packed_tags`, for the index.
CREATE TYPE "retold".new_event AS (
    id_key integer,
    topic_key integer,
    place_index integer,
    place_count integer,
    revision integer,
    time bigint,
    payload_checksum bigint,
    content_checksum bigint,
    stream_key integer,
    stream_ordinal integer,
    encoding text,
    origin text,
    tags text[],
    packed_tags bytea,
    metadata bytea,
    payload bytea
);

-- An item of a query: an event matches if it is of one of the streams, has one of the topics, and
-- has all the tags. An empty list does not restrict.
CREATE TYPE "retold".query_item AS (
    streams text[],
    topics text[],
    tags text[]
);

-- A condition of an append, of one of three kinds:
--
-- - With a `stream_key`: the stream is at the version, where 0 means that it does not exist, and
--   NULL that it exists. If `event` is set, it is the last event of the stream. Earlier appends of
--   the group add `added` events to the stream.
-- - With `after`: no event after that position matches any of the items, or, if they are NULL,
--   there is no event after it. `candidates` are the events of earlier appends of the group that
--   match, by their index in the group, from 1: they are not in the tables yet.
-- - With a `topic_count`: the log has that number of topics.
CREATE TYPE "retold".condition AS (
    stream_key integer,
    version bigint,
    event uuid,
    added integer,
    after bigint,
    items "retold".query_item[],
    candidates integer[],
    topic_count bigint
);

-- A range of another log that a follower has processed. `pair_key` numbers the pairs of follower
-- and upstream log of the group from 1, in the order of their first ranges, for which `is_first`
-- is set. Earlier appends of the group add `added` events to the log.
CREATE TYPE "retold".processed_range AS (
    pair_key integer,
    is_first boolean,
    follower text,
    upstream uuid,
    after bigint,
    to_position bigint,
    to_id uuid,
    policy_version integer,
    added integer,
    checksum bigint,
    to_checksum bigint
);

-- The result of an append. `append_group` returns it in a row with a number, the id of an event and
-- the index of an entry of the append, counted from 0, where they are named here.
CREATE TYPE "retold".append_result AS ENUM (
    -- All appends of the group are recorded, so this is its only row. Number: the position of the
    -- first event.
    'all_recorded',
    -- The append is recorded. Number: the position of its first event.
    'recorded',
    -- It had been recorded before. Number: the position of its first event.
    'repeated',
    -- The follower of a range is at another checkpoint. Number and event: the checkpoint. Index:
    -- that of the range.
    'other_checkpoint',
    -- There is an event with the id of an event. Number: its position. Index: that of the event.
    'id_exists',
    -- A stream is not at the version of a condition, or ends with another event. Number: its
    -- version. Event: the event that it ends with, if it is at the version. Index: that of the
    -- condition.
    'other_version',
    -- An event matches the query of a condition. Number and event: its position and id. Index: that
    -- of the condition.
    'query_matches',
    -- A condition begins beyond the head. Number: the position of the head. Index: that of the
    -- condition.
    'beyond_head',
    -- The log has another number of topics than a condition states. Number: that number. Index:
    -- that of the condition.
    'other_topic_count'
);

-- Returns the first version of a stream whose event is at this position or beyond, by binary
-- search: one index lookup for each halving.
CREATE FUNCTION "retold".version_from(of_log integer, of_stream text, low bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    first_version bigint := 1;
    last_version bigint;
    middle bigint;
    there bigint;
BEGIN
    IF low <= 1 THEN
        RETURN 1;
    END IF;
    SELECT e.version INTO last_version FROM "retold".event e
        WHERE e.log = of_log AND e.stream = of_stream ORDER BY e.version DESC LIMIT 1;
    last_version := coalesce(last_version, 0) + 1;
    WHILE first_version < last_version LOOP
        middle := (first_version + last_version) / 2;
        SELECT e.position INTO there FROM "retold".event e
            WHERE e.log = of_log AND e.stream = of_stream AND e.version BETWEEN middle AND middle
            ORDER BY e.version LIMIT 1;
        IF there < low THEN
            first_version := middle + 1;
        ELSE
            last_version := middle;
        END IF;
    END LOOP;
    RETURN first_version;
END $$;

-- Returns the rarest among each of these tags and all these topics together: the one with the
-- fewest events from `low` to `high`, counted up to 1000; no tag stands for the topics.
CREATE FUNCTION "retold".rarest(
    of_log integer, of_topics text[], of_tags text[], low bigint, high bigint
) RETURNS TABLE (tag text, count integer) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT counted.tag, counted.count FROM (
        SELECT t.tag, bounded.count FROM unnest(of_tags) AS t (tag), LATERAL (
            SELECT count(*)::integer AS count FROM (
                SELECT FROM "retold".event_tag g
                WHERE g.log = of_log AND g.tag = t.tag AND g.position BETWEEN low AND high
                LIMIT 1000
            ) rows_of_tag
        ) bounded
        UNION ALL
        SELECT NULL, (
            SELECT count(*)::integer FROM (
                SELECT FROM unnest(of_topics) AS t (name), LATERAL (
                    SELECT FROM "retold".event e WHERE e.log = of_log AND e.topic = t.name
                    AND e.position + 0 BETWEEN low AND high ORDER BY e.position + 0 LIMIT 1000
                ) rows_of_topic LIMIT 1000
            ) rows_of_topics
        ) WHERE cardinality(of_topics) > 0
    ) AS counted (tag, count) ORDER BY counted.count LIMIT 1;
END $$;

-- Whether the event at a position has all these tags.
CREATE FUNCTION "retold".has_tags(of_log integer, at bigint, others text[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    other text;
BEGIN
    FOREACH other IN ARRAY others LOOP
        PERFORM 1 FROM "retold".event_tag g
            WHERE g.log = of_log AND g.tag = other AND g.position = at;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;

-- Whether the event at a position is of one of these streams and has one of these topics.
CREATE FUNCTION "retold".is_named(of_log integer, at bigint, of_streams text[], of_topics text[])
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM 1 FROM "retold".event e WHERE e.log = of_log AND e.position = at
        AND (cardinality(of_topics) = 0 OR e.topic = ANY (of_topics))
        AND (cardinality(of_streams) = 0 OR e.stream = ANY (of_streams));
    RETURN FOUND;
END $$;

-- Returns the positions from `low` to `high` of the events that have all these tags and one of
-- these topics, if there are any, block by block: by bits where all blocks exist, else by rows. A
-- block in which one of the lists has nothing is skipped.
CREATE FUNCTION "retold".meeting(
    of_log integer, of_topics text[], of_tags text[],
    low bigint, high bigint, is_backward boolean, most integer
) RETURNS SETOF bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    lists integer := cardinality(of_tags) + (cardinality(of_topics) > 0)::integer;
    sign integer := CASE WHEN is_backward THEN -1 ELSE 1 END;
    made bigint;
    block bigint;
    last_block bigint;
    next_block bigint;
    bits bit(8192);
    empty bit(8192) := repeat('0', 8192)::bit(8192);
    given integer := 0;
    at bigint;
BEGIN
    SELECT least(high, l.position) INTO high FROM "retold".log l WHERE l.key = of_log;
    IF high < low THEN
        RETURN;
    END IF;
    SELECT min(coalesce(there.block, -1)) INTO made FROM (
        SELECT 't'::"char", t FROM unnest(of_tags) AS t
        UNION ALL SELECT 'o'::"char", o FROM unnest(of_topics) AS o
    ) AS n (kind, name) LEFT JOIN LATERAL (
        SELECT p.block FROM "retold".presence p
        WHERE p.log = of_log AND p.kind = n.kind AND p.name = n.name ORDER BY p.block DESC LIMIT 1
    ) there ON true;
    block := ((CASE WHEN is_backward THEN high ELSE low END) - 1) / 8192;
    last_block := ((CASE WHEN is_backward THEN low ELSE high END) - 1) / 8192;
    WHILE (last_block - block) * sign >= 0 AND given < most LOOP
        IF block <= made THEN
            -- Finds the next block that may have matches, in one statement.
            SELECT found.block, found.bits INTO next_block, bits FROM (
                SELECT b.block, (
                    SELECT bit_and(p.bits) FROM unnest(of_tags) AS t (name), LATERAL (
                        SELECT q.bits FROM "retold".presence q WHERE q.log = of_log AND q.kind = 't'
                        AND q.name = t.name AND q.block = b.block LIMIT 1
                    ) p
                ) & CASE WHEN cardinality(of_topics) = 0 THEN ~empty ELSE (
                    SELECT bit_or(p.bits) FROM unnest(of_topics) AS t (name), LATERAL (
                        SELECT q.bits FROM "retold".presence q WHERE q.log = of_log AND q.kind = 'o'
                        AND q.name = t.name AND q.block = b.block LIMIT 1
                    ) p
                ) END AS bits
                FROM generate_series(
                    block,
                    CASE WHEN is_backward THEN last_block ELSE least(last_block, made) END,
                    sign
                ) AS b (block)
            ) found WHERE found.bits <> empty LIMIT 1;
            IF NOT FOUND THEN
                EXIT WHEN is_backward OR made >= last_block;
                block := made + 1;
                CONTINUE;
            END IF;
            block := next_block;
            FOR at IN
                SELECT block * 8192 + w.word * 64 + i.bit + 1 FROM (
                    SELECT z, substring(bits FROM z * 64 + 1 FOR 64)::bit(64)
                    FROM generate_series(0, 127) AS z
                ) AS w (word, bits), generate_series(0, 63) AS i (bit)
                WHERE w.bits::bigint <> 0 AND get_bit(w.bits, i.bit) = 1
                AND block * 8192 + w.word * 64 + i.bit + 1 BETWEEN low AND high
                ORDER BY (w.word * 64 + i.bit) * sign LIMIT most - given
            LOOP
                given := given + 1;
                RETURN NEXT at;
            END LOOP;
            block := block + sign;
        ELSE
            -- Finds where each list continues; before the furthest of these, no position is in all
            -- lists.
            SELECT max(n.there * sign) * sign, count(n.there) INTO at, lists FROM (
                SELECT CASE WHEN is_backward THEN (
                    SELECT g.position FROM "retold".event_tag g
                    WHERE g.log = of_log AND g.tag = t.name
                    AND g.position BETWEEN low AND least(high, block * 8192 + 8192)
                    ORDER BY g.position DESC LIMIT 1
                ) ELSE (
                    SELECT g.position FROM "retold".event_tag g
                    WHERE g.log = of_log AND g.tag = t.name
                    AND g.position BETWEEN greatest(low, block * 8192 + 1) AND high
                    ORDER BY g.position LIMIT 1
                ) END FROM unnest(of_tags) AS t (name)
            ) AS n (there);
            -- A list without more entries ends the loop.
            EXIT WHEN lists < cardinality(of_tags);
            lists := lists + (cardinality(of_topics) > 0)::integer;
            next_block := (at - 1) / 8192;
            IF next_block <> block THEN
                block := next_block;
                CONTINUE;
            END IF;
            FOR at IN
                SELECT u.position FROM (
                    SELECT g.position FROM unnest(of_tags) AS t (name), LATERAL (
                        SELECT r.position FROM "retold".event_tag r
                        WHERE r.log = of_log AND r.tag = t.name AND r.position BETWEEN
                            greatest(low, block * 8192 + 1) AND least(high, block * 8192 + 8192)
                        ORDER BY r.position LIMIT 8192
                    ) g
                    UNION ALL
                    SELECT g.position FROM unnest(of_topics) AS t (name), LATERAL (
                        SELECT r.position FROM "retold".event r
                        WHERE r.log = of_log AND r.topic = t.name AND r.position + 0 BETWEEN
                            greatest(low, block * 8192 + 1) AND least(high, block * 8192 + 8192)
                        ORDER BY r.position + 0 LIMIT 8192
                    ) g
                ) u GROUP BY u.position HAVING count(*) = lists
                ORDER BY u.position * sign LIMIT most - given
            LOOP
                given := given + 1;
                RETURN NEXT at;
            END LOOP;
            block := block + sign;
        END IF;
    END LOOP;
END $$;

-- Returns the positions from `low` to `high` of the events that match an item of a query, in the
-- direction of reading. An empty list does not restrict. The rarest tag or the topics lead, if they
-- are rare; if none is, the streams lead, or else they are intersected.
CREATE FUNCTION "retold".matches(
    of_log integer, of_streams text[], of_topics text[], of_tags text[],
    low bigint, high bigint, is_backward boolean, most integer
) RETURNS SETOF bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    rarest text := of_tags[1];
    others text[];
    by_topics boolean := false;
    fewest integer := 0;
    is_free boolean := cardinality(of_streams) = 0 AND cardinality(of_topics) = 0;
BEGIN
    IF cardinality(of_tags) > 0 THEN
        IF high - low >= 1000
            AND cardinality(of_tags) + (cardinality(of_topics) > 0)::integer > 1
        THEN
            SELECT r.tag, r.count INTO rarest, fewest
                FROM "retold".rarest(of_log, of_topics, of_tags, low, high) r;
            by_topics := rarest IS NULL;
        END IF;
        others := array_remove(of_tags, rarest);
    END IF;
    IF cardinality(of_tags) > 0 AND NOT (fewest = 1000 AND cardinality(of_streams) > 0) THEN
        IF fewest = 1000 THEN
            RETURN QUERY SELECT "retold".meeting(
                of_log, of_topics, of_tags, low, high, is_backward, most
            );
        ELSIF by_topics AND is_backward THEN
            RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
                AND "retold".has_tags(of_log, e.position, of_tags)
                AND (cardinality(of_streams) = 0 OR e.stream = ANY (of_streams))
                ORDER BY e.position + 0 DESC LIMIT most
            ) found ORDER BY found.position DESC LIMIT most;
        ELSIF by_topics THEN
            RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
                AND "retold".has_tags(of_log, e.position, of_tags)
                AND (cardinality(of_streams) = 0 OR e.stream = ANY (of_streams))
                ORDER BY e.position + 0 LIMIT most
            ) found ORDER BY found.position LIMIT most;
        ELSIF is_backward THEN
            RETURN QUERY SELECT g.position FROM "retold".event_tag g
                WHERE g.log = of_log AND g.tag = rarest AND g.position BETWEEN low AND high
                AND (others = '{}' OR "retold".has_tags(of_log, g.position, others))
                AND (is_free OR "retold".is_named(of_log, g.position, of_streams, of_topics))
                ORDER BY g.position DESC LIMIT most;
        ELSE
            RETURN QUERY SELECT g.position FROM "retold".event_tag g
                WHERE g.log = of_log AND g.tag = rarest AND g.position BETWEEN low AND high
                AND (others = '{}' OR "retold".has_tags(of_log, g.position, others))
                AND (is_free OR "retold".is_named(of_log, g.position, of_streams, of_topics))
                ORDER BY g.position LIMIT most;
        END IF;
    ELSIF cardinality(of_streams) > 0 THEN
        IF is_backward THEN
            RETURN QUERY SELECT found.position FROM unnest(of_streams) AS s (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.stream = s.name
                AND e.version >= "retold".version_from(of_log, s.name, low)
                AND e.version < "retold".version_from(of_log, s.name, high + 1)
                AND (cardinality(of_topics) = 0 OR e.topic = ANY (of_topics))
                AND (cardinality(of_tags) = 0 OR "retold".has_tags(of_log, e.position, of_tags))
                ORDER BY e.version DESC LIMIT most
            ) found ORDER BY found.position DESC LIMIT most;
        ELSE
            RETURN QUERY SELECT found.position FROM unnest(of_streams) AS s (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.stream = s.name
                AND e.version >= "retold".version_from(of_log, s.name, low)
                AND e.version < "retold".version_from(of_log, s.name, high + 1)
                AND (cardinality(of_topics) = 0 OR e.topic = ANY (of_topics))
                AND (cardinality(of_tags) = 0 OR "retold".has_tags(of_log, e.position, of_tags))
                ORDER BY e.version LIMIT most
            ) found ORDER BY found.position LIMIT most;
        END IF;
    ELSIF is_backward THEN
        RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
            SELECT e.position FROM "retold".event e
            WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
            ORDER BY e.position + 0 DESC LIMIT most
        ) found ORDER BY found.position DESC LIMIT most;
    ELSE
        RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
            SELECT e.position FROM "retold".event e
            WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
            ORDER BY e.position + 0 LIMIT most
        ) found ORDER BY found.position LIMIT most;
    END IF;
END $$;

-- Computes from the indexes which events of a block have a topic or tag.
CREATE FUNCTION "retold".presence_bits(
    of_log integer, of_kind "char", of_name text, of_block bigint
) RETURNS bit(8192) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT ('x' || string_agg(lpad(to_hex(w.bits), 16, '0'), '' ORDER BY w.word))::bit(8192)
        FROM (
            SELECT a.word, bit_or(a.bits) AS bits FROM (
                SELECT z AS word, 0::bigint AS bits FROM generate_series(0, 127) AS z
                UNION ALL
                SELECT ((g.position - 1) % 8192 / 64)::integer,
                    1::bigint << (63 - (g.position - 1) % 64)::integer
                FROM "retold".event_tag g
                WHERE of_kind = 't' AND g.log = of_log AND g.tag = of_name
                AND g.position BETWEEN of_block * 8192 + 1 AND of_block * 8192 + 8192
                UNION ALL
                SELECT ((e.position - 1) % 8192 / 64)::integer,
                    1::bigint << (63 - (e.position - 1) % 64)::integer
                FROM "retold".event e
                WHERE of_kind = 'o' AND e.log = of_log AND e.topic = of_name
                AND e.position + 0 BETWEEN of_block * 8192 + 1 AND of_block * 8192 + 8192
            ) a GROUP BY a.word
        ) w
    );
END $$;

-- Creates the missing blocks of these topics and tags, up to a head.
CREATE FUNCTION "retold".make_presence(
    of_log integer, of_topics text[], of_tags text[], head bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- In the same order in every transaction, so that no two wait for each other.
    INSERT INTO "retold".presence
        SELECT of_log, n.kind, n.name, b.block,
            "retold".presence_bits(of_log, n.kind, n.name, b.block)
        FROM (
            SELECT DISTINCT 'o'::"char", o FROM unnest(of_topics) AS o
            UNION ALL SELECT DISTINCT 't'::"char", t FROM unnest(of_tags) AS t
        ) AS n (kind, name), LATERAL (
            SELECT coalesce((
                SELECT p.block + 1 FROM "retold".presence p
                WHERE p.log = of_log AND p.kind = n.kind AND p.name = n.name
                ORDER BY p.block DESC LIMIT 1
            ), 0) AS first
        ) missing, LATERAL generate_series(missing.first, head / 8192 - 1) AS b (block)
        ORDER BY n.kind, n.name, b.block
        ON CONFLICT DO NOTHING;
END $$;

-- Returns a page of names of streams with the versions of their last events. Rows of the index are
-- read in batches; where streams are long, in steps from name to name.
CREATE FUNCTION "retold".streams(of_log integer, prefix text, after_name text, most integer)
RETURNS TABLE (stream_name text, last_version bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    next_name text;
    row_count integer := 1024;
    found record;
    names integer;
BEGIN
    IF after_name IS NULL OR after_name COLLATE "C" < prefix COLLATE "C" THEN
        SELECT e.stream INTO next_name FROM "retold".event e
            WHERE e.log = of_log AND e.stream >= prefix ORDER BY e.stream, e.version LIMIT 1;
    ELSE
        SELECT e.stream INTO next_name FROM "retold".event e
            WHERE e.log = of_log AND e.stream > after_name ORDER BY e.stream, e.version LIMIT 1;
    END IF;
    WHILE most > 0 AND starts_with(next_name, prefix) LOOP
        row_count := least(row_count, most * 8);
        names := 0;
        FOR found IN
            SELECT r.stream, max(r.version) AS version FROM (
                SELECT e.stream, e.version FROM "retold".event e
                WHERE e.log = of_log AND e.stream >= next_name
                ORDER BY e.stream, e.version LIMIT row_count
            ) r GROUP BY r.stream ORDER BY r.stream LIMIT most
        LOOP
            EXIT WHEN NOT starts_with(found.stream, prefix);
            IF names > 0 THEN
                RETURN NEXT;
            END IF;
            names := names + 1;
            stream_name := found.stream;
            last_version := found.version;
        END LOOP;
        -- The last stream may continue after the rows that were read.
        SELECT e.version INTO last_version FROM "retold".event e
            WHERE e.log = of_log AND e.stream = stream_name ORDER BY e.version DESC LIMIT 1;
        RETURN NEXT;
        most := most - names;
        row_count := CASE WHEN row_count > names * 64 THEN 1
            WHEN row_count > 1 THEN row_count * 4 ELSE 1 END;
        SELECT e.stream INTO next_name FROM "retold".event e
            WHERE e.log = of_log AND e.stream > stream_name ORDER BY e.stream, e.version LIMIT 1;
    END LOOP;
END $$;

-- Whether an event of the log has this topic.
CREATE FUNCTION "retold".has_topic(of_log integer, of_topic text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM 1 FROM "retold".event e WHERE e.topic = of_topic AND e.log = of_log
        ORDER BY e.position + 0 LIMIT 1;
    RETURN FOUND;
END $$;

-- Returns a page of the topics of a log, in steps from topic to topic of the schema.
CREATE FUNCTION "retold".topics(of_log integer, after_topic text, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    next_topic text := coalesce(after_topic, '');
BEGIN
    WHILE most > 0 LOOP
        SELECT e.topic INTO next_topic FROM "retold".event e
            WHERE e.topic > next_topic ORDER BY e.topic, e.log, e.position + 0 LIMIT 1;
        EXIT WHEN next_topic IS NULL;
        IF "retold".has_topic(of_log, next_topic) THEN
            RETURN NEXT next_topic;
            most := most - 1;
        END IF;
    END LOOP;
END $$;

-- Stores a snapshot, replacing one of the same version; drops the lowest versions beyond the limit.
CREATE FUNCTION "retold".put_snapshot(
    of_log integer, of_stream text, of_version bytea, its_type text, its_revision integer,
    its_time bigint, its_encoding text, its_payload bytea, its_checksum bigint, kept_max integer
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "retold".snapshot
        VALUES (of_log, of_stream, of_version, its_type, its_revision, its_time, its_encoding,
            its_payload, its_checksum)
        ON CONFLICT (log, stream, version) DO UPDATE SET state_type = EXCLUDED.state_type,
            revision = EXCLUDED.revision, time = EXCLUDED.time, encoding = EXCLUDED.encoding,
            payload = EXCLUDED.payload, checksum = EXCLUDED.checksum;
    DELETE FROM "retold".snapshot s WHERE s.log = of_log AND s.stream = of_stream AND s.version IN (
        SELECT o.version FROM "retold".snapshot o WHERE o.log = of_log AND o.stream = of_stream
        ORDER BY o.version DESC OFFSET kept_max
    );
END $$;

CREATE FUNCTION "retold".now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- Takes or renews a lease if no other holder has it; returns its resulting state. If a lease was
-- renewed more than clock_back_max later than the clock shows, it counts as free: the clock was set
-- back since.
CREATE FUNCTION "retold".acquire_lease(of_name text, of_holder text, time_to_live bigint,
    clock_back_max bigint)
RETURNS SETOF "retold".lease LANGUAGE plpgsql AS $$
DECLARE
    clock bigint := "retold".now_micros();
BEGIN
    INSERT INTO "retold".lease AS there
        VALUES (of_name, of_holder, 1, clock, clock, clock + time_to_live)
        ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder,
            term = there.term + CASE WHEN there.holder = EXCLUDED.holder THEN 0 ELSE 1 END,
            since = CASE WHEN there.holder = EXCLUDED.holder THEN there.since
                ELSE EXCLUDED.since END,
            renewed_at = EXCLUDED.renewed_at, ends_at = EXCLUDED.ends_at
        -- By the clock as it is now, not as it was before another holder's transaction ended.
        WHERE there.holder = EXCLUDED.holder OR there.ends_at <= "retold".now_micros()
            OR there.renewed_at > "retold".now_micros() + clock_back_max;
    RETURN QUERY SELECT * FROM "retold".lease l WHERE l.name = of_name;
END $$;

-- Whether an event beyond `low` and up to `high` matches a query of a group's conditions, each
-- beyond the position of the condition.
CREATE FUNCTION "retold".any_matches(
    of_log integer, low bigint, high bigint, conditions "retold".condition[]
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM unnest(conditions) AS c, LATERAL unnest(c.items) AS i,
            LATERAL "retold".matches(
                of_log, i.streams, i.topics, i.tags,
                -- A position beyond the head, or beyond the signed 64-bit range, is refused when
                -- its turn comes.
                least(greatest(c.after, low), high) + 1, high, false, 1
            )
    );
END $$;

-- Creates the blocks that speed up checking the queries of a group: those of tags and topics that
-- all have many events where a query looks far back.
CREATE FUNCTION "retold".prepare_judging(
    of_log integer, head bigint, conditions "retold".condition[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    condition "retold".condition;
    item "retold".query_item;
    all_topics text[] := '{}';
    all_tags text[] := '{}';
BEGIN
    FOREACH condition IN ARRAY conditions LOOP
        CONTINUE WHEN condition.items IS NULL;
        CONTINUE WHEN condition.after NOT BETWEEN 0 AND head;
        CONTINUE WHEN head - condition.after < 16384;
        FOREACH item IN ARRAY condition.items LOOP
            CONTINUE WHEN cardinality(item.streams) > 0
                OR cardinality(item.tags) + (cardinality(item.topics) > 0)::integer < 2;
            CONTINUE WHEN 1000 > (
                SELECT r.count FROM "retold".rarest(
                    of_log, item.topics, item.tags, condition.after + 1, head
                ) r
            );
            all_topics := all_topics || item.topics;
            all_tags := all_tags || item.tags;
        END LOOP;
    END LOOP;
    IF cardinality(all_tags) > 0 THEN
        PERFORM "retold".make_presence(of_log, all_topics, all_tags, head);
    END IF;
END $$;

-- Checks the appends of a group one after the other and records those that hold. Parameters and
-- results are those of append_group, which is the entry point.
CREATE FUNCTION "retold".append_judged(
    of_log integer, with_tags boolean,
    event_counts integer[], condition_counts integer[], range_counts integer[],
    ids uuid[], streams text[], topics text[],
    events "retold".new_event[], conditions "retold".condition[],
    ranges "retold".processed_range[]
) RETURNS TABLE (
    result "retold".append_result, number bigint, event_id uuid, entry_index integer,
    appends bigint
) LANGUAGE plpgsql AS $$
DECLARE
    old_position bigint;
    last_position bigint;
    last_id uuid;
    last_stretch bigint;
    recorded_count integer := 0;
    recorded_events integer := 0;
    old_topics bigint;
    new_topics bigint := 0;
    now_is bigint := "retold".now_micros();
    -- By key: the state in the log, and then with the additions of this group.
    id_positions bigint[];
    id_indexes integer[];
    id_counts integer[];
    stream_versions bigint[];
    stream_events uuid[];
    pair_ordinals bigint[];
    pair_positions bigint[];
    pair_ids uuid[];
    pair_policies integer[];
    pair_heads bigint[];
    pair_with_events boolean[];
    ends bigint[];
    -- By event: the assigned position and version; none if its append is refused.
    positions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(events)]);
    versions bigint[] := positions;
    -- The events of the group that are recorded, in order, and the keys of their topics.
    recorded integer[] := '{}';
    recorded_topics integer[] := '{}';
    next_event integer := 1;
    next_condition integer := 1;
    next_range integer := 1;
    first_event integer;
    first_condition integer;
    first_range integer;
    condition "retold".condition;
    item "retold".query_item;
    processed "retold".processed_range;
    candidate integer;
    is_same boolean;
    has_ranges boolean;
    found_position bigint;
    item_position bigint;
    key integer;
BEGIN
    SELECT l.position, l.head_id, l.append_count, l.stretch_count, l.topic_count
        INTO old_position, last_id, appends, last_stretch, old_topics
        FROM "retold".log l WHERE l.key = of_log FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'retold: there is no log with the key %', of_log;
    END IF;
    last_position := old_position;

    SELECT array_agg(found.position), array_agg(found.place_index), array_agg(found.place_count)
        INTO id_positions, id_indexes, id_counts
        FROM (
            SELECT there.* FROM unnest(ids) WITH ORDINALITY AS d (id, key)
            LEFT JOIN LATERAL (
                SELECT e.position, e.place_index, e.place_count FROM "retold".event e
                WHERE e.log + 0 = of_log AND e.id = d.id LIMIT 1
            ) there ON true ORDER BY d.key
        ) found;
    IF cardinality(streams) > 0 THEN
        SELECT array_agg(found.version), array_agg(found.id)
            INTO stream_versions, stream_events FROM (
            SELECT coalesce(there.version, 0) AS version, there.id
            FROM unnest(streams) WITH ORDINALITY AS d (name, key)
            LEFT JOIN LATERAL (
                SELECT e.version, e.id FROM "retold".event e
                WHERE e.log = of_log AND e.stream = d.name ORDER BY e.version DESC LIMIT 1
            ) there ON true ORDER BY d.key
        ) found;
    END IF;
    IF cardinality(ranges) > 0 THEN
        SELECT array_agg(found.ordinal), array_agg(found.to_position), array_agg(found.to_id),
            array_agg(found.edition), array_agg(found.head), array_agg(found.with_events)
            INTO pair_ordinals, pair_positions, pair_ids, pair_policies, pair_heads,
                pair_with_events
            FROM (
                SELECT there.* FROM unnest(ranges) AS r
                LEFT JOIN LATERAL (
                    SELECT s.ordinal, s.to_position, s.to_id, s.edition, s.head, s.with_events
                    FROM "retold".stretch s WHERE s.log = of_log AND s.follower = r.follower
                    AND s.upstream = r.upstream ORDER BY s.ordinal + 0 DESC LIMIT 1
                ) there ON true WHERE r.is_first ORDER BY r.pair_key
            ) found;
    END IF;

    FOR a IN 1 .. cardinality(event_counts) LOOP
        first_event := next_event;
        first_condition := next_condition;
        first_range := next_range;
        next_event := first_event + event_counts[a];
        next_condition := first_condition + condition_counts[a];
        next_range := first_range + range_counts[a];
        has_ranges := range_counts[a] > 0;
        result := 'recorded';
        number := NULL;
        event_id := NULL;
        entry_index := NULL;

        IF has_ranges THEN
            ends := pair_positions;
            FOR r IN first_range .. next_range - 1 LOOP
                key := ranges[r].pair_key;
                IF ends[key] IS NOT NULL AND ranges[r].after IS DISTINCT FROM ends[key] THEN
                    result := 'other_checkpoint';
                    number := pair_positions[key];
                    event_id := pair_ids[key];
                    entry_index := r - first_range;
                    EXIT;
                END IF;
                ends[key] := ranges[r].to_position;
            END LOOP;
        END IF;

        IF result = 'recorded' THEN
            FOR e IN first_event .. next_event - 1 LOOP
                key := events[e].id_key;
                found_position := id_positions[key];
                CONTINUE WHEN found_position IS NULL;
                is_same := e = first_event AND NOT has_ranges
                    AND id_indexes[key] = 0 AND id_counts[key] = event_counts[a];
                IF is_same THEN
                    FOR o IN 1 .. event_counts[a] - 1 LOOP
                        IF id_positions[events[first_event + o].id_key]
                            IS DISTINCT FROM found_position + o
                        THEN
                            is_same := false;
                            EXIT;
                        END IF;
                    END LOOP;
                END IF;
                result := CASE WHEN is_same THEN 'repeated' ELSE 'id_exists' END;
                number := found_position;
                entry_index := e - first_event;
                EXIT;
            END LOOP;
        END IF;

        IF result = 'recorded' THEN
            FOR c IN first_condition .. next_condition - 1 LOOP
                condition := conditions[c];
                IF condition.stream_key IS NOT NULL THEN
                    found_position := stream_versions[condition.stream_key];
                    IF (condition.version IS NULL AND found_position = 0)
                        OR found_position <> condition.version
                    THEN
                        result := 'other_version';
                        number := found_position;
                    ELSIF condition.event <> stream_events[condition.stream_key] THEN
                        result := 'other_version';
                        number := found_position;
                        event_id := stream_events[condition.stream_key];
                    END IF;
                ELSIF condition.topic_count IS NOT NULL THEN
                    -- Events of the group are not in the tables yet.
                    SELECT old_topics + count(*) INTO found_position
                        FROM unnest(recorded_topics) AS n (key)
                        WHERE NOT "retold".has_topic(of_log, topics[n.key]);
                    IF found_position <> condition.topic_count THEN
                        result := 'other_topic_count';
                        number := found_position;
                    END IF;
                ELSIF condition.after NOT BETWEEN 0 AND last_position THEN
                    result := 'beyond_head';
                    number := last_position;
                ELSE
                    found_position := NULL;
                    IF condition.items IS NULL THEN
                        IF condition.after < last_position THEN
                            found_position := condition.after + 1;
                        END IF;
                    ELSE
                        IF condition.after < old_position THEN
                            FOREACH item IN ARRAY condition.items LOOP
                                SELECT m INTO item_position FROM "retold".matches(
                                    of_log, item.streams, item.topics, item.tags,
                                    condition.after + 1, old_position, false, 1
                                ) AS m;
                                found_position := least(found_position, item_position);
                            END LOOP;
                        END IF;
                        IF found_position IS NULL THEN
                            FOREACH candidate IN ARRAY condition.candidates LOOP
                                IF positions[candidate] > condition.after THEN
                                    found_position := positions[candidate];
                                    EXIT;
                                END IF;
                            END LOOP;
                        END IF;
                    END IF;
                    IF found_position IS NOT NULL THEN
                        result := 'query_matches';
                        number := found_position;
                        IF found_position > old_position THEN
                            key := recorded[(found_position - old_position)::integer];
                            event_id := ids[events[key].id_key];
                        ELSE
                            SELECT e.id INTO STRICT event_id FROM "retold".event e
                                WHERE e.log = of_log AND e.position = found_position;
                        END IF;
                    END IF;
                END IF;
                IF result <> 'recorded' THEN
                    entry_index := c - first_condition;
                    EXIT;
                END IF;
            END LOOP;
        END IF;

        IF result = 'recorded' THEN
            recorded_count := recorded_count + 1;
            appends := appends + 1;
            FOR r IN first_range .. next_range - 1 LOOP
                processed := ranges[r];
                key := processed.pair_key;
                IF event_counts[a] = 0 AND NOT pair_with_events[key]
                    AND pair_policies[key] = processed.policy_version
                    AND pair_heads[key] IS NOT DISTINCT FROM nullif(last_position, 0)
                THEN
                    UPDATE "retold".stretch t SET to_position = processed.to_position,
                        to_id = processed.to_id,
                        to_checksum = processed.to_checksum
                        # ((t.ordinal & 2147483647) * 2146121005
                            + ((t.ordinal >> 31) & 8589934591) * 374761393)
                        WHERE t.log = of_log AND t.ordinal = pair_ordinals[key];
                ELSE
                    last_stretch := last_stretch + 1;
                    INSERT INTO "retold".stretch VALUES (
                        of_log, last_stretch, processed.follower, processed.upstream,
                        processed.after, processed.to_position, processed.to_id,
                        processed.policy_version, nullif(last_position, 0), event_counts[a] > 0,
                        processed.checksum
                        # ((last_stretch & 2147483647) * 2146121005
                            + ((last_stretch >> 31) & 8589934591) * 374761393)
                        # ((last_position & 2147483647) * 1540483477
                            + ((last_position >> 31) & 8589934591) * 506952113),
                        processed.to_checksum
                        # ((last_stretch & 2147483647) * 2146121005
                            + ((last_stretch >> 31) & 8589934591) * 374761393)
                    );
                    pair_ordinals[key] := last_stretch;
                    pair_policies[key] := processed.policy_version;
                    pair_heads[key] := nullif(last_position, 0);
                    pair_with_events[key] := event_counts[a] > 0;
                END IF;
                pair_positions[key] := processed.to_position;
                pair_ids[key] := processed.to_id;
            END LOOP;
            FOR e IN first_event .. next_event - 1 LOOP
                last_position := last_position + 1;
                recorded_events := recorded_events + 1;
                recorded[recorded_events] := e;
                positions[e] := last_position;
                key := events[e].id_key;
                id_positions[key] := last_position;
                id_indexes[key] := e - first_event;
                id_counts[key] := event_counts[a];
                last_id := ids[key];
                key := events[e].topic_key;
                IF key <> ALL (recorded_topics) THEN
                    recorded_topics := recorded_topics || key;
                END IF;
                key := events[e].stream_key;
                IF key IS NOT NULL THEN
                    versions[e] := stream_versions[key] + 1;
                    stream_versions[key] := versions[e];
                    stream_events[key] := last_id;
                END IF;
            END LOOP;
            IF event_counts[a] > 0 THEN
                number := positions[first_event];
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;

    IF recorded_events > 0 THEN
        SELECT count(*) INTO new_topics FROM unnest(recorded_topics) AS n (key)
            WHERE NOT "retold".has_topic(of_log, topics[n.key]);
        INSERT INTO "retold".event
            SELECT of_log, n.position, ids[n.id_key], streams[n.stream_key], n.version,
                n.place_index, n.place_count, topics[n.topic_key], n.revision, n.packed_tags,
                n.time, now_is, n.encoding, n.origin, n.metadata, n.payload,
                n.payload_checksum, n.content_checksum
                # ((n.position & 2147483647) * 2146121005
                    + ((n.position >> 31) & 8589934591) * 374761393)
                # ((coalesce(n.version, 0) & 2147483647) * 1540483477
                    + ((coalesce(n.version, 0) >> 31) & 8589934591) * 506952113)
                # ((now_is & 2147483647) * 1903816577
                    + ((now_is >> 31) & 8589934591) * 439351297)
            FROM (
                SELECT positions[u.ordinality] AS position, versions[u.ordinality] AS version, u.*
                FROM unnest(events) WITH ORDINALITY AS u
            ) n
            WHERE n.position IS NOT NULL;
        IF with_tags THEN
            INSERT INTO "retold".event_tag
                SELECT of_log, unnest(u.tags), positions[u.ordinality]
                FROM unnest(events) WITH ORDINALITY AS u
                WHERE positions[u.ordinality] IS NOT NULL;
        END IF;
    END IF;
    IF recorded_count > 0 THEN
        UPDATE "retold".log l SET position = last_position, head_id = last_id,
            append_count = appends, stretch_count = last_stretch,
            topic_count = l.topic_count + new_topics
            WHERE l.key = of_log;
    END IF;
END $$;

-- Records the appends of a group that hold, and returns the result of each: the only entry point.
--
-- The lists of events, conditions and ranges have the entries of one append after those of the
-- other, as many of each append as the counts say. The lists of ids, streams and topics have each
-- of those that occur in the group once. The flags say whether an event has a tag, and whether a
-- condition has a query.
--
-- Nearly always all appends of a group hold. This function first checks for all of them at once
-- whether each holds if the earlier ones do. For that the caller computes in advance what earlier
-- appends of the group add to streams and to the head; and it states by `is_plain` that nothing
-- within the group prevents it: no id twice, no condition that names another event than an earlier
-- append adds, no candidate, no condition that there is no event at all after a position, no range
-- without an event or that does not join another of the group. If they do not all hold, they are
-- checked one by one.
CREATE FUNCTION "retold".append_group(
    of_log integer, is_plain boolean, with_tags boolean, with_queries boolean,
    event_counts integer[], condition_counts integer[], range_counts integer[],
    ids uuid[], streams text[], topics text[],
    events "retold".new_event[], conditions "retold".condition[],
    ranges "retold".processed_range[]
) RETURNS TABLE (
    result "retold".append_result, number bigint, event_id uuid, entry_index integer,
    appends bigint
) LANGUAGE plpgsql AS $$
DECLARE
    old_position bigint;
    last_stretch bigint;
    stream_versions bigint[];
    stream_events uuid[];
    old_topics bigint;
    new_topics bigint;
    single "retold".new_event;
    version bigint;
    now_is bigint;
    holds boolean := is_plain;
    judged_to bigint := 0;
    is_refused boolean := true;
BEGIN
    IF with_queries THEN
        -- Queries are checked up to the present head while others append, since recorded events
        -- never change; only newer events are checked while others wait.
        SELECT l.position INTO judged_to FROM "retold".log l WHERE l.key = of_log;
        PERFORM "retold".prepare_judging(of_log, judged_to, conditions);
        holds := holds AND NOT "retold".any_matches(of_log, 0, judged_to, conditions);
    END IF;
    IF holds THEN
        SELECT l.position, l.append_count, l.stretch_count, l.topic_count
            INTO old_position, appends, last_stretch, old_topics
            FROM "retold".log l WHERE l.key = of_log FOR UPDATE;
        -- The following statements see everything that was committed before the lock was acquired.
        SELECT
            old_position IS NOT NULL AND NOT EXISTS (
                -- One lookup for each id: for a list of them the planner may scan the whole log.
                SELECT FROM unnest(ids) AS n (id), LATERAL (
                    SELECT FROM "retold".event e WHERE e.log + 0 = of_log AND e.id = n.id LIMIT 1
                ) there
            ),
            ends.versions, ends.events,
            (
                SELECT count(*) FROM unnest(topics) AS n (topic)
                WHERE (
                    SELECT e.log FROM "retold".event e WHERE e.topic = n.topic AND e.log = of_log
                    ORDER BY e.position + 0 LIMIT 1
                ) IS NULL
            )
            INTO holds, stream_versions, stream_events, new_topics
            FROM (
                SELECT array_agg(coalesce(there.version, 0) ORDER BY d.key) AS versions,
                    array_agg(there.id ORDER BY d.key) AS events
                FROM unnest(streams) WITH ORDINALITY AS d (name, key) LEFT JOIN LATERAL (
                    SELECT e.version, e.id FROM "retold".event e
                    WHERE e.log = of_log AND e.stream = d.name ORDER BY e.version DESC LIMIT 1
                ) there ON true
            ) ends;
    END IF;
    IF holds AND cardinality(conditions) > 0 THEN
        holds := NOT EXISTS (
            SELECT FROM unnest(conditions) AS c
            WHERE CASE
                WHEN c.stream_key IS NOT NULL THEN
                    (c.version IS NULL AND stream_versions[c.stream_key] + c.added = 0)
                    OR stream_versions[c.stream_key] + c.added <> c.version
                    -- The additions of earlier appends of the group were compared in advance.
                    OR (c.added = 0 AND c.event <> stream_events[c.stream_key])
                WHEN c.topic_count IS NOT NULL THEN
                    c.topic_count <> old_topics
                    -- One append of the group may add a topic that a later one must know of.
                    OR (new_topics > 0 AND cardinality(event_counts) > 1)
                ELSE c.after NOT BETWEEN 0 AND old_position
            END
        );
    END IF;
    IF holds AND with_queries AND old_position > judged_to THEN
        holds := NOT "retold".any_matches(of_log, judged_to, old_position, conditions);
    END IF;
    IF holds AND cardinality(ranges) > 0 THEN
        holds := NOT EXISTS (
            SELECT FROM unnest(ranges) AS r, LATERAL (
                SELECT s.to_position FROM "retold".stretch s WHERE s.log = of_log
                AND s.follower = r.follower AND s.upstream = r.upstream
                ORDER BY s.ordinal + 0 DESC LIMIT 1
            ) there
            WHERE r.is_first AND r.after IS DISTINCT FROM there.to_position
        );
    END IF;
    IF holds IS NOT TRUE THEN
        FOR result, number, event_id, entry_index, appends IN
            SELECT * FROM "retold".append_judged(
                of_log, with_tags, event_counts, condition_counts, range_counts,
                ids, streams, topics, events, conditions, ranges
            )
        LOOP
            is_refused := is_refused
                AND result NOT IN ('recorded', 'repeated', 'other_checkpoint');
            RETURN NEXT;
        END LOOP;
        IF is_refused THEN
            -- Nothing is written, so there is no need to wait for the disk or a standby. A repeat
            -- and a checkpoint report earlier records and wait as those did.
            PERFORM set_config('synchronous_commit', 'off', true);
        END IF;
        RETURN;
    END IF;

    now_is := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    IF cardinality(events) = 1 THEN
        -- For one event, the rows of lists cost more than the write itself.
        single := events[1];
        version := stream_versions[single.stream_key] + single.stream_ordinal;
        INSERT INTO "retold".event VALUES (
            of_log, old_position + 1, ids[1], streams[single.stream_key], version,
            single.place_index, single.place_count, topics[1], single.revision, single.packed_tags,
            single.time, now_is, single.encoding, single.origin, single.metadata, single.payload,
            single.payload_checksum, single.content_checksum
            # (((old_position + 1) & 2147483647) * 2146121005
                + (((old_position + 1) >> 31) & 8589934591) * 374761393)
            # ((coalesce(version, 0) & 2147483647) * 1540483477
                + ((coalesce(version, 0) >> 31) & 8589934591) * 506952113)
            # ((now_is & 2147483647) * 1903816577
                + ((now_is >> 31) & 8589934591) * 439351297)
        );
    ELSE
        INSERT INTO "retold".event
            SELECT of_log, n.position, ids[n.id_key], streams[n.stream_key], n.version,
                n.place_index, n.place_count, topics[n.topic_key], n.revision, n.packed_tags,
                n.time, now_is, n.encoding, n.origin, n.metadata, n.payload,
                n.payload_checksum, n.content_checksum
                # ((n.position & 2147483647) * 2146121005
                    + ((n.position >> 31) & 8589934591) * 374761393)
                # ((coalesce(n.version, 0) & 2147483647) * 1540483477
                    + ((coalesce(n.version, 0) >> 31) & 8589934591) * 506952113)
                # ((now_is & 2147483647) * 1903816577
                    + ((now_is >> 31) & 8589934591) * 439351297)
            FROM (
                SELECT old_position + u.ordinality AS position,
                    stream_versions[u.stream_key] + u.stream_ordinal AS version, u.*
                FROM unnest(events) WITH ORDINALITY AS u
            ) n;
    END IF;
    IF with_tags THEN
        INSERT INTO "retold".event_tag
            SELECT of_log, unnest(u.tags), old_position + u.ordinality
            FROM unnest(events) WITH ORDINALITY AS u;
    END IF;
    IF cardinality(ranges) > 0 THEN
        INSERT INTO "retold".stretch
            SELECT of_log, n.ordinal, n.follower, n.upstream, n.after, n.to_position, n.to_id,
                n.policy_version, nullif(n.head, 0), true,
                n.checksum
                # ((n.ordinal & 2147483647) * 2146121005
                    + ((n.ordinal >> 31) & 8589934591) * 374761393)
                # ((n.head & 2147483647) * 1540483477
                    + ((n.head >> 31) & 8589934591) * 506952113),
                n.to_checksum
                # ((n.ordinal & 2147483647) * 2146121005
                    + ((n.ordinal >> 31) & 8589934591) * 374761393)
            FROM (
                SELECT last_stretch + u.ordinality AS ordinal, old_position + u.added AS head, u.*
                FROM unnest(ranges) WITH ORDINALITY AS u
            ) n;
    END IF;
    UPDATE "retold".log l SET position = old_position + cardinality(events),
        head_id = ids[cardinality(ids)],
        append_count = appends + cardinality(event_counts),
        stretch_count = last_stretch + cardinality(ranges),
        topic_count = l.topic_count + new_topics
        WHERE l.key = of_log
        RETURNING l.append_count INTO appends;
    result := 'all_recorded';
    number := old_position + 1;
    RETURN NEXT;
END $$;

-- This must be last. A trigger that refuses also fires where replication has switched others off;
-- names in functions mean the same for every role; only the owner has rights here, and the roles
-- that they are granted to. Appends run with the owner's rights, so a writer needs none on the
-- tables of history.
ALTER TABLE "retold".event ENABLE ALWAYS TRIGGER event_never_changes;
ALTER TABLE "retold".event_tag ENABLE ALWAYS TRIGGER event_tag_never_changes;
ALTER TABLE "retold".presence ENABLE ALWAYS TRIGGER presence_never_changes;
ALTER TABLE "retold".log ENABLE ALWAYS TRIGGER log_is_never_deleted;
ALTER TABLE "retold".log ENABLE ALWAYS TRIGGER log_only_grows;
ALTER TABLE "retold".stretch ENABLE ALWAYS TRIGGER stretch_is_never_deleted;
ALTER TABLE "retold".stretch ENABLE ALWAYS TRIGGER stretch_only_grows;
ALTER FUNCTION "retold".append_group SECURITY DEFINER;
DO $$
DECLARE
    own oid := (SELECT c.relnamespace FROM pg_catalog.pg_class c
        WHERE c.oid = (SELECT v.tableoid FROM "retold".schema_version v));
    name text;
BEGIN
    FOR name IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p WHERE p.pronamespace = own LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
    FOR name IN SELECT c.oid::regclass FROM pg_catalog.pg_class c
        WHERE c.relnamespace = own AND c.relkind = 'r' LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC', name);
    END LOOP;
END $$;
