-- Leases whose marks pass on.

-- T1: so many of the key's next events are to be marked before they run: 0 after a clean end, 2147483647 where the owner
-- before did not give the lease back. The row exists as long as there are any to tell of.
ALTER TABLE {keylane}.leases ADD COLUMN marks int NOT NULL DEFAULT 0;
UPDATE {keylane}.leases SET marks = 2147483647 WHERE unclean;
ALTER TABLE {keylane}.leases DROP COLUMN unclean;

-- As before, but that marks are told with the grant.
CREATE OR REPLACE FUNCTION {keylane}.take_leases(
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
        SET owner = p_session, token = nextval('{keylane}.tokens'),
            marks = CASE WHEN l.owner IS NULL THEN l.marks ELSE 2147483647 END,
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
        RETURNING l.key, l.token, l.marks)
    SELECT array_agg(g.token ORDER BY e.at), array_agg(g.marks > 0 ORDER BY e.at),
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

-- Ends leases that this transaction has locked, each with the marks that are left, of those it was granted with; NULL: of
-- none is any left. A key's row goes, or is kept for who waited longest and still lives, or for its marks.
CREATE FUNCTION {keylane}.give_back(p_scope int[], p_key bytea[], p_marks int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_key record;
    v_heir record;
BEGIN
    IF p_marks IS NOT NULL THEN
        UPDATE {keylane}.leases l SET owner = NULL, marks = least(l.marks, e.marks)
        FROM unnest(p_scope, p_key, p_marks) e (scope, key, marks)
        WHERE l.scope = e.scope AND l.key = e.key AND least(l.marks, e.marks) > 0;
    END IF;
    IF NOT EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        DELETE FROM {keylane}.leases l USING unnest(p_scope, p_key) e (scope, key)
        WHERE l.scope = e.scope AND l.key = e.key AND l.owner IS NOT NULL;
        RETURN;
    END IF;
    FOR v_key IN SELECT e.scope, e.key FROM unnest(p_scope, p_key) e (scope, key) ORDER BY 1, 2 LOOP
        SELECT w.session, s.lifetime_us INTO v_heir
        FROM {keylane}.lease_waits w JOIN {keylane}.sessions s ON s.id = w.session
        WHERE w.scope = v_key.scope AND w.key = v_key.key AND s.expires_at > clock_timestamp()
        ORDER BY w.place LIMIT 1;
        IF NOT FOUND THEN
            -- Those who wait, if any, are past their expiry: they may yet come back.
            DELETE FROM {keylane}.leases WHERE scope = v_key.scope AND key = v_key.key AND owner IS NOT NULL;
            DELETE FROM {keylane}.lease_waits w WHERE NOT EXISTS (
                SELECT FROM {keylane}.sessions s WHERE s.id = w.session) AND scope = v_key.scope AND key = v_key.key;
        ELSE
            UPDATE {keylane}.leases
            SET owner = NULL, marks = CASE WHEN owner IS NULL THEN marks ELSE 0 END, kept_for = v_heir.session,
                kept_until = clock_timestamp() + v_heir.lifetime_us / 3 * interval '1 microsecond'
            WHERE scope = v_key.scope AND key = v_key.key;
            PERFORM pg_notify('{channel}', v_heir.session::text);
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION {keylane}.give_back(p_scope int[], p_key bytea[]) RETURNS void LANGUAGE sql AS $$
    SELECT {keylane}.give_back(p_scope, p_key, NULL)
$$;

-- As before, but that a row which is there for its marks is not left behind before its time.
CREATE OR REPLACE FUNCTION {keylane}.sweep_is_due(p_subscription text, p_before timestamptz, p_turn interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    c_day CONSTANT bigint := 86400000;
    v_now bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    v_scopes int[];
BEGIN
    IF NOT EXISTS (SELECT FROM {keylane}.ledgers WHERE subscription = p_subscription) THEN
        RETURN false;
    END IF;
    -- One day's container is to be closed or dropped, a generation has had its turn, the newest day is not there.
    IF EXISTS (SELECT FROM {keylane}.ledgers WHERE subscription = p_subscription AND (closed_at <= p_before
            OR closed_at IS NULL AND (to_ms <= v_now - c_day
                OR from_ms IS NULL AND opened_at <= clock_timestamp() - p_turn)))
        OR NOT EXISTS (SELECT FROM {keylane}.ledgers WHERE subscription = p_subscription AND closed_at IS NULL
            AND from_ms = v_now / c_day * c_day + 2 * c_day)
    THEN
        RETURN true;
    END IF;
    SELECT array_agg(id) INTO v_scopes FROM {keylane}.scopes WHERE subscription = p_subscription;
    RETURN EXISTS (SELECT FROM {keylane}.sessions WHERE expires_at <= p_before)
        OR EXISTS (SELECT FROM {keylane}.tries WHERE scope = ANY (v_scopes) AND written_at <= p_before)
        OR EXISTS (SELECT FROM {keylane}.leases l
            WHERE l.scope = ANY (v_scopes) AND (l.owner IS NULL AND l.marks = 0 OR l.since <= p_before)
                AND NOT EXISTS (SELECT FROM {keylane}.sessions s WHERE s.id = coalesce(l.owner, l.kept_for))
                AND NOT EXISTS (SELECT FROM {keylane}.lease_waits w WHERE w.scope = l.scope AND w.key = l.key));
END $$;

-- What nobody came back to since then: sessions, their leases, tries of leased events.
CREATE OR REPLACE FUNCTION {keylane}.sweep_left_behind(p_subscription text, p_before timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_scopes int[];
    v_dead uuid[];
BEGIN
    SELECT array_agg(id) INTO v_dead FROM {keylane}.sessions WHERE expires_at <= p_before;
    IF v_dead IS NOT NULL THEN
        PERFORM {keylane}.bury(v_dead);
    END IF;
    SELECT array_agg(id) INTO v_scopes FROM {keylane}.scopes WHERE subscription = p_subscription;
    -- S7: a lease whose session is gone is free; so is one that is kept for nobody. T1: one that has
    -- marks left is known for as long as an event of it may come again.
    DELETE FROM {keylane}.leases l
    WHERE l.scope = ANY (v_scopes) AND (l.owner IS NULL AND l.marks = 0 OR l.since <= p_before)
        AND NOT EXISTS (SELECT FROM {keylane}.sessions s WHERE s.id = coalesce(l.owner, l.kept_for))
        AND NOT EXISTS (SELECT FROM {keylane}.lease_waits w WHERE w.scope = l.scope AND w.key = l.key);
    DELETE FROM {keylane}.tries WHERE scope = ANY (v_scopes) AND written_at <= p_before;
END $$;
