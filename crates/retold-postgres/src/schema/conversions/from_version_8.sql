-- Converts the tables and types of version 8 to version 9. What follows it adds the tables and the
-- types of amendments, and replaces functions and triggers. Programs of the version before that
-- have the store open continue.
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
    ALTER TABLE "retold".snapshot ALTER COLUMN payload TYPE bytea;
EXCEPTION WHEN feature_not_supported THEN
    -- A view of someone else uses a column; the statistics stay.
    NULL;
END $$;
UPDATE "retold".schema_version SET version = 9;
