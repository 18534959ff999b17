//! Breaks each rule in a copy of the tree and runs the tests that must notice: `cargo run -p keylane-sql-mutants [NAME ...]`.
//! PostgreSQL's want the server that `tests/brokers/up postgres` starts and names.

use std::process::ExitCode;

use keylane_sql_mutants::{Ended, MUTANTS, Mutant, Tree};

fn main() -> std::io::Result<ExitCode> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = names.iter().find(|name| MUTANTS.iter().all(|mutant| mutant.name != name.as_str())) {
        eprintln!("no mutant is called {name:?}");
        return Ok(ExitCode::FAILURE);
    }
    let chosen =
        MUTANTS.iter().filter(|mutant| names.is_empty() || names.iter().any(|name| name == mutant.name));
    let chosen: Vec<&Mutant> = chosen.collect();
    let tree = Tree::copy()?;
    let mut fine = true;
    for package in ["keylane-sqlite", "keylane-postgres"] {
        let own = || chosen.iter().filter(|mutant| mutant.package == package);
        if own().next().is_none() {
            continue;
        }
        // Whole, so that a failure below is the mutant's.
        let tests: Vec<&str> = own().flat_map(|mutant| mutant.tests).copied().collect();
        match tree.test(package, &tests)? {
            Ended::Passed(_) => {}
            ended => {
                eprintln!("{package} without a mutant: {}", ended.told());
                return Ok(ExitCode::FAILURE);
            }
        }
        for mutant in own() {
            let ended = tree.with(mutant, |tree| tree.test(package, mutant.tests))?;
            fine &= matches!(ended, Ended::Failed(_));
            println!(
                "| `{}` | {} | {} | {} | {} |",
                mutant.name,
                mutant.rule,
                package,
                mutant.what,
                ended.told()
            );
        }
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
