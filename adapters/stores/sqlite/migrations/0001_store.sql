-- The database's clock, in microseconds: the only one by which anything here expires (rule S4).
CREATE VIEW keylane_clock AS SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000 AS us;

-- A worker's heartbeat and the fence of all that it commits.
CREATE TABLE keylane_sessions (
    id BLOB NOT NULL PRIMARY KEY,
    worker TEXT NOT NULL,
    lifetime_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    -- Up to here in the parking table it was told of releases; it goes round.
    told_place INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Every session id that was ever registered, for as long as anything could still use it again (rule S1).
CREATE TABLE keylane_used_sessions (
    id BLOB NOT NULL PRIMARY KEY,
    used_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What claims, positions and ledger rows belong to, under a short number. Never deleted.
CREATE TABLE keylane_scopes (
    id INTEGER PRIMARY KEY,
    subscription TEXT NOT NULL,
    broker TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (subscription, broker, source)
) STRICT;

-- A partition: who has it, and how far it is finished.
CREATE TABLE keylane_claims (
    scope INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    -- How often it was repositioned: an offset names a record within one generation only.
    generation INTEGER NOT NULL DEFAULT 0,
    owner BLOB,
    wanted_by BLOB,
    wanted_us INTEGER,
    -- Whether the last owner let go with nothing in flight.
    clean INTEGER NOT NULL,
    -- Where an operator said to read from; it counts while `base` is NULL (rule L2).
    read_from TEXT,
    read_offset INTEGER,
    -- That was since its owner claimed it.
    repositioned INTEGER NOT NULL DEFAULT 0,
    -- NULL until something was read.
    base INTEGER,
    sparse BLOB,
    identity TEXT,
    witness_offset INTEGER,
    witness_us INTEGER,
    witness_hash INTEGER,
    partitions INTEGER NOT NULL DEFAULT 0,
    -- The last commit of this partition: no ledger row of it is younger.
    written_us INTEGER,
    PRIMARY KEY (scope, partition)
) STRICT, WITHOUT ROWID;
CREATE INDEX keylane_claims_by_owner ON keylane_claims (owner) WHERE owner IS NOT NULL;

-- Events that were tried and are not finished.
CREATE TABLE keylane_attempts (
    scope INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    -- In which it was read: one that runs from the parking table may be of an older one.
    generation INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    started_by BLOB,
    first_us INTEGER NOT NULL,
    failure TEXT NOT NULL,
    PRIMARY KEY (scope, partition, generation, offset)
) STRICT, WITHOUT ROWID;

-- Events that are stored instead of handled; `place` is the order of parking.
CREATE TABLE keylane_parked (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    id TEXT NOT NULL,
    key BLOB NOT NULL,
    kind TEXT NOT NULL,
    sequence INTEGER,
    payload_hash BLOB NOT NULL,
    reason TEXT NOT NULL,
    -- How it died, where the reason is `dead`.
    death TEXT,
    attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    -- A JSON list of texts, outermost first.
    failures TEXT NOT NULL,
    first_us INTEGER NOT NULL,
    parked_us INTEGER NOT NULL,
    worker TEXT NOT NULL,
    -- When an operator asked its owner to run it (rule P3).
    requested_us INTEGER,
    record_key BLOB,
    -- As the core writes headers (core/src/event/codec.rs).
    record_headers BLOB NOT NULL,
    record_us INTEGER,
    record_id TEXT,
    record_payload BLOB NOT NULL,
    UNIQUE (scope, partition, generation, offset)
) STRICT;
CREATE INDEX keylane_parked_by_id ON keylane_parked (scope, id);
CREATE INDEX keylane_parked_requested ON keylane_parked (scope, partition) WHERE requested_us IS NOT NULL;

-- The generations of each subscription's ledger. The rows lie in tables named keylane_ledger_ID, so
-- that a whole generation goes by dropping its table (rule L1). The one without `closed_us` is written.
CREATE TABLE keylane_ledgers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    opened_us INTEGER NOT NULL,
    -- No row of it is younger.
    closed_us INTEGER
) STRICT;
CREATE UNIQUE INDEX keylane_ledgers_open ON keylane_ledgers (subscription) WHERE closed_us IS NULL;
