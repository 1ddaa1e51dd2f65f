//! Rows that do not lie in plain JSONL: compressed with zstd, or in Parquet.

use std::fs;
use std::path::{Path, PathBuf};

use proto::files::digest;
use proto::progress::Silent;
use proto::trace::{Loaded, Trace, load, raw};

fn read(folder: &Path, name: &str) -> anyhow::Result<Loaded> {
    load(&[PathBuf::from(name)], folder, &Silent)
}

/// A folder with one file.
fn file(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = file(name, bytes);
    let error = format!("{:#}", read(folder.path(), name).unwrap_err());
    assert!(error.contains(name), "{error}");
    error
}

fn lines(count: usize) -> String {
    let line = |n| format!("{{\"id\":\"s{n}\",\"user\":\"question {n}\",\"assistant\":\"a\"}}\n");
    (0..count).map(line).collect()
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

#[test]
fn rows_in_zstd_are_the_rows_of_the_text() {
    let text = lines(300) + "\n{broken\n" + lines(2).as_str();
    let plain = file("a.jsonl", text.as_bytes());
    let plain = read(plain.path(), "a.jsonl").unwrap();
    // Two frames after each other are one text, wherever it is cut.
    let bytes = [zstd(&text[..5000]), zstd(&text[5000..])].concat();
    let folder = file("a.jsonl.zst", &bytes);
    for asked in ["a.jsonl.zst", "."] {
        let packed = read(folder.path(), asked).unwrap();
        assert_eq!(packed.traces.len(), 302);
        for (mut one, other) in packed.traces.into_iter().zip(&plain.traces) {
            assert_eq!(one.origin.file, "a.jsonl.zst");
            one.origin.file = "a.jsonl".into();
            assert_eq!(one, *other);
        }
        assert_eq!((packed.bad[0].line, packed.lines), (302, 303));
        let read = &packed.files[0];
        assert_eq!((&read.sha256, read.bytes), (&digest(&bytes), bytes.len() as u64));
        assert_eq!(read.lines, 303);
    }
}

#[test]
fn the_content_says_what_a_file_is() {
    let compressed = file("a.jsonl", &zstd(&lines(3)));
    assert_eq!(read(compressed.path(), "a.jsonl").unwrap().traces.len(), 3);
    let plain = file("a.jsonl.zst", lines(3).as_bytes());
    assert_eq!(read(plain.path(), ".").unwrap().traces.len(), 3);
    let parquet = fs::read(fixture("lists.parquet")).unwrap();
    let parquet = file("a.jsonl", &parquet);
    assert_eq!(read(parquet.path(), ".").unwrap().traces.len(), 3);
}

#[test]
fn damaged_zstd_is_refused_by_name() {
    let whole = zstd(&lines(5000));
    refusal("cut.jsonl.zst", &whole[..whole.len() - 9]);
    refusal("cut.jsonl.zst", &whole[..6]);
    let mut spoiled = whole.clone();
    spoiled[whole.len() / 2..][..64].fill(0xff);
    refusal("spoiled.jsonl.zst", &spoiled);
    refusal("longer.jsonl.zst", &[&whole[..], b"no frame"].concat());
}

#[test]
fn a_line_that_swells_beyond_all_bounds_is_one_bad_line() {
    let mut text = "x".repeat(3 * raw::MAX_LINE);
    text += "\n";
    text += &lines(1);
    let bytes = zstd(&text);
    assert!(bytes.len() < 100_000);
    let folder = file("a.jsonl.zst", &bytes);
    let loaded = read(folder.path(), "a.jsonl.zst").unwrap();
    assert_eq!((loaded.traces.len(), loaded.reasons["too_long"]), (1, 1));
}

#[test]
fn a_compressed_session_of_an_agent_is_not_taken_for_rows() {
    let session = r#"{"timestamp":"2026-11-22T10:15:00Z","type":"session_meta","payload":{}}"#;
    let folder = file("rollout.jsonl.zst", &zstd(session));
    let loaded = read(folder.path(), ".").unwrap();
    assert!(loaded.files.is_empty() && loaded.bad.is_empty());
    assert!(loaded.unread[0].problem.contains("decompress it"), "{:?}", loaded.unread);
    let error = refusal("rollout.jsonl.zst", &zstd(session));
    assert!(error.contains("decompress it"), "{error}");
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(name)
}

/// The traces of a file, without the place they stand at.
fn traces(name: &str) -> Vec<Trace> {
    let path = fixture(name);
    let loaded = load(std::slice::from_ref(&path), path.parent().unwrap(), &Silent).unwrap();
    let sha256 = digest(&fs::read(path).unwrap());
    assert_eq!((&loaded.files[0].sha256, loaded.files[0].lines), (&sha256, 3));
    assert!(loaded.bad.is_empty(), "{:?}", loaded.bad);
    let mut traces = loaded.traces;
    for trace in &mut traces {
        assert_eq!((trace.origin.file.as_str(), trace.messages[0].row), (name, trace.origin.line));
        trace.origin = Default::default();
        trace.messages.iter_mut().for_each(|message| message.row = 0);
    }
    traces
}

#[test]
fn parquet_gives_the_rows_that_jsonl_gives() {
    let wanted = traces("rows.jsonl");
    assert_eq!(wanted[0].messages[2].tool_calls.len(), 1);
    // As `datasets` writes lists of messages, and with JSON texts in their place.
    assert_eq!(traces("lists.parquet"), wanted);
    assert_eq!(traces("texts.parquet"), wanted);
}

#[test]
fn what_is_no_table_of_rows_is_refused_by_file_and_column() {
    let bytes = |name| fs::read(fixture(name)).unwrap();
    let error = refusal("text.parquet", &bytes("no_messages.parquet"));
    assert!(error.contains("no column `messages`") && error.contains("text, label"), "{error}");
    let error = refusal("numbers.parquet", &bytes("numbers.parquet"));
    assert!(error.contains("the column `messages` holds neither"), "{error}");
    let whole = bytes("lists.parquet");
    for cut in [5, whole.len() / 2, whole.len() - 1] {
        refusal("cut.parquet", &whole[..cut]);
    }
}

#[test]
fn a_damaged_parquet_file_never_ends_the_program() {
    let whole = fs::read(fixture("lists.parquet")).unwrap();
    for at in (4..whole.len()).step_by(29) {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 0x55;
        let folder = file("a.parquet", &spoiled);
        // Damage inside a text is not seen; all else is an error that names the file.
        if let Err(error) = read(folder.path(), "a.parquet") {
            assert!(format!("{error:#}").contains("a.parquet"), "byte {at}: {error:#}");
        }
    }
}
