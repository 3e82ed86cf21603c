-- Replaces events by what amendments leave of them, in the table and in every index; returns the
-- number of topics that are new to the log.
CREATE FUNCTION "retold".put_amended(of_log integer, amended "retold".amended_event[])
RETURNS bigint LANGUAGE plpgsql AS $$
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
    -- The blocks of a name exist without a gap from the first one on, so all later ones go too.
    DELETE FROM "retold".presence p USING (
        SELECT c.kind, c.name, min((c.position - 1) / 8192) AS block FROM (
            SELECT 't'::"char" AS kind, t.tag AS name, r.position
            FROM unnest(amended) AS r, LATERAL unnest(r.removed_tags || r.added_tags) AS t (tag)
            UNION ALL
            SELECT 'o'::"char", r.topic, r.position FROM unnest(amended) AS r
            WHERE r.topic IS NOT NULL
            UNION ALL
            SELECT 'o'::"char", there.topic, r.position FROM unnest(amended) AS r, LATERAL (
                SELECT e.topic FROM "retold".event e
                WHERE e.log = of_log AND e.position = r.position LIMIT 1
            ) there WHERE r.topic IS NOT NULL
        ) c GROUP BY c.kind, c.name
    ) n WHERE p.log = of_log AND p.kind = n.kind AND p.name = n.name AND p.block >= n.block;
    DELETE FROM "retold".event_tag g
        USING unnest(amended) AS r, LATERAL unnest(r.removed_tags) AS t (tag)
        WHERE g.log = of_log AND g.tag = t.tag AND g.position = r.position;
    INSERT INTO "retold".event_tag
        SELECT of_log, t.tag, r.position
        FROM unnest(amended) AS r, LATERAL unnest(r.added_tags) AS t (tag);
    UPDATE "retold".event e SET topic = coalesce(r.topic, e.topic),
        revision = coalesce(r.revision, e.revision), encoding = coalesce(r.encoding, e.encoding),
        tags = coalesce(r.packed_tags, e.tags),
        metadata = CASE WHEN r.without_metadata THEN '' ELSE e.metadata END,
        payload = r.payload, payload_checksum = r.payload_checksum, checksum = r.checksum
        FROM unnest(amended) AS r WHERE e.log = of_log AND e.position = r.position;
    INSERT INTO "retold".former_topic
        SELECT of_log, o.topic FROM unnest(old_topics) AS o (topic)
        WHERE (
            SELECT e.log FROM "retold".event e WHERE e.topic = o.topic AND e.log = of_log
            ORDER BY e.position + 0 LIMIT 1
        ) IS NULL
        ON CONFLICT DO NOTHING;
    RETURN new_topics;
END $$;
