-- Returns the rarest among each of these tags and all these topics together: the one with the
-- fewest events from `low` to `high`, counted up to 1000; no tag stands for the topics.
CREATE FUNCTION "retold".rarest(
    of_log integer, of_topics text[], of_tags text[], low bigint, high bigint
) RETURNS TABLE (tag text, count integer) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT counted.tag, counted.count FROM (
        SELECT t.tag, bounded.count FROM unnest(of_tags) AS t (tag), LATERAL (
            SELECT count(*)::integer AS count FROM (
                SELECT FROM "retold".event_tag g
                WHERE g.log = of_log AND g.tag = t.tag AND g.position BETWEEN low AND high
                LIMIT 1000
            ) rows_of_tag
        ) bounded
        UNION ALL
        SELECT NULL, (
            SELECT count(*)::integer FROM (
                SELECT FROM unnest(of_topics) AS t (name), LATERAL (
                    SELECT FROM "retold".event e WHERE e.log = of_log AND e.topic = t.name
                    AND e.position + 0 BETWEEN low AND high ORDER BY e.position + 0 LIMIT 1000
                ) rows_of_topic LIMIT 1000
            ) rows_of_topics
        ) WHERE cardinality(of_topics) > 0
    ) AS counted (tag, count) ORDER BY counted.count LIMIT 1;
END $$;
