-- Records the appends of a group that hold, and returns a result for each: the only entry point.
--
-- Lists of events, conditions and stretches hold the entries of one append after those of the
-- other, counted from 1; keys number the distinct ids, streams and followers of the group. The
-- result of an append is a code: 0 recorded, 1 repeated, 2 not at its checkpoint, 3 an id exists
-- already, 4 a stream is at another version or, with an event, ends with that event instead of the
-- one that the condition names, 5 a query matches, 6 a condition begins beyond the head, 8 the log
-- has another number of topics, which is returned as the position; and where: position, event, and
-- the index of the event, condition or stretch in the append, from 0. If all of them are recorded,
-- there is one row for all, with the code 7 and the position of the first event.
--
-- Kinds of conditions: 0 no such stream, 1 the stream exists, 2 the stream is at the number (and
-- its last event is `condition_events`, where that is not NULL), 3 no event after the number
-- matches the items, 4 there is no event after the number, 5 the log has the number of topics.
-- Events of earlier appends of the group that would match are passed as candidates, because they
-- are not in the tables yet.
--
-- Nearly always all appends of a group hold. This function first checks for all of them at once
-- whether each holds if the earlier ones do. For that the caller computes in advance what earlier
-- appends of the group add: to the stream of an event (its ordinal among the group's events of that
-- stream) or of a condition, and to the head that a stretch finds; and it states by `is_plain` that
-- nothing within the group prevents it: no id twice, no condition that names another event than an
-- earlier append adds, no candidate, no condition of kind 4, no stretch without an event or that
-- does not join another of the group. If they do not all hold, they are checked one by one.
CREATE FUNCTION "retold".append_group(
    of_log integer, is_plain boolean,
    event_counts integer[], condition_counts integer[], stretch_counts integer[],
    ids uuid[], id_keys integer[], streams text[], stream_keys integer[], stream_ordinals integer[],
    place_indexes integer[], place_counts integer[], topics text[],
    revisions integer[], packed_tags bytea[], times bigint[], encodings text[], origins text[],
    metadatas bytea[], payloads bytea[], payload_checksums bigint[], content_checksums bigint[],
    tag_events integer[], tag_names text[],
    distinct_ids uuid[], distinct_streams text[],
    kinds integer[], condition_streams integer[], condition_numbers bigint[],
    condition_events uuid[], condition_offsets integer[],
    item_starts integer[], item_counts integer[],
    candidate_starts integer[], candidate_counts integer[], candidates integer[],
    name_starts integer[], stream_name_counts integer[], topic_name_counts integer[],
    tag_name_counts integer[], names text[],
    stretch_keys integer[], afters bigint[], to_positions bigint[], to_ids uuid[],
    editions integer[], stretch_heads integer[], stretch_checksums bigint[], to_checksums bigint[],
    distinct_followers text[], distinct_upstreams uuid[], first_afters bigint[]
) RETURNS TABLE (code integer, at_position bigint, at_event uuid, at_index integer, appends bigint)
LANGUAGE plpgsql AS $$
DECLARE
    old_position bigint;
    last_stretch bigint;
    stream_versions bigint[];
    stream_events uuid[];
    old_topics bigint;
    new_topics bigint;
    version bigint;
    now_is bigint;
    holds boolean := is_plain;
    judged_to bigint := 0;
    is_refused boolean := true;
BEGIN
    IF cardinality(names) > 0 THEN
        -- Queries are checked up to the present head while others append, since recorded events
        -- never change; only newer events are checked while others wait.
        SELECT l.position INTO judged_to FROM "retold".log l WHERE l.key = of_log;
        PERFORM "retold".prepare_judging(
            of_log, judged_to, condition_numbers, item_starts, item_counts, name_starts,
            stream_name_counts, topic_name_counts, tag_name_counts, names
        );
        holds := holds AND NOT "retold".any_matches(
            of_log, 0, judged_to, condition_numbers, item_starts, item_counts, name_starts,
            stream_name_counts, topic_name_counts, tag_name_counts, names
        );
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
                SELECT count(*) FROM (SELECT DISTINCT n.topic FROM unnest(topics) AS n (topic)) d
                WHERE (
                    SELECT e.log FROM "retold".event e WHERE e.topic = d.topic AND e.log = of_log
                    ORDER BY e.position + 0 LIMIT 1
                ) IS NULL
            )
            INTO holds, stream_versions, stream_events, new_topics
            FROM (
                SELECT array_agg(coalesce(there.version, 0) ORDER BY d.key) AS versions,
                    array_agg(there.id ORDER BY d.key) AS events
                FROM unnest(distinct_streams) WITH ORDINALITY AS d (name, key) LEFT JOIN LATERAL (
                    SELECT e.version, e.id FROM "retold".event e
                    WHERE e.log = of_log AND e.stream = d.name ORDER BY e.version DESC LIMIT 1
                ) there ON true
            ) ends;
    END IF;
    IF holds AND cardinality(kinds) > 0 THEN
        holds := NOT EXISTS (
            SELECT FROM unnest(kinds, condition_streams, condition_numbers, condition_events,
                    condition_offsets) AS c (kind, stream, number, event, added)
            WHERE CASE c.kind
                WHEN 0 THEN stream_versions[c.stream] + c.added <> 0
                WHEN 1 THEN stream_versions[c.stream] + c.added = 0
                WHEN 2 THEN stream_versions[c.stream] + c.added <> c.number
                    -- The additions of earlier appends of the group were compared in advance.
                    OR (c.added = 0 AND c.event <> stream_events[c.stream])
                WHEN 5 THEN c.number <> old_topics
                    -- One append of the group may add a topic that a later one must know of.
                    OR (new_topics > 0 AND cardinality(event_counts) > 1)
                ELSE c.number NOT BETWEEN 0 AND old_position
            END
        );
    END IF;
    IF holds AND cardinality(names) > 0 AND old_position > judged_to THEN
        holds := NOT "retold".any_matches(
            of_log, judged_to, old_position, condition_numbers, item_starts, item_counts,
            name_starts, stream_name_counts, topic_name_counts, tag_name_counts, names
        );
    END IF;
    IF holds AND cardinality(stretch_keys) > 0 THEN
        holds := NOT EXISTS (
            SELECT FROM unnest(distinct_followers, distinct_upstreams, first_afters)
                AS d (follower, upstream, after), LATERAL (
                    SELECT s.to_position FROM "retold".stretch s WHERE s.log = of_log
                    AND s.follower = d.follower AND s.upstream = d.upstream
                    ORDER BY s.ordinal + 0 DESC LIMIT 1
                ) there
            WHERE d.after IS DISTINCT FROM there.to_position
        );
    END IF;
    IF holds IS NOT TRUE THEN
        FOR code, at_position, at_event, at_index, appends IN SELECT * FROM "retold".append_judged(
            of_log, event_counts, condition_counts, stretch_counts, ids, id_keys, streams,
            stream_keys, topics, revisions, packed_tags, times, encodings, origins, metadatas,
            payloads, payload_checksums, content_checksums,
            tag_events, tag_names, distinct_ids, distinct_streams, kinds,
            condition_streams, condition_numbers, condition_events, item_starts, item_counts,
            candidate_starts, candidate_counts, candidates, name_starts, stream_name_counts,
            topic_name_counts, tag_name_counts, names, stretch_keys, afters, to_positions, to_ids,
            editions, stretch_checksums, to_checksums, distinct_followers, distinct_upstreams
        ) LOOP
            is_refused := is_refused AND code >= 3;
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
    IF cardinality(ids) = 1 THEN
        -- For one event, the rows of lists cost more than the write itself.
        version := stream_versions[stream_keys[1]] + stream_ordinals[1];
        INSERT INTO "retold".event VALUES (
            of_log, old_position + 1, ids[1], streams[1], version, place_indexes[1],
            place_counts[1], topics[1], revisions[1], packed_tags[1], times[1], now_is,
            encodings[1], origins[1], metadatas[1], payloads[1], payload_checksums[1],
            content_checksums[1]
            # (((old_position + 1) & 2147483647) * 2146121005
                + (((old_position + 1) >> 31) & 8589934591) * 374761393)
            # ((coalesce(version, 0) & 2147483647) * 1540483477
                + ((coalesce(version, 0) >> 31) & 8589934591) * 506952113)
            # ((now_is & 2147483647) * 1903816577 + ((now_is >> 31) & 8589934591) * 439351297)
        );
    ELSE
        INSERT INTO "retold".event
            SELECT of_log, n.position, n.id, n.stream, n.version, n.place_index, n.place_count,
                n.topic, n.revision, n.tags, n.time, now_is, n.encoding, n.origin, n.metadata,
                n.payload, n.payload_checksum, n.content_checksum
                # ((n.position & 2147483647) * 2146121005
                    + ((n.position >> 31) & 8589934591) * 374761393)
                # ((coalesce(n.version, 0) & 2147483647) * 1540483477
                    + ((coalesce(n.version, 0) >> 31) & 8589934591) * 506952113)
                # ((now_is & 2147483647) * 1903816577 + ((now_is >> 31) & 8589934591) * 439351297)
            FROM (
                SELECT old_position + u.ordinal AS position,
                    stream_versions[u.stream_key] + u.stream_ordinal AS version, u.*
                FROM unnest(ids, streams, stream_keys, stream_ordinals, place_indexes, place_counts,
                        topics, revisions, packed_tags, times, encodings, origins, metadatas,
                        payloads, payload_checksums, content_checksums)
                    WITH ORDINALITY AS u (id, stream, stream_key, stream_ordinal, place_index,
                        place_count, topic, revision, tags, time, encoding, origin, metadata,
                        payload, payload_checksum, content_checksum, ordinal)
            ) n;
    END IF;
    IF cardinality(tag_events) > 0 THEN
        INSERT INTO "retold".event_tag
            SELECT of_log, t.tag, old_position + t.event
            FROM unnest(tag_events, tag_names) AS t (event, tag);
    END IF;
    IF cardinality(stretch_keys) > 0 THEN
        INSERT INTO "retold".stretch
            SELECT of_log, n.ordinal, distinct_followers[n.key], distinct_upstreams[n.key], n.after,
                n.to_position, n.to_id, n.edition, nullif(n.head, 0), true,
                n.checksum
                # ((n.ordinal & 2147483647) * 2146121005
                    + ((n.ordinal >> 31) & 8589934591) * 374761393)
                # ((n.head & 2147483647) * 1540483477 + ((n.head >> 31) & 8589934591) * 506952113),
                n.to_checksum
                # ((n.ordinal & 2147483647) * 2146121005
                    + ((n.ordinal >> 31) & 8589934591) * 374761393)
            FROM (
                SELECT last_stretch + u.number AS ordinal, old_position + u.added AS head, u.*
                FROM unnest(stretch_keys, afters, to_positions, to_ids, editions, stretch_heads,
                        stretch_checksums, to_checksums)
                    WITH ORDINALITY AS u (key, after, to_position, to_id, edition, added,
                        checksum, to_checksum, number)
            ) n;
    END IF;
    UPDATE "retold".log l SET position = old_position + cardinality(ids),
        head_id = ids[cardinality(ids)],
        append_count = appends + cardinality(event_counts),
        stretch_count = last_stretch + cardinality(stretch_keys),
        topic_count = l.topic_count + new_topics
        WHERE l.key = of_log
        RETURNING 7, old_position + 1, l.append_count INTO code, at_position, appends;
    RETURN NEXT;
END $$;
