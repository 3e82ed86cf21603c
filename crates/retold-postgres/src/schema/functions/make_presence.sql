-- Creates the missing blocks of these topics and tags, up to a head.
CREATE FUNCTION "retold".make_presence(
    of_log integer, of_topics text[], of_tags text[], head bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- In the same order in every transaction, so that no two wait for each other.
    INSERT INTO "retold".presence
        SELECT of_log, n.kind, n.name, b.block,
            "retold".presence_bits(of_log, n.kind, n.name, b.block)
        FROM (
            SELECT DISTINCT 'o'::"char", o FROM unnest(of_topics) AS o
            UNION ALL SELECT DISTINCT 't'::"char", t FROM unnest(of_tags) AS t
        ) AS n (kind, name), LATERAL (
            SELECT coalesce((
                SELECT p.block + 1 FROM "retold".presence p
                WHERE p.log = of_log AND p.kind = n.kind AND p.name = n.name
                ORDER BY p.block DESC LIMIT 1
            ), 0) AS first
        ) missing, LATERAL generate_series(missing.first, head / 8192 - 1) AS b (block)
        ORDER BY n.kind, n.name, b.block
        ON CONFLICT DO NOTHING;
END $$;
