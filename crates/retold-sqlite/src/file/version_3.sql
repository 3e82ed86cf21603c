-- The parts of a store of version 3 that version 4 has in another form or not at all. Existing
-- files depend on them.

CREATE TABLE erasing (
    log INTEGER PRIMARY KEY
) STRICT;
CREATE TRIGGER event_never_changes BEFORE UPDATE ON event
WHEN NOT (
    EXISTS (SELECT 1 FROM erasing WHERE log = old.seq >> 40)
    AND new.payload IS NULL
    AND new.payload_checksum = CASE WHEN old.payload IS NULL
        THEN old.payload_checksum ELSE ~old.payload_checksum END
    AND (new.seq, new.id, new.append_number, new.place_index, new.place_count, new.topic)
        = (old.seq, old.id, old.append_number, old.place_index, old.place_count, old.topic)
    AND new.stream IS old.stream AND new.version IS old.version
    AND (new.revision, new.time, new.recorded_at, new.encoding, new.origin, new.tags,
            new.metadata, new.checksum)
        = (old.revision, old.time, old.recorded_at, old.encoding, old.origin, old.tags,
            old.metadata, old.checksum)
)
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded event never changes');
END;
CREATE TRIGGER event_tag_is_never_deleted BEFORE DELETE ON event_tag
BEGIN
    SELECT RAISE(ABORT, 'retold: the tags of a recorded event are never deleted');
END;
CREATE TRIGGER tag_is_never_deleted BEFORE DELETE ON tag
BEGIN
    SELECT RAISE(ABORT, 'retold: a recorded tag is never deleted');
END;
