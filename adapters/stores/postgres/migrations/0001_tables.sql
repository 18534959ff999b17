-- Texts that come from outside (ids, kinds, failures) are kept as their UTF-8 bytes: `text` refuses the zero byte.
-- Everything here expires by the database's clock alone (rule S4), as clock_timestamp() tells it: now() stands still
-- within a transaction.

-- A worker's heartbeat and the fence of all that it commits. A renewal is a plain UPDATE of no key column, so that it
-- never waits for a commit, which locks the row FOR KEY SHARE (rule S1).
CREATE TABLE {keylane}.sessions (
    id uuid PRIMARY KEY,
    worker text NOT NULL,
    lifetime_us bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Up to here in the parking table it was told of releases; it goes round.
    told_place bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Every session id that was ever registered, for as long as anything could still use it again (rule S1).
CREATE TABLE {keylane}.used_sessions (
    id uuid PRIMARY KEY,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What claims, leases, positions and ledger rows belong to, under a short number. Never deleted.
CREATE TABLE {keylane}.scopes (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text NOT NULL,
    broker text NOT NULL,
    source text NOT NULL,
    UNIQUE (subscription, broker, source)
);

-- A partition: who has it, and how far it is finished.
CREATE TABLE {keylane}.claims (
    scope int NOT NULL,
    partition bigint NOT NULL,
    epoch bigint NOT NULL,
    -- How often it was repositioned: an offset names a record within one generation only.
    generation bigint NOT NULL DEFAULT 0,
    owner uuid,
    wanted_by uuid,
    wanted_at timestamptz,
    -- Whether the last owner let go with nothing in flight.
    clean boolean NOT NULL,
    -- Where an operator said to read from; it counts while `base` is NULL (rule L2).
    read_from text,
    read_offset bigint,
    -- That was since its owner claimed it.
    repositioned boolean NOT NULL DEFAULT false,
    -- NULL until something was read.
    base bigint,
    sparse bytea,
    identity bytea,
    witness_offset bigint,
    witness_us bigint,
    witness_hash bigint,
    partitions bigint NOT NULL DEFAULT 0,
    -- Grows with each position that is written.
    version bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, partition)
) WITH (fillfactor = 50);
CREATE INDEX claims_by_owner ON {keylane}.claims (owner) WHERE owner IS NOT NULL;

-- Tokens of leases: one sequence for all keys, so that they only grow (rule A4).
CREATE SEQUENCE {keylane}.tokens;

-- A key: who has it. The row exists while somebody has it, or it is kept for somebody.
CREATE TABLE {keylane}.leases (
    scope int NOT NULL,
    key bytea NOT NULL,
    owner uuid,
    token bigint NOT NULL,
    -- Who had it before did not give it back.
    unclean boolean NOT NULL DEFAULT false,
    -- Given back, and kept for who waited longest, until then.
    kept_for uuid,
    kept_until timestamptz,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX leases_by_owner ON {keylane}.leases (owner) WHERE owner IS NOT NULL;
CREATE INDEX leases_by_heir ON {keylane}.leases (kept_for) WHERE kept_for IS NOT NULL;

-- Who waits for a key until it asks again and gets it; `place` is the order of asking. Written and deleted under the
-- lock of the key's row, but for the end of a session.
CREATE TABLE {keylane}.lease_waits (
    scope int NOT NULL,
    key bytea NOT NULL,
    session uuid NOT NULL,
    place bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (scope, key, session)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX lease_waits_by_session ON {keylane}.lease_waits (session);

-- Events of claimed partitions that were tried and are not finished.
CREATE TABLE {keylane}.attempts (
    scope int NOT NULL,
    partition bigint NOT NULL,
    -- In which it was read: one that runs from the parking table may be of an older one.
    generation bigint NOT NULL,
    "offset" bigint NOT NULL,
    id bytea NOT NULL,
    attempts bigint NOT NULL,
    crashes bigint NOT NULL,
    started_by uuid,
    first_us bigint NOT NULL,
    failure bytea NOT NULL,
    PRIMARY KEY (scope, partition, generation, "offset")
);

-- The same of leased keys, by the event's id.
CREATE TABLE {keylane}.tries (
    scope int NOT NULL,
    id bytea NOT NULL,
    generation bigint NOT NULL,
    "offset" bigint NOT NULL,
    attempts bigint NOT NULL,
    crashes bigint NOT NULL,
    started_by uuid,
    first_us bigint NOT NULL,
    failure bytea NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (scope, id)
);

-- Events that are stored instead of handled; `place` is the order of parking.
CREATE TABLE {keylane}.parked (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope int NOT NULL,
    partition bigint NOT NULL,
    generation bigint NOT NULL,
    "offset" bigint NOT NULL,
    id bytea NOT NULL,
    key bytea NOT NULL,
    kind bytea NOT NULL,
    sequence bigint,
    payload_hash uuid NOT NULL,
    reason text NOT NULL,
    -- How it died, where the reason is `dead`.
    death text,
    attempts bigint NOT NULL,
    crashes bigint NOT NULL,
    -- A JSON list of texts, outermost first.
    failures text NOT NULL,
    first_us bigint NOT NULL,
    parked_us bigint NOT NULL,
    worker text NOT NULL,
    -- When an operator asked its owner to run it (rule P3).
    requested_at timestamptz,
    record_key bytea,
    -- As the core writes headers (core/src/event/codec.rs).
    record_headers bytea NOT NULL,
    record_us bigint,
    record_id bytea,
    record_payload bytea NOT NULL,
    UNIQUE (scope, partition, generation, "offset")
);
CREATE INDEX parked_by_id ON {keylane}.parked (scope, id);
CREATE INDEX parked_requested ON {keylane}.parked (scope, partition) WHERE requested_at IS NOT NULL;

-- The containers of each subscription's ledger (rule L1). The rows lie in tables named ledger_ID, so that a container
-- goes by dropping its table. One with bounds takes the ids whose own time lies between them; the others are the
-- generations by time of insertion, of which the one that is open takes all other ids. See decision 0021.
CREATE TABLE {keylane}.ledgers (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text NOT NULL,
    from_ms bigint,
    to_ms bigint,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- No row of it is younger.
    closed_at timestamptz,
    -- Of a closed generation: its least and its greatest id.
    least bytea,
    most bytea
);
CREATE UNIQUE INDEX ledgers_open ON {keylane}.ledgers (subscription, coalesce(from_ms, -1)) WHERE closed_at IS NULL;
CREATE INDEX ledgers_by_subscription ON {keylane}.ledgers (subscription);

-- One row while a transaction runs writes of handlers. It is deleted by the statement that ends them, and whoever
-- commits while it is there is refused: a write that ends the transaction it was lent would commit the ledger rows of
-- events whose writes have not run.
CREATE TABLE {keylane}.guards (id xid8 PRIMARY KEY) WITH (autovacuum_vacuum_threshold = 500);

CREATE FUNCTION {keylane}.guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM {keylane}.guards WHERE id = NEW.id) THEN
        RAISE EXCEPTION USING ERRCODE = 'KL004',
            MESSAGE = 'a write must not end the transaction that it was lent, nor make all constraints immediate';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER guard AFTER INSERT ON {keylane}.guards
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {keylane}.guard();
