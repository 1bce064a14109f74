//! Parquet files whose bytes depend on their rows alone.
//!
//! The Parquet writer decides about pages whenever it is handed rows, so equal rows handed over in other
//! portions would give other bytes. Here rows are regrouped first: each row group is handed over whole, and
//! where one ends depends on its rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};

/// Where row groups end: at the row with which their weights reach `most`.
#[derive(Clone, Copy)]
pub struct Grouping {
    /// The weight of a row.
    pub weight: fn(&RecordBatch, usize) -> usize,
    /// The weight that completes a row group.
    pub most: usize,
}

impl Grouping {
    /// Row groups of a fixed number of rows.
    pub fn rows(most: usize) -> Self {
        Self { weight: |_, _| 1, most }
    }
}

/// Writes one Parquet file.
pub struct RowWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    grouping: Grouping,
    pending: Vec<RecordBatch>,
    weight: usize,
}

/// zstd, and a `created_by` that stays the same from version to version.
pub fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by("cloze".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a zstd level")))
        // Row groups end where `RowWriter` says.
        .set_max_row_group_row_count(None)
}

/// As [`properties`], the items of the list columns `lists` as byte streams: half the bytes of an id are
/// nearly constant, which compresses better than a dictionary (226 against 245 bytes a row at 128 tokens).
pub fn properties_for_ids(lists: &[&str]) -> WriterPropertiesBuilder {
    lists.iter().fold(properties(), |builder, list| {
        let item = ColumnPath::new(vec![(*list).to_owned(), "list".to_owned(), "element".to_owned()]);
        builder
            .set_column_dictionary_enabled(item.clone(), false)
            .set_column_encoding(item, Encoding::BYTE_STREAM_SPLIT)
    })
}

impl RowWriter {
    /// Creates the file.
    pub fn create(
        path: &Path,
        schema: &SchemaRef,
        properties: WriterProperties,
        grouping: Grouping,
    ) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::write(path, e))?;
        let writer =
            ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| write_error(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            schema: schema.clone(),
            grouping,
            pending: Vec::new(),
            weight: 0,
        })
    }

    /// Appends rows, in portions of any size.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        for row in 0..batch.num_rows() {
            self.weight += (self.grouping.weight)(batch, row);
            if self.weight >= self.grouping.most {
                self.pending.push(batch.slice(start, row + 1 - start));
                start = row + 1;
                self.flush()?;
            }
        }
        if start < batch.num_rows() {
            self.pending.push(batch.slice(start, batch.num_rows() - start));
        }
        Ok(())
    }

    /// Writes what is left and closes the file. Returns its path and size in bytes.
    pub fn finish(mut self) -> Result<(PathBuf, u64)> {
        self.flush()?;
        self.writer.finish().map_err(|e| write_error(&self.path, e))?;
        let bytes = self.writer.bytes_written() as u64;
        self.writer.inner().sync_all().map_err(|e| Error::write(&self.path, e))?;
        Ok((self.path, bytes))
    }

    fn flush(&mut self) -> Result<()> {
        self.weight = 0;
        if self.pending.is_empty() {
            return Ok(());
        }
        let group =
            concat_batches(&self.schema, &self.pending).map_err(|e| Error::arrow("joining rows", e))?;
        self.pending.clear();
        self.writer.write(&group).and_then(|()| self.writer.flush()).map_err(|e| write_error(&self.path, e))
    }
}

/// A full disk reaches us wrapped twice; the operating system's own error says it best.
fn write_error(path: &Path, error: parquet::errors::ParquetError) -> Error {
    use parquet::errors::ParquetError;
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => Error::write(path, *io),
            Err(inner) => {
                Error::parquet(format!("writing {}", path.display()), ParquetError::External(inner))
            }
        },
        other => Error::parquet(format!("writing {}", path.display()), other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::UInt64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use cloze_schemas::sha256_file;

    use super::*;

    /// The same rows in portions of any size give the same file.
    #[test]
    fn bytes_depend_on_rows_alone() {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::UInt64, false)]));
        let rows = UInt64Array::from_iter_values((0..10_000).map(|i| i * i % 977));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(rows)]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let hash = |portion: usize| {
            let path = dir.path().join("file.parquet");
            let grouping = Grouping::rows(1_000);
            let mut writer = RowWriter::create(&path, &schema, properties().build(), grouping).unwrap();
            for start in (0..10_000).step_by(portion) {
                writer.write(&batch.slice(start, portion.min(10_000 - start))).unwrap();
            }
            let (path, bytes) = writer.finish().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
            sha256_file(&path).unwrap()
        };
        let whole = hash(10_000);
        for portion in [1, 7, 999, 1_000, 4_096] {
            assert_eq!(hash(portion), whole, "portions of {portion}");
        }
    }
}
