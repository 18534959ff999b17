-- Which part of the keys lies here (rule S10): one row, written once, by the first worker that opens the database. Keys
-- are spread by their hash over `places` databases in one order; in another order they would be looked for where
-- nothing is known of them.
CREATE TABLE {keylane}.place (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Counted from 0.
    place int NOT NULL,
    places int NOT NULL,
    set_id uuid NOT NULL,
    -- All databases of the set had their row once; kept by the first of them. One without a row is not new, then: it
    -- has lost what it knew.
    whole boolean NOT NULL DEFAULT false
);
