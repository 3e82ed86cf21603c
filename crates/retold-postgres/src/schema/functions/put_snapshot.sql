-- Stores a snapshot, replacing one of the same version; drops the lowest versions beyond the limit.
-- A snapshot of a version before the last record of an amendment in the stream is not stored.
CREATE FUNCTION "retold".put_snapshot(
    of_log integer, of_stream text, of_version bytea, its_type text, its_revision integer,
    its_time bigint, its_encoding text, its_payload bytea, its_checksum bigint, kept_max integer
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- An amendment that changes events of the stream holds this lock until it is committed. The key
    -- contains the table of logs, because other schemas of the database have the same locks.
    PERFORM pg_advisory_xact_lock_shared(
        hashtextextended(of_stream, (l.tableoid::bigint << 32) | l.key)
    ) FROM "retold".log l WHERE l.key = of_log;
    INSERT INTO "retold".snapshot
        SELECT of_log, of_stream, of_version, its_type, its_revision, its_time, its_encoding,
            its_payload, its_checksum
        WHERE NOT EXISTS (
            SELECT FROM "retold".stream_record r WHERE r.log = of_log AND r.stream = of_stream
            AND int8send(r.version) > of_version
        )
        ON CONFLICT (log, stream, version) DO UPDATE SET state_type = EXCLUDED.state_type,
            revision = EXCLUDED.revision, time = EXCLUDED.time, encoding = EXCLUDED.encoding,
            payload = EXCLUDED.payload, checksum = EXCLUDED.checksum;
    DELETE FROM "retold".snapshot s WHERE s.log = of_log AND s.stream = of_stream AND s.version IN (
        SELECT o.version FROM "retold".snapshot o WHERE o.log = of_log AND o.stream = of_stream
        ORDER BY o.version DESC OFFSET kept_max
    );
END $$;
