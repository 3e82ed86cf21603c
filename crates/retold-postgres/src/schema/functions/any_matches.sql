-- Whether an event beyond `low` and up to `high` matches a query of a group's conditions, each
-- beyond the position of the condition. Parameters are those of append_group.
CREATE FUNCTION "retold".any_matches(
    of_log integer, low bigint, high bigint,
    condition_numbers bigint[], item_starts integer[], item_counts integer[],
    name_starts integer[], stream_name_counts integer[], topic_name_counts integer[],
    tag_name_counts integer[], names text[]
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM unnest(condition_numbers, item_starts, item_counts) AS c (number, start, count),
            LATERAL generate_series(c.start, c.start + c.count - 1) AS i (item),
            LATERAL "retold".matches(
                of_log, names[name_starts[i.item]:
                    name_starts[i.item] + stream_name_counts[i.item] - 1],
                names[name_starts[i.item] + stream_name_counts[i.item]:
                    name_starts[i.item] + stream_name_counts[i.item]
                        + topic_name_counts[i.item] - 1],
                names[name_starts[i.item] + stream_name_counts[i.item] + topic_name_counts[i.item]:
                    name_starts[i.item] + stream_name_counts[i.item] + topic_name_counts[i.item]
                        + tag_name_counts[i.item] - 1],
                -- A number beyond the head, or beyond the signed 64-bit range, is refused when its
                -- turn comes.
                least(greatest(c.number, low), high) + 1, high, false, 1
            )
    );
END $$;
