-- Creates the blocks that speed up checking the queries of a group: those of tags and topics that
-- all have many events where a query looks far back.
CREATE FUNCTION "retold".prepare_judging(
    of_log integer, head bigint, conditions "retold".condition[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    condition "retold".condition;
    item "retold".query_item;
    all_topics text[] := '{}';
    all_tags text[] := '{}';
BEGIN
    FOREACH condition IN ARRAY conditions LOOP
        CONTINUE WHEN condition.items IS NULL;
        CONTINUE WHEN condition.after NOT BETWEEN 0 AND head;
        CONTINUE WHEN head - condition.after < 16384;
        FOREACH item IN ARRAY condition.items LOOP
            CONTINUE WHEN cardinality(item.streams) > 0
                OR cardinality(item.tags) + (cardinality(item.topics) > 0)::integer < 2;
            CONTINUE WHEN 1000 > (
                SELECT r.count FROM "retold".rarest(
                    of_log, item.topics, item.tags, condition.after + 1, head
                ) r
            );
            all_topics := all_topics || item.topics;
            all_tags := all_tags || item.tags;
        END LOOP;
    END LOOP;
    IF cardinality(all_tags) > 0 THEN
        PERFORM "retold".make_presence(of_log, all_topics, all_tags, head);
    END IF;
END $$;
