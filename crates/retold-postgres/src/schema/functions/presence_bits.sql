-- Computes from the indexes which events of a block have a topic or tag.
CREATE FUNCTION "retold".presence_bits(
    of_log integer, of_kind "char", of_name text, of_block bigint
) RETURNS bit(8192) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT ('x' || string_agg(lpad(to_hex(w.bits), 16, '0'), '' ORDER BY w.word))::bit(8192)
        FROM (
            SELECT a.word, bit_or(a.bits) AS bits FROM (
                SELECT z AS word, 0::bigint AS bits FROM generate_series(0, 127) AS z
                UNION ALL
                SELECT ((g.position - 1) % 8192 / 64)::integer,
                    1::bigint << (63 - (g.position - 1) % 64)::integer
                FROM "retold".event_tag g
                WHERE of_kind = 't' AND g.log = of_log AND g.tag = of_name
                AND g.position BETWEEN of_block * 8192 + 1 AND of_block * 8192 + 8192
                UNION ALL
                SELECT ((e.position - 1) % 8192 / 64)::integer,
                    1::bigint << (63 - (e.position - 1) % 64)::integer
                FROM "retold".event e
                WHERE of_kind = 'o' AND e.log = of_log AND e.topic = of_name
                AND e.position + 0 BETWEEN of_block * 8192 + 1 AND of_block * 8192 + 8192
            ) a GROUP BY a.word
        ) w
    );
END $$;
