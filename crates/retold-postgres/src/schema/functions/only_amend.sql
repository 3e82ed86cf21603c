-- Refuses a change of recorded history, for every role, unless it is of the given kind and part of
-- an amendment: the setting names an event that the same transaction recorded and that records an
-- amendment. Every role can set the setting, but a change of an event without a record of it is
-- refused in any case.
CREATE FUNCTION "retold".only_amend() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    place text[] := regexp_match(
        current_setting('retold.amendment', true), '^([0-9]{1,18}) ([0-9]{1,18})$'
    );
BEGIN
    IF TG_OP = TG_ARGV[0] THEN
        PERFORM 1 FROM "retold".event e
            WHERE e.log = place[1]::bigint AND e.position = place[2]::bigint
            AND e.xmin = pg_current_xact_id_if_assigned()::xid
            AND e.topic IN
                ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened');
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION 'retold: %', TG_ARGV[1] USING ERRCODE = 'integrity_constraint_violation';
END $$;
