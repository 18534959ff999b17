//! What is said: a title, and the account as a table.

use std::collections::BTreeMap;

use console::style;

use crate::account::{Account, Dead, Facts};
use crate::service::Service;

/// What this run is about.
pub(crate) fn title(service: &Service) {
    let run = &service.run;
    println!();
    println!("  {}  one key at a time, each effect once", style("keylane orders").bold().cyan());
    println!();
    println!("  {} orders, {} events, seed {}", number(run.orders), number(run.events), run.seed);
    println!("  {}", style(service.topic.place()).dim());
    println!("  {}", style("kill it whenever you like, and start it again").dim());
    println!();
}

/// The account, line by line.
pub(crate) fn account(facts: &Facts, account: &Account) {
    let rule = || println!("  {}", style("─".repeat(38)).dim());
    let sum = account.handled + account.duplicates + account.dead;
    println!("  {}", style("account").bold());
    rule();
    line("published", account.published, None);
    rule();
    line("handled", account.handled, None);
    line("duplicates, not handled again", account.duplicates, None);
    line("dead letters", account.dead, None);
    rule();
    line("sum", sum, Some(sum == account.published));
    println!();
    line("unaccounted for", account.unaccounted, Some(account.unaccounted == 0));
    line("order violations", account.order_violations, Some(account.order_violations == 0));
    line("effects applied twice", account.applied_twice, Some(account.applied_twice == 0));
    line("orders unlike their effects", account.views_off, Some(account.views_off == 0));
    dead_letters(&facts.dead);
    println!();
    if account.adds_up() {
        println!("  {}  every event has exactly one fate", style("it adds up").bold().green());
    } else {
        println!("  {}  see the lines marked ✗", style("it does not add up").bold().red());
    }
    println!();
}

fn line(what: &str, n: u64, fine: Option<bool>) {
    let mark = match fine {
        None => style(""),
        Some(true) => style("✓").green(),
        Some(false) => style("✗").red().bold(),
    };
    println!("  {what:<30}{:>8}  {mark}", number(n));
}

/// Why events died, the most frequent reason first.
fn dead_letters(dead: &[Dead]) {
    const SHOWN_MAX: usize = 12;
    let mut reasons: BTreeMap<(&str, &str, String), u64> = BTreeMap::new();
    for dead in dead {
        *reasons.entry((dead.reason, dead.kind.as_str(), brief(&dead.failure))).or_default() += 1;
    }
    if reasons.is_empty() {
        return;
    }
    println!();
    println!("  {}", style("dead letters").bold());
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for ((reason, kind, failure), n) in reasons.iter().take(SHOWN_MAX) {
        println!("  {n:>4}  {:<13} {kind:<17} {}", style(reason).red(), style(failure).dim());
    }
    if reasons.len() > SHOWN_MAX {
        println!("        and {} more", reasons.len() - SHOWN_MAX);
    }
}

/// The beginning of a message, without the numbers that tell two of the same sort apart.
fn brief(failure: &str) -> String {
    const LONG: usize = 52;
    let text: String = failure.split(" at line").next().unwrap_or_default().chars().take(LONG).collect();
    if text.len() < failure.len() { format!("{}…", text.trim_end()) } else { text }
}

/// A number for people: `12,804`.
pub(crate) fn number(n: impl Into<u64>) -> String {
    let digits = n.into().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (n, text) in [(0u32, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
    }
}
