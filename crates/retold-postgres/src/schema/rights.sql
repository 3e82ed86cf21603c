-- This must be last. A trigger that refuses also fires where replication has switched others off;
-- names in functions mean the same for every role; only the owner has rights here, and the roles
-- that they are granted to. Appends and amendments run with the owner's rights, so a writer or an
-- amender needs none on the tables of history. Other tables and functions that someone keeps in the
-- schema stay as they are.
ALTER TABLE "retold".event ENABLE ALWAYS TRIGGER event_is_only_amended;
ALTER TABLE "retold".event ENABLE ALWAYS TRIGGER event_keeps_its_place;
ALTER TABLE "retold".event_tag ENABLE ALWAYS TRIGGER event_tag_is_only_amended;
ALTER TABLE "retold".event_tag ENABLE ALWAYS TRIGGER event_tag_is_of_amended_log;
ALTER TABLE "retold".presence ENABLE ALWAYS TRIGGER presence_is_only_amended;
ALTER TABLE "retold".presence ENABLE ALWAYS TRIGGER presence_is_of_amended_log;
ALTER TABLE "retold".stream_record ENABLE ALWAYS TRIGGER stream_record_is_never_deleted;
ALTER TABLE "retold".stream_record ENABLE ALWAYS TRIGGER stream_record_only_grows;
ALTER TABLE "retold".former_topic ENABLE ALWAYS TRIGGER former_topic_never_changes;
ALTER TABLE "retold".log ENABLE ALWAYS TRIGGER log_is_never_deleted;
ALTER TABLE "retold".log ENABLE ALWAYS TRIGGER log_only_grows;
ALTER TABLE "retold".stretch ENABLE ALWAYS TRIGGER stretch_is_never_deleted;
ALTER TABLE "retold".stretch ENABLE ALWAYS TRIGGER stretch_only_grows;
ALTER FUNCTION "retold".append_group SECURITY DEFINER;
ALTER FUNCTION "retold".append_amending SECURITY DEFINER;
DO $$
DECLARE
    own oid := (SELECT c.relnamespace FROM pg_catalog.pg_class c
        WHERE c.oid = (SELECT v.tableoid FROM "retold".schema_version v));
    name text;
BEGIN
    FOR name IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = own AND p.proname IN (
            'acquire_lease', 'any_matches', 'append_amending', 'append_group', 'append_judged',
            'compare_amended', 'drop_presence', 'has_tags', 'has_topic', 'is_named',
            'judge_amendments', 'make_presence', 'matches', 'meeting', 'now_micros', 'only_amend',
            'prepare_judging', 'presence_bits', 'put_amended', 'put_snapshot', 'rarest', 'refuse',
            'streams', 'topics', 'version_from'
        )
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
    FOR name IN SELECT c.oid::regclass FROM pg_catalog.pg_class c
        WHERE c.relnamespace = own AND c.relkind = 'r' AND c.relname IN (
            'event', 'event_tag', 'former_topic', 'lease', 'log', 'presence', 'schema_version',
            'snapshot', 'stream_record', 'stretch'
        )
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC', name);
    END LOOP;
END $$;
