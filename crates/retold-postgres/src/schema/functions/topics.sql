-- Returns a page of the topics of a log, in steps from topic to topic of the schema.
CREATE FUNCTION "retold".topics(of_log integer, after_topic text, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    next_topic text := coalesce(after_topic, '');
BEGIN
    WHILE most > 0 LOOP
        SELECT e.topic INTO next_topic FROM "retold".event e
            WHERE e.topic > next_topic ORDER BY e.topic, e.log, e.position + 0 LIMIT 1;
        EXIT WHEN next_topic IS NULL;
        IF "retold".has_topic(of_log, next_topic) THEN
            RETURN NEXT next_topic;
            most := most - 1;
        END IF;
    END LOOP;
END $$;
