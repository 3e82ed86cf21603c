-- Whether the event at a position is of one of these streams and has one of these topics.
CREATE FUNCTION "retold".is_named(of_log integer, at bigint, of_streams text[], of_topics text[])
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM 1 FROM "retold".event e WHERE e.log = of_log AND e.position = at
        AND (cardinality(of_topics) = 0 OR e.topic = ANY (of_topics))
        AND (cardinality(of_streams) = 0 OR e.stream = ANY (of_streams));
    RETURN FOUND;
END $$;
