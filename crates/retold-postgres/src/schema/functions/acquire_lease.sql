-- Takes or renews a lease if no other holder has it; returns its resulting state. If a lease was
-- renewed more than clock_back_max later than the clock shows, it counts as free: the clock was set
-- back since.
CREATE FUNCTION "retold".acquire_lease(of_name text, of_holder text, time_to_live bigint,
    clock_back_max bigint)
RETURNS SETOF "retold".lease LANGUAGE plpgsql AS $$
DECLARE
    clock bigint := "retold".now_micros();
BEGIN
    INSERT INTO "retold".lease AS there
        VALUES (of_name, of_holder, 1, clock, clock, clock + time_to_live)
        ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder,
            term = there.term + CASE WHEN there.holder = EXCLUDED.holder THEN 0 ELSE 1 END,
            since = CASE WHEN there.holder = EXCLUDED.holder THEN there.since
                ELSE EXCLUDED.since END,
            renewed_at = EXCLUDED.renewed_at, ends_at = EXCLUDED.ends_at
        -- By the clock as it is now, not as it was before another holder's transaction ended.
        WHERE there.holder = EXCLUDED.holder OR there.ends_at <= "retold".now_micros()
            OR there.renewed_at > "retold".now_micros() + clock_back_max;
    RETURN QUERY SELECT * FROM "retold".lease l WHERE l.name = of_name;
END $$;
