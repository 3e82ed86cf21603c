-- Returns the first version of a stream whose event is at this position or beyond, by binary
-- search: one index lookup for each halving.
CREATE FUNCTION "retold".version_from(of_log integer, of_stream text, low bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    first_version bigint := 1;
    last_version bigint;
    middle bigint;
    there bigint;
BEGIN
    IF low <= 1 THEN
        RETURN 1;
    END IF;
    SELECT e.version INTO last_version FROM "retold".event e
        WHERE e.log = of_log AND e.stream = of_stream ORDER BY e.version DESC LIMIT 1;
    last_version := coalesce(last_version, 0) + 1;
    WHILE first_version < last_version LOOP
        middle := (first_version + last_version) / 2;
        SELECT e.position INTO there FROM "retold".event e
            WHERE e.log = of_log AND e.stream = of_stream AND e.version BETWEEN middle AND middle
            ORDER BY e.version LIMIT 1;
        IF there < low THEN
            first_version := middle + 1;
        ELSE
            last_version := middle;
        END IF;
    END LOOP;
    RETURN first_version;
END $$;
