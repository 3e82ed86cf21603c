-- Refuses every change of recorded history, for every role.
CREATE FUNCTION "retold".refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'retold: %', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;
