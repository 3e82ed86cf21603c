-- The roles of a Retold store: one that reads, one that also writes, and one that also amends
-- recorded events. They cannot log in; roles that log in are made members of one of them. Running
-- this again grants them these rights and no others.
--
-- "retold" stands for the schema of the store, also in the names of the roles.

REVOKE ALL ON SCHEMA "retold" FROM "retold_reader", "retold_writer", "retold_amender";
REVOKE ALL ON ALL TABLES IN SCHEMA "retold" FROM "retold_reader", "retold_writer", "retold_amender";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA "retold"
    FROM "retold_reader", "retold_writer", "retold_amender";

GRANT USAGE ON SCHEMA "retold" TO "retold_reader";
GRANT SELECT ON ALL TABLES IN SCHEMA "retold" TO "retold_reader";
GRANT EXECUTE ON FUNCTION "retold".version_from, "retold".matches, "retold".rarest,
    "retold".meeting, "retold".has_tags, "retold".is_named, "retold".streams, "retold".topics,
    "retold".has_topic, "retold".presence_bits TO "retold_reader";

-- The owner's views are tables of this schema too. A writer keeps views in a schema of its own, as
-- in CREATE SCHEMA "shop_views" AUTHORIZATION "retold_writer": it is not allowed to create tables
-- here.
ALTER DEFAULT PRIVILEGES IN SCHEMA "retold" GRANT SELECT ON TABLES TO "retold_reader";

-- A writer creates logs, appends through the only entry point, stores snapshots and takes leases.
-- It has no right to change or delete anything that is recorded.
GRANT "retold_reader" TO "retold_writer";
GRANT INSERT (name, id) ON "retold".log TO "retold_writer";
GRANT EXECUTE ON FUNCTION "retold".append_group, "retold".put_snapshot, "retold".acquire_lease,
    "retold".now_micros TO "retold_writer";
GRANT INSERT, UPDATE, DELETE ON "retold".snapshot TO "retold_writer";
GRANT INSERT, UPDATE ON "retold".lease TO "retold_writer";

-- An amender also erases and replaces recorded events, through the only entry point, which records
-- that.
GRANT "retold_writer" TO "retold_amender";
GRANT EXECUTE ON FUNCTION "retold".append_amending TO "retold_amender";
