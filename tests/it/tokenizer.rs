//! Tokenizers: from a folder, from a GGUF's metadata, trained from texts.

use std::fs;

use proto::files;
use proto::tokens::{Codec, training};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny_base::{self, refusal};

fn folder() -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::tokenizer(temp.path());
    temp
}

fn hermes() -> Codec {
    Codec::open(folder().path(), None).unwrap()
}

/// ChatML in its shortest form.
const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message.role + '\n' + \
    message.content + '<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn a_tokenizer_with_a_leading_space_is_refused() {
    let temp = folder();
    let path = temp.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = json!(true);
    fs::write(&path, json.to_string()).unwrap();
    assert!(refusal(Codec::open(temp.path(), None)).contains("leading space"));
}

#[test]
fn truncation_left_in_a_tokenizer_file_is_lifted() {
    let temp = folder();
    let path = temp.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["truncation"] = json!({"direction": "Right", "max_length": 4,
        "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 16}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    fs::write(&path, json.to_string()).unwrap();
    let codec = Codec::open(temp.path(), None).unwrap();
    assert_eq!(
        codec.tokenize("abcdefghijklmnopqrstuvwxyz").unwrap(),
        hermes().tokenize("abcdefghijklmnopqrstuvwxyz").unwrap()
    );
    assert_eq!(codec.tokenize(".").unwrap().len(), 1);
}

#[test]
fn training_is_the_same_for_any_order_and_keeps_words_whole() {
    let train = |texts: &[String]| {
        let temp = tempfile::tempdir().unwrap();
        training::train(texts.iter().map(String::as_str), 300, &["<tool_call>"], temp.path())
            .unwrap();
        ["tokenizer.json", "tokenizer_config.json"].map(|f| fs::read(temp.path().join(f)).unwrap())
    };
    let mut texts = tiny_base::texts();
    let once = train(&texts);
    texts.reverse();
    assert!(once == train(&texts), "another order gave another tokenizer");

    // Nor may another machine, another day or another number of threads.
    assert_eq!(
        files::digest(&once[0]),
        "733012841793008c897b638bfa18df77a06349aa85dedfaabd7a3423031170cd"
    );

    let codec = hermes();
    let ids = |text: &str| codec.tokenize(text).unwrap();
    let word = ids("arguments");
    assert_eq!(word.len(), 1, "a frequent word is one token");
    for before in [" ", "\"", "/", "7"] {
        assert_eq!(ids(&format!("{before}arguments")), [ids(before), word.clone()].concat());
    }
    assert_eq!(ids("12").len(), 2);
    for text in ["größe 東京 🙂 \u{0}", "a  b\n\n\tc", ""] {
        assert_eq!(codec.decode(&ids(text)).unwrap(), text);
    }
    let temp = tempfile::tempdir().unwrap();
    let message = refusal(training::train(["x"].into_iter(), 100, &[], temp.path()));
    assert!(message.contains("no room"), "{message}");
}

/// A GGUF whose merges join digits, so that the cut before BPE shows.
fn gguf(pre: &str) -> (TempDir, tiny_base::GgufFile) {
    let temp = folder();
    let mut file = tiny_base::gguf(temp.path());
    let mut tokens: Vec<String> =
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(Into::into).into();
    tokens.extend((b'!'..=b'~').map(|b| (b as char).to_string()));
    tokens.extend(["Ġ", "Ċ", "Ã", "¼", "12", "123", "hi", "Ġhi", "word"].map(String::from));
    let merges = ["1 2", "12 3", "h i", "Ġ hi"].map(String::from);
    let mut types = vec![1; tokens.len()];
    types[..3].fill(3);
    file.text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", &tokens)
        .texts("tokenizer.ggml.merges", &merges)
        .i32s("tokenizer.ggml.token_type", &types)
        .text("tokenizer.chat_template", CHATML);
    (temp, file)
}

fn open_gguf(pre: &str, change: impl FnOnce(&mut tiny_base::GgufFile)) -> anyhow::Result<Codec> {
    let (temp, mut file) = gguf(pre);
    change(&mut file);
    Codec::open(&file.write(&temp.path().join("t.gguf")), None)
}

#[test]
fn a_gguf_tokenizer_cuts_text_as_its_family_does() {
    let pieces = |pre: &str, text: &str| -> Vec<String> {
        let codec = open_gguf(pre, |_| {}).unwrap();
        let ids = codec.tokenize(text).unwrap();
        ids.iter().map(|id| codec.decode(&[*id]).unwrap()).collect()
    };
    assert_eq!(pieces("smollm", "hi hi"), ["hi", " hi"], "no leading space is made up");
    assert_eq!(pieces("smollm", "1234"), ["1", "2", "3", "4"]);
    assert_eq!(pieces("qwen2", "1234"), ["1", "2", "3", "4"]);
    assert_eq!(pieces("llama-bpe", "1231234"), ["123", "123", "4"]);
    assert_eq!(pieces("gpt-2", "1231234"), ["123", "123", "4"]);
    assert_eq!(pieces("gpt-2", "word"), ["w", "o", "r", "d"]);
    assert_eq!(pieces("llama-bpe", "word"), ["word"], "a whole word that is a token");
    assert_eq!(pieces("smollm", "<|im_start|>hi<|im_end|>"), ["<|im_start|>", "hi", "<|im_end|>"]);
    // Qwen composes characters first; the others take them as they come and lack these bytes.
    let codec = open_gguf("qwen2", |_| {}).unwrap();
    assert_eq!(codec.tokenize("u\u{308}").unwrap(), codec.tokenize("ü").unwrap());
}

#[test]
fn a_gguf_tokenizer_that_cannot_be_built_is_refused() {
    let refused = |part: &str, change: &dyn Fn(&mut tiny_base::GgufFile)| {
        let message = refusal(open_gguf("smollm", |file| change(file)));
        assert!(message.contains(part), "{part}: {message}");
    };
    refused("\"deepseek-llm\" is not known", &|f| {
        f.text("tokenizer.ggml.pre", "deepseek-llm");
    });
    refused("tokenizer.ggml.pre is missing", &|f| {
        f.remove("tokenizer.ggml.pre");
    });
    refused("\"llama\" is not supported", &|f| {
        f.text("tokenizer.ggml.model", "llama");
    });
    refused("names a token twice", &|f| {
        f.texts("tokenizer.ggml.tokens", &["a".into(), "a".into()]);
    });
    refused("has the entry \"ab\"", &|f| {
        f.texts("tokenizer.ggml.merges", &["ab".into()]);
    });
    refused("tokenizer.ggml.merges", &|f| {
        f.texts("tokenizer.ggml.merges", &["zz yy".into()]);
    });
    refused("beyond the vocabulary", &|f| {
        f.u32("tokenizer.ggml.eos_token_id", 1 << 30);
    });
    refused("tokenizer.ggml.token_type has 1 of", &|f| {
        f.i32s("tokenizer.ggml.token_type", &[1]);
    });
    refused("CHAT_TEMPLATE=hermes", &|f| {
        f.remove("tokenizer.chat_template");
    });
}

/// The ids are those of Hugging Face's own library for this vocabulary; the rules by which the
/// text is cut were checked against ids of the published tokenizer.
#[test]
#[ignore = "needs models/smollm2"]
fn smollm2_token_ids() {
    let codec = Codec::open(&tiny_base::smollm2(), None).unwrap();
    assert_eq!((codec.vocab_size(), codec.pad_id(), codec.stop_ids()), (49152, 2, &[2][..]));
    let cases: [(&str, &[u32]); 7] = [
        (
            "fn main() {\n    println!(\"{}\", x_1 + 42);\n}\n",
            &[
                7853, 1085, 1000, 1662, 472, 1628, 34115, 17, 43331, 1002, 1792, 79, 33, 1232, 216,
                36, 34, 4258, 198, 109, 198,
            ],
        ),
        (
            "It's 2026-11-22 at 10:15; we've   3 spaces\tand a tab.",
            &[
                1589, 506, 216, 34, 32, 34, 38, 29, 33, 33, 29, 34, 34, 418, 216, 33, 32, 42, 33,
                37, 43, 392, 3543, 333, 35, 5600, 197, 397, 253, 10147, 30,
            ],
        ),
        (
            "Größe: 12,5 µm — naïve café, 東京 🙂",
            &[
                27302, 7466, 34878, 85, 42, 216, 33, 34, 28, 37, 41406, 1841, 15486, 46494, 37366,
                28, 17097, 247, 126, 16736, 122, 47526,
            ],
        ),
        ("<|im_start|>user\nlist src/<|im_end|>\n", &[1, 4093, 198, 2402, 14484, 31, 2, 198]),
        (
            " ls -la ./target/debug && echo $? ",
            &[37380, 731, 5825, 1673, 31, 6999, 31, 10004, 1456, 22, 13689, 1885, 47, 216],
        ),
        (
            "{\"name\": \"read_file\", \"arguments\": {\"path\": \"a/b.rs\", \"line\": 1024}}",
            &[
                39428, 1245, 1799, 476, 1040, 79, 2153, 1002, 476, 24370, 1799, 9583, 1537, 1799,
                476, 81, 31, 82, 30, 2833, 1002, 476, 1311, 1799, 216, 33, 32, 34, 36, 17859,
            ],
        ),
        ("", &[]),
    ];
    for (text, ids) in cases {
        assert_eq!(codec.tokenize(text).unwrap(), ids, "{text}");
        assert_eq!(codec.decode(ids).unwrap(), text);
    }
}
