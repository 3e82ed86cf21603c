-- Returns the positions from `low` to `high` of the events that match an item of a query, in the
-- direction of reading. An empty list does not restrict. The rarest tag or the topics lead, if they
-- are rare; if none is, the streams lead, or else they are intersected.
CREATE FUNCTION "retold".matches(
    of_log integer, of_streams text[], of_topics text[], of_tags text[],
    low bigint, high bigint, is_backward boolean, most integer
) RETURNS SETOF bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    rarest text := of_tags[1];
    others text[];
    by_topics boolean := false;
    fewest integer := 0;
    is_free boolean := cardinality(of_streams) = 0 AND cardinality(of_topics) = 0;
BEGIN
    IF cardinality(of_tags) > 0 THEN
        IF high - low >= 1000
            AND cardinality(of_tags) + (cardinality(of_topics) > 0)::integer > 1
        THEN
            SELECT r.tag, r.count INTO rarest, fewest
                FROM "retold".rarest(of_log, of_topics, of_tags, low, high) r;
            by_topics := rarest IS NULL;
        END IF;
        others := array_remove(of_tags, rarest);
    END IF;
    IF cardinality(of_tags) > 0 AND NOT (fewest = 1000 AND cardinality(of_streams) > 0) THEN
        IF fewest = 1000 THEN
            RETURN QUERY SELECT "retold".meeting(
                of_log, of_topics, of_tags, low, high, is_backward, most
            );
        ELSIF by_topics AND is_backward THEN
            RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
                AND "retold".has_tags(of_log, e.position, of_tags)
                AND (cardinality(of_streams) = 0 OR e.stream = ANY (of_streams))
                ORDER BY e.position + 0 DESC LIMIT most
            ) found ORDER BY found.position DESC LIMIT most;
        ELSIF by_topics THEN
            RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
                AND "retold".has_tags(of_log, e.position, of_tags)
                AND (cardinality(of_streams) = 0 OR e.stream = ANY (of_streams))
                ORDER BY e.position + 0 LIMIT most
            ) found ORDER BY found.position LIMIT most;
        ELSIF is_backward THEN
            RETURN QUERY SELECT g.position FROM "retold".event_tag g
                WHERE g.log = of_log AND g.tag = rarest AND g.position BETWEEN low AND high
                AND (others = '{}' OR "retold".has_tags(of_log, g.position, others))
                AND (is_free OR "retold".is_named(of_log, g.position, of_streams, of_topics))
                ORDER BY g.position DESC LIMIT most;
        ELSE
            RETURN QUERY SELECT g.position FROM "retold".event_tag g
                WHERE g.log = of_log AND g.tag = rarest AND g.position BETWEEN low AND high
                AND (others = '{}' OR "retold".has_tags(of_log, g.position, others))
                AND (is_free OR "retold".is_named(of_log, g.position, of_streams, of_topics))
                ORDER BY g.position LIMIT most;
        END IF;
    ELSIF cardinality(of_streams) > 0 THEN
        IF is_backward THEN
            RETURN QUERY SELECT found.position FROM unnest(of_streams) AS s (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.stream = s.name
                AND e.version >= "retold".version_from(of_log, s.name, low)
                AND e.version < "retold".version_from(of_log, s.name, high + 1)
                AND (cardinality(of_topics) = 0 OR e.topic = ANY (of_topics))
                AND (cardinality(of_tags) = 0 OR "retold".has_tags(of_log, e.position, of_tags))
                ORDER BY e.version DESC LIMIT most
            ) found ORDER BY found.position DESC LIMIT most;
        ELSE
            RETURN QUERY SELECT found.position FROM unnest(of_streams) AS s (name), LATERAL (
                SELECT e.position FROM "retold".event e
                WHERE e.log = of_log AND e.stream = s.name
                AND e.version >= "retold".version_from(of_log, s.name, low)
                AND e.version < "retold".version_from(of_log, s.name, high + 1)
                AND (cardinality(of_topics) = 0 OR e.topic = ANY (of_topics))
                AND (cardinality(of_tags) = 0 OR "retold".has_tags(of_log, e.position, of_tags))
                ORDER BY e.version LIMIT most
            ) found ORDER BY found.position LIMIT most;
        END IF;
    ELSIF is_backward THEN
        RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
            SELECT e.position FROM "retold".event e
            WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
            ORDER BY e.position + 0 DESC LIMIT most
        ) found ORDER BY found.position DESC LIMIT most;
    ELSE
        RETURN QUERY SELECT found.position FROM unnest(of_topics) AS t (name), LATERAL (
            SELECT e.position FROM "retold".event e
            WHERE e.log = of_log AND e.topic = t.name AND e.position + 0 BETWEEN low AND high
            ORDER BY e.position + 0 LIMIT most
        ) found ORDER BY found.position LIMIT most;
    END IF;
END $$;
