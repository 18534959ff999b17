-- Leases whose marks pass on.

-- T1: so many of the key's next events are to be marked before they run: 0 after a clean end, 2147483647 where the
-- owner before did not give the lease back. The row exists as long as there are any to tell of.
ALTER TABLE {keylane}.leases ADD COLUMN marks int NOT NULL DEFAULT 0;
UPDATE {keylane}.leases SET marks = 2147483647 WHERE unclean;
ALTER TABLE {keylane}.leases DROP COLUMN unclean;

-- As before, but that marks are told with the grant, and that a key of which there is no row costs one.
CREATE OR REPLACE FUNCTION {keylane}.take_leases(
    p_session uuid, p_scope int, p_keys bytea[], OUT tokens bigint[], OUT uncleans boolean[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_made bytea[];
    v_next bigint;
    v_rest bytea[];
    v_dead uuid[];
    v_granted bytea[];
BEGIN
    -- C7: the rows are made, or locked, in the order of the keys. Each token is drawn right before its row is made.
    WITH made AS (
        INSERT INTO {keylane}.leases (scope, key, owner, token)
        SELECT p_scope, e.key, p_session, nextval('{keylane}.tokens')
        FROM (SELECT k AS key FROM unnest(p_keys) k ORDER BY k) e
        ON CONFLICT (scope, key) DO UPDATE SET token = leases.token WHERE false
        RETURNING key, token)
    SELECT array_agg(m.key ORDER BY m.token), array_agg(m.token ORDER BY m.token) INTO v_made, tokens FROM made m;

    -- A4: who waited for another's row may have drawn before an owner in between did. That was not so where the number
    -- drawn next, after the row was made, follows at once: nobody else drew one. The others are drawn again, now that
    -- the rows are ours.
    IF v_made IS NOT NULL THEN
        v_next := nextval('{keylane}.tokens');
        IF v_next - tokens[1] <> cardinality(tokens) THEN
            UPDATE {keylane}.leases l SET token = nextval('{keylane}.tokens')
            FROM unnest(v_made, tokens, tokens[2:] || v_next) e (key, token, next)
            WHERE l.scope = p_scope AND l.key = e.key AND e.next <> e.token + 1;
            SELECT array_agg(l.token ORDER BY l.key) INTO tokens
            FROM {keylane}.leases l WHERE l.scope = p_scope AND l.key = ANY (v_made);
        END IF;
    END IF;
    IF v_made = p_keys THEN
        uncleans := array_fill(false, ARRAY[cardinality(p_keys)]);
        IF EXISTS (SELECT FROM {keylane}.lease_waits WHERE session = p_session) THEN
            DELETE FROM {keylane}.lease_waits
            WHERE session = p_session AND scope = p_scope AND key = ANY (p_keys);
        END IF;
        RETURN;
    END IF;
    SELECT array_agg(k) INTO v_rest FROM (SELECT unnest(p_keys) AS k EXCEPT SELECT unnest(v_made)) rest;

    SELECT array_agg(DISTINCT s.id) INTO v_dead
    FROM {keylane}.leases l JOIN {keylane}.sessions s ON s.id = l.owner
    WHERE l.scope = p_scope AND l.key = ANY (v_rest) AND s.id <> p_session AND s.expires_at <= clock_timestamp();
    IF v_dead IS NOT NULL THEN
        PERFORM {keylane}.bury(v_dead);
    END IF;

    -- S9: who was kept a lease for and did not come stands behind the others from now on.
    IF EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        UPDATE {keylane}.lease_waits w SET place = DEFAULT FROM {keylane}.leases l
        WHERE l.scope = p_scope AND l.key = ANY (v_rest) AND l.owner IS NULL AND l.kept_for <> p_session
            AND l.kept_until <= clock_timestamp()
            AND w.scope = l.scope AND w.key = l.key AND w.session = l.kept_for;
    END IF;

    WITH granted AS (
        -- A4: the rows are locked, the token is drawn now.
        UPDATE {keylane}.leases l
        SET owner = p_session, token = nextval('{keylane}.tokens'),
            marks = CASE WHEN l.owner IS NULL THEN l.marks ELSE 2147483647 END,
            kept_for = NULL, kept_until = NULL, since = clock_timestamp()
        WHERE l.scope = p_scope AND l.key = ANY (v_rest) AND CASE
            -- Its owner asks again: an answer was lost, or its lane is gone. A new token voids both.
            WHEN l.owner IS NOT NULL THEN
                l.owner = p_session OR NOT EXISTS (SELECT FROM {keylane}.sessions s WHERE s.id = l.owner)
            WHEN l.kept_for IS NOT NULL THEN
                l.kept_for = p_session OR l.kept_until <= clock_timestamp() OR NOT EXISTS (
                    SELECT FROM {keylane}.sessions s WHERE s.id = l.kept_for AND s.expires_at > clock_timestamp())
            ELSE true
        END
        RETURNING l.key, l.token, l.marks),
    had AS (
        SELECT g.key, g.token, g.marks > 0 AS unclean FROM granted g
        UNION ALL SELECT m.key, m.token, false FROM unnest(v_made, tokens) m (key, token))
    SELECT array_agg(h.token ORDER BY e.at), array_agg(h.unclean ORDER BY e.at),
        array_agg(h.key) FILTER (WHERE h.key IS NOT NULL)
    INTO tokens, uncleans, v_granted
    FROM unnest(p_keys) WITH ORDINALITY e (key, at) LEFT JOIN had h ON h.key = e.key;

    IF EXISTS (SELECT FROM {keylane}.lease_waits WHERE session = p_session) THEN
        DELETE FROM {keylane}.lease_waits
        WHERE session = p_session AND scope = p_scope AND key = ANY (v_granted);
    END IF;
    IF cardinality(v_granted) IS DISTINCT FROM cardinality(p_keys) THEN
        INSERT INTO {keylane}.lease_waits (scope, key, session)
        SELECT p_scope, k, p_session FROM (SELECT unnest(v_rest) AS k EXCEPT SELECT unnest(v_granted)) rest ORDER BY k
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- Ends leases that this transaction has locked, each with the marks that are left, of those it was granted with; NULL:
-- of none is any left. A key's row goes, or is kept for who waited longest and still lives, or for its marks.
CREATE FUNCTION {keylane}.give_back(p_scope int[], p_key bytea[], p_marks int[]) RETURNS void LANGUAGE plpgsql
-- To plan a statement anew for each array costs more than to run it.
SET plan_cache_mode = force_generic_plan AS $$
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

-- Which of so many are among these: to look for each in a list costs the square of its length.
CREATE FUNCTION {keylane}.flags(p_at int[], p_of int) RETURNS boolean[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_at int;
    v_flags boolean[] := array_fill(false, ARRAY[p_of]);
BEGIN
    FOREACH v_at IN ARRAY p_at LOOP
        v_flags[v_at] := true;
    END LOOP;
    RETURN v_flags;
END $$;

-- As before, but that each lease is looked for by its key: the others of the session, and those that it gave back a
-- moment ago, are many more.
CREATE OR REPLACE FUNCTION {keylane}.fence(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[], p_guard boolean,
    OUT lifetime_us bigint, OUT held boolean[]
) LANGUAGE plpgsql
-- Whatever was thought of the tables' size when a plan was made: it stays with its connection.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_at int;
BEGIN
    lifetime_us := {keylane}.hold_session(p_session);
    IF p_guard THEN
        INSERT INTO {keylane}.guards VALUES (pg_current_xact_id());
    END IF;
    PERFORM {keylane}.hold_ledgers(p_scope);
    held := array_fill(false, ARRAY[cardinality(p_scope)]);
    -- S2: FOR KEY SHARE would let the epoch be raised; two commits of one claim that both only shared it would meet
    -- when they write the position.
    FOR v_at IN SELECT e.at
        FROM unnest(p_scope, p_partition, p_number) WITH ORDINALITY e (scope, partition, number, at)
        JOIN {keylane}.claims c ON c.scope = e.scope AND c.partition = e.partition
        WHERE c.owner = p_session AND c.epoch = e.number
        ORDER BY e.scope, e.partition FOR NO KEY UPDATE OF c
    LOOP
        held[v_at] := true;
    END LOOP;
    FOR v_at IN SELECT e.at
        FROM (SELECT u.* FROM unnest(p_scope, p_key, p_number) WITH ORDINALITY u (scope, key, number, at)
            WHERE u.key IS NOT NULL ORDER BY u.scope, u.key) e
        CROSS JOIN LATERAL (SELECT FROM {keylane}.leases l WHERE l.scope = e.scope AND l.key = e.key
            -- The index by owner would be no look for one key.
            AND (l.owner = p_session) IS TRUE AND l.token = e.number FOR UPDATE) own
    LOOP
        held[v_at] := true;
    END LOOP;
END $$;

-- As before, but that it looks for the keys that somebody waits for, not at all that is held.
CREATE OR REPLACE FUNCTION {keylane}.wanted_of(p_session uuid, OUT claims text, OUT leases text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    SELECT json_agg(json_build_array(c.scope, c.partition, c.epoch) ORDER BY c.scope, c.partition)::text
    INTO claims FROM {keylane}.claims c WHERE c.owner = p_session AND c.wanted_by IS NOT NULL;
    IF EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        SELECT json_agg(DISTINCT jsonb_build_array(l.scope, encode(l.key, 'hex'), l.token))::text INTO leases
        FROM {keylane}.lease_waits w
        JOIN {keylane}.leases l ON l.scope = w.scope AND l.key = w.key
        JOIN {keylane}.sessions s ON s.id = w.session
        WHERE (l.owner = p_session) IS TRUE;
    END IF;
END $$;

-- Ends leases of a plain group at once, checked by the very statement that deletes them (rule C1): those that are held
-- and that nobody waits for, nor for marks. The others are left to `fence` and `give_back`. The session and the ledgers
-- are locked. Gives the numbers of those that ended.
CREATE FUNCTION {keylane}.end_leases(
    p_session uuid, p_scope int[], p_key bytea[], p_number bigint[], p_over int[]
) RETURNS int[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
-- C7: in the order of the holds, which is that of the keys.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_ended int[];
    v_ends boolean[] := {keylane}.flags(p_over, cardinality(p_key));
BEGIN
    IF EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        RETURN '{}';
    END IF;
    WITH ended AS (
        DELETE FROM {keylane}.leases l USING (
            SELECT e.at, place.ctid
            FROM unnest(p_scope, p_key, p_number, v_ends) WITH ORDINALITY e (scope, key, number, ends, at)
            -- The limit makes each a look into the key, whatever is thought of the table's size. The index by owner
            -- would be no such look.
            CROSS JOIN LATERAL (
                SELECT k.ctid FROM {keylane}.leases k WHERE k.scope = e.scope AND k.key = e.key
                    AND k.token = e.number AND (k.owner = p_session) IS TRUE AND k.marks = 0 LIMIT 1) place
            WHERE e.ends) found
        WHERE l.ctid = found.ctid
        RETURNING found.at::int AS at)
    SELECT array_agg(d.at) INTO v_ended FROM ended d;
    -- S9: who asked before the rows were ours waits by now; after that nobody can before this transaction ends.
    IF EXISTS (SELECT FROM {keylane}.lease_waits) AND EXISTS (
        SELECT FROM unnest(v_ended) o JOIN {keylane}.lease_waits w ON w.scope = p_scope[o] AND w.key = p_key[o])
    THEN
        RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'somebody waits for a lease of the group';
    END IF;
    RETURN coalesce(v_ended, '{}');
END $$;

-- The same of a group without claims, and what is left to be done of it: `used` and `over` without the holds that ended,
-- and of those no key, so that nothing looks for them again. The session and the ledgers are locked.
CREATE FUNCTION {keylane}.end_first(
    p_session uuid, p_scope int[], p_key bytea[], p_number bigint[], p_used int[], p_over int[],
    OUT ended int[], OUT used int[], OUT over int[], OUT rest bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_gone boolean[];
BEGIN
    ended := {keylane}.end_leases(p_session, p_scope, p_key, p_number, p_over);
    IF cardinality(ended) = cardinality(p_key) THEN
        used := '{}';
        over := '{}';
        rest := '{}';
        RETURN;
    END IF;
    used := p_used;
    over := p_over;
    rest := p_key;
    IF ended <> '{}' THEN
        v_gone := {keylane}.flags(ended, cardinality(p_key));
        SELECT coalesce(array_agg(u), '{}') INTO used FROM unnest(p_used) u WHERE NOT v_gone[u];
        SELECT coalesce(array_agg(o), '{}') INTO over FROM unnest(p_over) o WHERE NOT v_gone[o];
        SELECT array_agg(CASE WHEN NOT k.gone THEN k.key END ORDER BY k.at) INTO rest
        FROM unnest(p_key, v_gone) WITH ORDINALITY k (key, gone, at);
    END IF;
END $$;

-- As before, but that leases which end do so first, where the group has no claims, whose rows are locked before those
-- of leases (rule C7). `p_unclean`: numbers of the holds whose leases end with so many marks left (rule T1).
DROP FUNCTION {keylane}.commit_plain(
    uuid, int[], bigint[], bytea[], bigint[], int[], bigint[], int[], bytea[], bigint[], uuid[], int[], bigint[],
    bytea[], int[], bigint[], bytea[], bytea[], bigint[], bigint[], bigint[], bigint[], int[]);
CREATE FUNCTION {keylane}.commit_plain(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[],
    p_used int[], p_version bigint[],
    p_ledger_scope int[], p_ledger_id bytea[], p_ledger_ms bigint[], p_ledger_hash uuid[],
    p_ended_hold int[], p_ended_offset bigint[], p_ended_id bytea[],
    p_written int[], p_base bigint[], p_sparse bytea[], p_identity bytea[],
    p_witness_offset bigint[], p_witness_us bigint[], p_witness_hash bigint[], p_partitions bigint[],
    p_over int[], p_unclean int[], p_marks int[],
    OUT written int[], OUT versions bigint[], OUT given int[], OUT claims text, OUT leases text
) LANGUAGE plpgsql AS $$
DECLARE
    v_held boolean[];
    v_ended int[] := '{}';
    v_used int[] := p_used;
    v_over int[] := p_over;
    v_key bytea[] := p_key;
BEGIN
    IF cardinality(p_over) > 0 AND array_remove(p_partition, NULL) = '{}' THEN
        PERFORM {keylane}.hold_session(p_session);
        PERFORM {keylane}.hold_ledgers(p_scope);
        SELECT e.ended, e.used, e.over, e.rest INTO v_ended, v_used, v_over, v_key
        FROM {keylane}.end_first(p_session, p_scope, p_key, p_number, p_used, p_over) e;
    END IF;
    SELECT r.held INTO v_held
    FROM {keylane}.commit_rows(p_session, p_scope, p_partition, v_key, p_number, false, v_used, p_version,
        p_ledger_scope, p_ledger_id, p_ledger_ms, p_ledger_hash, p_ended_hold, p_ended_offset, p_ended_id) r;
    IF cardinality(p_unclean) > 0 THEN
        PERFORM {keylane}.give_back(array_agg(p_scope[u.at]), array_agg(p_key[u.at]), array_agg(u.marks))
        FROM unnest(p_unclean, p_marks) u (at, marks) WHERE v_held[u.at];
        v_ended := v_ended || ARRAY(SELECT u FROM unnest(p_unclean) u WHERE v_held[u]);
    END IF;
    SELECT h.written, h.versions, h.given || v_ended, h.claims, h.leases INTO written, versions, given, claims, leases
    FROM {keylane}.commit_holds(p_session, p_scope, p_partition, p_key, v_held, false, p_written, p_base, p_sparse,
        p_identity, p_witness_offset, p_witness_us, p_witness_hash, p_partitions, v_over) h;
END $$;

-- As before, but that a row which is there for its marks is not left behind before its time.
CREATE OR REPLACE FUNCTION {keylane}.sweep_is_due(p_subscription text, p_before timestamptz, p_turn interval)
RETURNS boolean LANGUAGE plpgsql AS $$
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
