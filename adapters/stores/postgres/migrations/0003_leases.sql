-- Takes leases, or waits for them; one answer for each key, in the order of the keys. A token is NULL where the lease
-- is taken.
CREATE FUNCTION {keylane}.take_leases(
    p_session uuid, p_scope int, p_keys bytea[], OUT tokens bigint[], OUT uncleans boolean[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_dead uuid[];
    v_granted bytea[];
BEGIN
    -- C7: the rows are made, or locked, in the order of the keys. No token is drawn yet (rule A4): this statement
    -- would draw it before it waits for the row.
    INSERT INTO {keylane}.leases (scope, key, token)
    SELECT p_scope, k, 0 FROM unnest(p_keys) k ORDER BY k
    ON CONFLICT (scope, key) DO UPDATE SET token = leases.token WHERE false;

    SELECT array_agg(DISTINCT s.id) INTO v_dead
    FROM {keylane}.leases l JOIN {keylane}.sessions s ON s.id = l.owner
    WHERE l.scope = p_scope AND l.key = ANY (p_keys) AND s.id <> p_session AND s.expires_at <= clock_timestamp();
    IF v_dead IS NOT NULL THEN
        PERFORM {keylane}.bury(v_dead);
    END IF;

    -- S9: who was kept a lease for and did not come stands behind the others from now on.
    IF EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        UPDATE {keylane}.lease_waits w SET place = DEFAULT FROM {keylane}.leases l
        WHERE l.scope = p_scope AND l.key = ANY (p_keys) AND l.owner IS NULL AND l.kept_for <> p_session
            AND l.kept_until <= clock_timestamp()
            AND w.scope = l.scope AND w.key = l.key AND w.session = l.kept_for;
    END IF;

    WITH granted AS (
        -- A4: the rows are locked, the token is drawn now.
        UPDATE {keylane}.leases l
        SET owner = p_session, token = nextval('{keylane}.tokens'), unclean = l.unclean OR l.owner IS NOT NULL,
            kept_for = NULL, kept_until = NULL, since = clock_timestamp()
        WHERE l.scope = p_scope AND l.key = ANY (p_keys) AND CASE
            -- Its owner asks again: an answer was lost, or its lane is gone. A new token voids both.
            WHEN l.owner IS NOT NULL THEN
                l.owner = p_session OR NOT EXISTS (SELECT FROM {keylane}.sessions s WHERE s.id = l.owner)
            WHEN l.kept_for IS NOT NULL THEN
                l.kept_for = p_session OR l.kept_until <= clock_timestamp() OR NOT EXISTS (
                    SELECT FROM {keylane}.sessions s WHERE s.id = l.kept_for AND s.expires_at > clock_timestamp())
            ELSE true
        END
        RETURNING l.key, l.token, l.unclean)
    SELECT array_agg(g.token ORDER BY e.at), array_agg(g.unclean ORDER BY e.at),
        array_agg(g.key) FILTER (WHERE g.key IS NOT NULL)
    INTO tokens, uncleans, v_granted
    FROM unnest(p_keys) WITH ORDINALITY e (key, at) LEFT JOIN granted g ON g.key = e.key;

    IF EXISTS (SELECT FROM {keylane}.lease_waits WHERE session = p_session) THEN
        DELETE FROM {keylane}.lease_waits
        WHERE session = p_session AND scope = p_scope AND key = ANY (v_granted);
    END IF;
    IF cardinality(v_granted) IS DISTINCT FROM cardinality(p_keys) THEN
        INSERT INTO {keylane}.lease_waits (scope, key, session)
        SELECT p_scope, k, p_session FROM unnest(p_keys) k WHERE k <> ALL (coalesce(v_granted, '{}')) ORDER BY k
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- Ends leases that this transaction has locked: a key's row goes, or is kept for who waited longest and still lives.
CREATE FUNCTION {keylane}.give_back(p_scope int[], p_key bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_key record;
    v_heir record;
BEGIN
    IF NOT EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        DELETE FROM {keylane}.leases l USING unnest(p_scope, p_key) e (scope, key)
        WHERE l.scope = e.scope AND l.key = e.key;
        RETURN;
    END IF;
    FOR v_key IN SELECT e.scope, e.key FROM unnest(p_scope, p_key) e (scope, key) ORDER BY 1, 2 LOOP
        SELECT w.session, s.lifetime_us INTO v_heir
        FROM {keylane}.lease_waits w JOIN {keylane}.sessions s ON s.id = w.session
        WHERE w.scope = v_key.scope AND w.key = v_key.key AND s.expires_at > clock_timestamp()
        ORDER BY w.place LIMIT 1;
        IF NOT FOUND THEN
            -- Those who wait, if any, are past their expiry: they may yet come back.
            DELETE FROM {keylane}.leases WHERE scope = v_key.scope AND key = v_key.key;
            DELETE FROM {keylane}.lease_waits w WHERE NOT EXISTS (
                SELECT FROM {keylane}.sessions s WHERE s.id = w.session) AND scope = v_key.scope AND key = v_key.key;
        ELSE
            UPDATE {keylane}.leases
            SET owner = NULL, unclean = false, kept_for = v_heir.session,
                kept_until = clock_timestamp() + v_heir.lifetime_us / 3 * interval '1 microsecond'
            WHERE scope = v_key.scope AND key = v_key.key;
            PERFORM pg_notify('{channel}', v_heir.session::text);
        END IF;
    END LOOP;
END $$;

-- What a session waits for and may ask for now.
CREATE FUNCTION {keylane}.freed(p_session uuid) RETURNS TABLE (scope int, key bytea) LANGUAGE sql AS $$
    SELECT w.scope, w.key FROM {keylane}.lease_waits w
    LEFT JOIN {keylane}.leases l ON l.scope = w.scope AND l.key = w.key
    LEFT JOIN {keylane}.sessions s ON s.id = coalesce(l.owner, l.kept_for) AND s.expires_at > clock_timestamp()
    WHERE w.session = p_session
        AND (s.id IS NULL OR (l.owner IS NULL AND (l.kept_for = p_session OR l.kept_until <= clock_timestamp())))
$$;
