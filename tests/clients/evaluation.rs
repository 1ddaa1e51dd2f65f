//! An evaluation of ours, and the same questions asked through transformers and PEFT, their metrics
//! recomputed there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use anyhow::Result;
use candle_core::Device;
use proto::config::Layers;
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::{Kind, Rows};
use proto::evaluate::{Comparison, Contender, Output, Record, Settings, Subject};
use proto::model::weights::Quantization;
use proto::model::{Decoder, Decoding, Generator, Prompt};
use proto::progress::{Observer, Silent};
use proto::tokens::{Codec, Encoded};
use proto::trace;
use proto::train::{Trainee, Training, train};
use serde_json::{Value, json};

use crate::{figures, fresh, model, settings, weights, write_folder};

const SESSIONS: usize = 24;
const LONGEST: usize = 36;

/// Sessions that ask where a thing is: a call of a tool, or a sentence.
fn session(n: usize) -> Value {
    let thing = ["apple", "helmet", "lantern", "anchor", "violin", "candle"][n % 6];
    let place = ["attic", "cellar", "garden", "harbour"][n / 6];
    if n % 4 == 1 {
        let call = json!({"id": "c", "type": "function",
            "function": {"name": "find", "arguments": {"thing": thing, "place": place}}});
        let schema = json!({"type": "object", "properties": {
            "thing": {"type": "string"}, "place": {"type": "string"}}});
        let tool = json!({"type": "function", "function": {"name": "find", "parameters": schema}});
        return json!({"session": format!("s{n}"), "tools": [tool], "messages": [
            {"role": "user", "content": format!("Look for the {thing} in the {place}.")},
            {"role": "assistant", "content": "", "tool_calls": [call]}]});
    }
    let answer = format!("The {thing} is in the {place}.");
    json!({"session": format!("s{n}"), "messages": [
        {"role": "user", "content": format!("Where is the {thing} of the {place}?")},
        {"role": "assistant", "content": answer}]})
}

fn sessions() -> Rows {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..SESSIONS).map(|n| session(n).to_string()).collect();
    std::fs::write(folder.path().join("val.jsonl"), lines.join("\n")).unwrap();
    let loaded = trace::load(&["val.jsonl".into()], folder.path(), &Silent).unwrap();
    from_traces(loaded, Kind::Real, &Recent::default())
}

/// Remembers what it answered to which prompt.
struct Heard<'a> {
    generator: Generator<'a>,
    answers: Mutex<HashMap<Vec<u32>, Vec<u32>>>,
}

impl Subject for Heard<'_> {
    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        let answers = self.generator.answers(prompts, decoding, stop, observer)?;
        let pairs = prompts.iter().zip(&answers);
        let pairs = pairs.map(|(prompt, (ids, _))| (prompt.ids.to_vec(), ids.clone()));
        self.answers.lock().unwrap().extend(pairs);
        Ok(answers)
    }

    fn loss(&self, rows: &[&Encoded]) -> Result<Vec<Vec<f64>>> {
        self.generator.loss(rows)
    }
}

/// One item as the other side needs it, with what we made of it.
fn question(record: &Record, rows: &Rows, codec: &Codec, [base, candidate]: [&Heard; 2]) -> Value {
    let (id, message) = record.id.split_once('#').unwrap();
    let message: usize = message.parse().unwrap();
    let held = rows.examples.iter().map(|held| held.read().unwrap());
    let example = held.into_iter().find(|example| example.id == id).unwrap();
    let trace = &example.trace;
    let prompt = codec.prompt(&trace.messages[..message], &trace.tools).unwrap();
    let row = codec.sequences(&trace.messages, &trace.tools).unwrap().remove(0);
    let turn = row.turns.iter().find(|turn| turn.message == message).unwrap();
    let trained: Vec<usize> = turn.tokens.clone().filter(|at| row.trained[*at]).collect();
    let side = |heard: &Heard, output: &Output| json!({"ids": heard.answers.lock().unwrap()[&prompt], "scores": output.scores});
    json!({
        "base": side(base, &record.base),
        "candidate": side(candidate, &record.candidate),
        "prompt": prompt,
        "row": row.ids,
        "trained": trained,
        "keywords": record.keywords,
        "reference": record.reference,
    })
}

#[test]
fn peft_answers_and_scores_as_we_do() {
    let weights = weights();
    let temp = tempfile::tempdir().unwrap();
    let [base, adapted, asked] =
        ["base", "adapter", "asked.json"].map(|name| temp.path().join(name));
    write_folder(&base, &weights);
    let codec = Codec::open(&model(), Some("hermes")).unwrap();
    codec.save(&base).unwrap();
    let decoder = Decoder::load(&weights, Quantization::F32, &Device::Cpu).unwrap();
    let adapter = fresh(&decoder);
    let rows = sessions();
    // A third of the sessions is learnt, so that some answers are right.
    let encoded: Vec<Encoded> = (0..SESSIONS / 3)
        .flat_map(|n| {
            let example = rows.examples[3 * n].read().unwrap();
            codec.sequences(&example.trace.messages, &example.trace.tools).unwrap()
        })
        .collect();
    let names: Vec<String> = (0..encoded.len()).map(|nth| format!("row {nth}")).collect();
    let trainee = Trainee { decoder: &decoder, lora: Some(&adapter.lora) };
    let how = settings(1e-3);
    let (rows_, names, how) = (encoded.as_slice(), names.as_slice(), &how);
    let training =
        Training { trainee, rows: rows_, names, tune: &[], settings: how, kept: None, last: None };
    train(&training, &Silent).unwrap();
    std::fs::create_dir(&adapted).unwrap();
    adapter.save(&adapted).unwrap();

    let heard = |lora| Heard {
        generator: Generator { decoder: &decoder, lora, batch: 8 },
        answers: Mutex::default(),
    };
    let sides = [heard(None), heard(Some(&adapter.lora))];
    let mut wanted = Settings::of(&Layers::new().resolve(&[]).unwrap(), decoder.max_positions());
    wanted.decoding = Decoding::greedy(LONGEST);
    let contender = |side, digest: &str| Contender { subject: side, digest: digest.into() };
    let comparison = Comparison {
        val: &rows,
        suites: &[],
        seen: &BTreeSet::new(),
        own_names: &[],
        chat: &codec,
        base: contender(&sides[0], "base"),
        champion: None,
        candidate: contender(&sides[1], "candidate"),
        metrics: &[],
        redactor: None,
        cache: None,
        settings: wanted,
    };
    let (evaluation, records) = comparison.run(&Silent).unwrap();
    println!("{}", evaluation.line());
    let questions: Vec<Value> = records
        .iter()
        .map(|record| question(record, &rows, &codec, [&sides[0], &sides[1]]))
        .collect();
    let all = json!({"questions": questions, "stop": codec.stop_ids(), "longest": LONGEST});
    std::fs::write(&asked, all.to_string()).unwrap();
    let theirs = figures("peft_evaluation.py", &[&base, &adapted, &asked]);

    assert_eq!(theirs["rows"], SESSIONS as f64);
    for (name, column) in [("base", &evaluation.base), ("candidate", &evaluation.candidate)] {
        let theirs = |figure: &str| theirs[&format!("{name}.{figure}")];
        assert!(theirs("same") >= 0.95, "{name}: {} of answers are the same", theirs("same"));
        assert!(theirs("loss_apart") <= 1e-3, "{name}: losses {} apart", theirs("loss_apart"));
        let loss = column.loss["val"].mean;
        assert!((theirs("loss") - loss).abs() <= 1e-3 * loss, "{name}: {loss}");
        // The metrics of the same answer are the same; of other answers they may differ.
        assert_eq!(theirs("scores_differ"), 0.0, "{name}: metrics of the same answers differ");
        let parted = 1.0 - theirs("same");
        for metric in ["exact_match", "keyword_recall"] {
            let ours = column.metrics.overall[metric].mean;
            assert!((theirs(metric) - ours).abs() <= parted + 1e-9, "{name}: {metric} {ours}");
        }
    }
    assert!(evaluation.delta["exact_match"] > 0.1, "nothing was learnt: this proves little");
}
