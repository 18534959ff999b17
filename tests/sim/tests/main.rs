//! The mutants: each is where the list says, and each is caught.

use std::collections::BTreeSet;
#[cfg(feature = "mutants")]
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[cfg(feature = "mutants")]
use keylane_sim::mutants::Fate;
use keylane_sim::mutants::{MUTANTS, Mutant};

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("the package lies two folders below the workspace's root").to_path_buf()
}

/// The names in `mutant!("…")` below a folder.
fn places(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            places(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are text");
            let names = text.split("mutant!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(ToOwned::to_owned));
        }
    }
}

#[test]
fn every_mutant_has_its_place_and_every_place_its_mutant() {
    let mut found = BTreeSet::new();
    places(&root().join("core/src"), &mut found);
    // The one that is a store of the simulation's own.
    found.insert("a1-read-before-the-lease".to_owned());
    let listed: BTreeSet<String> = MUTANTS.iter().map(|mutant| mutant.name.to_owned()).collect();
    assert_eq!(found, listed);
    assert!(listed.len() >= 30 && listed.len() == MUTANTS.len(), "{} mutants", listed.len());
}

/// The rule of a mutant, by its name.
fn rule(mutant: &Mutant) -> String {
    let first = mutant.name.split('-').next().unwrap_or_default().to_uppercase();
    let is_rule = first.len() == 2 && first.ends_with(|c: char| c.is_ascii_digit());
    if is_rule { first } else { "promise".to_owned() }
}

/// The beginning of a mutant's line in the table: what stays the same from run to run.
fn head(mutant: &Mutant) -> String {
    let profile = mutant.profile.map_or("any", |profile| profile.name());
    let focus = mutant.focus.name();
    format!("| `{}` | {} | {} | {profile} | {focus} |", mutant.name, rule(mutant), mutant.breaks)
}

#[test]
fn the_page_lists_every_mutant() {
    let page = std::fs::read_to_string(root().join("docs/simulation.md")).expect("the page is there");
    let missing: Vec<String> = MUTANTS.iter().map(head).filter(|head| !page.contains(head)).collect();
    assert!(missing.is_empty(), "renew the table by KEYLANE_BLESS=1 and the feature mutants: {missing:#?}");
    let table = page.split(BEGIN).nth(1).and_then(|from| from.split(END).next());
    let table = table.expect("the page says where the table begins");
    assert_eq!(table.matches("\n| `").count(), MUTANTS.len(), "the table has other lines");
}

#[test]
#[cfg(not(feature = "mutants"))]
fn every_mutant_is_caught() {
    println!("skipped: mutants are there with `--features mutants` only");
}

/// The seeds that a mutant needed, and what caught it.
#[cfg(feature = "mutants")]
fn caught(mutant: &Mutant, within: u64) -> Option<(u64, String)> {
    use keylane_sim::{Options, run};
    let options = Options {
        profile: mutant.profile,
        focus: Some(mutant.focus),
        mutant: Some(mutant.name),
        ..Options::default()
    };
    (0..within).find_map(|seed| {
        let told = run(seed, options);
        told.wrong.first().map(|what| (seed + 1, what.clone()))
    })
}

#[test]
#[cfg(feature = "mutants")]
fn every_mutant_is_caught() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let lines = std::sync::Mutex::new(vec![String::new(); MUTANTS.len()]);
    let escaped = std::sync::Mutex::new(Vec::new());
    let work = || loop {
        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(mutant) = MUTANTS.get(at) else { return };
        let end = match mutant.fate {
            Fate::Redundant(why) => format!("none, redundant: {why} |"),
            Fate::Caught(within) => match caught(mutant, within) {
                Some((seeds, what)) => {
                    println!("{}: {seeds} seeds: {what}", mutant.name);
                    format!("{seeds} of {within} | {}", told_shortly(&what))
                }
                None => {
                    escaped.lock().unwrap().push(format!("{} in {within} seeds", mutant.name));
                    String::new()
                }
            },
        };
        lines.lock().unwrap()[at] = format!("{} {end} |", head(mutant));
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let escaped = escaped.into_inner().unwrap();
    assert!(escaped.is_empty(), "not caught: {escaped:#?}");
    if std::env::var_os("KEYLANE_BLESS").is_some() {
        bless(&lines.into_inner().unwrap());
    }
}

/// Without the numbers that are peculiar to a seed.
#[cfg(feature = "mutants")]
fn told_shortly(what: &str) -> String {
    let first = what.split([';', '(']).next().unwrap_or_default().trim();
    first.chars().take(90).collect()
}

#[cfg(feature = "mutants")]
fn bless(lines: &[String]) {
    let path = root().join("docs/simulation.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page says where the table begins");
    let (_, after) = rest.split_once(END).expect("the page says where the table ends");
    let mut table =
        String::from("| mutant | rule | what is done wrong | profile | focus | seeds needed | caught by |\n");
    table.push_str("|---|---|---|---|---|---|---|\n");
    for line in lines {
        writeln!(table, "{line}").expect("a string takes everything");
    }
    std::fs::write(path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}")).expect("the page is written");
}

const BEGIN: &str = "<!-- mutants: generated -->";
const END: &str = "<!-- end -->";
