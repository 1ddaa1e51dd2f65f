//! Rows of a Parquet file: each becomes the JSON text that the same row would be in a JSONL file.
//! `messages` may be a list of structs, as `datasets` writes it, or a column of JSON texts, as
//! this program does.

use std::fs::File;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde::de::IgnoredAny;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use super::row;
use crate::trace::lines::{BATCH, Hashed, Line, MAX_LINE};

/// Rows that are decoded together, column by column.
const DECODED: usize = 64;

/// Whether a file's first bytes say that it is Parquet; it is at its beginning again afterwards.
pub(super) fn is_parquet(mut file: &File) -> bool {
    let mut head = [0; 4];
    let read = file.read_exact(&mut head);
    file.rewind().is_ok() && read.is_ok() && &head == b"PAR1"
}

/// The rows of a file as lines, numbered from 1. A row group is decoded some rows at a time.
pub(super) struct Rows {
    rows: RowIter<'static>,
    file: File,
    size: u64,
    read: u64,
    total: u64,
}

impl Rows {
    pub fn new(file: File) -> Result<Self> {
        let copy = file.try_clone()?;
        let size = file.metadata()?.len();
        guarded(move || {
            let reader = SerializedFileReader::new(copy)?;
            let wanted = columns(reader.metadata().file_metadata().schema())?;
            let total = reader.metadata().file_metadata().num_rows().max(0) as u64;
            let rows = RowIter::from_file_into(Box::new(reader)).project(Some(wanted))?;
            Ok(Rows { rows: rows.with_batch_size(DECODED), file, size, read: 0, total })
        })
    }

    /// About how many bytes of the file have been read.
    pub fn bytes(&self) -> u64 {
        (self.size as u128 * u128::from(self.read) / u128::from(self.total.max(1))) as u64
    }

    /// The digest of the file and its size.
    pub fn finish(mut self) -> Result<(String, u64)> {
        self.file.rewind()?;
        Ok(Hashed::new(self.file).finish()?)
    }

    /// The next rows, some megabytes of them; none at the end of the file.
    pub fn batch(&mut self) -> Result<Option<Vec<(u64, Line)>>> {
        let (mut batch, mut held) = (Vec::new(), 0);
        while held < BATCH {
            let number = self.read + 1;
            let Some(row) = guarded(|| Ok(self.rows.next().transpose()?))? else { break };
            let text = line(&row).with_context(|| format!("row {number}"))?;
            self.read = number;
            held += text.len();
            let long = text.len() > MAX_LINE;
            batch.push((number, if long { Line::TooLong } else { Line::Text(text) }));
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// The decoder is known to panic on some damaged files.
fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let damaged = |_| bail!("the Parquet file is damaged");
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(damaged)
}

/// The columns that say something in a row.
fn columns(schema: &Type) -> Result<Type> {
    let all = schema.get_fields();
    let wanted: Vec<_> = all.iter().filter(|f| row::FIELDS.contains(&f.name())).cloned().collect();
    let has = |name: &str| wanted.iter().any(|field| field.name() == name);
    let messages = row::LISTS.iter().any(|name| has(name));
    if !(messages || has("user") && has("assistant")) {
        let names: Vec<_> = all.iter().take(20).map(|field| field.name()).collect();
        bail!(
            "no column `messages` (or `conversation`) nor `user` with `assistant`; there are: {}",
            names.join(", ")
        );
    }
    for field in &wanted {
        let text =
            field.is_primitive() && field.get_physical_type() == parquet::basic::Type::BYTE_ARRAY;
        if row::LISTS.contains(&field.name()) && !text && !is_list(field) {
            bail!("the column `{}` holds neither lists of messages nor JSON texts", field.name());
        }
    }
    Ok(Type::group_type_builder(schema.name()).with_fields(wanted).build()?)
}

fn is_list(field: &Arc<Type>) -> bool {
    let info = field.get_basic_info();
    info.converted_type() == parquet::basic::ConvertedType::LIST
        || info.logical_type_ref() == Some(&parquet::basic::LogicalType::List)
}

/// A row as JSON text.
fn line(row: &Row) -> Result<Vec<u8>> {
    let mut text = b"{".to_vec();
    for (name, field) in row.get_column_iter().filter(|(_, field)| **field != Field::Null) {
        if text.len() > 1 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, name)?;
        text.push(b':');
        match field {
            Field::Str(json) if is_json(name, json) => text.extend_from_slice(json.as_bytes()),
            _ => serde_json::to_writer(&mut text, &Json(field))
                .with_context(|| format!("column `{name}`"))?,
        }
    }
    text.push(b'}');
    Ok(text)
}

/// Whether a text stands for a list or an object: a column has one type, and these have none.
fn is_json(name: &str, text: &str) -> bool {
    (row::LISTS.contains(&name) || ["tools", "functions", "keywords", "origin"].contains(&name))
        && text.trim_start().starts_with(['[', '{'])
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A value of a column as JSON.
struct Json<'a>(&'a Field);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Null => to.serialize_unit(),
            Field::Bool(flag) => to.serialize_bool(*flag),
            Field::Byte(n) => to.serialize_i8(*n),
            Field::Short(n) => to.serialize_i16(*n),
            Field::Int(n) => to.serialize_i32(*n),
            Field::Long(n) | Field::TimestampMillis(n) => to.serialize_i64(*n),
            Field::TimestampMicros(n) => to.serialize_i64(n.div_euclid(1000)),
            Field::UByte(n) => to.serialize_u8(*n),
            Field::UShort(n) => to.serialize_u16(*n),
            Field::UInt(n) => to.serialize_u32(*n),
            Field::ULong(n) => to.serialize_u64(*n),
            Field::Float16(x) => to.serialize_f32(f32::from(*x)),
            Field::Float(x) => to.serialize_f32(*x),
            Field::Double(x) => to.serialize_f64(*x),
            Field::Str(text) => to.serialize_str(text),
            Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
                Ok(text) => to.serialize_str(text),
                Err(_) => Err(S::Error::custom("bytes that are no text")),
            },
            Field::Group(row) => {
                let mut map = to.serialize_map(None)?;
                // Every struct of a column has all fields: absent ones are null. An empty answer
                // has null for its content.
                let said = |name: &str, field: &Field| *field != Field::Null || name == "content";
                for (name, field) in row.get_column_iter().filter(|(n, f)| said(n, f)) {
                    map.serialize_entry(name, &Json(field))?;
                }
                map.end()
            }
            Field::ListInternal(list) => to.collect_seq(list.elements().iter().map(Json)),
            Field::MapInternal(entries) => {
                let mut map = to.serialize_map(None)?;
                for (key, value) in entries.entries() {
                    match key {
                        Field::Str(key) => map.serialize_entry(key, &Json(value))?,
                        _ => return Err(S::Error::custom("a map whose keys are no texts")),
                    }
                }
                map.end()
            }
            Field::Decimal(_) | Field::Date(_) | Field::TimeMillis(_) | Field::TimeMicros(_) => {
                Err(S::Error::custom("a date, time of day or decimal, which no field is"))
            }
        }
    }
}
