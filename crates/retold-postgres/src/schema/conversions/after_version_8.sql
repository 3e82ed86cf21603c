-- Completes a conversion from version 8. A role that reads the tables also reads the new ones.
INSERT INTO "retold".stream_record
    SELECT DISTINCT ON (e.log, e.stream) e.log, e.stream, e.version, e.topic
    FROM "retold".event e
    WHERE e.stream IS NOT NULL
    AND e.topic IN ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
    ORDER BY e.log, e.stream, e.version DESC;
DO $$
DECLARE
    own oid := (SELECT v.tableoid FROM "retold".schema_version v);
    granted record;
BEGIN
    FOR granted IN
        SELECT n.oid::regclass AS name, a.grantee::regrole AS reader
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) a, pg_catalog.pg_class n
        WHERE c.oid = own AND a.privilege_type = 'SELECT' AND a.grantee NOT IN (0, c.relowner)
        AND n.relnamespace = c.relnamespace AND n.relname IN ('stream_record', 'former_topic')
    LOOP
        EXECUTE format('GRANT SELECT ON TABLE %s TO %s', granted.name, granted.reader);
    END LOOP;
END $$;
