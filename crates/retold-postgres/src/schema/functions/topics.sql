-- Returns a page of the topics that a log has or had, in steps from topic to topic of the schema.
CREATE FUNCTION "retold".topics(of_log integer, after_topic text, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    next_topic text := coalesce(after_topic, '');
BEGIN
    WHILE most > 0 LOOP
        next_topic := least(
            (
                SELECT e.topic FROM "retold".event e
                WHERE e.topic > next_topic ORDER BY e.topic, e.log, e.position + 0 LIMIT 1
            ),
            (
                SELECT f.topic FROM "retold".former_topic f
                WHERE f.log = of_log AND f.topic > next_topic ORDER BY f.topic LIMIT 1
            )
        );
        EXIT WHEN next_topic IS NULL;
        IF "retold".has_topic(of_log, next_topic) THEN
            RETURN NEXT next_topic;
            most := most - 1;
        END IF;
    END LOOP;
END $$;
