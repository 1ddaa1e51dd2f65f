//! Sessions that are one JSONL file each: their rows one at a time, and fields that take more
//! than one shape.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::BadLine;
use super::find::Place;
use super::lines::{MAX_LINE, json_problem};
use super::store::{Each, Heading, Reading, Records, Store, side_by_side};

/// A file that holds one session.
pub(super) struct OneFile {
    pub place: Place,
    /// Lists the session that stands there.
    pub heading: fn(&Place) -> Result<Heading>,
    /// Reads it.
    pub read: fn(&Place, &Heading) -> Reading,
}

impl Store for OneFile {
    fn headings(&self, _: &mut Records, _: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        let shown = || format!("cannot read {}", self.place.shown);
        Ok(vec![(self.heading)(&self.place).with_context(shown)?])
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        side_by_side(wanted, each, |heading| (self.read)(&self.place, heading))
    }
}

/// Why a row says nothing: one word to count by, and what is wrong for a reader.
pub(super) struct Damage(pub &'static str, pub String);

impl Damage {
    /// Counts and reports the row.
    pub fn note(self, file: &str, line: u64, records: &mut Records, bad: &mut Vec<BadLine>) {
        records.left(self.0);
        bad.push(BadLine { file: file.into(), line, problem: self.1 });
    }
}

/// One row as structure. What it holds never enters the message.
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Damage> {
    serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => {
            Damage("malformed", "a field is not what this kind of row has there".into())
        }
        _ => Damage("not_json", json_problem(&e)),
    })
}

/// Hands over the rows of a file that are not blank, with their numbers, until `row` says that
/// it has enough. Rows written after the start are not read.
pub(super) fn each_row(
    path: &Path,
    mut row: impl FnMut(u64, Result<&str, Damage>) -> bool,
) -> std::io::Result<()> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut input = BufReader::with_capacity(1 << 18, file.take(length));
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read > MAX_LINE {
            if line.last() != Some(&b'\n') {
                input.skip_until(b'\n')?;
            }
            line = Vec::new();
            let problem = format!("longer than {} MiB", MAX_LINE >> 20);
            if !row(number, Err(Damage("too_long", problem))) {
                break;
            }
            continue;
        }
        let from = if number == 1 && line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let bytes = line[from..].trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(bytes).map_err(|e| {
            Damage("not_utf8", format!("invalid UTF-8 at byte {}", e.valid_up_to() + 1))
        });
        if !row(number, text) {
            break;
        }
    }
    Ok(())
}

/// The time of the last row that has one, in Unix milliseconds.
pub(super) fn last_time(path: &Path) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Timed<'a> {
        #[serde(borrow)]
        timestamp: Text<'a>,
    }
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(64 << 10))).ok()?;
    let mut tail = Vec::new();
    file.take(64 << 10).read_to_end(&mut tail).ok()?;
    let timed = |line: &[u8]| {
        let row: Timed = serde_json::from_slice(line).ok()?;
        time_ms(&row.timestamp.0)
    };
    tail.rsplit(|b| *b == b'\n').find_map(timed)
}

/// An RFC 3339 time in Unix milliseconds.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

/// The last part of a working directory's path, of any system.
pub(super) fn folder_name(path: &str) -> Option<String> {
    path.rsplit(['/', '\\']).find(|part| !part.is_empty()).map(String::from)
}

/// Texts one a line, those that say nothing left out.
pub(super) fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// Adds a text on a line of its own.
pub(super) fn append(to: &mut String, text: &str) {
    if !to.is_empty() && !text.is_empty() {
        to.push('\n');
    }
    to.push_str(text);
}

/// A string that is borrowed where it has no escapes, also inside an `Option`.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// An object; anything else is as good as absent.
pub(super) struct Maybe<T>(pub Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

/// A text, an object, or a list of objects; anything else is as good as absent.
pub(super) enum Parts<T> {
    Text(String),
    List(Vec<T>),
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Parts::List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Shapes(PhantomData))? {
            Shape::Object(object) => Ok(Maybe(Some(object))),
            _ => Ok(Maybe(None)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Parts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(Shapes(PhantomData))? {
            Shape::Text(text) => Parts::Text(text),
            Shape::Object(object) => Parts::List(vec![object]),
            Shape::List(list) => Parts::List(list),
            Shape::Other => Parts::default(),
        })
    }
}

enum Shape<T> {
    Text(String),
    Object(T),
    List(Vec<T>),
    Other,
}

struct Shapes<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Shapes<T> {
    type Value = Shape<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape<T>, E> {
        Ok(Shape::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Shape<T>, E> {
        Ok(Shape::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Shape<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Shape::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(Maybe(object)) = seq.next_element()? {
            list.extend(object);
        }
        Ok(Shape::List(list))
    }

    fn visit_unit<E>(self) -> Result<Shape<T>, E> {
        Ok(Shape::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape<T>, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape<T>, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape<T>, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape<T>, E> {
        Ok(Shape::Other)
    }
}

/// Whether a key is there, whatever stands under it.
pub(super) type Present = Option<IgnoredAny>;
