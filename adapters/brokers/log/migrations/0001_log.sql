-- Streams. Ids are never used again, so that a stream that was deleted is not mistaken for its successor.
CREATE TABLE keylane_log_streams (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    identity   TEXT NOT NULL,
    partitions INTEGER NOT NULL,
    created_us INTEGER NOT NULL
) STRICT;

-- The ends of each partition: offsets low..next are there, without holes. The reach is the greatest
-- time of all records so far.
CREATE TABLE keylane_log_partitions (
    stream    INTEGER NOT NULL REFERENCES keylane_log_streams (id) ON DELETE CASCADE,
    partition INTEGER NOT NULL,
    low       INTEGER NOT NULL,
    next      INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    reach_us  INTEGER NOT NULL,
    PRIMARY KEY (stream, partition)
) STRICT, WITHOUT ROWID;

-- The records: those that one append brought to a partition share a row (layout: src/chunk.rs). The
-- reach is that of the partition as of this row, so that it never falls from row to row.
CREATE TABLE keylane_log_chunks (
    stream      INTEGER NOT NULL REFERENCES keylane_log_streams (id) ON DELETE CASCADE,
    partition   INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    appended_us INTEGER NOT NULL,
    reach_us    INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX keylane_log_chunks_first ON keylane_log_chunks (stream, partition, first);
CREATE INDEX keylane_log_chunks_time ON keylane_log_chunks (stream, partition, reach_us, first);

-- Who reads. The generation grows whenever a member's share may have changed.
CREATE TABLE keylane_log_groups (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    stream     INTEGER NOT NULL REFERENCES keylane_log_streams (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    UNIQUE (stream, name)
) STRICT;
CREATE TABLE keylane_log_members (
    grouping   INTEGER NOT NULL REFERENCES keylane_log_groups (id) ON DELETE CASCADE,
    member     BLOB NOT NULL,
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (grouping, member)
) STRICT, WITHOUT ROWID;

-- Which member reads which partition. A row goes with its member.
CREATE TABLE keylane_log_owners (
    grouping  INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    member    BLOB NOT NULL,
    PRIMARY KEY (grouping, partition),
    FOREIGN KEY (grouping, member) REFERENCES keylane_log_members (grouping, member) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- How far a group has finished, for people and tools; the runtime's own positions are the store's.
CREATE TABLE keylane_log_positions (
    grouping     INTEGER NOT NULL REFERENCES keylane_log_groups (id) ON DELETE CASCADE,
    partition    INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    next         INTEGER NOT NULL,
    committed_us INTEGER NOT NULL,
    PRIMARY KEY (grouping, partition)
) STRICT, WITHOUT ROWID;
