-- Refuses a change of recorded history, for every role, unless it is of the given kind and the
-- setting names an event that the same transaction recorded and that records an amendment. Which
-- events and which parts of them an amendment changes is checked by append_amending, not here: the
-- owner of the tables, who can record events and set the setting, can change other events of the
-- same log, and leaves a record of an amendment at least.
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
