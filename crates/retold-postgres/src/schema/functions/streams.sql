-- Returns a page of names of streams with the versions of their last events. Rows of the index are
-- read in batches; where streams are long, in steps from name to name.
CREATE FUNCTION "retold".streams(of_log integer, prefix text, after_name text, most integer)
RETURNS TABLE (stream_name text, last_version bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    next_name text;
    row_count integer := 1024;
    found record;
    names integer;
BEGIN
    IF after_name IS NULL OR after_name COLLATE "C" < prefix COLLATE "C" THEN
        SELECT e.stream INTO next_name FROM "retold".event e
            WHERE e.log = of_log AND e.stream >= prefix ORDER BY e.stream, e.version LIMIT 1;
    ELSE
        SELECT e.stream INTO next_name FROM "retold".event e
            WHERE e.log = of_log AND e.stream > after_name ORDER BY e.stream, e.version LIMIT 1;
    END IF;
    WHILE most > 0 AND starts_with(next_name, prefix) LOOP
        row_count := least(row_count, most * 8);
        names := 0;
        FOR found IN
            SELECT r.stream, max(r.version) AS version FROM (
                SELECT e.stream, e.version FROM "retold".event e
                WHERE e.log = of_log AND e.stream >= next_name
                ORDER BY e.stream, e.version LIMIT row_count
            ) r GROUP BY r.stream ORDER BY r.stream LIMIT most
        LOOP
            EXIT WHEN NOT starts_with(found.stream, prefix);
            IF names > 0 THEN
                RETURN NEXT;
            END IF;
            names := names + 1;
            stream_name := found.stream;
            last_version := found.version;
        END LOOP;
        -- The last stream may continue after the rows that were read.
        SELECT e.version INTO last_version FROM "retold".event e
            WHERE e.log = of_log AND e.stream = stream_name ORDER BY e.version DESC LIMIT 1;
        RETURN NEXT;
        most := most - names;
        row_count := CASE WHEN row_count > names * 64 THEN 1
            WHEN row_count > 1 THEN row_count * 4 ELSE 1 END;
        SELECT e.stream INTO next_name FROM "retold".event e
            WHERE e.log = of_log AND e.stream > stream_name ORDER BY e.stream, e.version LIMIT 1;
    END LOOP;
END $$;
