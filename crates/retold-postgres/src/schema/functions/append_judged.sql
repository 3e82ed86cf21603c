-- Checks the appends of a group one after the other and records those that hold. Parameters and
-- results are those of append_group, which calls it, as append_amending does.
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
    stream_positions bigint[];
    stream_deleted boolean[];
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
    -- The keys of deleted streams that the append reopens, or deletes again.
    opened integer[];
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
        SELECT array_agg(found.version), array_agg(found.id), array_agg(found.position),
            array_agg(found.topic = 'retold.deleted')
            INTO stream_versions, stream_events, stream_positions, stream_deleted FROM (
            SELECT coalesce(there.version, 0) AS version, there.id, there.position, there.topic
            FROM unnest(streams) WITH ORDINALITY AS d (name, key)
            LEFT JOIN LATERAL (
                SELECT e.version, e.id, e.position, e.topic FROM "retold".event e
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
            opened := '{}';
            FOR e IN first_event .. next_event - 1 LOOP
                key := events[e].stream_key;
                CONTINUE WHEN stream_deleted[key] IS NOT TRUE OR key = ANY (opened);
                IF topics[events[e].topic_key] IN ('retold.deleted', 'retold.reopened') THEN
                    opened := opened || key;
                    CONTINUE;
                END IF;
                result := 'stream_deleted';
                number := stream_positions[key];
                event_id := stream_events[key];
                entry_index := e - first_event;
                EXIT;
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
                    stream_positions[key] := last_position;
                    stream_deleted[key] := topics[events[e].topic_key] = 'retold.deleted';
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
    IF topics && '{retold.amended,retold.deleted,retold.erased,retold.reopened}' THEN
        INSERT INTO "retold".stream_record
            SELECT DISTINCT ON (u.stream_key) of_log, streams[u.stream_key],
                versions[u.ordinality], topics[u.topic_key]
            FROM unnest(events) WITH ORDINALITY AS u
            WHERE versions[u.ordinality] IS NOT NULL AND topics[u.topic_key] IN
                ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
            ORDER BY u.stream_key, u.ordinality DESC
            ON CONFLICT (log, stream) DO UPDATE SET version = EXCLUDED.version,
                topic = EXCLUDED.topic;
    END IF;
    IF recorded_count > 0 THEN
        UPDATE "retold".log l SET position = last_position, head_id = last_id,
            append_count = appends, stretch_count = last_stretch,
            topic_count = l.topic_count + new_topics
            WHERE l.key = of_log;
    END IF;
END $$;
