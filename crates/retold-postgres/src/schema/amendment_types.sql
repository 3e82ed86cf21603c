-- The types of the parameters of `append_amending`, besides those of `append_group`.

-- An amendment of recorded events, of one of three kinds. `stream` is that of the event or events,
-- if they have one.
--
-- - With `until`: erases the payloads of the stream's events after the version `after`, up to and
--   including `until`; also their tags and their metadata, if the flags say so.
-- - With `replaces`: replaces topic, revision, tags, encoding and payload of an event.
-- - Neither: erases the payload of an event, and the other parts by the flags.
CREATE TYPE "retold".amendment AS (
    event uuid,
    stream text,
    after bigint,
    until bigint,
    replaces boolean,
    with_tags boolean,
    with_metadata boolean
);

-- An event as amendments leave it, computed by the program from what it read, with the checksums
-- that the event had then. NULL stands for an unchanged topic, revision, encoding or list of tags,
-- and for an erased payload.
CREATE TYPE "retold".amended_event AS (
    position bigint,
    old_payload_checksum bigint,
    old_checksum bigint,
    topic text,
    revision integer,
    encoding text,
    packed_tags bytea,
    removed_tags text[],
    added_tags text[],
    without_metadata boolean,
    payload bytea,
    payload_checksum bigint,
    checksum bigint
);
