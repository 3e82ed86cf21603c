-- Checks the appends of a group one after the other and records those that hold. Parameters and
-- codes are those of append_group, which is the entry point.
CREATE FUNCTION "retold".append_judged(
    of_log integer,
    event_counts integer[], condition_counts integer[], stretch_counts integer[],
    ids uuid[], id_keys integer[], streams text[], stream_keys integer[], topics text[],
    revisions integer[], packed_tags bytea[], times bigint[], encodings text[], origins text[],
    metadatas bytea[], payloads bytea[], payload_checksums bigint[], content_checksums bigint[],
    tag_events integer[], tag_names text[],
    distinct_ids uuid[], distinct_streams text[],
    kinds integer[], condition_streams integer[], condition_numbers bigint[],
    condition_events uuid[],
    item_starts integer[], item_counts integer[],
    candidate_starts integer[], candidate_counts integer[], candidates integer[],
    name_starts integer[], stream_name_counts integer[], topic_name_counts integer[],
    tag_name_counts integer[], names text[],
    stretch_keys integer[], afters bigint[], to_positions bigint[], to_ids uuid[],
    editions integer[], stretch_checksums bigint[], to_checksums bigint[],
    distinct_followers text[], distinct_upstreams uuid[]
) RETURNS TABLE (code integer, at_position bigint, at_event uuid, at_index integer, appends bigint)
LANGUAGE plpgsql AS $$
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
    pair_editions integer[];
    pair_heads bigint[];
    pair_with_events boolean[];
    ends bigint[];
    -- By event: the assigned position, version and place; none if its append is refused.
    positions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(ids)]);
    versions bigint[] := positions;
    place_indexes integer[] := array_fill(NULL::integer, ARRAY[cardinality(ids)]);
    place_counts integer[] := place_indexes;
    -- The events of the group that are recorded, in order.
    recorded integer[] := '{}';
    next_event integer := 1;
    next_condition integer := 1;
    next_stretch integer := 1;
    first_event integer;
    first_condition integer;
    first_stretch integer;
    is_same boolean;
    has_stretches boolean;
    found_position bigint;
    item_position bigint;
    number bigint;
    key integer;
    start integer;
    streams_end integer;
    topics_end integer;
    tags_end integer;
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
            SELECT there.* FROM unnest(distinct_ids) WITH ORDINALITY AS d (id, key)
            LEFT JOIN LATERAL (
                SELECT e.position, e.place_index, e.place_count FROM "retold".event e
                WHERE e.log + 0 = of_log AND e.id = d.id LIMIT 1
            ) there ON true ORDER BY d.key
        ) found;
    IF cardinality(distinct_streams) > 0 THEN
        SELECT array_agg(found.version), array_agg(found.id)
            INTO stream_versions, stream_events FROM (
            SELECT coalesce(there.version, 0) AS version, there.id
            FROM unnest(distinct_streams) WITH ORDINALITY AS d (name, key)
            LEFT JOIN LATERAL (
                SELECT e.version, e.id FROM "retold".event e
                WHERE e.log = of_log AND e.stream = d.name ORDER BY e.version DESC LIMIT 1
            ) there ON true ORDER BY d.key
        ) found;
    END IF;
    IF cardinality(distinct_followers) > 0 THEN
        SELECT array_agg(found.ordinal), array_agg(found.to_position), array_agg(found.to_id),
            array_agg(found.edition), array_agg(found.head), array_agg(found.with_events)
            INTO pair_ordinals, pair_positions, pair_ids, pair_editions, pair_heads,
                pair_with_events
            FROM (
                SELECT there.*
                FROM ROWS FROM (unnest(distinct_followers), unnest(distinct_upstreams))
                    WITH ORDINALITY AS d (follower, upstream, key)
                LEFT JOIN LATERAL (
                    SELECT s.ordinal, s.to_position, s.to_id, s.edition, s.head, s.with_events
                    FROM "retold".stretch s WHERE s.log = of_log AND s.follower = d.follower
                    AND s.upstream = d.upstream ORDER BY s.ordinal + 0 DESC LIMIT 1
                ) there ON true ORDER BY d.key
            ) found;
    END IF;

    FOR a IN 1 .. cardinality(event_counts) LOOP
        first_event := next_event;
        first_condition := next_condition;
        first_stretch := next_stretch;
        next_event := first_event + event_counts[a];
        next_condition := first_condition + condition_counts[a];
        next_stretch := first_stretch + stretch_counts[a];
        has_stretches := stretch_counts[a] > 0;
        code := 0;
        at_position := NULL;
        at_event := NULL;
        at_index := NULL;

        IF has_stretches THEN
            ends := pair_positions;
            FOR s IN first_stretch .. next_stretch - 1 LOOP
                key := stretch_keys[s];
                IF ends[key] IS NOT NULL AND afters[s] IS DISTINCT FROM ends[key] THEN
                    code := 2;
                    at_position := pair_positions[key];
                    at_event := pair_ids[key];
                    at_index := s - first_stretch;
                    EXIT;
                END IF;
                ends[key] := to_positions[s];
            END LOOP;
        END IF;

        IF code = 0 THEN
            FOR e IN first_event .. next_event - 1 LOOP
                found_position := id_positions[id_keys[e]];
                CONTINUE WHEN found_position IS NULL;
                is_same := e = first_event AND NOT has_stretches
                    AND id_indexes[id_keys[e]] = 0 AND id_counts[id_keys[e]] = event_counts[a];
                IF is_same THEN
                    FOR o IN 1 .. event_counts[a] - 1 LOOP
                        IF id_positions[id_keys[first_event + o]]
                            IS DISTINCT FROM found_position + o
                        THEN
                            is_same := false;
                            EXIT;
                        END IF;
                    END LOOP;
                END IF;
                code := CASE WHEN is_same THEN 1 ELSE 3 END;
                at_position := found_position;
                at_index := e - first_event;
                EXIT;
            END LOOP;
        END IF;

        IF code = 0 THEN
            FOR c IN first_condition .. next_condition - 1 LOOP
                number := condition_numbers[c];
                IF kinds[c] <= 2 THEN
                    found_position := stream_versions[condition_streams[c]];
                    IF (kinds[c] = 0 AND found_position <> 0)
                        OR (kinds[c] = 1 AND found_position = 0)
                        OR (kinds[c] = 2 AND found_position <> number)
                    THEN
                        code := 4;
                        at_position := found_position;
                    ELSIF condition_events[c] <> stream_events[condition_streams[c]] THEN
                        code := 4;
                        at_position := found_position;
                        at_event := stream_events[condition_streams[c]];
                    END IF;
                ELSIF kinds[c] = 5 THEN
                    -- Events of the group are not in the tables yet.
                    SELECT old_topics + count(*) INTO found_position FROM (
                        SELECT DISTINCT n.topic
                        FROM unnest(topics, positions) AS n (topic, position)
                        WHERE n.position IS NOT NULL
                    ) d WHERE NOT "retold".has_topic(of_log, d.topic);
                    IF found_position <> number THEN
                        code := 8;
                        at_position := found_position;
                    END IF;
                ELSIF number > last_position OR number < 0 THEN
                    code := 6;
                    at_position := last_position;
                ELSE
                    found_position := NULL;
                    IF kinds[c] = 4 THEN
                        IF number < last_position THEN
                            found_position := number + 1;
                        END IF;
                    ELSE
                        IF number < old_position THEN
                            FOR i IN item_starts[c] .. item_starts[c] + item_counts[c] - 1 LOOP
                                start := name_starts[i];
                                streams_end := start + stream_name_counts[i];
                                topics_end := streams_end + topic_name_counts[i];
                                tags_end := topics_end + tag_name_counts[i];
                                SELECT m INTO item_position FROM "retold".matches(
                                    of_log, names[start:streams_end - 1],
                                    names[streams_end:topics_end - 1],
                                    names[topics_end:tags_end - 1],
                                    number + 1, old_position, false, 1
                                ) AS m;
                                found_position := least(found_position, item_position);
                            END LOOP;
                        END IF;
                        IF found_position IS NULL THEN
                            FOR k IN candidate_starts[c]
                                .. candidate_starts[c] + candidate_counts[c] - 1
                            LOOP
                                IF positions[candidates[k]] > number THEN
                                    found_position := positions[candidates[k]];
                                    EXIT;
                                END IF;
                            END LOOP;
                        END IF;
                    END IF;
                    IF found_position IS NOT NULL THEN
                        code := 5;
                        at_position := found_position;
                        IF found_position > old_position THEN
                            at_event := ids[recorded[(found_position - old_position)::integer]];
                        ELSE
                            SELECT e.id INTO STRICT at_event FROM "retold".event e
                                WHERE e.log = of_log AND e.position = found_position;
                        END IF;
                    END IF;
                END IF;
                IF code <> 0 THEN
                    at_index := c - first_condition;
                    EXIT;
                END IF;
            END LOOP;
        END IF;

        IF code = 0 THEN
            recorded_count := recorded_count + 1;
            appends := appends + 1;
            FOR s IN first_stretch .. next_stretch - 1 LOOP
                key := stretch_keys[s];
                IF event_counts[a] = 0 AND NOT pair_with_events[key]
                    AND pair_editions[key] = editions[s]
                    AND pair_heads[key] IS NOT DISTINCT FROM nullif(last_position, 0)
                THEN
                    number := pair_ordinals[key];
                    UPDATE "retold".stretch t SET to_position = to_positions[s], to_id = to_ids[s],
                        to_checksum = to_checksums[s]
                        # ((number & 2147483647) * 2146121005
                            + ((number >> 31) & 8589934591) * 374761393)
                        WHERE t.log = of_log AND t.ordinal = pair_ordinals[key];
                ELSE
                    last_stretch := last_stretch + 1;
                    INSERT INTO "retold".stretch VALUES (
                        of_log, last_stretch, distinct_followers[key], distinct_upstreams[key],
                        afters[s], to_positions[s], to_ids[s], editions[s],
                        nullif(last_position, 0), event_counts[a] > 0,
                        stretch_checksums[s]
                        # ((last_stretch & 2147483647) * 2146121005
                            + ((last_stretch >> 31) & 8589934591) * 374761393)
                        # ((last_position & 2147483647) * 1540483477
                            + ((last_position >> 31) & 8589934591) * 506952113),
                        to_checksums[s]
                        # ((last_stretch & 2147483647) * 2146121005
                            + ((last_stretch >> 31) & 8589934591) * 374761393)
                    );
                    pair_ordinals[key] := last_stretch;
                    pair_editions[key] := editions[s];
                    pair_heads[key] := nullif(last_position, 0);
                    pair_with_events[key] := event_counts[a] > 0;
                END IF;
                pair_positions[key] := to_positions[s];
                pair_ids[key] := to_ids[s];
            END LOOP;
            FOR e IN first_event .. next_event - 1 LOOP
                last_position := last_position + 1;
                recorded_events := recorded_events + 1;
                recorded[recorded_events] := e;
                positions[e] := last_position;
                place_indexes[e] := e - first_event;
                place_counts[e] := event_counts[a];
                key := id_keys[e];
                id_positions[key] := last_position;
                id_indexes[key] := e - first_event;
                id_counts[key] := event_counts[a];
                key := stream_keys[e];
                IF key IS NOT NULL THEN
                    number := stream_versions[key] + 1;
                    stream_versions[key] := number;
                    stream_events[key] := ids[e];
                    versions[e] := number;
                END IF;
            END LOOP;
            IF event_counts[a] > 0 THEN
                at_position := positions[first_event];
                last_id := ids[next_event - 1];
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;

    IF recorded_events > 0 THEN
        SELECT count(*) INTO new_topics FROM (
            SELECT DISTINCT n.topic FROM unnest(topics, positions) AS n (topic, position)
            WHERE n.position IS NOT NULL
        ) d WHERE NOT "retold".has_topic(of_log, d.topic);
        INSERT INTO "retold".event
            SELECT of_log, n.position, n.id, n.stream, n.version, n.place_index, n.place_count,
                n.topic, n.revision, n.tags, n.time, now_is, n.encoding, n.origin, n.metadata,
                n.payload,
                n.payload_checksum, n.content_checksum
                # ((n.position & 2147483647) * 2146121005
                    + ((n.position >> 31) & 8589934591) * 374761393)
                # ((coalesce(n.version, 0) & 2147483647) * 1540483477
                    + ((coalesce(n.version, 0) >> 31) & 8589934591) * 506952113)
                # ((now_is & 2147483647) * 1903816577 + ((now_is >> 31) & 8589934591) * 439351297)
            FROM unnest(positions, ids, streams, versions, place_indexes, place_counts, topics,
                    revisions, packed_tags, times, encodings, origins, metadatas, payloads,
                    payload_checksums, content_checksums)
                AS n (position, id, stream, version, place_index, place_count, topic,
                    revision, tags, time, encoding, origin, metadata, payload,
                    payload_checksum, content_checksum)
            WHERE n.position IS NOT NULL;
        IF cardinality(tag_events) > 0 THEN
            INSERT INTO "retold".event_tag
                SELECT of_log, t.tag, positions[t.event]
                FROM unnest(tag_events, tag_names) AS t (event, tag)
                WHERE positions[t.event] IS NOT NULL;
        END IF;
    END IF;
    IF recorded_count > 0 THEN
        UPDATE "retold".log l SET position = last_position, head_id = last_id,
            append_count = appends, stretch_count = last_stretch,
            topic_count = l.topic_count + new_topics
            WHERE l.key = of_log;
    END IF;
END $$;
