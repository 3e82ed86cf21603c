-- Whether an event of the log has this topic, or had it before it was replaced.
CREATE FUNCTION "retold".has_topic(of_log integer, of_topic text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM 1 FROM "retold".event e WHERE e.topic = of_topic AND e.log = of_log
        ORDER BY e.position + 0 LIMIT 1;
    IF NOT FOUND THEN
        PERFORM 1 FROM "retold".former_topic f WHERE f.log = of_log AND f.topic = of_topic;
    END IF;
    RETURN FOUND;
END $$;
