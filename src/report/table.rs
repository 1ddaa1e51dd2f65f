//! The compact table at the end of a run, as plain text.

use super::Account;
use super::sides::{Side, shortened};
use super::view::{CheckRow, View};

/// More regressions than this are left to the page.
const MOST_REGRESSIONS: usize = 20;

/// More lines of one reason than this are left to the page.
const LONGEST_REASON: usize = 12;

/// The summary for a terminal of this many columns: figures, checks, examples, regressions and
/// where the decision lies.
pub fn summary(account: &Account, width: usize) -> String {
    let view = View::of(account);
    let width = width.clamp(60, 200);
    let mut text = String::new();
    // What is looked at most stands last, next to the prompt.
    for side in &view.examples {
        text += &beside("example", side, width);
    }
    for change in view.changes.iter().filter(|c| c.open) {
        for side in change.items.iter().take(MOST_REGRESSIONS) {
            text += &beside("regression", side, width);
        }
        if change.total > MOST_REGRESSIONS {
            let more = change.total - MOST_REGRESSIONS;
            text += &format!("… and {more} more regressions in report.html and items.jsonl\n\n");
        }
    }
    if !view.metrics.is_empty() {
        text += &format!("{}\n{}", view.scope, metrics(&view));
        for note in &view.notes {
            text += &format!("  {note}\n");
        }
        text += "\n";
    }
    if !view.past_line.is_empty() {
        text += &format!("{}\n\n", view.past_line);
    }
    if !view.checks.is_empty() {
        text += &format!("{}\n", checks(&view));
    }
    if let Some(verdict) = view.verdict {
        text += &format!("{}: {}\n", verdict.to_uppercase(), view.sentence);
        for reason in &view.reasons {
            // A policy's error brings its source line and caret along.
            for line in reason.lines().take(LONGEST_REASON) {
                text += &format!("  {}\n", shortened(line, 4 * width));
            }
        }
        text += &format!("decision: {}\n", view.decision_path);
    } else {
        text += &format!("{}\n", view.sentence);
    }
    printable(&text)
}

fn checks(view: &View) -> String {
    let row = |check: &CheckRow| {
        let outcome = match check.outcome {
            "passed" => "ok",
            "open" => "open",
            _ => "FAILED",
        };
        [&check.name, &check.wanted, &check.measured, outcome, &check.author].map(String::from)
    };
    let rows: Vec<_> = view.checks.iter().map(row).collect();
    aligned(&["check", "wanted", "got", "", "asked by"], &rows, &[2])
}

fn metrics(view: &View) -> String {
    let mut header = vec!["metric", "base"];
    if view.champion {
        header.push("champion");
    }
    header.extend(["adapter", "delta", "95 % interval", "p", "pairs"]);
    let rows: Vec<Vec<String>> = view
        .metrics
        .iter()
        .map(|m| {
            let mut row = vec![&m.name, &m.base];
            if view.champion {
                row.push(&m.champion);
            }
            row.extend([&m.candidate, &m.delta, &m.interval, &m.p, &m.pairs]);
            row.into_iter().cloned().collect()
        })
        .collect();
    let right: Vec<usize> = (1..header.len()).collect();
    aligned(&header, &rows, &right)
}

/// Rows under a header, two spaces apart; the columns in `right` are flush right.
pub fn aligned<R: AsRef<[String]>>(header: &[&str], rows: &[R], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.as_ref()[column].chars().count());
        cells.max().unwrap_or(0).max(header[column].chars().count())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut line = String::from(" ");
        for (column, cell) in cells.into_iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            match right.contains(&column) {
                true => line += &format!(" {pad}{cell} "),
                false => line += &format!(" {cell}{pad} "),
            }
        }
        line.trim_end().to_string() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text += &line(row.as_ref().iter().map(String::as_str).collect());
    }
    text
}

fn beside(title: &str, side: &Side, width: usize) -> String {
    let mut text = format!("{title} {} ({})\n", side.id, side.tags.join(", "));
    let mut say = |who: &str, mark: &str, said: &str| {
        let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = shortened(&one_line, width.saturating_sub(16));
        text += &format!("  {who:<9} {mark:<2} {said}\n");
    };
    say("request", "", &side.request);
    say("reference", "", &side.reference);
    for answer in &side.answers {
        say(answer.who, if answer.right { "ok" } else { "no" }, &answer.text);
    }
    text + "\n"
}

/// No text of a run may steer the reader's terminal or turn its writing around.
fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n';
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) || turns(c) { '·' } else { c }).collect()
}
