//! The mutants.

/// One rule, broken in one statement.
#[derive(Debug)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// What is wrong then.
    pub what: &'static str,
    /// Whose statement.
    pub package: &'static str,
    /// From the tree's root.
    pub file: &'static str,
    /// The piece that is replaced; it stands there once.
    pub piece: &'static str,
    /// By what.
    pub by: &'static str,
    /// Parts of the names of the tests that must fail: one of them, at least.
    pub tests: &'static [&'static str],
}

impl Mutant {
    /// The file's text with the rule broken.
    ///
    /// # Errors
    /// The piece stands there never or more than once.
    pub fn broken(&self, text: &str) -> Result<String, String> {
        match text.matches(self.piece).count() {
            1 => Ok(text.replace(self.piece, self.by)),
            times => Err(format!("{}: its piece stands {times} times in {}", self.name, self.file)),
        }
    }
}

macro_rules! mutants {
    ($($folder:literal $name:literal $rule:literal: $what:literal; $file:literal: $piece:literal => $by:literal; $tests:expr;)*) => {
        /// All of them.
        pub const MUTANTS: &[Mutant] = &[$(Mutant {
            name: $name,
            rule: $rule,
            what: $what,
            package: concat!("keylane-", $folder),
            file: concat!("adapters/stores/", $folder, "/", $file),
            piece: $piece,
            by: $by,
            tests: &$tests,
        }),*];
    };
}

mutants! {
    "sqlite" "sqlite-a4-token-repeated" "A4": "the tokens that were drawn are drawn again";
        "src/lease/take.rs": "SET last = last + ?1 RETURNING" => "SET last = last + ?1 - ?1 RETURNING";
        ["token_only_grows", "lease_"];
    "sqlite" "sqlite-c1-epoch-ignored" "C1": "a claim is held by its owner, whatever its epoch";
        "src/commit/facts.rs": "WHERE c.epoch = e.value ->> 2 AND c.owner = ?2" => "WHERE c.owner = ?2";
        ["commit_leaves_out_lost_claims", "claim_of_ones_own", "reposition_"];
    "sqlite" "sqlite-c1-owner-ignored" "C1": "a claim is held under its epoch, whoever owns it";
        "src/commit/facts.rs": "WHERE c.epoch = e.value ->> 2 AND c.owner = ?2" => "WHERE c.epoch = e.value ->> 2 AND ?2 IS NOT NULL";
        ["commit_", "release_", "takeover_"];
    "sqlite" "sqlite-c1-lease-token-ignored" "C1": "a lease is held by its owner, whatever its token";
        "src/lease/back.rs": "WHERE l.token = e.value ->> 2 AND l.owner = ?2" => "WHERE l.owner = ?2";
        ["lease_of_ones_own", "commit_leaves_out_lost_leases"];
    "sqlite" "sqlite-s1-session-inserted" "S1": "a session's row is inserted by whoever looks at it";
        "src/session.rs": "UPDATE keylane_sessions SET expires_us = (SELECT us FROM keylane_clock) + lifetime_us WHERE id = ?1\n" => "INSERT INTO keylane_sessions SELECT ?1, 'w', 15000000, us + 15000000 FROM keylane_clock WHERE true\n         ON CONFLICT DO UPDATE SET expires_us = (SELECT us FROM keylane_clock) + lifetime_us\n";
        ["renew_never_revives", "commit_checks_session"];
    "sqlite" "sqlite-s2-epoch-not-raised" "S2": "a claim changes hands under the same epoch";
        "src/claim.rs": "SET epoch = epoch + 1, owner = ?3" => "SET owner = ?3";
        ["epoch_only_grows", "claim_of_ones_own"];
    "sqlite" "sqlite-s4-nothing-expires" "S4": "no session ever expires";
        "src/claim.rs": "s.expires_us <= clock.us AS expired" => "0 AS expired";
        ["expiry_is_the_databases_clock", "claim_of_dead_session"];
    "sqlite" "sqlite-s5-limit-begins-anew" "S5": "each question for a claim begins the handover's limit anew";
        "src/claim.rs": "wanted_us = coalesce(wanted_us, (SELECT us FROM keylane_clock))" => "wanted_us = (SELECT us FROM keylane_clock)";
        ["claim_after_handover_limit"];
    "sqlite" "sqlite-s9-not-kept" "S9": "a lease that somebody waited for is anybody's";
        "src/lease/take.rs": "l.kept_until_us > clock.us AS turn" => "0 AS turn";
        ["freed_lease_is_kept"];
    "sqlite" "sqlite-t1-marks-forgotten" "T1": "who gives an unclean lease back leaves it clean";
        "src/lease/back.rs": "AND l.marks > 0 AND e.value ->> 1 > 0" => "AND 1 = 0";
        ["marks_of_a_lease"];
    "sqlite" "sqlite-l2-position-forgotten" "L2": "a release forgets the position";
        "src/claim.rs": "repositioned = 0, clean = ?1" => "repositioned = 0, base = NULL, clean = ?1";
        ["release_keeps_position", "claim_brings_position"];
    "postgres" "postgres-c1-epoch-ignored" "C1": "a claim is held by its owner, whatever its epoch";
        "migrations/0005_commit.sql": "WHERE c.owner = p_session AND c.epoch = e.number" => "WHERE c.owner = p_session";
        ["commit_leaves_out_lost_claims", "claim_of_ones_own", "reposition_"];
    "postgres" "postgres-c1-lease-token-ignored" "C1": "a lease is held by its owner, whatever its token";
        "migrations/0005_commit.sql": "WHERE l.owner = p_session AND l.token = e.number" => "WHERE l.owner = p_session";
        ["lease_of_ones_own", "commit_leaves_out_lost_leases"];
    "postgres" "postgres-c2-no-arbiter" "C2": "what is in the ledger already is inserted beside it in silence";
        "migrations/0010_single.sql": "WHERE %3$s ORDER BY e.id;\n        GET DIAGNOSTICS v_new = ROW_COUNT;" => "WHERE %3$s ORDER BY e.id ON CONFLICT DO NOTHING;\n        v_new := cardinality(p_id);";
        ["c2_", "commit_once"];
    "postgres" "postgres-c2-lone-no-arbiter" "C2": "the same, of a lone event";
        "migrations/0010_single.sql": "OR EXISTS (SELECT FROM {keylane}.attempts) OR EXISTS (SELECT FROM {keylane}.tries));" => "OR EXISTS (SELECT FROM {keylane}.attempts) OR EXISTS (SELECT FROM {keylane}.tries)) ON CONFLICT DO NOTHING;\n            FOUND := true;";
        ["c2_"];
    "postgres" "postgres-p1-lone-parked-ignored" "P1": "a lone event that is parked is finished";
        "migrations/0010_single.sql": "WHERE NOT (EXISTS (SELECT FROM {keylane}.ledger_<generation>)\n                OR EXISTS (SELECT FROM {keylane}.parked)\n" => "WHERE NOT (EXISTS (SELECT FROM {keylane}.ledger_<generation>)\n";
        ["c2_"];
    "postgres" "postgres-c1-lone-epoch-ignored" "C1": "a lone event's claim is held by its owner, whatever its epoch";
        "migrations/0010_single.sql": "AND c.owner = p_session AND c.epoch = p_number[1]" => "AND c.owner = p_session";
        ["c2_", "commit_leaves_out_lost_claims"];
    "postgres" "postgres-s1-lone-session-not-locked" "S1": "the commit of a lone event reads its session's row and does not lock it";
        "migrations/0010_single.sql": "INTO lifetime_us FROM {keylane}.sessions s WHERE s.id = p_session FOR KEY SHARE;" => "INTO lifetime_us FROM {keylane}.sessions s WHERE s.id = p_session;";
        ["s1_"];
    "postgres" "postgres-s2-lone-claim-not-locked" "S2": "the commit of a lone event reads its claim and does not lock it";
        "migrations/0010_single.sql": "c.epoch = p_number[1]\n        FOR NO KEY UPDATE;" => "c.epoch = p_number[1];";
        ["s2_"];
    "postgres" "postgres-l1-functions-of-yesterday" "L1": "who waited for a sweep writes into the containers of before it";
        "migrations/0010_single.sql": "IS DISTINCT FROM <state> THEN\n        SELECT r.lifetime_us" => "IS NULL THEN\n        SELECT r.lifetime_us";
        ["l1_functions"];
    "postgres" "postgres-c2-new-without-a-look" "C2": "a lone event is taken for new whatever its container says";
        "migrations/0010_single.sql": "AND NOT EXISTS (SELECT FROM {keylane}.<ledger> WHERE scope = <scope> AND id = p_id[1])" => "AND true";
        ["c2_a_lone"];
    "postgres" "postgres-s1-new-without-a-session" "S1": "a lone event is taken for new though its session is gone";
        "migrations/0010_single.sql": "RETURN (SELECT EXISTS (SELECT FROM {keylane}.sessions WHERE id = p_session)" => "RETURN (SELECT true";
        ["c2_a_lone"];
    "postgres" "postgres-s1-session-not-locked" "S1": "a commit reads its session's row and does not lock it";
        "migrations/0010_single.sql": "WHERE id = p_session FOR KEY SHARE;" => "WHERE id = p_session;";
        ["s1_", "takeover_defeats", "resolve_waits"];
    "postgres" "postgres-s2-epoch-not-raised" "S2": "a claim changes hands under the same epoch";
        "migrations/0002_sessions.sql": "SET epoch = epoch + 1, owner = p_session" => "SET owner = p_session";
        ["epoch_only_grows", "claim_of_ones_own"];
    "postgres" "postgres-s2-claim-not-locked" "S2": "a commit reads its claim and does not lock it";
        "migrations/0005_commit.sql": "ORDER BY e.scope, e.partition FOR NO KEY UPDATE OF c" => "ORDER BY e.scope, e.partition";
        ["s2_"];
    "postgres" "postgres-s5-limit-begins-anew" "S5": "each question for a claim begins the handover's limit anew";
        "migrations/0002_sessions.sql": "wanted_at = coalesce(v_claim.wanted_at, clock_timestamp())" => "wanted_at = clock_timestamp()";
        ["claim_after_handover_limit"];
    "postgres" "postgres-s9-last-comes-first" "S9": "a lease is kept for who waited last";
        "migrations/0009_leases.sql": "ORDER BY w.place LIMIT 1" => "ORDER BY w.place DESC LIMIT 1";
        ["freed_lease_is_kept"];
    "postgres" "postgres-a4-token-of-before-the-wait" "A4": "who waited for another's lease keeps the token that it drew before";
        "migrations/0009_leases.sql": "AND e.next <> e.token + 1;" => "AND false;";
        ["a4_"];
    "postgres" "postgres-c1-ended-token-ignored" "C1": "a lease is ended by its owner, whatever its token";
        "migrations/0009_leases.sql": "AND k.token = e.number AND (k.owner" => "AND (k.owner";
        ["commit_gives_leases_back"];
    "postgres" "postgres-t1-marks-forgotten" "T1": "who gives an unclean lease back leaves it clean";
        "migrations/0009_leases.sql": "SET owner = NULL, marks = least(l.marks, e.marks)\n" => "SET marks = 0\n";
        ["marks_of_a_lease"];
    "postgres" "postgres-l1-older-generations" "L1": "only the open generation of the ledger is looked into";
        "migrations/0010_single.sql": "ELSE format('EXISTS (SELECT FROM unnest(p_id) i WHERE" => "ELSE format('false AND EXISTS (SELECT FROM unnest(p_id) i WHERE";
        ["l1_"];
    "postgres" "postgres-l1-older-generations-slow" "L1": "the same, on the way for any ledger";
        "migrations/0007_looks.sql": "CONTINUE WHEN NOT EXISTS (\n                SELECT FROM unnest(p_id) i" => "CONTINUE WHEN true OR NOT EXISTS (\n                SELECT FROM unnest(p_id) i";
        ["l1_"];
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_piece_stands_where_it_is_looked_for() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let wrong = MUTANTS.iter().filter_map(|mutant| {
            let text = std::fs::read_to_string(root.join(mutant.file))
                .map_err(|error| format!("{}: {error}", mutant.file));
            text.and_then(|text| mutant.broken(&text)).err()
        });
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
        assert!(MUTANTS.len() >= 8);
    }
}
