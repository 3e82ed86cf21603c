-- Checks amendments in their order against the log as it is, with the earlier of them. Returns the
-- reason of the first that does not hold and its index, counted from 0; NULL if all hold. Events
-- that the program read are compared with what it read, up to the position that it read.
CREATE FUNCTION "retold".judge_amendments(
    of_log integer, amendments "retold".amendment[], amended "retold".amended_event[],
    seen_position bigint, OUT refusal "retold".append_result, OUT refused_index integer
) LANGUAGE plpgsql AS $$
DECLARE
    amendment "retold".amendment;
    -- Those so far that erase events of a stream.
    of_streams "retold".amendment[] := '{}';
    there record;
    is_there boolean;
    is_unseen boolean := false;
BEGIN
    refused_index := -1;
    FOREACH amendment IN ARRAY amendments LOOP
        refused_index := refused_index + 1;
        IF amendment.until IS NOT NULL THEN
            SELECT e.position INTO there FROM "retold".event e
                WHERE e.log = of_log AND e.stream = amendment.stream
                AND e.version BETWEEN amendment.until AND amendment.until
                ORDER BY e.version LIMIT 1;
            refusal := CASE WHEN NOT FOUND THEN 'amended_beyond_stream' END;
            of_streams := of_streams || amendment;
        ELSE
            SELECT e.position, e.stream, e.version, e.topic, e.payload IS NOT NULL AS has_payload,
                octet_length(e.tags) > 0 AS has_tags, octet_length(e.metadata) > 0 AS has_metadata
                INTO there FROM "retold".event e
                WHERE e.log + 0 = of_log AND e.id = amendment.event LIMIT 1;
            is_there := FOUND;
            IF cardinality(of_streams) > 0 THEN
                SELECT there.has_payload AND count(*) = 0,
                    there.has_tags AND bool_or(a.with_tags) IS NOT TRUE,
                    there.has_metadata AND bool_or(a.with_metadata) IS NOT TRUE
                    INTO there.has_payload, there.has_tags, there.has_metadata
                    FROM unnest(of_streams) AS a WHERE a.stream = there.stream
                    AND there.version BETWEEN a.after + 1 AND a.until;
            END IF;
            refusal := CASE
                WHEN NOT is_there THEN 'amended_missing'
                WHEN there.stream IS DISTINCT FROM amendment.stream THEN 'amended_other_stream'
                WHEN there.topic IN
                    ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
                    THEN 'amended_record'
                WHEN NOT there.has_payload AND (amendment.replaces OR NOT (
                    (amendment.with_tags AND there.has_tags)
                    OR (amendment.with_metadata AND there.has_metadata)
                )) THEN 'amended_erased'
            END;
        END IF;
        IF refusal IS NOT NULL THEN
            RETURN;
        END IF;
        is_unseen := is_unseen OR there.position > seen_position;
    END LOOP;
    refused_index := NULL;
    IF is_unseen OR NOT "retold".compare_amended(of_log, amendments, amended) THEN
        refusal := 'amended_meanwhile';
    END IF;
END $$;
