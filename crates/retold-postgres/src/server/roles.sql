-- The roles of a Retold store: one that reads, and one that writes too. They do not log in; who does is
-- made a member of one of them. Running this again gives them these rights and no others.
--
-- "retold" stands for the schema that the store was given, and so do the names of the roles.

REVOKE ALL ON SCHEMA "retold" FROM "retold_reader", "retold_writer";
REVOKE ALL ON ALL TABLES IN SCHEMA "retold" FROM "retold_reader", "retold_writer";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA "retold" FROM "retold_reader", "retold_writer";

GRANT USAGE ON SCHEMA "retold" TO "retold_reader";
GRANT SELECT ON ALL TABLES IN SCHEMA "retold" TO "retold_reader";
GRANT EXECUTE ON FUNCTION "retold".version_from, "retold".matches, "retold".rarest,
    "retold".meeting, "retold".has_tags, "retold".is_named, "retold".streams, "retold".topics,
    "retold".has_topic, "retold".presence_bits TO "retold_reader";

-- The owner's views are tables of this schema too. A writer keeps views in a schema of its own, as in
-- CREATE SCHEMA "shop_views" AUTHORIZATION "retold_writer": it may make no tables here.
ALTER DEFAULT PRIVILEGES IN SCHEMA "retold" GRANT SELECT ON TABLES TO "retold_reader";

-- A writer bears logs, appends by the one way in, keeps snapshots and takes leases. It has no right to
-- change or delete anything that is recorded.
GRANT "retold_reader" TO "retold_writer";
GRANT INSERT (name, id) ON "retold".log TO "retold_writer";
GRANT EXECUTE ON FUNCTION "retold".append_group, "retold".put_snapshot, "retold".acquire_lease,
    "retold".now_micros TO "retold_writer";
GRANT INSERT, UPDATE, DELETE ON "retold".snapshot TO "retold_writer";
GRANT INSERT, UPDATE ON "retold".lease TO "retold_writer";
