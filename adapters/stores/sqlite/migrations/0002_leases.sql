-- Keys of subscriptions without partitions: who has them. A row is there while somebody has the lease or
-- waits for it.
CREATE TABLE keylane_leases (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    -- Greater than that of every grant before, of whatever key (rule A4).
    token INTEGER NOT NULL,
    -- NULL: it was given back. An owner without a session did not do that.
    owner BLOB,
    granted_us INTEGER NOT NULL,
    -- For whom it is kept, of those who wait, and until when (rule S9).
    kept_for BLOB,
    kept_until_us INTEGER,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keylane_leases_by_owner ON keylane_leases (owner) WHERE owner IS NOT NULL;

-- The last token that was drawn.
CREATE TABLE keylane_lease_tokens (last INTEGER NOT NULL) STRICT;
INSERT INTO keylane_lease_tokens VALUES (0);

-- Who waits for a lease, in the order of `place`. It ends with the grant, or with the session.
CREATE TABLE keylane_lease_waits (
    place INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    session BLOB NOT NULL REFERENCES keylane_sessions (id) ON DELETE CASCADE,
    UNIQUE (scope, key, session)
) STRICT;
CREATE INDEX keylane_lease_waits_by_session ON keylane_lease_waits (session);

-- Whoever deletes the last one who waited, also by deleting its session.
CREATE TRIGGER keylane_lease_waits_gone AFTER DELETE ON keylane_lease_waits BEGIN
    DELETE FROM keylane_leases
    WHERE scope = OLD.scope AND key = OLD.key AND owner IS NULL
        AND NOT EXISTS (SELECT 1 FROM keylane_lease_waits WHERE scope = OLD.scope AND key = OLD.key);
END;

-- Leased events that were tried and are not finished, by their id: no partition says where they stand.
CREATE TABLE keylane_tries (
    scope INTEGER NOT NULL,
    id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    started_by BLOB,
    first_us INTEGER NOT NULL,
    failure TEXT NOT NULL,
    written_us INTEGER NOT NULL,
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;

-- Whether a key of it was ever leased: then no claim's row tells when its ledger was written last.
ALTER TABLE keylane_scopes ADD COLUMN leased INTEGER NOT NULL DEFAULT 0;
