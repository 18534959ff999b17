-- The service's own tables. They lie in the same file as the log and the store, so that what a handler
-- writes commits together with the mark that its event is finished.

-- Which workload this file is about, and how far it is published.
CREATE TABLE run (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    seed      INTEGER NOT NULL,
    orders    INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    published INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The view: what the shop's pages would show.
CREATE TABLE orders (
    id             TEXT PRIMARY KEY,
    customer       TEXT,
    state          TEXT NOT NULL,
    cents          INTEGER NOT NULL DEFAULT 0,
    paid_cents     INTEGER NOT NULL DEFAULT 0,
    refunded_cents INTEGER NOT NULL DEFAULT 0,
    receipt        TEXT,
    parcels        INTEGER NOT NULL DEFAULT 0,
    shipped        INTEGER NOT NULL DEFAULT 0,
    version        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was done, in the order in which it became durable. No unique key on the event: were an effect
-- ever applied twice, this table would show it instead of hiding it.
CREATE TABLE order_effects (
    applied   INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id  TEXT NOT NULL,
    order_id  TEXT NOT NULL,
    version   INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    attempt   INTEGER NOT NULL
) STRICT;
CREATE INDEX order_effects_event ON order_effects (event_id);

-- Every record of the log as a second subscription read it: what the account starts from.
CREATE TABLE journal (
    partition INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    event_id  TEXT NOT NULL,
    PRIMARY KEY (partition, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX journal_event ON journal (event_id);
