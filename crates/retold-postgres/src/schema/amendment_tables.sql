-- What amendments of recorded events need, besides the events: an append with amendments erases or
-- replaces the content of events, and has an event in each stream concerned that records it.

-- The last of these records in each stream that has one. It contains nothing that the events do
-- not: it says whether a stream is deleted and whether a snapshot is older than an amendment
-- without a search for the record.
CREATE TABLE "retold".stream_record (
    log integer NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    PRIMARY KEY (log, stream)
);

-- The topics of which a log had events, and has none since the last of them was replaced. They stay
-- in the list of topics. Some have events again.
CREATE TABLE "retold".former_topic (
    log integer NOT NULL,
    topic text COLLATE "C" NOT NULL,
    PRIMARY KEY (log, topic)
);

-- No statement needs statistics of these columns, which amendments change, and statistics contain
-- values of the columns, which would outlive their erasure.
ALTER TABLE "retold".event ALTER COLUMN tags SET STATISTICS 0,
    ALTER COLUMN metadata SET STATISTICS 0, ALTER COLUMN payload SET STATISTICS 0;
ALTER TABLE "retold".event_tag ALTER COLUMN tag SET STATISTICS 0;
ALTER TABLE "retold".presence ALTER COLUMN name SET STATISTICS 0;
ALTER TABLE "retold".snapshot ALTER COLUMN payload SET STATISTICS 0;
