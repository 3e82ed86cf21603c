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
    'other_topic_count',
    -- The stream of an event is deleted. Number and event: the position and id of the event that
    -- deleted it. Index: that of the event.
    'stream_deleted',
    -- An amendment names an event that the log does not have. Index, here and in the following:
    -- that of the amendment.
    'amended_missing',
    -- It names an event of another stream than it says.
    'amended_other_stream',
    -- Nothing is left to erase, or to replace.
    'amended_erased',
    -- It names the record of an amendment.
    'amended_record',
    -- A stream ends before the last version to erase.
    'amended_beyond_stream',
    -- The events that the program read were amended since. It reads them again.
    'amended_meanwhile'
);
