-- A1: leases first; what is read afterwards, each in a statement of its own, is as of then. One answer for each lease,
-- in order; of events only what is known. `p_hash` is NULL of events without a ledger, `p_leased` says whose tries are
-- looked up by their id. `letters` are parked, with the hashes of their payloads, `tries` the tries, in JSON.
CREATE FUNCTION {keylane}.admit(
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
