-- S1, S2, C1: the session's row, the ledgers and the group's claims and leases, locked until the transaction ends, in
-- that order and each in the order of its keys (rule C7). `held`: which of them are this session's as of that grant.
-- `p_guard`: writes of handlers follow, and `commit_holds` after them.
CREATE FUNCTION {keylane}.fence(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[], p_guard boolean,
    OUT lifetime_us bigint, OUT held boolean[]
) LANGUAGE plpgsql AS $$
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
        FROM unnest(p_scope, p_key, p_number) WITH ORDINALITY e (scope, key, number, at)
        JOIN {keylane}.leases l ON l.scope = e.scope AND l.key = e.key
        WHERE l.owner = p_session AND l.token = e.number
        ORDER BY e.scope, e.key FOR UPDATE OF l
    LOOP
        held[v_at] := true;
    END LOOP;
END $$;

-- The rows of a plain group: all holds that it uses are held, all events are new and finish. Where that is not so it
-- fails with KL002, and the group goes the longer way. `p_used`: numbers of holds that have events, from 1;
-- `p_version`: of each hold, the version of the position by which its events were judged, where the position is
-- their ledger.
CREATE FUNCTION {keylane}.commit_rows(
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
    IF EXISTS (SELECT FROM unnest(p_scope, p_partition, p_version) e (scope, partition, version)
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
            OR {keylane}.ledger_insert(p_ledger_scope, p_ledger_id, p_ledger_ms, p_ledger_hash)
                <> cardinality(p_ledger_id)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'an event of the group is not new';
        END IF;
    END IF;
    IF cardinality(p_ended_hold) > 0 THEN
        PERFORM {keylane}.forget_attempts(p_scope, p_partition, p_ended_hold, NULL, p_ended_offset, p_ended_id);
    END IF;
END $$;

-- What is known of tries of events goes with their end. `p_generation`: where it is not the present one.
CREATE FUNCTION {keylane}.forget_attempts(
    p_scope int[], p_partition bigint[], p_hold int[], p_generation bigint[], p_offset bigint[], p_id bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM {keylane}.attempts) THEN
        DELETE FROM {keylane}.attempts a
        USING unnest(p_hold, p_generation, p_offset) e (hold, generation, "offset"), {keylane}.claims c
        WHERE c.scope = p_scope[e.hold] AND c.partition = p_partition[e.hold]
            AND a.scope = c.scope AND a.partition = c.partition
            AND a.generation = coalesce(e.generation, c.generation) AND a."offset" = e."offset";
    END IF;
    IF EXISTS (SELECT FROM {keylane}.tries) THEN
        DELETE FROM {keylane}.tries t USING unnest(p_hold, p_id) e (hold, id)
        WHERE p_partition[e.hold] IS NULL AND t.scope = p_scope[e.hold] AND t.id = e.id;
    END IF;
END $$;

-- The end of a group: positions (rule L2), leases given back (rule S7), and what others want. `p_written`: numbers of
-- the holds whose positions follow; `p_over`: those whose leases end.
CREATE FUNCTION {keylane}.commit_holds(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_held boolean[], p_guard boolean,
    p_written int[], p_base bigint[], p_sparse bytea[], p_identity bytea[],
    p_witness_offset bigint[], p_witness_us bigint[], p_witness_hash bigint[], p_partitions bigint[],
    p_over int[],
    OUT written int[], OUT versions bigint[], OUT given int[], OUT claims text, OUT leases text
) LANGUAGE plpgsql AS $$
BEGIN
    IF p_guard THEN
        DELETE FROM {keylane}.guards WHERE id = pg_current_xact_id();
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'KL004', MESSAGE = 'this is not the transaction that was begun';
        END IF;
    END IF;
    IF cardinality(p_written) > 0 THEN
        WITH done AS (
            UPDATE {keylane}.claims c
            SET base = e.base, sparse = e.sparse, identity = e.identity, witness_offset = e.witness_offset,
                witness_us = e.witness_us, witness_hash = e.witness_hash, partitions = e.partitions,
                version = c.version + 1
            FROM unnest(p_written, p_base, p_sparse, p_identity, p_witness_offset, p_witness_us, p_witness_hash,
                p_partitions) e (hold, base, sparse, identity, witness_offset, witness_us, witness_hash, partitions)
            WHERE p_held[e.hold] AND c.scope = p_scope[e.hold] AND c.partition = p_partition[e.hold]
                AND c.owner = p_session
            RETURNING e.hold, c.version)
        SELECT array_agg(d.hold), array_agg(d.version) INTO written, versions FROM done d;
    END IF;
    IF cardinality(p_over) > 0 THEN
        SELECT array_agg(o) INTO given FROM unnest(p_over) o WHERE p_held[o];
        PERFORM {keylane}.give_back(array_agg(p_scope[o]), array_agg(p_key[o])) FROM unnest(given) o;
    END IF;
    SELECT w.claims, w.leases INTO claims, leases FROM {keylane}.wanted_of(p_session) w;
END $$;

-- A plain group without effects: all of it, in one statement.
CREATE FUNCTION {keylane}.commit_plain(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[],
    p_used int[], p_version bigint[],
    p_ledger_scope int[], p_ledger_id bytea[], p_ledger_ms bigint[], p_ledger_hash uuid[],
    p_ended_hold int[], p_ended_offset bigint[], p_ended_id bytea[],
    p_written int[], p_base bigint[], p_sparse bytea[], p_identity bytea[],
    p_witness_offset bigint[], p_witness_us bigint[], p_witness_hash bigint[], p_partitions bigint[],
    p_over int[],
    OUT written int[], OUT versions bigint[], OUT given int[], OUT claims text, OUT leases text
) LANGUAGE plpgsql AS $$
DECLARE
    v_held boolean[];
BEGIN
    SELECT r.held INTO v_held
    FROM {keylane}.commit_rows(p_session, p_scope, p_partition, p_key, p_number, false, p_used, p_version,
        p_ledger_scope, p_ledger_id, p_ledger_ms, p_ledger_hash, p_ended_hold, p_ended_offset, p_ended_id) r;
    SELECT h.written, h.versions, h.given, h.claims, h.leases INTO written, versions, given, claims, leases
    FROM {keylane}.commit_holds(p_session, p_scope, p_partition, p_key, v_held, false, p_written, p_base, p_sparse,
        p_identity, p_witness_offset, p_witness_us, p_witness_hash, p_partitions, p_over) h;
END $$;
