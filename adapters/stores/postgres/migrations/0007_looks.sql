-- Looking into the ledger and writing it, for less.

-- L1: what the ledger knows of ids, wherever they can be. `ms`: the time that an id carries. Only what is there
-- comes back. Who inserts the ids next need not look (`p_all`) where they will be inserted.
CREATE OR REPLACE FUNCTION {keylane}.ledger_known(p_scope int[], p_id bytea[], p_ms bigint[], p_all boolean)
RETURNS TABLE (at int, hash uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_ledger {keylane}.ledgers;
    v_open boolean;
    v_first bigint;
    v_last bigint;
    -- The limit keeps the planner from reading all of a container to find a few ids: each is one look into its key.
    c_look CONSTANT text := 'SELECT e.at::int, l.hash
        FROM unnest($1, $2, $3) WITH ORDINALITY e (scope, id, ms, at)
        CROSS JOIN LATERAL (
            SELECT k.hash FROM {keylane}.ledger_%1$s k WHERE k.scope = e.scope AND k.id = e.id LIMIT 1) l ';
BEGIN
    SELECT min(m), max(m) INTO v_first, v_last FROM unnest(p_ms) m;
    FOR v_ledger IN SELECT * FROM {keylane}.ledgers l WHERE l.subscription IN (
        SELECT s.subscription FROM {keylane}.scopes s WHERE s.id = ANY (p_scope)) ORDER BY l.id DESC
    LOOP
        v_open := v_ledger.closed_at IS NULL;
        IF v_ledger.from_ms IS NOT NULL THEN
            CONTINUE WHEN v_open AND NOT p_all
                OR coalesce(v_last < v_ledger.from_ms OR v_first >= v_ledger.to_ms, true);
            RETURN QUERY EXECUTE format(c_look || 'WHERE e.ms >= $4 AND e.ms < $5', v_ledger.id)
                USING p_scope, p_id, p_ms, v_ledger.from_ms, v_ledger.to_ms;
            CONTINUE;
        END IF;
        IF v_open THEN
            -- An id with a time may lie here from before there was a container for its time.
            CONTINUE WHEN NOT p_all AND v_first IS NULL;
        ELSE
            CONTINUE WHEN NOT EXISTS (
                SELECT FROM unnest(p_id) i WHERE i >= v_ledger.least AND i <= v_ledger.most);
        END IF;
        -- Where all ids carry their time a generation is empty, and one look says so: it is of the same snapshot.
        RETURN QUERY EXECUTE format(c_look || 'WHERE EXISTS (SELECT FROM {keylane}.ledger_%1$s)', v_ledger.id)
            USING p_scope, p_id, p_ms;
    END LOOP;
END $$;

-- L1, C2: inserts ids where they belong, and gives how many were new. `p_new`: all are taken to be new; the key's own
-- error says where one is not, at half of the price (measured 1.3 us and 181 bytes of log a row, not 2.7 and 229).
CREATE FUNCTION {keylane}.ledger_insert(
    p_scope int[], p_id bytea[], p_ms bigint[], p_hash uuid[], p_new boolean
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_ledger {keylane}.ledgers;
    v_first bigint;
    v_last bigint;
    v_timeless boolean;
    v_from bigint;
    v_to bigint;
    v_scopes int[];
    v_new bigint;
    v_sum bigint := 0;
BEGIN
    SELECT min(m), max(m), count(m) < count(*) INTO v_first, v_last, v_timeless FROM unnest(p_ms) m;
    FOR v_ledger IN SELECT * FROM {keylane}.ledgers l WHERE l.closed_at IS NULL AND l.subscription IN (
        SELECT s.subscription FROM {keylane}.scopes s WHERE s.id = ANY (p_scope)) ORDER BY l.id
    LOOP
        IF v_ledger.from_ms IS NOT NULL THEN
            CONTINUE WHEN coalesce(v_last < v_ledger.from_ms OR v_first >= v_ledger.to_ms, true);
            v_from := v_ledger.from_ms;
            v_to := v_ledger.to_ms;
        ELSE
            -- The containers by time that are open lie side by side.
            SELECT min(l.from_ms), max(l.to_ms) INTO v_from, v_to FROM {keylane}.ledgers l
            WHERE l.subscription = v_ledger.subscription AND l.closed_at IS NULL;
            CONTINUE WHEN NOT v_timeless AND coalesce(v_first >= v_from AND v_last < v_to, false);
        END IF;
        SELECT array_agg(s.id) INTO v_scopes FROM {keylane}.scopes s
        WHERE s.subscription = v_ledger.subscription AND s.id = ANY (p_scope);
        -- C7: in the order of the keys.
        EXECUTE format(
            'INSERT INTO {keylane}.ledger_%s (scope, id, hash)
             SELECT e.scope, e.id, e.hash FROM unnest($1, $2, $3, $4) e (scope, id, ms, hash)
             WHERE e.scope = ANY ($5) AND coalesce(e.ms >= $6 AND e.ms < $7, false) = $8
             ORDER BY e.scope, e.id', v_ledger.id) || CASE WHEN p_new THEN '' ELSE ' ON CONFLICT DO NOTHING' END
        USING p_scope, p_id, p_ms, p_hash, v_scopes, v_from, v_to, v_ledger.from_ms IS NOT NULL;
        GET DIAGNOSTICS v_new = ROW_COUNT;
        v_sum := v_sum + v_new;
    END LOOP;
    RETURN v_sum;
END $$;

CREATE OR REPLACE FUNCTION {keylane}.ledger_insert(p_scope int[], p_id bytea[], p_ms bigint[], p_hash uuid[])
RETURNS bigint LANGUAGE sql AS $$
    SELECT {keylane}.ledger_insert(p_scope, p_id, p_ms, p_hash, false)
$$;

-- As before, but that an event which is not new may also fail with the error of its key.
CREATE OR REPLACE FUNCTION {keylane}.commit_rows(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[], p_guard boolean,
    p_used int[], p_version bigint[],
    p_ledger_scope int[], p_ledger_id bytea[], p_ledger_ms bigint[], p_ledger_hash uuid[],
    p_ended_hold int[], p_ended_offset bigint[], p_ended_id bytea[],
    OUT lifetime_us bigint, OUT held boolean[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_held boolean[];
BEGIN
    SELECT f.lifetime_us, f.held INTO lifetime_us, v_held
    FROM {keylane}.fence(p_session, p_scope, p_partition, p_key, p_number, p_guard) f;
    held := v_held;
    -- C1: not the session alone.
    IF EXISTS (SELECT FROM unnest(p_used) u WHERE NOT v_held[u]) THEN
        RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'a claim or lease of the group is gone';
    END IF;
    IF EXISTS (SELECT FROM unnest(p_version) v WHERE v IS NOT NULL)
        AND EXISTS (SELECT FROM unnest(p_scope, p_partition, p_version) e (scope, partition, version)
        JOIN {keylane}.claims c ON c.scope = e.scope AND c.partition = e.partition WHERE c.version <> e.version)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'a position is another than was judged by';
    END IF;
    IF cardinality(p_ledger_id) > 0 THEN
        -- P1: an event is in exactly one of ledger and parking table.
        IF EXISTS (SELECT FROM {keylane}.ledger_known(p_ledger_scope, p_ledger_id, p_ledger_ms, false))
            OR EXISTS (SELECT FROM {keylane}.parked) AND EXISTS (
                SELECT FROM unnest(p_ledger_scope, p_ledger_id) e (scope, id)
                JOIN {keylane}.parked p ON p.scope = e.scope AND p.id = e.id)
            -- C2: the unique key is the arbiter.
            OR {keylane}.ledger_insert(p_ledger_scope, p_ledger_id, p_ledger_ms, p_ledger_hash, true)
                <> cardinality(p_ledger_id)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'an event of the group is not new';
        END IF;
    END IF;
    IF cardinality(p_ended_hold) > 0 THEN
        PERFORM {keylane}.forget_attempts(p_scope, p_partition, p_ended_hold, NULL, p_ended_offset, p_ended_id);
    END IF;
END $$;

-- As before, but that nobody waits for the disk where nothing is taken.
CREATE OR REPLACE FUNCTION {keylane}.admit(
    p_session uuid, p_scope int, p_keys bytea[],
    p_id bytea[], p_ms bigint[], p_ledger boolean[], p_leased boolean[],
    OUT tokens bigint[], OUT uncleans boolean[],
    OUT known_at int[], OUT known_hash uuid[], OUT letter_at int[], OUT letter_hash uuid[], OUT tries text
) LANGUAGE plpgsql AS $$
DECLARE
    v_scopes int[] := array_fill(p_scope, ARRAY[cardinality(p_id)]);
BEGIN
    PERFORM {keylane}.hold_session(p_session);
    PERFORM {keylane}.hold_ledgers(ARRAY[p_scope]);
    IF cardinality(p_keys) > 0 THEN
        SELECT t.tokens, t.uncleans INTO tokens, uncleans
        FROM {keylane}.take_leases(p_session, p_scope, p_keys) t;
    ELSE
        -- Without leases the lock of the session's row is all that is written, which no crash needs to outlive.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF true = ANY (p_ledger) THEN
        SELECT array_agg(k.at), array_agg(k.hash) INTO known_at, known_hash
        FROM {keylane}.ledger_known(v_scopes, p_id, p_ms, true) k;
    END IF;
    IF EXISTS (SELECT FROM {keylane}.parked) THEN
        SELECT array_agg(e.at::int), array_agg(p.payload_hash) INTO letter_at, letter_hash
        FROM unnest(p_id) WITH ORDINALITY e (id, at)
        JOIN {keylane}.parked p ON p.scope = p_scope AND p.id = e.id;
    END IF;
    IF true = ANY (p_leased) AND EXISTS (SELECT FROM {keylane}.tries) THEN
        SELECT json_agg(json_build_object('at', e.at, 'generation', t.generation, 'offset', t."offset",
            'attempts', t.attempts, 'crashes', t.crashes, 'started_by', t.started_by, 'first_us', t.first_us,
            'failure', encode(t.failure, 'hex')))::text INTO tries
        FROM unnest(p_id, p_leased) WITH ORDINALITY e (id, leased, at)
        JOIN {keylane}.tries t ON t.scope = p_scope AND t.id = e.id WHERE e.leased;
    END IF;
END $$;
