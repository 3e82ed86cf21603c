-- Whether the event at a position has all these tags.
CREATE FUNCTION "retold".has_tags(of_log integer, at bigint, others text[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    other text;
BEGIN
    FOREACH other IN ARRAY others LOOP
        PERFORM 1 FROM "retold".event_tag g
            WHERE g.log = of_log AND g.tag = other AND g.position = at;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;
