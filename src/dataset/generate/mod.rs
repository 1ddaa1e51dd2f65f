//! Examples made from real sessions: native helpers that scripts call by name.
//!
//! Each is a small pure function of one parent, a [`Pool`] of values other sessions use, and a
//! stream of chance. What it makes stays in its parent's session, so that redaction and split
//! treat both together.

use anyhow::{Result, bail};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::example::number_repeats;
use super::quality::{Bounds, rule};
use super::{Example, Held, Kind, Rows, Stage};
use crate::chance::Chance;
use crate::progress::{Counter, Observer};
use crate::trace::Trace;

mod adversarial;
mod pool;
mod schema_call;
mod substitute;

pub use pool::Pool;

/// A way to make an example from another one.
pub struct Generator {
    /// Its name in scripts; its stage is `generate_` and this name.
    pub name: &'static str,
    /// What it makes, in one line.
    pub doc: &'static str,
    /// The kind of what it makes.
    pub kind: Kind,
    /// Makes one, where the parent allows it.
    pub make: fn(&Example, &Pool, &mut Chance) -> Option<Trace>,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generator({})", self.name)
    }
}

/// Every generator.
#[rustfmt::skip]
pub const GENERATORS: &[Generator] = &[
    Generator { name: "substitute", doc: "the same session about other files and names, swapped in question, calls and results alike", kind: Kind::Synthetic, make: substitute::substitute },
    Generator { name: "schema_call", doc: "a question that asks for one call of a declared tool, argument by argument", kind: Kind::Synthetic, make: schema_call::schema_call },
    Generator { name: "wrong_arguments", doc: "a call with a wrong argument name fails; the right call is learned", kind: Kind::Adversarial, make: adversarial::wrong_arguments },
    Generator { name: "unknown_tool", doc: "a call of a tool that does not exist fails; the right call is learned", kind: Kind::Adversarial, make: adversarial::unknown_tool },
    Generator { name: "stale_edit", doc: "an edit whose old text is not in the file fails; the right edit is learned", kind: Kind::Adversarial, make: adversarial::stale_edit },
    Generator { name: "malformed_result", doc: "a result arrives cut off; asking again is learned", kind: Kind::Adversarial, make: adversarial::malformed_result },
    Generator { name: "repeated_call", doc: "a call was made twice for nothing; going on is learned", kind: Kind::Adversarial, make: adversarial::repeated_call },
    Generator { name: "injected_result", doc: "a result carries instructions; going on as if it did not is learned", kind: Kind::Adversarial, make: adversarial::injected_result },
];

/// The generator of a name.
pub fn generator(name: &str) -> Result<&'static Generator> {
    match GENERATORS.iter().find(|g| g.name == name) {
        Some(generator) => Ok(generator),
        None => {
            let known: Vec<_> = GENERATORS.iter().map(|g| g.name).collect();
            bail!("there is no generator `{name}`; known are {}", known.join(", "))
        }
    }
}

impl Generator {
    /// The `nth` example made from `parent`, where the parent allows it. The same seed, parent
    /// and number give the same example, whatever else is generated.
    pub fn example(&self, parent: &Example, pool: &Pool, seed: u64, nth: u64) -> Option<Example> {
        let mut chance = Chance::new(seed, &format!("{} {} {nth}", self.name, parent.id));
        let trace = (self.make)(parent, pool, &mut chance)?;
        Some(Example::generated(self.kind, parent, trace, nth))
    }
}

/// Fewer real rows than this are all parents.
pub const FEW: usize = 1000;

/// Real rows to make examples from: all, or where there are more than `most` of them those with
/// the smallest hashes, in their order.
fn chosen(rows: &Rows, most: usize) -> Vec<&Held> {
    let real = || rows.examples.iter().filter(|row| row.kind == Kind::Real);
    let hash = |row: &Held| xxh3_64(row.id.as_bytes());
    let mut hashes: Vec<u64> = real().map(hash).collect();
    if hashes.len() <= most.max(FEW) {
        return real().collect();
    }
    let (_, last, _) = hashes.select_nth_unstable(most.max(FEW) - 1);
    let last = *last;
    real().filter(|row| hash(row) <= last).collect()
}

/// Makes up to `times` examples from each of at most `most` real rows and gives those alone; add
/// them to the rows with [`Rows::and`]. Parents whose calls and results do not pair are left out.
pub fn generate(
    rows: &Rows,
    generator: &Generator,
    pool: &Pool,
    (times, most): (u64, usize),
    seed: u64,
    observer: &dyn Observer,
) -> Result<Rows> {
    let name = format!("generate_{}", generator.name);
    let rules = [rule("role_order")?, rule("call_pairing")?];
    let bounds = Bounds::default();
    let sound = |e: &Example| rules.iter().all(|r| (r.check)(e, &bounds).is_none());
    let parents = chosen(rows, most);
    observer.begin(&name, Some(parents.len() as u64), "rows");
    let counter = Counter::new(observer);
    let make = |row: &&Held| -> Result<Vec<Held>> {
        counter.tick()?;
        let parent = row.read()?;
        if !sound(&parent) {
            return Ok(Vec::new());
        }
        let made = (0..times).filter_map(|nth| generator.example(&parent, pool, seed, nth));
        made.map(|example| rows.pager.hold(example)).collect()
    };
    let made: Vec<Result<Vec<Held>>> = parents.par_iter().map(make).collect();
    observer.end();
    let made = made.into_iter().collect::<Result<Vec<_>>>()?;
    let mut made: Vec<Held> = made.into_iter().flatten().collect();
    number_repeats(&mut made);
    let stage = Stage::made(&name, made.len());
    Ok(Rows::new(made, stage).paged(&rows.pager))
}

#[cfg(test)]
mod tests {
    use super::super::quality::RULES;
    use super::super::testing::{call, read, result, row};
    use super::*;
    use crate::progress::Silent;
    use crate::trace::{Message, Role};
    use serde_json::json;

    /// A session in which an agent reads, edits and answers.
    fn session(n: usize) -> Example {
        let (file, name) = (format!("src/part{n}.rs"), format!("count_{n}"));
        let text = format!("fn {name}() -> usize {{\n    {n}00 + 1\n}}\n// end of {file}");
        let mut example = row(
            &format!("s{n}"),
            vec![
                Message::text(Role::System, "You edit code."),
                Message::text(Role::User, format!("Rename {name} in {file}, please.")),
                call("c1", "read", json!({"path": format!("./{file}")})),
                result("c1", &text),
                call(
                    "c2",
                    "edit",
                    json!({"path": format!("./{file}"), "symbol": name, "old_string": text, "new_string": "fn x() {}"}),
                ),
                result("c2", &format!("edited ./{file}")),
                Message::text(Role::Assistant, format!("Renamed {name} in {file}.")),
            ],
        );
        let text = || json!({"type": "string"});
        example.trace.tools = vec![
            json!({"type": "function", "function": {"name": "read", "parameters": {"type": "object",
                "properties": {"path": text(), "limit": {"type": "integer"}}, "required": ["path"]}}}),
            json!({"type": "function", "function": {"name": "edit", "parameters": {"type": "object",
                "properties": {"path": text(), "symbol": text(), "old_string": text(), "new_string": text()},
                "required": ["path", "old_string", "new_string"], "additionalProperties": false}}}),
            json!({"type": "function", "function": {"name": "status", "parameters": {"type": "object",
                "properties": {"detail": {"enum": ["short", "long"]}}, "required": ["detail"]}}}),
        ];
        Example::real(example.trace)
    }

    fn sessions() -> Rows {
        let all: Vec<_> = (0..12).map(session).collect();
        super::super::testing::rows(all)
    }

    fn pool(rows: &Rows) -> Pool {
        Pool::collect(read(&rows.examples).iter().map(|e| &e.trace))
    }

    #[test]
    fn every_generator_makes_rows_that_pass_the_rules() {
        let rows = sessions();
        let pool = pool(&rows);
        for generator in GENERATORS {
            let made = generate(&rows, generator, &pool, (3, FEW), 17, &Silent).unwrap();
            assert!(made.len() >= 12, "{}: {}", generator.name, made.len());
            assert!(made.stages[0].adds_up());
            for example in &read(&made.examples) {
                for rule in RULES {
                    let objection = (rule.check)(example, &Bounds::default());
                    assert_eq!(objection, None, "{}: {}", generator.name, rule.name);
                }
                assert_eq!(example.kind, generator.kind);
                let parent =
                    rows.examples.iter().find(|p| Some(&p.id) == example.derived_from.as_ref());
                let parent = parent.unwrap().read().unwrap();
                assert_eq!(parent.session_key(), example.session_key());
                assert_ne!(parent.trace.messages, example.trace.messages, "{}", generator.name);
            }
        }
    }

    #[test]
    fn adversarial_rows_train_one_turn_the_last() {
        let rows = sessions();
        let pool = pool(&rows);
        for generator in GENERATORS.iter().filter(|g| g.kind == Kind::Adversarial) {
            let made = generate(&rows, generator, &pool, (1, FEW), 17, &Silent).unwrap();
            for example in &read(&made.examples) {
                let (last, before) = example.trace.messages.split_last().unwrap();
                assert!(last.train && last.role == Role::Assistant, "{}", generator.name);
                assert!(before.iter().all(|m| !m.train), "{}", generator.name);
            }
        }
    }

    #[test]
    fn what_is_made_does_not_depend_on_order_or_company() {
        let rows = sessions();
        let pool = pool(&rows);
        for generator in GENERATORS {
            let all = generate(&rows, generator, &pool, (2, FEW), 17, &Silent).unwrap();
            let again = generate(&rows, generator, &pool, (2, FEW), 17, &Silent).unwrap();
            assert_eq!(read(&all.examples), read(&again.examples));
            let one = Rows::new(vec![rows.examples[5].clone()], Stage::made("made", 1));
            let alone = generate(&one, generator, &pool, (2, FEW), 17, &Silent).unwrap();
            for example in &read(&alone.examples) {
                assert!(read(&all.examples).contains(example), "{}", generator.name);
            }
        }
    }

    #[test]
    fn another_seed_makes_other_rows() {
        let rows = sessions();
        let pool = pool(&rows);
        let make = |seed| {
            let substitute = generator("substitute").unwrap();
            generate(&rows, substitute, &pool, (1, FEW), seed, &Silent)
                .map(|made| read(&made.examples))
                .unwrap()
        };
        assert_ne!(make(1), make(2));
        assert!(generator("substitutes").is_err());
    }
}
