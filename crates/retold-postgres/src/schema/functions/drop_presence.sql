-- Drops the blocks of the topics and tags that amendments give to events or take from them, from
-- the block of the first of these events on: the blocks of a name exist without a gap. Rows are
-- reached as in put_amended.
CREATE FUNCTION "retold".drop_presence(of_log integer, amended "retold".amended_event[])
RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off AS $$
BEGIN
    DELETE FROM "retold".presence p USING (
        SELECT there.place FROM (
            SELECT c.kind, c.name, min((c.position - 1) / 8192) AS block FROM (
                SELECT 't'::"char" AS kind, t.tag AS name, r.position
                FROM unnest(amended) AS r, LATERAL unnest(r.removed_tags || r.added_tags) AS t (tag)
                UNION ALL
                SELECT 'o'::"char", r.topic, r.position FROM unnest(amended) AS r
                WHERE r.topic IS NOT NULL
                UNION ALL
                SELECT 'o'::"char", old.topic, r.position FROM unnest(amended) AS r, LATERAL (
                    SELECT e.topic FROM "retold".event e
                    WHERE e.log = of_log AND e.position = r.position LIMIT 1
                ) old WHERE r.topic IS NOT NULL
            ) c GROUP BY c.kind, c.name
        ) changed, LATERAL (
            SELECT x.ctid AS place FROM "retold".presence x
            WHERE x.log = of_log AND x.kind = changed.kind AND x.name = changed.name
            AND x.block >= changed.block
            ORDER BY x.block
        ) there
    ) n WHERE p.ctid = n.place;
END $$;
