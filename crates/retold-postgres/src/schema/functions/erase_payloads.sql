-- Erases the payloads of the events of amendments that erase nothing else. Records of amendments
-- and events without a payload are passed over.
CREATE FUNCTION "retold".erase_payloads(of_log integer, amendments "retold".amendment[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    positions bigint[];
BEGIN
    positions := ARRAY(
        SELECT found.position FROM unnest(amendments) AS a, LATERAL (
            SELECT e.position FROM "retold".event e
            WHERE e.log + 0 = of_log AND e.id = a.event LIMIT 1
        ) found WHERE a.until IS NULL
        UNION
        SELECT found.position FROM unnest(amendments) AS a, LATERAL (
            SELECT e.position FROM "retold".event e
            WHERE e.log = of_log AND e.stream = a.stream
            AND e.version BETWEEN a.after + 1 AND a.until
            AND e.payload IS NOT NULL AND e.topic NOT IN
                ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
            ORDER BY e.version LIMIT a.until - a.after
        ) found WHERE a.until IS NOT NULL
    );
    UPDATE "retold".event e SET payload = NULL, payload_checksum = ~e.payload_checksum
        FROM unnest(positions) AS p (position)
        WHERE e.log = of_log AND e.position = p.position AND e.payload IS NOT NULL;
END $$;
