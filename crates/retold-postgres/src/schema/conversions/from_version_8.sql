-- Converts the tables and types of version 8 to version 9. What follows it adds the tables and the
-- types of amendments, and replaces functions and triggers. Programs of the version before that
-- have the store open continue.
--
-- The role that runs this acts as the owner until the transaction ends: what is created would
-- otherwise belong to another role, and appends run with the rights of the owner.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
        WHERE c.oid = (SELECT v.tableoid FROM "retold".schema_version v));
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', owner);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'retold: only the owner of the store, %, and roles that may act as this role '
        'convert it', owner USING ERRCODE = 'insufficient_privilege';
END $$;
ALTER TABLE "retold".log ADD COLUMN amendment_count bigint NOT NULL DEFAULT 0;
DROP TRIGGER event_never_changes ON "retold".event;
DROP TRIGGER event_tag_never_changes ON "retold".event_tag;
DROP TRIGGER presence_never_changes ON "retold".presence;
ALTER TYPE "retold".append_result ADD VALUE 'stream_deleted';
ALTER TYPE "retold".append_result ADD VALUE 'amended_missing';
ALTER TYPE "retold".append_result ADD VALUE 'amended_other_stream';
ALTER TYPE "retold".append_result ADD VALUE 'amended_erased';
ALTER TYPE "retold".append_result ADD VALUE 'amended_record';
ALTER TYPE "retold".append_result ADD VALUE 'amended_beyond_stream';
ALTER TYPE "retold".append_result ADD VALUE 'amended_meanwhile';
DO $$
BEGIN
    -- To the same type: this changes nothing but that the statistics are dropped.
    ALTER TABLE "retold".event ALTER COLUMN tags TYPE bytea, ALTER COLUMN metadata TYPE bytea,
        ALTER COLUMN payload TYPE bytea;
    ALTER TABLE "retold".event ALTER COLUMN payload SET STORAGE EXTERNAL;
    ALTER TABLE "retold".event_tag ALTER COLUMN tag TYPE text COLLATE "C";
    ALTER TABLE "retold".presence ALTER COLUMN name TYPE text COLLATE "C";
    ALTER TABLE "retold".snapshot ALTER COLUMN payload TYPE bytea;
EXCEPTION WHEN feature_not_supported THEN
    -- A view of someone else uses a column; the statistics stay.
    NULL;
END $$;
UPDATE "retold".schema_version SET version = 9;
