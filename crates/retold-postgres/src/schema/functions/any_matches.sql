-- Whether an event beyond `low` and up to `high` matches a query of a group's conditions, each
-- beyond the position of the condition.
CREATE FUNCTION "retold".any_matches(
    of_log integer, low bigint, high bigint, conditions "retold".condition[]
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM unnest(conditions) AS c, LATERAL unnest(c.items) AS i,
            LATERAL "retold".matches(
                of_log, i.streams, i.topics, i.tags,
                -- A position beyond the head, or beyond the signed 64-bit range, is refused when
                -- its turn comes.
                least(greatest(c.after, low), high) + 1, high, false, 1
            )
    );
END $$;
