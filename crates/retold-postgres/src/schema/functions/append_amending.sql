-- Records an append with amendments of recorded events, if it holds, and makes the amendments; the
-- only entry point for changes of events. The first parameters and the results are those of
-- append_group, for one append. `amended` has every event that changes, as it will be, computed
-- from what the log had up to `seen_position`.
--
-- The amendments are judged while others append. If they hold, they still do under the lock of the
-- log, unless recorded events were amended meanwhile: then they are judged again.
CREATE FUNCTION "retold".append_amending(
    of_log integer, with_tags boolean,
    event_counts integer[], condition_counts integer[], range_counts integer[],
    ids uuid[], streams text[], topics text[],
    events "retold".new_event[], conditions "retold".condition[],
    ranges "retold".processed_range[],
    amendments "retold".amendment[], amended "retold".amended_event[], seen_position bigint
) RETURNS TABLE (
    result "retold".append_result, number bigint, event_id uuid, entry_index integer,
    appends bigint
) LANGUAGE plpgsql AS $$
DECLARE
    refusal "retold".append_result;
    refused_index integer;
    earlier_refusal "retold".append_result;
    judged_amendments bigint;
    old_amendments bigint;
    amended_streams text[];
    amended_stream text;
    record_position bigint;
    record_streams text[];
    new_topics bigint;
BEGIN
    IF (cardinality(amendments) > 0 AND event_counts = ARRAY[cardinality(events)]) IS NOT TRUE THEN
        RAISE EXCEPTION 'retold: one append with amendments was expected'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    amended_streams := ARRAY(
        SELECT DISTINCT there.stream FROM unnest(amended) AS r, LATERAL (
            SELECT e.stream FROM "retold".event e
            WHERE e.log = of_log AND e.position = r.position LIMIT 1
        ) there WHERE there.stream IS NOT NULL
    );
    -- A snapshot that is being stored waits for this lock, or this waits for it: before the lock of
    -- the log, so that others append meanwhile.
    PERFORM pg_advisory_xact_lock(k.key) FROM (
        SELECT DISTINCT hashtextextended(s.stream, (l.tableoid::bigint << 32) | l.key) AS key
        FROM unnest(amended_streams) AS s (stream), "retold".log l WHERE l.key = of_log
        ORDER BY key
    ) k;
    SELECT l.amendment_count INTO judged_amendments FROM "retold".log l WHERE l.key = of_log;
    SELECT * INTO refusal, refused_index
        FROM "retold".judge_amendments(of_log, amendments, amended, seen_position);
    SELECT l.amendment_count INTO old_amendments
        FROM "retold".log l WHERE l.key = of_log FOR UPDATE;
    IF refusal IS NOT NULL OR old_amendments <> judged_amendments THEN
        earlier_refusal := refusal;
        SELECT * INTO refusal, refused_index
            FROM "retold".judge_amendments(of_log, amendments, amended, seen_position);
        IF refusal IS NULL AND earlier_refusal IS NOT NULL THEN
            -- The program reads events that came meanwhile, and this then locks their streams.
            refusal := 'amended_meanwhile';
        END IF;
    END IF;
    IF refusal IS NULL THEN
        SELECT * INTO result, number, event_id, entry_index, appends FROM "retold".append_judged(
            of_log, with_tags, event_counts, condition_counts, range_counts,
            ids, streams, topics, events, conditions, ranges
        );
    ELSE
        -- Another part of the append that does not hold is reported first.
        BEGIN
            SELECT * INTO result, number, event_id, entry_index, appends
                FROM "retold".append_judged(
                    of_log, with_tags, event_counts, condition_counts, range_counts,
                    ids, streams, topics, events, conditions, ranges
                );
            IF result = 'recorded' THEN
                RAISE EXCEPTION 'retold: an amendment does not hold' USING ERRCODE = 'RT001';
            END IF;
        EXCEPTION WHEN SQLSTATE 'RT001' THEN
            result := refusal;
            number := NULL;
            event_id := NULL;
            entry_index := refused_index;
        END;
    END IF;
    IF result = 'recorded' THEN
        SELECT min(number + u.ordinality - 1), array_agg(streams[u.stream_key])
            INTO record_position, record_streams
            FROM unnest(events) WITH ORDINALITY AS u
            WHERE topics[u.topic_key] IN
                ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened');
        IF record_position IS NULL OR EXISTS (
            SELECT FROM unnest(amendments) AS m
            WHERE m.stream IS NOT NULL AND (m.stream = ANY (record_streams)) IS NOT TRUE
        ) THEN
            RAISE EXCEPTION 'retold: an amendment needs an event in its stream that records it'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        PERFORM set_config('retold.amendment', of_log || ' ' || record_position, true);
        FOREACH amended_stream IN ARRAY amended_streams LOOP
            DELETE FROM "retold".snapshot s WHERE s.log = of_log AND s.stream = amended_stream;
        END LOOP;
        new_topics := "retold".put_amended(of_log, amended);
        UPDATE "retold".log l SET amendment_count = l.amendment_count + 1,
            topic_count = l.topic_count + new_topics
            WHERE l.key = of_log;
        PERFORM set_config('retold.amendment', '', true);
    ELSIF result NOT IN ('repeated', 'other_checkpoint') THEN
        -- Nothing is written, as in append_group.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    RETURN NEXT;
END $$;
