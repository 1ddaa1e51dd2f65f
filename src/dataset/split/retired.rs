//! Rows of validation that counterexamples retire: for good, and not below the minimum.

use anyhow::{Result, bail};

use super::{Assigned, Options, Part, SplitReport};
use crate::dataset::Rows;

/// How many counterexamples an error names.
const NAMED: usize = 5;

/// Fails where counterexamples bring val below its minimum: what is retired never comes back.
pub(super) fn refuse(
    rows: &Rows,
    parts: &Assigned,
    report: &SplitReport,
    options: &Options,
) -> Result<()> {
    let left = parts.rows.iter().filter(|(part, _)| *part == Part::Val).count() as u64;
    let (gone, least) = (report.retired_val_rows, options.min_val);
    if gone == 0 || left >= least || left + gone < least {
        return Ok(());
    }
    let places = parts.retiring.iter().map(|at| rows.examples[*at].place());
    let named: Vec<String> = places.take(NAMED).collect();
    let more = match parts.retiring.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    bail!(
        "counterexamples would take {gone} rows out of validation for good and leave {left}, where \
         MIN_VAL_EXAMPLES={least}: {}{more}; leave some of them out until there are more sessions, \
         raise VAL_FRACTION, or lower MIN_VAL_EXAMPLES",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Parts, part_of, split};
    use super::*;
    use crate::dataset::dedup::dedup;
    use crate::dataset::ledger::Ledger;
    use crate::dataset::similarity::Limits;
    use crate::dataset::testing::{chat, prose, rows};
    use crate::dataset::{Example, Kind};
    use crate::progress::Silent;

    fn options() -> Options {
        let limits = Limits::default();
        Options { by_repository: false, val: 0.3, tune: 0.2, limits, min_val: 0 }
    }

    fn run(examples: Vec<Example>, ledger: Option<&Ledger>) -> Parts {
        split(&rows(examples), &options(), ledger, &Silent).unwrap()
    }

    /// A session that goes to `part` when it stands alone.
    fn session_in(part: Part) -> String {
        let all = (0..).map(|n| format!("t{n}"));
        all.into_iter().find(|s| part_of(&format!("raw/{s}"), &options()) == part).unwrap()
    }

    /// A session of val, and a counterexample that corrects its answer.
    fn corrected() -> (Example, Example) {
        let real = chat(&session_in(Part::Val), &prose(1001, 60), "wrong");
        let fixed = chat("mine", &prose(1001, 60), "right");
        (real, Example::new(Kind::Counterexample, fixed.trace))
    }

    #[test]
    fn a_counterexample_that_stands_for_the_row_it_corrects_retires_it_too() {
        let (real, counter) = corrected();
        let first = run(vec![real.clone()], Some(&Ledger::default()));
        let key = real.session_key();
        assert_eq!(first.ledger.sessions[&key], Part::Val);

        let clean = dedup(&rows(vec![real.clone(), counter]), &Limits::default(), &Silent).unwrap();
        assert_eq!((clean.len(), clean.count(Kind::Real)), (1, 0));
        let second = split(&clean, &options(), Some(&first.ledger), &Silent).unwrap();
        assert_eq!((second.report.retired, second.report.retired_val_rows), (1, 1));
        assert_eq!(second.ledger.sessions[&key], Part::Train);
        assert_eq!(second.ledger.retired, BTreeSet::from(["raw/mine".to_string(), key.clone()]));

        // Without the counterexample, and after a run that knew nothing of it wrote the ledger.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        second.ledger.add_to(&path).unwrap();
        first.ledger.add_to(&path).unwrap();
        let third = run(vec![real], Some(&Ledger::read(&path).unwrap()));
        assert_eq!((third.train.len(), third.val.len()), (1, 0));
    }

    #[test]
    fn counterexamples_may_not_bring_validation_below_its_minimum() {
        let (real, counter) = corrected();
        let many = (0..40).map(|n| chat(&format!("s{n}"), &prose(n, 40), "fine"));
        let mut all: Vec<Example> = many.chain([real]).collect();
        let whole = run(all.clone(), None).val.len() as u64;
        all.push(counter);
        let with =
            |min_val| split(&rows(all.clone()), &Options { min_val, ..options() }, None, &Silent);
        assert_eq!(with(whole - 1).unwrap().val.len() as u64, whole - 1);
        let error = with(whole).unwrap_err().to_string();
        let left = whole - 1;
        for wanted in [
            format!("take 1 rows out of validation for good and leave {left}"),
            format!("MIN_VAL_EXAMPLES={whole}"),
            "traces.jsonl:1 (session mine)".into(),
        ] {
            assert!(error.contains(&wanted), "{error}");
        }
        // Where there are too few with or without it, the dataset's gate says so.
        assert!(with(whole + 1).is_ok());
    }

    #[test]
    fn a_held_out_session_without_rows_stays_held_out() {
        let key = session_in(Part::Val);
        let old = chat(&key, &prose(1001, 60), "fine");
        let first = run(vec![old.clone()], Some(&Ledger::default()));
        let other = chat("other", &prose(1001, 60), "fine");
        let clean = dedup(&rows(vec![old, other]), &Limits::default(), &Silent).unwrap();
        let none = clean.keep("all", |_| Some("gone".into()));
        let second = split(&none, &options(), Some(&first.ledger), &Silent).unwrap();
        assert_eq!(second.ledger.sessions[&format!("raw/{key}")], Part::Val);
    }
}
