-- Returns the positions from `low` to `high` of the events that have all these tags and one of
-- these topics, if there are any, block by block: by bits where all blocks exist, else by rows. A
-- block in which one of the lists has nothing is skipped.
CREATE FUNCTION "retold".meeting(
    of_log integer, of_topics text[], of_tags text[],
    low bigint, high bigint, is_backward boolean, most integer
) RETURNS SETOF bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    lists integer := cardinality(of_tags) + (cardinality(of_topics) > 0)::integer;
    sign integer := CASE WHEN is_backward THEN -1 ELSE 1 END;
    made bigint;
    block bigint;
    last_block bigint;
    next_block bigint;
    bits bit(8192);
    empty bit(8192) := repeat('0', 8192)::bit(8192);
    given integer := 0;
    at bigint;
BEGIN
    SELECT least(high, l.position) INTO high FROM "retold".log l WHERE l.key = of_log;
    IF high < low THEN
        RETURN;
    END IF;
    SELECT min(coalesce(there.block, -1)) INTO made FROM (
        SELECT 't'::"char", t FROM unnest(of_tags) AS t
        UNION ALL SELECT 'o'::"char", o FROM unnest(of_topics) AS o
    ) AS n (kind, name) LEFT JOIN LATERAL (
        SELECT p.block FROM "retold".presence p
        WHERE p.log = of_log AND p.kind = n.kind AND p.name = n.name ORDER BY p.block DESC LIMIT 1
    ) there ON true;
    block := ((CASE WHEN is_backward THEN high ELSE low END) - 1) / 8192;
    last_block := ((CASE WHEN is_backward THEN low ELSE high END) - 1) / 8192;
    WHILE (last_block - block) * sign >= 0 AND given < most LOOP
        IF block <= made THEN
            -- Finds the next block that may have matches, in one statement.
            SELECT found.block, found.bits INTO next_block, bits FROM (
                SELECT b.block, (
                    SELECT bit_and(p.bits) FROM unnest(of_tags) AS t (name), LATERAL (
                        SELECT q.bits FROM "retold".presence q WHERE q.log = of_log AND q.kind = 't'
                        AND q.name = t.name AND q.block = b.block LIMIT 1
                    ) p
                ) & CASE WHEN cardinality(of_topics) = 0 THEN ~empty ELSE (
                    SELECT bit_or(p.bits) FROM unnest(of_topics) AS t (name), LATERAL (
                        SELECT q.bits FROM "retold".presence q WHERE q.log = of_log AND q.kind = 'o'
                        AND q.name = t.name AND q.block = b.block LIMIT 1
                    ) p
                ) END AS bits
                FROM generate_series(
                    block,
                    CASE WHEN is_backward THEN last_block ELSE least(last_block, made) END,
                    sign
                ) AS b (block)
            ) found WHERE found.bits <> empty LIMIT 1;
            IF NOT FOUND THEN
                EXIT WHEN is_backward OR made >= last_block;
                block := made + 1;
                CONTINUE;
            END IF;
            block := next_block;
            FOR at IN
                SELECT block * 8192 + w.word * 64 + i.bit + 1 FROM (
                    SELECT z, substring(bits FROM z * 64 + 1 FOR 64)::bit(64)
                    FROM generate_series(0, 127) AS z
                ) AS w (word, bits), generate_series(0, 63) AS i (bit)
                WHERE w.bits::bigint <> 0 AND get_bit(w.bits, i.bit) = 1
                AND block * 8192 + w.word * 64 + i.bit + 1 BETWEEN low AND high
                ORDER BY (w.word * 64 + i.bit) * sign LIMIT most - given
            LOOP
                given := given + 1;
                RETURN NEXT at;
            END LOOP;
            block := block + sign;
        ELSE
            -- Finds where each list continues; before the furthest of these, no position is in all
            -- lists.
            SELECT max(n.there * sign) * sign, count(n.there) INTO at, lists FROM (
                SELECT CASE WHEN is_backward THEN (
                    SELECT g.position FROM "retold".event_tag g
                    WHERE g.log = of_log AND g.tag = t.name
                    AND g.position BETWEEN low AND least(high, block * 8192 + 8192)
                    ORDER BY g.position DESC LIMIT 1
                ) ELSE (
                    SELECT g.position FROM "retold".event_tag g
                    WHERE g.log = of_log AND g.tag = t.name
                    AND g.position BETWEEN greatest(low, block * 8192 + 1) AND high
                    ORDER BY g.position LIMIT 1
                ) END FROM unnest(of_tags) AS t (name)
            ) AS n (there);
            -- A list without more entries ends the loop.
            EXIT WHEN lists < cardinality(of_tags);
            lists := lists + (cardinality(of_topics) > 0)::integer;
            next_block := (at - 1) / 8192;
            IF next_block <> block THEN
                block := next_block;
                CONTINUE;
            END IF;
            FOR at IN
                SELECT u.position FROM (
                    SELECT g.position FROM unnest(of_tags) AS t (name), LATERAL (
                        SELECT r.position FROM "retold".event_tag r
                        WHERE r.log = of_log AND r.tag = t.name AND r.position BETWEEN
                            greatest(low, block * 8192 + 1) AND least(high, block * 8192 + 8192)
                        ORDER BY r.position LIMIT 8192
                    ) g
                    UNION ALL
                    SELECT g.position FROM unnest(of_topics) AS t (name), LATERAL (
                        SELECT r.position FROM "retold".event r
                        WHERE r.log = of_log AND r.topic = t.name AND r.position + 0 BETWEEN
                            greatest(low, block * 8192 + 1) AND least(high, block * 8192 + 8192)
                        ORDER BY r.position + 0 LIMIT 8192
                    ) g
                ) u GROUP BY u.position HAVING count(*) = lists
                ORDER BY u.position * sign LIMIT most - given
            LOOP
                given := given + 1;
                RETURN NEXT at;
            END LOOP;
            block := block + sign;
        END IF;
    END LOOP;
END $$;
