-- So many of a key's next events are to be marked before they run (rule T1): 0 after a clean end, 4294967295 where the
-- owner before did not give the lease back. A row is there as long as it has some to tell of.
ALTER TABLE keylane_leases ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER keylane_lease_waits_gone;
-- Whoever deletes the last one who waited, also by deleting its session.
CREATE TRIGGER keylane_lease_waits_gone AFTER DELETE ON keylane_lease_waits BEGIN
    DELETE FROM keylane_leases
    WHERE scope = OLD.scope AND key = OLD.key AND owner IS NULL AND marks = 0
        AND NOT EXISTS (SELECT 1 FROM keylane_lease_waits WHERE scope = OLD.scope AND key = OLD.key);
END;
