//! Every configuration key: name, type, default and meaning, in one table.

use serde_json::Value;

/// The type of a key.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number within bounds (both included).
    Int(i64, i64),
    /// A finite number within bounds (both included).
    Float(f64, f64),
    /// `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`.
    Bool,
    /// Any text.
    Text,
    /// One or several files or folders, comma-separated.
    Paths,
    /// One of a few words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Parses a value, or says what would have been right.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Int(low, high) => {
                let n: i64 = text.parse().map_err(|_| "expected a whole number".to_string())?;
                if n < low || n > high {
                    return Err(match high {
                        i64::MAX => format!("expected at least {low}"),
                        _ => format!("expected {low} to {high}"),
                    });
                }
                Ok(n.into())
            }
            Kind::Float(low, high) => {
                let n: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
                if !(n >= low && n <= high) {
                    return Err(format!("expected {low} to {high}"));
                }
                Ok(n.into())
            }
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true.into()),
                "false" | "0" | "no" | "off" => Ok(false.into()),
                _ => Err("expected true or false".into()),
            },
            Kind::Text | Kind::Paths => Ok(text.into()),
            Kind::Choice(words) if words.contains(&text) => Ok(text.into()),
            Kind::Choice(words) => Err(format!("expected one of {}", words.join(", "))),
        }
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in `.env` files.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its default, as one would write it.
    pub default: &'static str,
    /// Whether it describes this machine (threads, folders) and so stays out of every digest.
    pub machine: bool,
    /// What it means, in one line.
    pub doc: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, machine: false, doc }
}

const fn host(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, machine: true, doc }
}

const COUNT: Kind = Kind::Int(0, i64::MAX);
const POSITIVE: Kind = Kind::Int(1, i64::MAX);
const SHARE: Kind = Kind::Float(0.0, 1.0);

/// Every key the program knows, grouped as `proto config` prints them.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    // Input
    key("TRACES", Kind::Paths, "", "traces: files, folders, globs or agents (opencode, openclaw, claude-code, codex, pi), comma-separated; empty means data/raw_traces, or the shipped sample where that is empty"),
    key("TRACE_DAYS", COUNT, "0", "only sessions that began within this many days before the newest one; 0 takes all"),
    key("COUNTEREXAMPLES", Kind::Paths, "data/counterexamples", "folder of hand-written examples against past mistakes"),
    key("REVIEWS", Kind::Paths, "data/reviews.jsonl", "verdicts of a person on single answers, as proto review writes them; empty takes none"),
    key("FORGET", Kind::Paths, "data/forgotten.json", "sessions that are left out of everything, as proto forget writes them; empty leaves out none"),
    key("REPLAY_FILES", Kind::Paths, "", "general examples mixed in against forgetting, comma-separated files"),
    key("TRAIN_FILES", Kind::Paths, "", "train on these files instead of the run's own split (with VAL_FILES)"),
    key("VAL_FILES", Kind::Paths, "", "validate on these files instead of the run's own split (with TRAIN_FILES)"),
    key("SEED", COUNT, "17", "the seed of everything random"),
    // Redaction
    key("REDACT_CLASSES", Kind::Text, "secrets,pii", "what is redacted: secrets, pii, single classes such as vendor or email; -host takes one away again"),
    key("REDACT_ALLOW", Kind::Text, "", "literal values that are never redacted, comma-separated"),
    key("REDACT_RULES", Kind::Paths, "", "the team's own rules, files in gitleaks' TOML format, comma-separated"),
    key("REDACT_DROP_MESSAGE", Kind::Text, "", "classes (as in REDACT_CLASSES) whose finds cost the whole message, with what cannot stand without it"),
    key("REDACT_DROP_SESSION", Kind::Text, "", "classes (as in REDACT_CLASSES) whose finds cost the whole session"),
    key("REDACT_MAX_SHARE", SHARE, "0.5", "drop a row when more than this share of its text was redacted"),
    key("REDACT_MIN_CANARY_RECALL", SHARE, "1.0", "share of planted secrets that must be found for redaction_ok"),
    key("REDACT_MAX_RESIDUE", COUNT, "0", "rows in which the second scan may find something before redaction_ok is false"),
    // What agents do not store
    key("TOOL_CATALOGUE", Kind::Paths, "", "a captured OpenAI-style request, or several: its system prompt and tools go to sessions of agents that store none"),
    key("TOOL_NAMES", Kind::Choice(&["newest", "opencode-1", "opencode-2", "as-is"]), "newest", "whose tool and argument names OpenCode's calls are said in: the newest version seen, one of them, or each session its own"),
    // Quality
    key("TRAIN_OUTCOMES", Kind::Text, "good,unknown", "outcomes whose answers are trained: good, unknown, bad"),
    key("TEACHERS", Kind::Text, "", "whose answers are trained, by author: patterns such as anthropic/* or, to leave out, !*-tiny; empty: everyone's"),
    key("ROLLED_BACK", Kind::Text, "", "adapters that were taken back, by the names they served under, as patterns: what they answered is trained only where it is labelled good"),
    key("MIN_ANSWER_CHARS", COUNT, "1", "an answer with less text than this and no tool call is empty"),
    key("MAX_REPETITION", SHARE, "0.5", "drop a row when more than this share of an answer repeats itself"),
    // Deduplication and split
    key("DEDUP_SIMILARITY", SHARE, "0.6", "rows whose shingles overlap at least this much (Jaccard) are near-duplicates"),
    key("DEDUP_CONTAINMENT", SHARE, "0.8", "a row contained in another to this share is a resumed copy"),
    key("SPLIT_BY", Kind::Choice(&["session", "repository"]), "session", "what may not be split between train and validation"),
    key("VAL_FRACTION", SHARE, "0.15", "share of components held out for the verdict"),
    key("TUNE_FRACTION", SHARE, "0.05", "share of components held out for early stopping and sweeps"),
    key("MAX_LEAK", SHARE, "0.0", "largest share of validation rows that may resemble a training row"),
    key("CONTAMINATION_NGRAM", Kind::Int(0, 1000), "13", "training rows are searched for this many words in a row of EVAL_FILES; 0 searches for nothing"),
    key("CONTAMINATION_SHARE", SHARE, "0.2", "a training row that holds more than this share of what EVAL_FILES ask or want to hear in one place is dropped"),
    key("LEDGER", Kind::Paths, "", "ledger of held-out components and earlier verdicts; empty keeps none"),
    // Mixing
    key("SYNTHETIC_RATIO", SHARE, "0.1", "share of training tokens from synthetic examples"),
    key("ADVERSARIAL_RATIO", SHARE, "0.05", "share of training tokens from adversarial examples"),
    key("COUNTEREXAMPLE_RATIO", SHARE, "0.1", "share of training tokens from counterexamples, where there are any"),
    key("REPLAY_RATIO", SHARE, "0.2", "share of training tokens from REPLAY_FILES, where set"),
    key("SHORTFALL", Kind::Choice(&["downsample", "repeat", "refuse"]), "downsample", "when a pool is too small for its ratio: take what there is, repeat it, or stop"),
    // Dataset gates
    key("MIN_TRAIN_EXAMPLES", COUNT, "50", "fewest real training rows for min_example_ok"),
    key("MIN_VAL_EXAMPLES", COUNT, "10", "fewest real validation rows for min_example_ok"),
    // Model
    key("QLORA_ENV", Kind::Paths, "configs/qlora_embedded.env", "the training profile"),
    key("BASE_MODEL", Kind::Paths, "models/embedded", "a Hugging Face folder or a GGUF file"),
    key("CHAT_TEMPLATE", Kind::Paths, "", "a chat template file instead of the model's own; `hermes` is shipped"),
    key("QUANTIZATION", Kind::Choice(&["nf4", "native", "f32"]), "nf4", "how frozen linears are kept: NF4, the file's own blocks, or unquantised"),
    key("NF4_DOUBLE_QUANT", Kind::Bool, "false", "with QUANTIZATION=nf4, quantise the blocks' scales to 8 bits as well: 0.37 bits a weight less memory"),
    host("DEVICE", Kind::Choice(&["auto", "cpu", "cuda"]), "auto", "where to train and generate"),
    key("BF16", Kind::Bool, "false", "products read bf16 (on a card those without frozen weights TF32): about three digits, and faster on a card and on CPUs with AMX or AVX-512 BF16"),
    host("CACHE_DIR", Kind::Paths, "artifacts/cache", "folder where a quantised base (as large as in memory), the newest tokenised rows and, for 30 days and up to 256 MiB, what base and champion answered are kept for the next start; may be deleted; empty keeps none"),
    host("ROWS_IN_MEMORY_MB", COUNT, "128", "rows of a dataset that stay in memory, in MiB of their text; others wait in the run's folder, encrypted, in files without a name"),
    host("THREADS", COUNT, "0", "threads; 0 takes all"),
    // Adapter
    key("ADAPTER", Kind::Paths, "", "start from, or with --skip-train evaluate, this PEFT adapter"),
    key("CHAMPION", Kind::Paths, "", "the PEFT adapter in use, evaluated as a third column"),
    key("LORA_R", Kind::Int(1, 1024), "16", "rank of the adapter"),
    key("LORA_ALPHA", Kind::Float(0.0, 4096.0), "16", "the adapter's output is scaled by alpha / r"),
    key("LORA_DROPOUT", Kind::Float(0.0, 0.95), "0.0", "dropout on the adapter's input"),
    key("LORA_TARGET_MODULES", Kind::Text, "all-linear", "which linears get an adapter: all-linear or a comma-separated list"),
    key("USE_RSLORA", Kind::Bool, "false", "scale the adapter's output by alpha / √r instead (rsLoRA), so that a higher rank does not learn more slowly"),
    // Training
    key("MAX_SEQ_LENGTH", Kind::Int(8, 1 << 20), "2048", "longest example, in tokens"),
    key("LEARNING_RATE", Kind::Float(0.0, 1.0), "2e-4", "peak learning rate"),
    key("LR_SCHEDULER_TYPE", Kind::Choice(&["constant", "linear", "cosine"]), "cosine", "how the learning rate falls"),
    key("WARMUP_RATIO", SHARE, "0.03", "share of the steps over which the learning rate rises"),
    key("LORAPLUS_LR_RATIO", Kind::Float(1.0, 1024.0), "1", "the adapter's B learns at this many times the rate (LoRA+); 1 is plain LoRA"),
    key("OPTIM", Kind::Choice(&["adamw", "adamw_8bit"]), "adamw", "AdamW with its states in f32, or in 8 bits a number: a quarter of the memory"),
    key("WEIGHT_DECAY", SHARE, "0.0", "AdamW's decoupled weight decay"),
    key("MAX_GRAD_NORM", Kind::Float(0.0, 1e9), "1.0", "gradients are clipped to this norm; 0 turns clipping off"),
    key("PER_DEVICE_TRAIN_BATCH_SIZE", POSITIVE, "1", "examples in one micro-batch"),
    key("GRADIENT_ACCUMULATION_STEPS", POSITIVE, "16", "micro-batches in one step"),
    key("GRADIENT_CHECKPOINTING", Kind::Bool, "false", "keep only the layers' inputs and compute the rest again for the gradients: far less memory, a third more work"),
    key("ACTIVATION_OFFLOADING", Kind::Bool, "false", "with GRADIENT_CHECKPOINTING on a card: keep the layers' inputs in the host's memory"),
    key("NUM_TRAIN_EPOCHS", Kind::Float(0.0, 1000.0), "3", "passes over the training rows"),
    key("MAX_STEPS", COUNT, "0", "stop after this many steps; 0 trains NUM_TRAIN_EPOCHS"),
    key("TIME_BUDGET_MINUTES", Kind::Float(0.0, 1e6), "0", "stop after this much time; recorded as a step count; 0 sets no limit"),
    key("EARLY_STOPPING_PATIENCE", COUNT, "0", "stop after this many evaluations on tune without a better loss; 0 never"),
    key("EVAL_STEPS", COUNT, "0", "evaluate the loss on tune every so many steps; 0 only at the end"),
    key("LOSS_WATCHDOG", Kind::Float(0.0, 1000.0), "2", "stop, naming the worst examples, once the smoothed loss is this many nats above its lowest; 0 never"),
    host("SAVE_STEPS", COUNT, "50", "a checkpoint every so many steps, from which --resume goes on; 0 only when interrupted"),
    // Host-side throughput
    host("DATASET_MAP_NUM_PROC", COUNT, "0", "threads that tokenise; 0 takes all"),
    host("DATALOADER_NUM_WORKERS", COUNT, "1", "threads that prepare batches ahead; 0 prepares them in the training thread"),
    host("DATALOADER_PREFETCH_FACTOR", POSITIVE, "2", "batches each worker prepares ahead"),
    host("DATALOADER_PERSISTENT_WORKERS", Kind::Bool, "true", "keep the workers between epochs"),
    host("DATALOADER_PIN_MEMORY", Kind::Bool, "false", "page-locked staging buffers; no effect, since batches are small"),
    // Evaluation
    key("EVAL_FILES", Kind::Paths, "", "fixed suites evaluated beside validation, comma-separated files"),
    key("EVAL_MAX_ITEMS", COUNT, "0", "evaluate at most this many validation items; 0 takes all"),
    key("EVAL_MAX_NEW_TOKENS", POSITIVE, "256", "longest answer generated, in tokens"),
    key("EVAL_BATCH_SIZE", POSITIVE, "16", "answers generated at once"),
    key("EVAL_TEMPERATURE", Kind::Float(0.0, 100.0), "0", "answers are drawn at this temperature, each with a seed of its own; 0 takes the likeliest token"),
    key("EVAL_TOP_P", Kind::Float(0.0, 1.0), "1", "with a temperature, only the likeliest tokens that together have this share are drawn"),
    key("EVAL_REPEATS", POSITIVE, "1", "with a temperature, answers to each item; scores are means over them"),
    // Gate
    key("GATE_MIN_DELTA_EXACT_MATCH", Kind::Float(-1.0, 1.0), "0.02", "smallest gain in exact match, as a fraction"),
    key("GATE_MIN_DELTA_KEYWORD_RECALL", Kind::Float(-1.0, 1.0), "0.0", "smallest gain in keyword recall, as a fraction"),
    key("GATE_MIN_PAIRS", COUNT, "50", "fewest paired items for a verdict other than inconclusive"),
    key("GATE_MIN_SESSIONS", COUNT, "20", "fewest sessions behind those items"),
    key("GATE_MAX_SUITE_DROP", SHARE, "0.05", "largest loss of exact match on a fixed suite"),
    key("GATE_MAX_TOOL_DROP", SHARE, "0.1", "largest loss of exact match on the items of one tool, where it is more than chance"),
    key("GATE_MAX_CHAMPION_DROP", SHARE, "0.02", "largest loss of exact match against the adapter in use"),
    key("GATE_MAX_LOSS_RISE", Kind::Float(0.0, 100.0), "0.0", "largest rise of the loss on validation references, in nats per token"),
    key("GATE_MAX_SELF_WRITTEN", SHARE, "0.9", "largest share of references that the base wrote itself, for a verdict other than inconclusive"),
    key("GATE_ALPHA", SHARE, "0.1", "the chance that an adapter which is no better is ever promoted, over all nights that LEDGER counts"),
    key("GATE_SCRIPT", Kind::Paths, "", "a team's gate policies (Rhai), comma-separated, all of which must agree; empty is the shipped one"),
    // Scripts
    host("SCRIPT_MAX_OPERATIONS", POSITIVE, "200000000", "a script that runs more operations than this is stopped; each row of a filter or map counts by itself"),
    // Output
    key("DATASET_FORMAT", Kind::Choice(&["jsonl", "zstd", "parquet"]), "jsonl", "what train, tune and val are written as: JSONL, JSONL compressed with zstd, or Parquet"),
    host("DATASET_SHARD_DIRS", Kind::Paths, "", "folders on several disks, comma-separated: each takes a shard of train, tune and val, in a folder named after the run; empty keeps them in the run's own"),
    host("RUNS_DIR", Kind::Paths, "artifacts/protocol-runs", "the folder runs are written under; --out sets it"),
];
