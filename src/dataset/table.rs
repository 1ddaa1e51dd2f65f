//! Rows of a dataset as a Parquet file: a column for each field, those that are no text or number
//! as JSON texts. A row read back is the line it was written from, byte for byte.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::value::RawValue;

/// How a field is kept.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    Number,
    Json,
}

use Form::{Json, Number, Text};

/// The fields of a row in the order they are written in a line.
const COLUMNS: [(&str, Form); 17] = [
    ("id", Text),
    ("kind", Text),
    ("derived_from", Text),
    ("component", Text),
    ("session", Text),
    ("source", Text),
    ("task_category", Text),
    ("outcome", Text),
    ("agent_version", Text),
    ("parent", Text),
    ("repository", Text),
    ("started_ms", Number),
    ("ended_ms", Number),
    ("keywords", Json),
    ("tools", Json),
    ("messages", Json),
    ("origin", Json),
];

/// Bytes of text in a row group: so much is held until it is written.
const GROUP: usize = 32 << 20;

/// Rows after which a page may end; some have megabytes.
const ROWS: usize = 32;

/// The values of a column in the row group that is being filled.
#[derive(Default)]
struct Column {
    texts: Vec<ByteArray>,
    numbers: Vec<i64>,
    /// 1 where a row has a value, 0 where it has none.
    present: Vec<i16>,
}

/// A Parquet file that is being written.
pub(super) struct Table<W: Write + Send> {
    out: SerializedFileWriter<W>,
    columns: [Column; COLUMNS.len()],
    held: usize,
}

impl<W: Write + Send> Table<W> {
    pub fn new(out: W) -> Result<Self> {
        let column = |(name, form): &(&str, Form)| match form {
            Number => format!("OPTIONAL INT64 {name};"),
            Text | Json => format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"),
        };
        let columns: String = COLUMNS.iter().map(column).collect();
        let schema = parse_message_type(&format!("message row {{ {columns} }}"))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_write_batch_size(ROWS)
            .build();
        let out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Table { out, columns: Default::default(), held: 0 })
    }

    /// Adds a row as it stands in a line.
    pub fn write(&mut self, line: &str) -> Result<()> {
        let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_str(line)?;
        for ((name, form), column) in COLUMNS.iter().zip(&mut self.columns) {
            let value = fields.remove(name);
            column.present.push(value.is_some().into());
            let Some(json) = value.map(RawValue::get) else { continue };
            match form {
                Text => column.texts.push(serde_json::from_str::<String>(json)?.as_str().into()),
                Json => column.texts.push(json.into()),
                Number => column.numbers.push(json.parse().context("no whole number")?),
            }
        }
        if let Some(name) = fields.keys().next() {
            bail!("the field `{name}` has no column; write another DATASET_FORMAT");
        }
        self.held += line.len();
        if self.held >= GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.held = 0;
        let mut group = self.out.next_row_group()?;
        for ((_, form), column) in COLUMNS.iter().zip(&mut self.columns) {
            let Column { texts, numbers, present } = std::mem::take(column);
            let mut writer = group.next_column()?.context("a column is missing")?;
            match form {
                Text | Json => {
                    writer.typed::<ByteArrayType>().write_batch(&texts, Some(&present), None)?
                }
                Number => {
                    writer.typed::<Int64Type>().write_batch(&numbers, Some(&present), None)?
                }
            };
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes what is left and gives the file back.
    pub fn finish(mut self) -> Result<W> {
        if self.held > 0 {
            self.flush()?;
        }
        Ok(self.out.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Example, Kind};
    use crate::trace::raw::Texts;
    use crate::trace::{Message, Origin, Role, Trace};

    #[test]
    fn every_field_of_a_row_has_its_column_in_its_place() {
        let text = |text: &str| Some(text.to_string());
        let trace = Trace {
            session: "s\n\"1\"".into(),
            source: "raw".into(),
            task_category: text("{\"a\": 1}"),
            outcome: text("[ok]"),
            agent_version: text("1.2"),
            parent: text(""),
            repository: text("r\u{2028}"),
            started_ms: Some(-1),
            ended_ms: Some(i64::MAX),
            keywords: vec!["k".into()],
            tools: vec![serde_json::json!({"b": 1, "a": 0.1})],
            messages: vec![Message::text(Role::User, "[\"a\"]")],
            origin: Origin { file: "f".into(), line: 3 },
        };
        let mut full = Example::new(Kind::Real, trace);
        full.derived_from = text("d");
        full.component = text("c");
        let plain = Example::new(Kind::Replay, Trace { tools: Vec::new(), ..Trace::default() });
        let lines = [full, plain].map(|row| serde_json::to_string(&row).unwrap());
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(fields.len(), COLUMNS.len(), "give every field a value above");

        let file = tempfile::NamedTempFile::new().unwrap();
        let mut table = Table::new(file.as_file()).unwrap();
        lines.iter().for_each(|line| table.write(line).unwrap());
        let error = table.write("{\"id\":\"x\",\"mood\":\"good\"}").unwrap_err().to_string();
        assert!(error.contains("`mood` has no column"), "{error}");
        let mut table = Table::new(file.reopen().unwrap()).unwrap();
        lines.iter().for_each(|line| table.write(line).unwrap());
        table.finish().unwrap();
        let mut texts = Texts::open(file.path()).unwrap();
        for line in lines {
            assert_eq!(texts.next_row().unwrap().unwrap().1, line);
        }
        assert!(texts.next_row().unwrap().is_none());
    }
}
