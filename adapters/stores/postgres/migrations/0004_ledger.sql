-- All who look into a subscription's ledger, or write it, share a lock that whoever opens, closes or drops a container
-- has alone: no table goes under a look, and two commits of one id meet in one container, whose key arbitrates.
CREATE FUNCTION {keylane}.ledger_key(p_subscription text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('{keylane}.' || p_subscription, 0)
$$;

CREATE FUNCTION {keylane}.hold_ledgers(p_scope int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(keys.key) FROM (
        SELECT DISTINCT {keylane}.ledger_key(subscription) AS key FROM {keylane}.scopes WHERE id = ANY (p_scope)
        ORDER BY 1) keys;
END $$;

-- L1: what the ledger knows of ids, wherever they can be. `ms`: the time that an id carries. Only what is there
-- comes back. Who inserts the ids next need not look (`p_all`) where they will be inserted.
CREATE FUNCTION {keylane}.ledger_known(p_scope int[], p_id bytea[], p_ms bigint[], p_all boolean)
RETURNS TABLE (at int, hash uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_ledger {keylane}.ledgers;
    v_open boolean;
BEGIN
    FOR v_ledger IN SELECT * FROM {keylane}.ledgers l WHERE l.subscription IN (
        SELECT s.subscription FROM {keylane}.scopes s WHERE s.id = ANY (p_scope)) ORDER BY l.id DESC
    LOOP
        v_open := v_ledger.closed_at IS NULL;
        IF v_ledger.from_ms IS NOT NULL THEN
            CONTINUE WHEN v_open AND NOT p_all OR NOT EXISTS (
                SELECT FROM unnest(p_ms) m WHERE m >= v_ledger.from_ms AND m < v_ledger.to_ms);
        ELSIF v_open THEN
            -- An id with a time may lie here from before there was a container for its time.
            CONTINUE WHEN NOT p_all AND NOT EXISTS (SELECT FROM unnest(p_ms) m WHERE m IS NOT NULL);
        ELSE
            CONTINUE WHEN NOT EXISTS (
                SELECT FROM unnest(p_id) i WHERE i >= v_ledger.least AND i <= v_ledger.most);
        END IF;
        RETURN QUERY EXECUTE format(
            'SELECT e.at::int, l.hash FROM unnest($1, $2) WITH ORDINALITY e (scope, id, at)
             JOIN {keylane}.ledger_%s l ON l.scope = e.scope AND l.id = e.id', v_ledger.id) USING p_scope, p_id;
    END LOOP;
END $$;

-- L1, C2: inserts ids where they belong, and gives how many were new.
CREATE FUNCTION {keylane}.ledger_insert(p_scope int[], p_id bytea[], p_ms bigint[], p_hash uuid[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_ledger {keylane}.ledgers;
    v_from bigint;
    v_to bigint;
    v_scopes int[];
    v_new bigint;
    v_sum bigint := 0;
BEGIN
    FOR v_ledger IN SELECT * FROM {keylane}.ledgers l WHERE l.closed_at IS NULL AND l.subscription IN (
        SELECT s.subscription FROM {keylane}.scopes s WHERE s.id = ANY (p_scope)) ORDER BY l.id
    LOOP
        IF v_ledger.from_ms IS NOT NULL THEN
            CONTINUE WHEN NOT EXISTS (
                SELECT FROM unnest(p_ms) m WHERE m >= v_ledger.from_ms AND m < v_ledger.to_ms);
            v_from := v_ledger.from_ms;
            v_to := v_ledger.to_ms;
        ELSE
            -- The containers by time that are open lie side by side.
            SELECT min(l.from_ms), max(l.to_ms) INTO v_from, v_to FROM {keylane}.ledgers l
            WHERE l.subscription = v_ledger.subscription AND l.closed_at IS NULL;
            CONTINUE WHEN NOT EXISTS (
                SELECT FROM unnest(p_ms) m WHERE coalesce(m < v_from OR m >= v_to, true));
        END IF;
        SELECT array_agg(s.id) INTO v_scopes FROM {keylane}.scopes s
        WHERE s.subscription = v_ledger.subscription AND s.id = ANY (p_scope);
        -- C7: in the order of the keys.
        EXECUTE format(
            'INSERT INTO {keylane}.ledger_%s (scope, id, hash)
             SELECT e.scope, e.id, e.hash FROM unnest($1, $2, $3, $4) e (scope, id, ms, hash)
             WHERE e.scope = ANY ($5) AND coalesce(e.ms >= $6 AND e.ms < $7, false) = $8
             ORDER BY e.scope, e.id ON CONFLICT DO NOTHING', v_ledger.id)
        USING p_scope, p_id, p_ms, p_hash, v_scopes, v_from, v_to, v_ledger.from_ms IS NOT NULL;
        GET DIAGNOSTICS v_new = ROW_COUNT;
        v_sum := v_sum + v_new;
    END LOOP;
    RETURN v_sum;
END $$;

-- Makes a container; its subscription's lock is held.
CREATE FUNCTION {keylane}.ledger_create(p_subscription text, p_from bigint, p_to bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_id int;
BEGIN
    INSERT INTO {keylane}.ledgers (subscription, from_ms, to_ms) VALUES (p_subscription, p_from, p_to)
    ON CONFLICT DO NOTHING RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE {keylane}.ledger_%s (
        scope int NOT NULL, id bytea NOT NULL, hash uuid NOT NULL, PRIMARY KEY (scope, id))', v_id);
    -- Nothing is deleted from it: only fresh rows are to be looked at, and frozen.
    EXECUTE format('ALTER TABLE {keylane}.ledger_%s SET (autovacuum_vacuum_insert_scale_factor = 0.5)', v_id);
END $$;

-- Sees to it that a subscription can be written: a generation, and the containers of yesterday to the day after
-- tomorrow. Whoever gets there first makes them. Days that are over for a day close before: ids that are two days old
-- go into the generation from now on, so that none lies in a container that is dropped before the id was kept for long
-- enough. And after a time without anybody, a day between two open ones would have no place at all.
CREATE FUNCTION {keylane}.ledger_open(p_subscription text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_day CONSTANT bigint := 86400000;
    v_now bigint;
    v_today bigint;
BEGIN
    PERFORM pg_advisory_xact_lock({keylane}.ledger_key(p_subscription));
    v_now := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    v_today := v_now / c_day * c_day;
    UPDATE {keylane}.ledgers SET closed_at = clock_timestamp()
    WHERE subscription = p_subscription AND closed_at IS NULL AND to_ms <= v_now - c_day;
    PERFORM {keylane}.ledger_create(p_subscription, NULL, NULL);
    FOR at IN -1..2 LOOP
        PERFORM {keylane}.ledger_create(p_subscription, v_today + at * c_day, v_today + (at + 1) * c_day);
    END LOOP;
END $$;

-- The scope's number, given to it where it had none, with a ledger that can be written.
CREATE FUNCTION {keylane}.intern(p_subscription text, p_broker text, p_source text) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_id int;
BEGIN
    PERFORM {keylane}.check_isolation();
    SELECT id INTO v_id FROM {keylane}.scopes
    WHERE subscription = p_subscription AND broker = p_broker AND source = p_source;
    IF FOUND THEN
        RETURN v_id;
    END IF;
    PERFORM {keylane}.ledger_open(p_subscription);
    INSERT INTO {keylane}.scopes (subscription, broker, source) VALUES (p_subscription, p_broker, p_source)
    ON CONFLICT DO NOTHING;
    RETURN (SELECT id FROM {keylane}.scopes
        WHERE subscription = p_subscription AND broker = p_broker AND source = p_source);
END $$;

-- Whether there is anything for a sweep to do. It waits for every commit that runs, and lets none begin: with many
-- workers, each of which sweeps every minute, that must not be for nothing.
CREATE FUNCTION {keylane}.sweep_is_due(p_subscription text, p_before timestamptz, p_turn interval) RETURNS boolean
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
            WHERE l.scope = ANY (v_scopes) AND (l.owner IS NULL OR l.since <= p_before)
                AND NOT EXISTS (SELECT FROM {keylane}.sessions s WHERE s.id = coalesce(l.owner, l.kept_for))
                AND NOT EXISTS (SELECT FROM {keylane}.lease_waits w WHERE w.scope = l.scope AND w.key = l.key));
END $$;

-- Retention: opens, closes and drops containers; gives how many were dropped.
CREATE FUNCTION {keylane}.sweep(p_subscription text, p_keep_us bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_keep interval := p_keep_us * interval '1 microsecond';
    v_now timestamptz;
    v_ledger {keylane}.ledgers;
    v_dropped bigint := 0;
BEGIN
    PERFORM {keylane}.check_isolation();
    IF NOT {keylane}.sweep_is_due(p_subscription, clock_timestamp() - v_keep, v_keep / 4) THEN
        RETURN 0;
    END IF;
    -- From here on no commit writes the ledger: what is closed now has no row that is younger.
    PERFORM {keylane}.ledger_open(p_subscription);
    v_now := clock_timestamp();
    -- A keep time is spread over four generations: rows live at most that part longer than asked.
    FOR v_ledger IN SELECT * FROM {keylane}.ledgers WHERE subscription = p_subscription AND from_ms IS NULL
        AND closed_at IS NULL AND opened_at <= v_now - v_keep / 4
    LOOP
        PERFORM {keylane}.generation_close(v_ledger.id, v_now);
        PERFORM {keylane}.ledger_create(p_subscription, NULL, NULL);
    END LOOP;
    FOR v_ledger IN DELETE FROM {keylane}.ledgers
        WHERE subscription = p_subscription AND closed_at <= v_now - v_keep RETURNING *
    LOOP
        EXECUTE format('DROP TABLE {keylane}.ledger_%s', v_ledger.id);
        v_dropped := v_dropped + 1;
    END LOOP;
    PERFORM {keylane}.sweep_left_behind(p_subscription, v_now - v_keep);
    RETURN v_dropped;
END $$;

-- Closes a generation and notes between which ids it reaches: a look beyond them need not read it. An empty one goes
-- on as if it were opened now.
CREATE FUNCTION {keylane}.generation_close(p_id int, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_least bytea;
    v_most bytea;
BEGIN
    EXECUTE format('SELECT least.id, most.id
        FROM (SELECT id FROM {keylane}.ledger_%1$s ORDER BY id LIMIT 1) least,
            (SELECT id FROM {keylane}.ledger_%1$s ORDER BY id DESC LIMIT 1) most', p_id) INTO v_least, v_most;
    IF v_least IS NULL THEN
        UPDATE {keylane}.ledgers SET opened_at = p_now WHERE id = p_id;
    ELSE
        UPDATE {keylane}.ledgers SET closed_at = p_now, least = v_least, most = v_most WHERE id = p_id;
    END IF;
END $$;

-- What nobody came back to since then: sessions, their leases, tries of leased events.
CREATE FUNCTION {keylane}.sweep_left_behind(p_subscription text, p_before timestamptz) RETURNS void
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
    -- S7: a lease whose session is gone is free; so is one that is kept for nobody.
    DELETE FROM {keylane}.leases l
    WHERE l.scope = ANY (v_scopes) AND (l.owner IS NULL OR l.since <= p_before)
        AND NOT EXISTS (SELECT FROM {keylane}.sessions s WHERE s.id = coalesce(l.owner, l.kept_for))
        AND NOT EXISTS (SELECT FROM {keylane}.lease_waits w WHERE w.scope = l.scope AND w.key = l.key);
    DELETE FROM {keylane}.tries WHERE scope = ANY (v_scopes) AND written_at <= p_before;
END $$;
