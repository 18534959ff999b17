//! What is said: a title, and the account as a table.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io::Write as _;

use console::style;

use crate::account::{Account, Dead, Facts};
use crate::service::Service;

/// Text on its way out.
struct Page(String);

impl Page {
    fn line(&mut self, text: impl Display) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "  {text}");
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn rule(&mut self) {
        self.line(style("─".repeat(38)).dim());
    }

    fn count(&mut self, what: &str, n: u64) {
        self.line(format!("{what:<30}{:>8}", number(n)));
    }

    /// A count that is right or wrong.
    fn verdict(&mut self, what: &str, n: u64, right: bool) {
        let mark = if right { style("✓").green() } else { style("✗").red().bold() };
        self.line(format!("{what:<30}{:>8}  {mark}", number(n)));
    }

    /// Whoever read may have gone; the exit code tells all the same.
    fn say(self) {
        let _ = std::io::stdout().write_all(self.0.as_bytes());
    }
}

/// What this run is about.
pub(crate) fn title(service: &Service) {
    let run = &service.run;
    let mut page = Page(String::new());
    page.blank();
    page.line(format!("{}  one key at a time, each effect once", style("keylane orders").bold().cyan()));
    page.blank();
    page.line(format!("{} orders, {} events, seed {}", number(run.orders), number(run.events), run.seed));
    page.line(style(service.topic.place()).dim());
    page.line(style("kill it whenever you like, and start it again").dim());
    page.blank();
    page.say();
}

/// One remark.
pub(crate) fn remark(text: &str) {
    let mut page = Page(String::new());
    page.line(text);
    page.blank();
    page.say();
}

/// The account, line by line.
pub(crate) fn account(facts: &Facts, account: &Account) {
    let sum = account.handled + account.duplicates + account.dead;
    let mut page = Page(String::new());
    page.line(style("account").bold());
    page.rule();
    page.count("published", account.published);
    page.rule();
    page.count("handled", account.handled);
    page.count("duplicates, not handled again", account.duplicates);
    page.count("dead letters", account.dead);
    page.rule();
    page.verdict("sum", sum, sum == account.published);
    page.blank();
    page.verdict("unaccounted for", account.unaccounted, account.unaccounted == 0);
    page.verdict("order violations", account.order_violations, account.order_violations == 0);
    page.verdict("effects applied twice", account.applied_twice, account.applied_twice == 0);
    page.verdict("orders unlike their effects", account.views_off, account.views_off == 0);
    page.blank();
    dead_letters(&mut page, &facts.dead);
    if account.adds_up() {
        page.line(format!("{}  every event has exactly one fate", style("it adds up").bold().green()));
    } else {
        page.line(format!("{}  see the lines marked ✗", style("it does not add up").bold().red()));
    }
    page.blank();
    page.say();
}

/// Why events died, the most frequent reason first.
fn dead_letters(page: &mut Page, dead: &[Dead]) {
    const SHOWN_MAX: usize = 12;
    let mut reasons: BTreeMap<(&str, &str, String), u64> = BTreeMap::new();
    for dead in dead {
        *reasons.entry((dead.reason, dead.kind.as_str(), brief(&dead.failure))).or_default() += 1;
    }
    if reasons.is_empty() {
        return;
    }
    page.line(style("dead letters").bold());
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for ((reason, kind, failure), n) in reasons.iter().take(SHOWN_MAX) {
        let reason = style(format!("{reason:<13}")).red();
        page.line(format!("{n:>4}  {reason} {kind:<17} {}", style(failure).dim()));
    }
    if reasons.len() > SHOWN_MAX {
        page.line(format!("      and {} more", reasons.len() - SHOWN_MAX));
    }
    page.blank();
}

/// What is said first, without what tells two failures of the same sort apart.
fn brief(failure: &str) -> String {
    const LONG: usize = 52;
    let cause = failure.rsplit("`: ").next().unwrap_or(failure);
    let end = [";", " at line"].iter().filter_map(|stop| cause.find(stop)).min().unwrap_or(cause.len());
    let cause = &cause[..end];
    match cause.char_indices().nth(LONG) {
        Some((cut, _)) => format!("{}…", cause[..cut].trim_end()),
        None => cause.to_owned(),
    }
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
    fn failures_in_brief() {
        let torn = "payload of kind `order.paid` is not a `orders::events::OrderPaid`: EOF while parsing an object at line 1 column 9";
        assert_eq!(brief(torn), "EOF while parsing an object");
        assert_eq!(brief("seen before; keep one id"), "seen before");
        assert_eq!(brief(&"é".repeat(60)).chars().count(), 53);
    }

    #[test]
    fn numbers_for_people() {
        for (n, text) in [(0u32, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
    }
}
