CREATE TRIGGER event_is_only_amended BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".event
    FOR EACH STATEMENT
    EXECUTE FUNCTION "retold".only_amend('UPDATE', 'a recorded event changes only by an amendment');
CREATE TRIGGER event_keeps_its_place BEFORE UPDATE ON "retold".event FOR EACH ROW
    WHEN (NOT (
        (new.log, new.position, new.id, new.place_index, new.place_count, new.time, new.recorded_at,
            new.origin)
            = (old.log, old.position, old.id, old.place_index, old.place_count, old.time,
                old.recorded_at, old.origin)
        AND new.stream IS NOT DISTINCT FROM old.stream
        AND new.version IS NOT DISTINCT FROM old.version
        AND (old.payload IS NOT NULL OR new.payload IS NULL)
        AND old.topic NOT IN
            ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
        AND new.topic NOT IN
            ('retold.amended', 'retold.deleted', 'retold.erased', 'retold.reopened')
        AND old.log = split_part(current_setting('retold.amendment', true), ' ', 1)::bigint
    ))
    EXECUTE FUNCTION "retold".refuse(
        'an amendment changes neither the place of an event nor the record of an amendment'
    );
CREATE TRIGGER event_tag_is_only_amended BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".event_tag
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".only_amend(
        'DELETE', 'the tags of a recorded event change only by an amendment'
    );
CREATE TRIGGER event_tag_is_of_amended_log BEFORE DELETE ON "retold".event_tag FOR EACH ROW
    WHEN (old.log <> split_part(current_setting('retold.amendment', true), ' ', 1)::bigint)
    EXECUTE FUNCTION "retold".refuse('an amendment changes only events of its own log');
CREATE TRIGGER presence_is_only_amended BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".presence
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".only_amend(
        'DELETE', 'the index of recorded events changes only by an amendment'
    );
CREATE TRIGGER presence_is_of_amended_log BEFORE DELETE ON "retold".presence FOR EACH ROW
    WHEN (old.log <> split_part(current_setting('retold.amendment', true), ' ', 1)::bigint)
    EXECUTE FUNCTION "retold".refuse('an amendment changes only events of its own log');
CREATE TRIGGER stream_record_is_never_deleted BEFORE DELETE OR TRUNCATE ON "retold".stream_record
    FOR EACH STATEMENT
    EXECUTE FUNCTION "retold".refuse('the record of an amendment is never deleted');
CREATE TRIGGER stream_record_only_grows BEFORE UPDATE ON "retold".stream_record FOR EACH ROW
    WHEN (NOT (
        (new.log, new.stream) = (old.log, old.stream) AND new.version > old.version
    ))
    EXECUTE FUNCTION "retold".refuse('the last record of a stream is replaced only by a later one');
CREATE TRIGGER former_topic_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE
    ON "retold".former_topic
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a topic stays in the list of its log');
CREATE TRIGGER log_is_never_deleted BEFORE DELETE OR TRUNCATE ON "retold".log
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a log is never deleted');
CREATE TRIGGER log_only_grows BEFORE UPDATE ON "retold".log FOR EACH ROW
    WHEN (NOT (
        (new.key, new.name, new.id) = (old.key, old.name, old.id)
        AND new.position >= old.position
        AND new.append_count >= old.append_count
        AND new.stretch_count >= old.stretch_count
        AND new.topic_count >= old.topic_count
        AND new.amendment_count >= old.amendment_count
        AND new.append_count + new.amendment_count > old.append_count + old.amendment_count
    ))
    EXECUTE FUNCTION "retold".refuse('a log only grows, and keeps its name and id');
CREATE TRIGGER stretch_is_never_deleted BEFORE DELETE OR TRUNCATE ON "retold".stretch
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a recorded stretch is never deleted');
CREATE TRIGGER stretch_only_grows BEFORE UPDATE ON "retold".stretch FOR EACH ROW
    WHEN (NOT (
        NOT old.with_events AND NOT new.with_events
        AND (new.log, new.ordinal, new.follower, new.upstream, new.edition, new.checksum)
            = (old.log, old.ordinal, old.follower, old.upstream, old.edition, old.checksum)
        AND new.after IS NOT DISTINCT FROM old.after
        AND new.head IS NOT DISTINCT FROM old.head
    ))
    EXECUTE FUNCTION "retold".refuse('a recorded stretch never changes');
