-- One event for less: fewer statements on its way, and none that is planned anew.

-- As before, but that the isolation is looked at here, which is no statement.
CREATE OR REPLACE FUNCTION {keylane}.hold_session(p_session uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_lifetime bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM {keylane}.check_isolation();
    END IF;
    SELECT lifetime_us INTO v_lifetime FROM {keylane}.sessions WHERE id = p_session FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'KL001', MESSAGE = 'the session is gone';
    END IF;
    RETURN v_lifetime;
END $$;

-- As before, but that a lone position is written without more ado.
CREATE OR REPLACE FUNCTION {keylane}.commit_holds(
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
    IF cardinality(p_written) = 1 THEN
        UPDATE {keylane}.claims c
        SET base = p_base[1], sparse = p_sparse[1], identity = p_identity[1], witness_offset = p_witness_offset[1],
            witness_us = p_witness_us[1], witness_hash = p_witness_hash[1], partitions = p_partitions[1],
            version = c.version + 1
        WHERE p_held[p_written[1]] AND c.scope = p_scope[p_written[1]] AND c.partition = p_partition[p_written[1]]
            AND c.owner = p_session
        RETURNING p_written, ARRAY[c.version] INTO written, versions;
    ELSIF cardinality(p_written) > 0 THEN
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
    -- Mostly nobody wants anything.
    IF EXISTS (SELECT FROM {keylane}.claims c WHERE c.owner = p_session AND c.wanted_by IS NOT NULL
        UNION ALL SELECT FROM {keylane}.lease_waits)
    THEN
        SELECT w.claims, w.leases INTO claims, leases FROM {keylane}.wanted_of(p_session) w;
    END IF;
END $$;

-- The containers of a ledger come and go once a day, and a statement that names its table itself stays planned. So each
-- scope has functions of its own, in which the containers of the present are written down: admit_N and commit_rows_N of
-- the scope N. Who changes a container, and so has the ledger's lock alone, writes them anew. One that began before and
-- waited for that lock sees by a sequence that it is of yesterday, and hands over to the functions for any ledger; the
-- sequence is set, not drawn from, because what is drawn jumps when the server crashes.

-- The looks into a scope's containers, one statement each; `p_all` as ledger_known has it.
CREATE FUNCTION {keylane}.looks_of(p_subscription text, p_all boolean) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('
    IF %1$s THEN
        SELECT known_at || array_agg(e.at::int), known_hash || array_agg(l.hash) INTO known_at, known_hash
        FROM unnest(p_id, p_ms) WITH ORDINALITY e (id, ms, at)
        CROSS JOIN LATERAL (
            SELECT k.hash FROM {keylane}.ledger_%2$s k WHERE k.scope = <scope> AND k.id = e.id LIMIT 1) l%3$s;
    END IF;',
        CASE
            WHEN l.from_ms IS NOT NULL THEN format('v_last >= %s AND v_first < %s', l.from_ms, l.to_ms)
            -- An id with a time may lie here from before there was a container for its time.
            WHEN l.closed_at IS NULL THEN 'v_generation' || CASE WHEN p_all THEN '' ELSE ' AND v_first IS NOT NULL' END
            ELSE format('EXISTS (SELECT FROM unnest(p_id) i WHERE i >= %L AND i <= %L)', l.least, l.most)
        END,
        l.id,
        CASE WHEN l.from_ms IS NOT NULL THEN format(' WHERE e.ms >= %s AND e.ms < %s', l.from_ms, l.to_ms) ELSE '' END),
        '' ORDER BY l.id DESC)
    FROM {keylane}.ledgers l
    WHERE l.subscription = p_subscription AND (p_all OR l.from_ms IS NULL OR l.closed_at IS NOT NULL)
$$;

-- L1, C2: the inserts into a scope's open containers; the key's own error says where an id is not new.
CREATE FUNCTION {keylane}.inserts_of(p_subscription text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('
    IF %1$s THEN
        -- C7: in the order of the keys.
        INSERT INTO {keylane}.ledger_%2$s (scope, id, hash)
        SELECT <scope>, e.id, e.hash FROM unnest(p_id, p_ms, p_hash) e (id, ms, hash) WHERE %3$s ORDER BY e.id;
        GET DIAGNOSTICS v_new = ROW_COUNT;
        v_sum := v_sum + v_new;
    END IF;',
        CASE WHEN l.from_ms IS NOT NULL THEN format('v_last >= %s AND v_first < %s', l.from_ms, l.to_ms)
            ELSE format('v_timeless OR NOT coalesce(v_first >= %s AND v_last < %s, false)', days.first, days.last) END,
        l.id,
        CASE WHEN l.from_ms IS NOT NULL THEN format('e.ms >= %s AND e.ms < %s', l.from_ms, l.to_ms)
            ELSE format('coalesce(e.ms >= %s AND e.ms < %s, false) = false', days.first, days.last) END),
        '' ORDER BY l.id)
    FROM {keylane}.ledgers l, (
        -- The containers by time that are open lie side by side.
        SELECT coalesce(min(from_ms)::text, 'NULL') AS first, coalesce(max(to_ms)::text, 'NULL') AS last
        FROM {keylane}.ledgers
        WHERE subscription = p_subscription AND closed_at IS NULL) days
    WHERE l.subscription = p_subscription AND l.closed_at IS NULL
$$;

-- What is done with a lone event, in the open container of its own time; that of today comes first.
CREATE FUNCTION {keylane}.single_of(p_subscription text, p_text text) RETURNS text LANGUAGE sql AS $$
    SELECT 'IF' || string_agg(format(' p_ms[1] >= %s AND p_ms[1] < %s THEN', l.from_ms, l.to_ms)
        || replace(p_text, '<ledger>', 'ledger_' || l.id), 'ELSIF' ORDER BY abs(l.from_ms + 43200000 - now.ms))
        || 'END IF;'
    FROM {keylane}.ledgers l, (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms) now
    WHERE l.subscription = p_subscription AND l.closed_at IS NULL AND l.from_ms IS NOT NULL
$$;

-- Writes the functions of a subscription's scopes; its lock is held.
CREATE FUNCTION {keylane}.ledger_write(p_subscription text) RETURNS void LANGUAGE plpgsql AS $write$
DECLARE
    -- Their statements are planned once, for any number of events, and by the keys: while a table is small, reading
    -- all of it looks cheaper, and stays planned when it has grown.
    c_planned CONSTANT text := 'LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off';
    c_times CONSTANT text := $$
    IF cardinality(p_ms) = 1 THEN
        v_first := p_ms[1];
        v_last := v_first;
        v_timeless := v_first IS NULL;
    ELSE
        SELECT min(m), max(m), count(m) < count(*) INTO v_first, v_last, v_timeless FROM unnest(p_ms) m;
    END IF;$$;
    c_look CONSTANT text := $$
            SELECT EXISTS (SELECT FROM {keylane}.<ledger> WHERE scope = <scope> AND id = p_id[1])
                OR EXISTS (SELECT FROM {keylane}.ledger_<generation>)
                OR EXISTS (SELECT FROM {keylane}.parked) OR EXISTS (SELECT FROM {keylane}.tries)
            INTO v_known;
            IF NOT v_known THEN
                RETURN;
            END IF;
        $$;
    c_unknown CONSTANT text := $$
            RETURN (SELECT EXISTS (SELECT FROM {keylane}.sessions WHERE id = p_session)
                AND NOT EXISTS (SELECT FROM {keylane}.<ledger> WHERE scope = <scope> AND id = p_id[1])
                AND NOT EXISTS (SELECT FROM {keylane}.ledger_<generation>)
                AND NOT EXISTS (SELECT FROM {keylane}.parked) AND NOT EXISTS (SELECT FROM {keylane}.tries));
        $$;
    c_insert CONSTANT text := $$
            INSERT INTO {keylane}.<ledger> (scope, id, hash)
            SELECT <scope>, p_id[1], p_hash[1] WHERE NOT (EXISTS (SELECT FROM {keylane}.ledger_<generation>)
                OR EXISTS (SELECT FROM {keylane}.parked)
                OR EXISTS (SELECT FROM {keylane}.attempts) OR EXISTS (SELECT FROM {keylane}.tries));
            IF FOUND THEN
                held := '{t}';
                RETURN;
            END IF;
        $$;
    v_generation int;
    v_state bigint;
    v_scope int;
    v_text text;
BEGIN
    SELECT id INTO v_generation FROM {keylane}.ledgers
    WHERE subscription = p_subscription AND from_ms IS NULL AND closed_at IS NULL;
    FOR v_scope IN SELECT id FROM {keylane}.scopes WHERE subscription = p_subscription ORDER BY id LOOP
        EXECUTE format('CREATE SEQUENCE IF NOT EXISTS {keylane}.ledger_state_%s', v_scope);
        v_state := coalesce(pg_sequence_last_value(format('{keylane}.ledger_state_%s', v_scope)::regclass), 0) + 1;
        FOREACH v_text IN ARRAY ARRAY[
            -- As admit, of which it is.
            $$CREATE OR REPLACE FUNCTION {keylane}.admit_<scope>(
    p_session uuid, p_keys bytea[], p_id bytea[], p_ms bigint[], p_ledger boolean[], p_leased boolean[],
    OUT tokens bigint[], OUT uncleans boolean[],
    OUT known_at int[], OUT known_hash uuid[], OUT letter_at int[], OUT letter_hash uuid[], OUT tries text
) <planned> AS $body$
DECLARE
    v_first bigint;
    v_last bigint;
    v_timeless boolean;
    v_lifetime bigint;
    v_known boolean;
    v_generation boolean;
    v_parked boolean;
    v_tries boolean;
BEGIN
    -- A lone event, and no lease: session, ledger, and one statement that looks whether anything is known of anything.
    -- Expressions are few, because each has its price.
    IF cardinality(p_id) = 1 AND p_ms[1] IS NOT NULL AND p_ledger[1] AND cardinality(p_keys) = 0
        AND current_setting('transaction_isolation') = 'read committed'
    THEN
        SELECT s.lifetime_us INTO v_lifetime FROM {keylane}.sessions s WHERE s.id = p_session FOR KEY SHARE;
        IF (CASE WHEN NOT FOUND OR pg_advisory_xact_lock_shared(<key>) IS NULL THEN false
            WHEN pg_sequence_last_value('{keylane}.ledger_state_<scope>') IS DISTINCT FROM <state> THEN false
            -- The lock of the session's row is all that is written, which no crash needs to outlive.
            ELSE set_config('synchronous_commit', 'off', true) IS NOT NULL END)
        THEN
            <look>
        END IF;
    END IF;
    IF {keylane}.hold_session(p_session) IS NULL OR pg_advisory_xact_lock_shared(<key>) IS NULL
        OR pg_sequence_last_value('{keylane}.ledger_state_<scope>') IS DISTINCT FROM <state>
    THEN
        SELECT a.* INTO tokens, uncleans, known_at, known_hash, letter_at, letter_hash, tries
        FROM {keylane}.admit(p_session, <scope>, p_keys, p_id, p_ms, p_ledger, p_leased) a;
        RETURN;
    END IF;
    -- A1: leases first.
    IF cardinality(p_keys) > 0 THEN
        SELECT t.tokens, t.uncleans INTO tokens, uncleans
        FROM {keylane}.take_leases(p_session, <scope>, p_keys) t;
    ELSIF set_config('synchronous_commit', 'off', true) IS NULL THEN
        NULL;
    END IF;
    SELECT EXISTS (SELECT FROM {keylane}.ledger_<generation>), EXISTS (SELECT FROM {keylane}.parked),
        EXISTS (SELECT FROM {keylane}.tries)
    INTO v_generation, v_parked, v_tries;
    IF true = ANY (p_ledger) THEN<times><looks>
    END IF;
    IF v_parked THEN
        SELECT array_agg(e.at::int), array_agg(p.payload_hash) INTO letter_at, letter_hash
        FROM unnest(p_id) WITH ORDINALITY e (id, at)
        JOIN {keylane}.parked p ON p.scope = <scope> AND p.id = e.id;
    END IF;
    IF v_tries AND true = ANY (p_leased) THEN
        SELECT json_agg(json_build_object('at', e.at, 'generation', t.generation, 'offset', t."offset",
            'attempts', t.attempts, 'crashes', t.crashes, 'started_by', t.started_by, 'first_us', t.first_us,
            'failure', encode(t.failure, 'hex')))::text INTO tries
        FROM unnest(p_id, p_leased) WITH ORDINALITY e (id, leased, at)
        JOIN {keylane}.tries t ON t.scope = <scope> AND t.id = e.id WHERE e.leased;
    END IF;
END $body$ $$,
            -- Whether a lone event is new, as far as that is seen at once. It writes nothing and locks no row, and so it
            -- may run where transactions only read (decision 25).
            $$CREATE OR REPLACE FUNCTION {keylane}.is_new_<scope>(p_session uuid, p_id bytea[], p_ms bigint[])
RETURNS boolean <planned> AS $body$
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' AND pg_advisory_xact_lock_shared(<key>) IS NOT NULL
        AND pg_sequence_last_value('{keylane}.ledger_state_<scope>') IS NOT DISTINCT FROM <state>
    THEN
        <unknown>
    END IF;
    RETURN false;
END $body$ $$,
            -- As commit_rows, of groups of one scope.
            $$CREATE OR REPLACE FUNCTION {keylane}.commit_rows_<scope>(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[], p_guard boolean,
    p_used int[], p_version bigint[],
    p_scopes int[], p_id bytea[], p_ms bigint[], p_hash uuid[],
    p_ended_hold int[], p_ended_offset bigint[], p_ended_id bytea[],
    OUT lifetime_us bigint, OUT held boolean[]
) <planned> AS $body$
DECLARE
    v_guard boolean := p_guard;
    v_lone boolean;
    v_version bigint;
    v_first bigint;
    v_last bigint;
    v_timeless boolean;
    v_generation boolean;
    v_parked boolean;
    v_tried boolean;
    v_new bigint;
    v_sum bigint := 0;
    known_at int[];
    known_hash uuid[];
BEGIN
    -- S1, S2, C1: a lone event of a claim; the locks in the order of fence.
    IF cardinality(p_id) = 1 AND p_ms[1] IS NOT NULL AND cardinality(p_number) = 1 AND p_partition[1] IS NOT NULL
        AND current_setting('transaction_isolation') = 'read committed'
    THEN
        SELECT s.lifetime_us INTO lifetime_us FROM {keylane}.sessions s WHERE s.id = p_session FOR KEY SHARE;
        v_lone := CASE WHEN NOT FOUND OR pg_advisory_xact_lock_shared(<key>) IS NULL THEN false
            ELSE pg_sequence_last_value('{keylane}.ledger_state_<scope>') IS NOT DISTINCT FROM <state> END;
    END IF;
    IF v_lone THEN
        IF p_guard THEN
            INSERT INTO {keylane}.guards VALUES (pg_current_xact_id());
            v_guard := false;
        END IF;
        SELECT c.version INTO v_version FROM {keylane}.claims c
        WHERE c.scope = <scope> AND c.partition = p_partition[1] AND c.owner = p_session AND c.epoch = p_number[1]
        FOR NO KEY UPDATE;
        IF FOUND AND coalesce(p_version[1] = v_version, true) THEN
            -- P1, C2: nothing else is known of anything; the unique key is the arbiter.
            <insert>
        END IF;
    END IF;
    SELECT f.lifetime_us, f.held INTO lifetime_us, held
    FROM {keylane}.fence(p_session, p_scope, p_partition, p_key, p_number, v_guard) f;
    IF pg_sequence_last_value('{keylane}.ledger_state_<scope>') IS DISTINCT FROM <state> THEN
        SELECT r.lifetime_us, r.held INTO lifetime_us, held
        FROM {keylane}.commit_rows(p_session, p_scope, p_partition, p_key, p_number, false, p_used, p_version,
            p_scopes, p_id, p_ms, p_hash,
            p_ended_hold, p_ended_offset, p_ended_id) r;
        RETURN;
    END IF;
    -- C1: not the session alone.
    IF NOT true = ALL (held) AND EXISTS (SELECT FROM unnest(p_used) u WHERE NOT held[u]) THEN
        RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'a claim or lease of the group is gone';
    END IF;
    IF cardinality(array_remove(p_version, NULL)) > 0
        AND EXISTS (SELECT FROM unnest(p_partition, p_version) e (partition, version)
        JOIN {keylane}.claims c ON c.scope = <scope> AND c.partition = e.partition WHERE c.version <> e.version)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'a position is another than was judged by';
    END IF;
    SELECT EXISTS (SELECT FROM {keylane}.ledger_<generation>), EXISTS (SELECT FROM {keylane}.parked),
        EXISTS (SELECT FROM {keylane}.attempts UNION ALL SELECT FROM {keylane}.tries)
    INTO v_generation, v_parked, v_tried;
    IF cardinality(p_id) > 0 THEN<times><looks of others>
        -- P1: an event is in exactly one of ledger and parking table.
        IF known_at IS NOT NULL OR v_parked AND EXISTS (
            SELECT FROM unnest(p_id) e (id) JOIN {keylane}.parked p ON p.scope = <scope> AND p.id = e.id)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'an event of the group is not new';
        END IF;
        -- C2: the unique key is the arbiter.<inserts>
        IF v_sum <> cardinality(p_id) THEN
            RAISE EXCEPTION USING ERRCODE = 'KL002', MESSAGE = 'an event of the group is not new';
        END IF;
    END IF;
    IF v_tried AND cardinality(p_ended_hold) > 0 THEN
        PERFORM {keylane}.forget_attempts(p_scope, p_partition, p_ended_hold, NULL, p_ended_offset, p_ended_id);
    END IF;
END $body$ $$,
            -- As commit_plain, of groups of one scope.
            $$CREATE OR REPLACE FUNCTION {keylane}.commit_plain_<scope>(
    p_session uuid, p_scope int[], p_partition bigint[], p_key bytea[], p_number bigint[],
    p_used int[], p_version bigint[],
    p_scopes int[], p_id bytea[], p_ms bigint[], p_hash uuid[],
    p_ended_hold int[], p_ended_offset bigint[], p_ended_id bytea[],
    p_written int[], p_base bigint[], p_sparse bytea[], p_identity bytea[],
    p_witness_offset bigint[], p_witness_us bigint[], p_witness_hash bigint[], p_partitions bigint[],
    p_over int[], p_unclean int[], p_marks int[],
    OUT written int[], OUT versions bigint[], OUT given int[], OUT claims text, OUT leases text
) LANGUAGE plpgsql AS $body$
DECLARE
    v_held boolean[];
    v_ended int[] := '{}';
    v_used int[] := p_used;
    v_over int[] := p_over;
    v_key bytea[] := p_key;
BEGIN
    -- As commit_plain: leases that end do so first.
    IF cardinality(p_over) > 0 AND array_remove(p_partition, NULL) = '{}'
        AND {keylane}.hold_session(p_session) IS NOT NULL AND pg_advisory_xact_lock_shared(<key>) IS NOT NULL
    THEN
        SELECT e.ended, e.used, e.over, e.rest INTO v_ended, v_used, v_over, v_key
        FROM {keylane}.end_first(p_session, p_scope, p_key, p_number, p_used, p_over) e;
    END IF;
    SELECT r.held INTO v_held
    FROM {keylane}.commit_rows_<scope>(p_session, p_scope, p_partition, v_key, p_number, false, v_used, p_version,
        p_scopes, p_id, p_ms, p_hash, p_ended_hold, p_ended_offset, p_ended_id) r;
    IF cardinality(p_unclean) > 0 THEN
        PERFORM {keylane}.give_back(array_agg(p_scope[u.at]), array_agg(p_key[u.at]), array_agg(u.marks))
        FROM unnest(p_unclean, p_marks) u (at, marks) WHERE v_held[u.at];
        v_ended := v_ended || ARRAY(SELECT u FROM unnest(p_unclean) u WHERE v_held[u]);
    END IF;
    SELECT h.written, h.versions, h.given || v_ended, h.claims, h.leases INTO written, versions, given, claims, leases
    FROM {keylane}.commit_holds(p_session, p_scope, p_partition, p_key,
        v_held, false, p_written, p_base, p_sparse, p_identity, p_witness_offset, p_witness_us, p_witness_hash,
        p_partitions, v_over) h;
END $body$ $$]
        LOOP
            v_text := replace(v_text, '<planned>', c_planned);
            v_text := replace(v_text, '<times>', c_times);
            v_text := replace(v_text, '<looks>', {keylane}.looks_of(p_subscription, true));
            v_text := replace(v_text, '<looks of others>', coalesce({keylane}.looks_of(p_subscription, false), ''));
            v_text := replace(v_text, '<inserts>', {keylane}.inserts_of(p_subscription));
            v_text := replace(v_text, '<look>', coalesce({keylane}.single_of(p_subscription, c_look), ''));
            v_text := replace(v_text, '<unknown>', coalesce({keylane}.single_of(p_subscription, c_unknown), ''));
            v_text := replace(v_text, '<insert>', coalesce({keylane}.single_of(p_subscription, c_insert), ''));
            v_text := replace(v_text, '<generation>', v_generation::text);
            v_text := replace(v_text, '<key>', {keylane}.ledger_key(p_subscription)::text);
            v_text := replace(v_text, '<state>', v_state::text);
            EXECUTE replace(v_text, '<scope>', v_scope::text);
        END LOOP;
        PERFORM setval(format('{keylane}.ledger_state_%s', v_scope)::regclass, v_state);
    END LOOP;
END $write$;

-- As before, but that the scope's functions are written.
CREATE OR REPLACE FUNCTION {keylane}.intern(p_subscription text, p_broker text, p_source text) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_id int;
BEGIN
    PERFORM {keylane}.check_isolation();
    SELECT id INTO v_id FROM {keylane}.scopes
    WHERE subscription = p_subscription AND broker = p_broker AND source = p_source;
    IF FOUND AND to_regclass(format('{keylane}.ledger_state_%s', v_id)) IS NOT NULL THEN
        RETURN v_id;
    END IF;
    PERFORM {keylane}.ledger_open(p_subscription);
    INSERT INTO {keylane}.scopes (subscription, broker, source) VALUES (p_subscription, p_broker, p_source)
    ON CONFLICT DO NOTHING;
    PERFORM {keylane}.ledger_write(p_subscription);
    RETURN (SELECT id FROM {keylane}.scopes
        WHERE subscription = p_subscription AND broker = p_broker AND source = p_source);
END $$;

-- Which containers there are, and which of them are open.
CREATE FUNCTION {keylane}.containers_of(p_subscription text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat(id, ' ', closed_at IS NULL), ',' ORDER BY id) FROM {keylane}.ledgers
    WHERE subscription = p_subscription
$$;

-- As before, but that the functions are written where a container changed.
CREATE OR REPLACE FUNCTION {keylane}.sweep(p_subscription text, p_keep_us bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_keep interval := p_keep_us * interval '1 microsecond';
    v_now timestamptz;
    v_before text;
    v_ledger {keylane}.ledgers;
    v_dropped bigint := 0;
BEGIN
    PERFORM {keylane}.check_isolation();
    IF NOT {keylane}.sweep_is_due(p_subscription, clock_timestamp() - v_keep, v_keep / 4) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock({keylane}.ledger_key(p_subscription));
    v_before := {keylane}.containers_of(p_subscription);
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
    IF {keylane}.containers_of(p_subscription) IS DISTINCT FROM v_before THEN
        PERFORM {keylane}.ledger_write(p_subscription);
    END IF;
    PERFORM {keylane}.sweep_left_behind(p_subscription, v_now - v_keep);
    RETURN v_dropped;
END $$;

-- Those that are there.
DO $$
DECLARE
    v_subscription text;
BEGIN
    FOR v_subscription IN SELECT DISTINCT subscription FROM {keylane}.scopes ORDER BY 1 LOOP
        PERFORM {keylane}.ledger_open(v_subscription);
        PERFORM {keylane}.ledger_write(v_subscription);
    END LOOP;
END $$;
