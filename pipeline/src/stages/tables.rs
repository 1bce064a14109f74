//! The tables between the stages: cached on disk, private to the pipeline.
//!
//! ```text
//! documents  file document part  document_hash text_hash  title page_id revision_id url suffix characters  text
//! tokens     file document part  document_hash text_hash  input_ids sentence_lengths
//! ```
//! A row is a part of a document: texts are cut at line ends so that no row grows with its document. `file`
//! names the parse of one input file, `document` counts within it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use cloze_schemas::list_type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};

pub const FILE: &str = "file";
pub const DOCUMENT: &str = "document";
pub const PART: &str = "part";
pub const DOCUMENT_HASH: &str = "document_hash";
pub const TEXT_HASH: &str = "text_hash";
pub const TITLE: &str = "title";
pub const PAGE_ID: &str = "page_id";
pub const REVISION_ID: &str = "revision_id";
pub const URL: &str = "url";
pub const SUFFIX: &str = "suffix";
pub const CHARACTERS: &str = "characters";
pub const TEXT: &str = "text";
pub const INPUT_IDS: &str = cloze_schemas::columns::INPUT_IDS;
pub const SENTENCE_LENGTHS: &str = "sentence_lengths";

/// Bytes of a SHA-256.
pub const HASH_BYTES: i32 = 32;

fn key_fields() -> Vec<Field> {
    vec![
        Field::new(FILE, DataType::UInt64, false),
        Field::new(DOCUMENT, DataType::UInt32, false),
        Field::new(PART, DataType::UInt32, false),
        Field::new(DOCUMENT_HASH, DataType::FixedSizeBinary(HASH_BYTES), false),
        Field::new(TEXT_HASH, DataType::FixedSizeBinary(HASH_BYTES), false),
    ]
}

/// Rows of the documents stage.
pub fn documents() -> SchemaRef {
    let mut fields = key_fields();
    fields.extend([
        Field::new(TITLE, DataType::Utf8, false),
        Field::new(PAGE_ID, DataType::UInt64, false),
        Field::new(REVISION_ID, DataType::UInt64, false),
        Field::new(URL, DataType::Utf8, false),
        Field::new(SUFFIX, DataType::Utf8, false),
        Field::new(CHARACTERS, DataType::UInt64, false),
        Field::new(TEXT, DataType::Utf8, false),
    ]);
    Arc::new(Schema::new(fields))
}

/// Rows of the tokens stage.
pub fn tokens() -> SchemaRef {
    let mut fields = key_fields();
    fields.extend([
        Field::new(INPUT_IDS, list_type::<UInt32Type>(), false),
        Field::new(SENTENCE_LENGTHS, list_type::<UInt32Type>(), false),
    ]);
    Arc::new(Schema::new(fields))
}

/// A column of a batch, downcast; a column that is not there means that somebody changed the cached file.
pub fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str, path: &Path) -> Result<&'a T> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref::<T>())
        .ok_or_else(|| tampered(path, name))
}

/// The error for a cached file that is not as it was written.
pub fn tampered(path: &Path, what: &str) -> Error {
    Error::input(
        path.display().to_string(),
        None,
        format!("the cached stage is damaged ({what}); remove its directory and run the job again"),
    )
}

/// Reads the named columns of a cached file, batch by batch in the order of the file.
pub fn for_each_batch(
    path: &Path,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let damaged = |error: &dyn std::fmt::Display| tampered(path, &error.to_string());
    let file = File::open(path).map_err(|e| Error::read(path, e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(1024).build().map_err(|e| damaged(&e))?;
    for batch in reader {
        each(&batch.map_err(|e| damaged(&e))?)?;
    }
    Ok(())
}
