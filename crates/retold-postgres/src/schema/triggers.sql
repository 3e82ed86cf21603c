CREATE TRIGGER event_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".event
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a recorded event never changes');
CREATE TRIGGER event_tag_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".event_tag
    FOR EACH STATEMENT
    EXECUTE FUNCTION "retold".refuse('the tags of a recorded event never change');
CREATE TRIGGER presence_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON "retold".presence
    FOR EACH STATEMENT
    EXECUTE FUNCTION "retold".refuse('the index of recorded events never changes');
CREATE TRIGGER log_is_never_deleted BEFORE DELETE OR TRUNCATE ON "retold".log
    FOR EACH STATEMENT EXECUTE FUNCTION "retold".refuse('a log is never deleted');
CREATE TRIGGER log_only_grows BEFORE UPDATE ON "retold".log FOR EACH ROW
    WHEN (NOT (
        (new.key, new.name, new.id) = (old.key, old.name, old.id)
        AND new.position >= old.position
        AND new.append_count > old.append_count
        AND new.stretch_count >= old.stretch_count
        AND new.topic_count >= old.topic_count
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
