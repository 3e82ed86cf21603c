-- Creates the blocks that speed up checking the queries of a group: those of tags and topics that
-- all have many events where a query looks far back. Parameters are those of append_group.
CREATE FUNCTION "retold".prepare_judging(
    of_log integer, head bigint,
    condition_numbers bigint[], item_starts integer[], item_counts integer[],
    name_starts integer[], stream_name_counts integer[], topic_name_counts integer[],
    tag_name_counts integer[], names text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    start integer;
    of_topics text[];
    of_tags text[];
    all_topics text[] := '{}';
    all_tags text[] := '{}';
BEGIN
    FOR c IN 1 .. cardinality(condition_numbers) LOOP
        CONTINUE WHEN condition_numbers[c] NOT BETWEEN 0 AND head;
        CONTINUE WHEN head - condition_numbers[c] < 16384;
        FOR i IN item_starts[c] .. item_starts[c] + item_counts[c] - 1 LOOP
            CONTINUE WHEN stream_name_counts[i] > 0
                OR tag_name_counts[i] + (topic_name_counts[i] > 0)::integer < 2;
            start := name_starts[i];
            of_topics := names[start:start + topic_name_counts[i] - 1];
            start := start + topic_name_counts[i];
            of_tags := names[start:start + tag_name_counts[i] - 1];
            CONTINUE WHEN 1000 > (
                SELECT r.count FROM "retold".rarest(
                    of_log, of_topics, of_tags, condition_numbers[c] + 1, head
                ) r
            );
            all_topics := all_topics || of_topics;
            all_tags := all_tags || of_tags;
        END LOOP;
    END LOOP;
    IF cardinality(all_tags) > 0 THEN
        PERFORM "retold".make_presence(of_log, all_topics, all_tags, head);
    END IF;
END $$;
