-- Records the appends of a group that hold, and returns the result of each: the only entry point
-- for appends without amendments.
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
-- without an event or that does not join another of the group, no event that records an amendment.
-- If they do not all hold, they are checked one by one.
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
    is_deleted boolean;
    old_topics bigint;
    new_topics bigint;
    old_amendments bigint;
    judged_amendments bigint;
    single "retold".new_event;
    version bigint;
    now_is bigint;
    holds boolean := is_plain;
    judged_to bigint := 0;
    is_refused boolean := true;
BEGIN
    IF with_queries THEN
        -- Queries are checked up to the present head while others append; only newer events are
        -- checked while others wait. That is right if no recorded event was amended meanwhile.
        SELECT l.position, l.amendment_count INTO judged_to, judged_amendments
            FROM "retold".log l WHERE l.key = of_log;
        PERFORM "retold".prepare_judging(of_log, judged_to, conditions);
        holds := holds AND NOT "retold".any_matches(of_log, 0, judged_to, conditions);
    END IF;
    IF holds THEN
        SELECT l.position, l.append_count, l.stretch_count, l.topic_count, l.amendment_count
            INTO old_position, appends, last_stretch, old_topics, old_amendments
            FROM "retold".log l WHERE l.key = of_log FOR UPDATE;
        -- The following statements see everything that was committed before the lock was acquired.
        SELECT
            old_position IS NOT NULL AND NOT EXISTS (
                -- One lookup for each id: for a list of them the planner may scan the whole log.
                SELECT FROM unnest(ids) AS n (id), LATERAL (
                    SELECT FROM "retold".event e WHERE e.log + 0 = of_log AND e.id = n.id LIMIT 1
                ) there
            ),
            ends.versions, ends.events, ends.is_deleted,
            (
                SELECT count(*) FROM unnest(topics) AS n (topic)
                WHERE CASE WHEN (
                    SELECT e.log FROM "retold".event e WHERE e.topic = n.topic AND e.log = of_log
                    ORDER BY e.position + 0 LIMIT 1
                ) IS NULL THEN NOT EXISTS (
                    SELECT FROM "retold".former_topic f
                    WHERE f.log = of_log AND f.topic = n.topic
                ) END
            )
            INTO holds, stream_versions, stream_events, is_deleted, new_topics
            FROM (
                SELECT array_agg(coalesce(there.version, 0) ORDER BY d.key) AS versions,
                    array_agg(there.id ORDER BY d.key) AS events,
                    bool_or(there.topic = 'retold.deleted') AS is_deleted
                FROM unnest(streams) WITH ORDINALITY AS d (name, key) LEFT JOIN LATERAL (
                    SELECT e.version, e.id, e.topic FROM "retold".event e
                    WHERE e.log = of_log AND e.stream = d.name ORDER BY e.version DESC LIMIT 1
                ) there ON true
            ) ends;
        holds := holds AND is_deleted IS NOT TRUE;
    END IF;
    IF with_queries THEN
        IF old_amendments IS NULL THEN
            SELECT l.amendment_count INTO old_amendments
                FROM "retold".log l WHERE l.key = of_log FOR UPDATE;
        END IF;
        IF old_amendments <> judged_amendments THEN
            -- What was checked, and the blocks that were created, are of events as they were.
            RAISE EXCEPTION 'retold: recorded events were amended meanwhile'
                USING ERRCODE = 'serialization_failure';
        END IF;
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
