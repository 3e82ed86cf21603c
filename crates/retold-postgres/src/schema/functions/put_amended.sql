-- Replaces events by what amendments leave of them, in the table and in every index; returns the
-- number of topics that are new to the log.
--
-- Each row to change is looked up by its key, and then reached by its place, its `ctid`. A join of
-- the table with the list by the key could be planned as a scan of the log. By its place a row can
-- be reached only directly, or by a scan of the table, which the settings exclude.
CREATE FUNCTION "retold".put_amended(of_log integer, amended "retold".amended_event[])
RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off AS $$
DECLARE
    old_topics text[];
    new_topics bigint;
BEGIN
    SELECT count(*) INTO new_topics FROM (
        SELECT DISTINCT r.topic FROM unnest(amended) AS r WHERE r.topic IS NOT NULL
    ) n WHERE NOT "retold".has_topic(of_log, n.topic);
    old_topics := ARRAY(
        SELECT DISTINCT there.topic FROM unnest(amended) AS r, LATERAL (
            SELECT e.topic FROM "retold".event e
            WHERE e.log = of_log AND e.position = r.position LIMIT 1
        ) there WHERE r.topic IS NOT NULL
    );
    PERFORM "retold".drop_presence(of_log, amended);
    DELETE FROM "retold".event_tag g USING (
        SELECT there.place
        FROM unnest(amended) AS r, LATERAL unnest(r.removed_tags) AS t (tag), LATERAL (
            SELECT x.ctid AS place FROM "retold".event_tag x
            WHERE x.log = of_log AND x.tag = t.tag AND x.position = r.position LIMIT 1
        ) there
    ) n WHERE g.ctid = n.place;
    INSERT INTO "retold".event_tag
        SELECT of_log, t.tag, r.position
        FROM unnest(amended) AS r, LATERAL unnest(r.added_tags) AS t (tag);
    UPDATE "retold".event e SET topic = coalesce(n.topic, e.topic),
        revision = coalesce(n.revision, e.revision), encoding = coalesce(n.encoding, e.encoding),
        tags = coalesce(n.packed_tags, e.tags),
        metadata = CASE WHEN n.without_metadata THEN '' ELSE e.metadata END,
        payload = n.payload, payload_checksum = n.payload_checksum, checksum = n.checksum
        FROM (
            SELECT there.place, r.* FROM unnest(amended) AS r, LATERAL (
                SELECT x.ctid AS place FROM "retold".event x
                WHERE x.log = of_log AND x.position = r.position LIMIT 1
            ) there
        ) n WHERE e.ctid = n.place;
    INSERT INTO "retold".former_topic
        SELECT of_log, o.topic FROM unnest(old_topics) AS o (topic)
        WHERE (
            SELECT e.log FROM "retold".event e WHERE e.topic = o.topic AND e.log = of_log
            ORDER BY e.position + 0 LIMIT 1
        ) IS NULL
        ON CONFLICT DO NOTHING;
    RETURN new_topics;
END $$;
