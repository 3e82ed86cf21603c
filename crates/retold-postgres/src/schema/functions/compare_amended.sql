-- Compares the events that a program sends as amendments leave them with the amendments that name
-- them, so that nothing changes that no amendment names. Returns whether the events are still what
-- the program read; raises an error if amendments would leave another event.
--
-- Neither the tags of an event that is replaced nor any checksum is compared: reads and verifying
-- notice if they are wrong.
CREATE FUNCTION "retold".compare_amended(
    of_log integer, amendments "retold".amendment[], amended "retold".amended_event[]
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    are_current boolean;
    are_right boolean;
BEGIN
    -- All rows about an event are brought together by its position. A join of two lists would
    -- compare each with each.
    SELECT coalesce(bool_and(c.is_current), true), coalesce(bool_and(c.is_right IS TRUE), true)
        INTO are_current, are_right
        FROM (
            SELECT max(u.old_payload_checksum) = max(u.payload_checksum)
                    AND max(u.old_checksum) = max(u.checksum) AS is_current,
                CASE count(u.sends_payload)
                    WHEN 0 THEN NOT (
                        bool_or(u.has_payload)
                        OR (bool_or(u.with_tags) AND bool_or(u.has_tags))
                        OR (bool_or(u.with_metadata) AND bool_or(u.has_metadata))
                    )
                    WHEN 1 THEN bool_or(u.sends_payload) <> bool_or(u.erases)
                        AND (bool_or(u.replaces) OR NOT bool_or(u.sends_content))
                        AND CASE
                            WHEN bool_or(u.with_tags) AND bool_or(u.sends_tags)
                                THEN NOT bool_or(u.keeps_tags)
                            WHEN bool_or(u.with_tags) THEN NOT bool_or(u.has_tags)
                            ELSE bool_or(u.replaces) OR NOT bool_or(u.sends_tags)
                        END
                        AND bool_or(u.without_metadata)
                            = (bool_or(u.with_metadata) AND bool_or(u.has_metadata))
                END AS is_right
            FROM (
                SELECT there.position, NOT a.replaces AS erases, a.replaces,
                    NOT a.replaces AND a.with_tags AS with_tags,
                    NOT a.replaces AND a.with_metadata AS with_metadata,
                    there.payload_checksum, there.checksum,
                    there.payload IS NOT NULL AS has_payload,
                    octet_length(there.tags) > 0 AS has_tags,
                    octet_length(there.metadata) > 0 AS has_metadata,
                    NULL::bigint AS old_payload_checksum, NULL::bigint AS old_checksum,
                    NULL::boolean AS sends_payload, NULL::boolean AS sends_content,
                    NULL::boolean AS sends_tags, NULL::boolean AS keeps_tags,
                    NULL::boolean AS without_metadata
                FROM unnest(amendments) AS a, LATERAL (
                    SELECT * FROM "retold".event e
                    WHERE e.log + 0 = of_log AND e.id = a.event LIMIT 1
                ) there WHERE a.until IS NULL
                UNION ALL
                SELECT there.position, true, false, a.with_tags, a.with_metadata,
                    there.payload_checksum, there.checksum, there.payload IS NOT NULL,
                    octet_length(there.tags) > 0, octet_length(there.metadata) > 0,
                    NULL, NULL, NULL, NULL, NULL, NULL, NULL
                FROM unnest(amendments) AS a, LATERAL (
                    SELECT * FROM "retold".event e
                    WHERE e.log = of_log AND e.stream = a.stream
                    AND e.version BETWEEN a.after + 1 AND a.until
                    ORDER BY e.version LIMIT a.until - a.after
                ) there WHERE a.until IS NOT NULL AND there.topic NOT IN
                    ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
                UNION ALL
                SELECT r.position, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                    r.old_payload_checksum, r.old_checksum, r.payload IS NOT NULL,
                    r.topic IS NOT NULL OR r.revision IS NOT NULL OR r.encoding IS NOT NULL,
                    r.packed_tags IS NOT NULL OR r.removed_tags <> '{}' OR r.added_tags <> '{}',
                    r.packed_tags <> '' OR r.added_tags <> '{}' OR r.packed_tags IS NULL,
                    r.without_metadata
                FROM unnest(amended) AS r
            ) u GROUP BY u.position
        ) c;
    IF are_current AND NOT are_right THEN
        RAISE EXCEPTION 'retold: an event would change in another way than its amendment names'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN are_current;
END $$;
