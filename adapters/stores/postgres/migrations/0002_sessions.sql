-- Errors of ours: KL001, the session's row is gone; KL002, a group is not as plain as it was taken to be;
-- KL003, the connection's transactions are of another isolation.

-- A1: each statement of a function takes a newer snapshot, but only where transactions are READ COMMITTED.
CREATE FUNCTION {keylane}.check_isolation() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'KL003',
            MESSAGE = 'this transaction is not READ COMMITTED; let default_transaction_isolation be that';
    END IF;
END $$;

-- S1: the session's row, locked so that nobody takes it over before this transaction ends. Gives its lifetime.
CREATE FUNCTION {keylane}.hold_session(p_session uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_lifetime bigint;
BEGIN
    PERFORM {keylane}.check_isolation();
    SELECT lifetime_us INTO v_lifetime FROM {keylane}.sessions WHERE id = p_session FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'KL001', MESSAGE = 'the session is gone';
    END IF;
    RETURN v_lifetime;
END $$;

-- What others want of a session: claims (rule S5), and leases that a living session waits for (rule S9).
CREATE FUNCTION {keylane}.wanted_of(p_session uuid, OUT claims text, OUT leases text) LANGUAGE plpgsql AS $$
BEGIN
    SELECT json_agg(json_build_array(c.scope, c.partition, c.epoch) ORDER BY c.scope, c.partition)::text
    INTO claims FROM {keylane}.claims c WHERE c.owner = p_session AND c.wanted_by IS NOT NULL;
    IF EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        SELECT json_agg(DISTINCT jsonb_build_array(l.scope, encode(l.key, 'hex'), l.token))::text INTO leases
        FROM {keylane}.lease_waits w
        JOIN {keylane}.leases l ON l.scope = w.scope AND l.key = w.key
        JOIN {keylane}.sessions s ON s.id = w.session
        WHERE l.owner = p_session;
    END IF;
END $$;

CREATE FUNCTION {keylane}.register(p_session uuid, p_worker text, p_lifetime_us bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {keylane}.used_sessions WHERE used_at < clock_timestamp() - interval '30 days';
    -- S1: this one fails for an id that was ever used.
    INSERT INTO {keylane}.used_sessions (id) VALUES (p_session);
    INSERT INTO {keylane}.sessions (id, worker, lifetime_us, expires_at)
    VALUES (p_session, p_worker, p_lifetime_us, clock_timestamp() + p_lifetime_us * interval '1 microsecond');
END $$;

-- S1: a plain update, never an insert; S4: by the database's clock.
CREATE FUNCTION {keylane}.renew(
    p_session uuid, OUT claims text, OUT leases text, OUT repositioned text, OUT requested boolean
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {keylane}.check_isolation();
    UPDATE {keylane}.sessions SET expires_at = clock_timestamp() + lifetime_us * interval '1 microsecond'
    WHERE id = p_session;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'KL001', MESSAGE = 'the session is gone';
    END IF;
    SELECT w.claims, w.leases INTO claims, leases FROM {keylane}.wanted_of(p_session) w;
    SELECT json_agg(json_build_array(c.scope, c.partition, c.epoch) ORDER BY c.scope, c.partition)::text
    INTO repositioned FROM {keylane}.claims c WHERE c.owner = p_session AND c.repositioned;
    requested := EXISTS (SELECT FROM {keylane}.parked WHERE requested_at IS NOT NULL);
END $$;

-- Wakes who waits for what these sessions had; their waiting is over.
CREATE FUNCTION {keylane}.after_end(p_sessions uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {keylane}.lease_waits WHERE session = ANY (p_sessions);
    IF EXISTS (SELECT FROM {keylane}.lease_waits) THEN
        PERFORM pg_notify('{channel}', waits.session::text)
        FROM (SELECT DISTINCT w.session FROM {keylane}.leases l
            JOIN {keylane}.lease_waits w ON w.scope = l.scope AND w.key = l.key
            WHERE l.owner = ANY (p_sessions) OR l.kept_for = ANY (p_sessions)) waits;
    END IF;
END $$;

CREATE FUNCTION {keylane}.close_session(p_session uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {keylane}.sessions WHERE id = p_session;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- T1: a claim that was not given back before was not ended in order. A lease's row stays as it is: its owner
    -- is gone, which makes it free and unclean.
    UPDATE {keylane}.claims
    SET owner = NULL, wanted_by = NULL, wanted_at = NULL, repositioned = false, clean = false
    WHERE owner = p_session;
    PERFORM {keylane}.after_end(ARRAY[p_session]);
END $$;

-- S1: takeover is one conditional delete, and defeats every commit of the dead that is still on its way. One whose
-- commit is running at this moment is passed over: the question is asked again, and S3 bounds how often. Gives those
-- that are gone.
CREATE FUNCTION {keylane}.bury(p_sessions uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    v_gone uuid[];
BEGIN
    WITH gone AS (
        DELETE FROM {keylane}.sessions WHERE id IN (
            SELECT id FROM {keylane}.sessions WHERE id = ANY (p_sessions) ORDER BY id FOR UPDATE SKIP LOCKED)
        AND expires_at <= clock_timestamp() RETURNING id)
    SELECT array_agg(id) INTO v_gone FROM gone;
    IF v_gone IS NOT NULL THEN
        PERFORM {keylane}.after_end(v_gone);
    END IF;
    RETURN v_gone;
END $$;

-- Asks for a partition. Gives `granted`, with who has it where it is not, and whether what was begun may have been
-- begun before.
CREATE FUNCTION {keylane}.claim(
    p_session uuid, p_scope int, p_partition bigint, p_limit_us bigint,
    OUT granted boolean, OUT owner_name text, OUT was_unclean boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_claim {keylane}.claims;
    v_owner {keylane}.sessions;
BEGIN
    PERFORM {keylane}.hold_session(p_session);
    INSERT INTO {keylane}.claims (scope, partition, epoch, clean) VALUES (p_scope, p_partition, 0, true)
    ON CONFLICT DO NOTHING;
    SELECT * INTO v_claim FROM {keylane}.claims WHERE scope = p_scope AND partition = p_partition FOR UPDATE;
    was_unclean := NOT v_claim.clean OR v_claim.owner IS NOT NULL;
    IF v_claim.owner <> p_session THEN
        SELECT * INTO v_owner FROM {keylane}.sessions WHERE id = v_claim.owner;
        IF FOUND AND v_owner.expires_at <= clock_timestamp() AND {keylane}.bury(ARRAY[v_claim.owner]) IS NOT NULL
        THEN
            v_owner.id := NULL;
        END IF;
        -- S5, first step: the owner hears of it; only past the limit it is taken. The first question's time counts.
        IF v_owner.id IS NOT NULL AND (v_claim.wanted_at IS NULL
            OR v_claim.wanted_at > clock_timestamp() - p_limit_us * interval '1 microsecond')
        THEN
            UPDATE {keylane}.claims
            SET wanted_by = p_session, wanted_at = coalesce(v_claim.wanted_at, clock_timestamp())
            WHERE scope = p_scope AND partition = p_partition;
            granted := false;
            owner_name := v_owner.worker;
            RETURN;
        END IF;
    END IF;
    -- S2: from here on no commit of the owner before finds its epoch.
    UPDATE {keylane}.claims
    SET epoch = epoch + 1, owner = p_session, wanted_by = NULL, wanted_at = NULL, repositioned = false, clean = false
    WHERE scope = p_scope AND partition = p_partition;
    granted := true;
    -- A duplicate finishes its offset without a word on its attempts; they go here. Those of a released dead letter
    -- stay: its offset was finished when it was parked.
    DELETE FROM {keylane}.attempts a
    WHERE a.scope = p_scope AND a.partition = p_partition
        AND (a.generation <> v_claim.generation OR a."offset" < v_claim.base)
        AND NOT EXISTS (SELECT FROM {keylane}.parked p
            WHERE p.scope = p_scope AND p.partition = p_partition AND p.generation = a.generation
                AND p."offset" = a."offset" AND p.requested_at IS NOT NULL);
END $$;
