//! `documents.parquet` of a dataset: where each document came from, as its licence may ask to be told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use cloze_schemas::{Compat, Split};

use super::Context;
use crate::error::{Error, Result};
use crate::row_writer::{Grouping, RowWriter, properties};
use crate::stages::tables;

/// Where the rows of a documents file came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The kind of the source.
    pub kind: &'static str,
    /// The input file as the job names it.
    pub name: String,
}

/// The file's name within a dataset.
pub const FILE_NAME: &str = "documents.parquet";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("document_id", DataType::UInt64, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("path", DataType::Utf8, false),
        Field::new("title", DataType::Utf8, false),
        Field::new("page_id", DataType::UInt64, false),
        Field::new("revision_id", DataType::UInt64, false),
        Field::new("url", DataType::Utf8, false),
        Field::new("characters", DataType::UInt64, false),
    ]))
}

/// Writes `documents.parquet` into `dataset`, by ascending id. Returns the number of documents of each split.
pub fn write(
    context: &Context,
    documents: &[PathBuf],
    origins: &HashMap<u64, Origin>,
    dataset: &Path,
) -> Result<(u64, u64)> {
    let mut batches = Vec::new();
    for path in documents {
        let columns = [
            tables::FILE,
            tables::DOCUMENT,
            tables::PART,
            tables::DOCUMENT_HASH,
            tables::TITLE,
            tables::PAGE_ID,
            tables::REVISION_ID,
            tables::URL,
            tables::SUFFIX,
            tables::CHARACTERS,
        ];
        tables::for_each_batch(path, &columns, |batch| {
            batches.push(rows(context, origins, path, batch)?);
            Ok(())
        })?;
    }
    let doing = |e| Error::arrow("listing the documents", e);
    let rows = concat_batches(&schema(), &batches).map_err(doing)?;
    let order = [0, 3].map(|column| SortColumn { values: rows.column(column).clone(), options: None });
    let order = lexsort_to_indices(&order, None).map_err(doing)?;
    let rows = take_record_batch(&rows, &order).map_err(doing)?;
    let grouping = Grouping::rows(1 << 16);
    let mut writer = RowWriter::create(&dataset.join(FILE_NAME), &schema(), properties().build(), grouping)?;
    writer.write(&rows)?;
    writer.finish()?;
    let held_out = context.catalog.documents(Split::Validation).len() as u64;
    Ok((rows.num_rows() as u64 - held_out, held_out))
}

fn rows(
    context: &Context,
    origins: &HashMap<u64, Origin>,
    path: &Path,
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let files: &UInt64Array = tables::column(batch, tables::FILE, path)?;
    let documents: &UInt32Array = tables::column(batch, tables::DOCUMENT, path)?;
    let parts: &UInt32Array = tables::column(batch, tables::PART, path)?;
    let hashes: &FixedSizeBinaryArray = tables::column(batch, tables::DOCUMENT_HASH, path)?;
    let suffixes: &StringArray = tables::column(batch, tables::SUFFIX, path)?;
    let mut kept = Vec::new();
    let (mut ids, mut splits, mut sources, mut paths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in (0..batch.num_rows()).filter(|&row| parts.value(row) == 0) {
        let (id, split) = if context.settings.compat == Compat::Google {
            let hash = hashes.value(row)[..8].try_into().map_err(|_| tables::tampered(path, "hash"))?;
            (u64::from_be_bytes(hash), Split::Train)
        } else if let Some(place) = context.catalog.place(files.value(row), documents.value(row)) {
            (context.catalog.document(place).id, place.split)
        } else {
            continue;
        };
        let origin = origins.get(&files.value(row)).ok_or_else(|| tables::tampered(path, tables::FILE))?;
        kept.push(row as u32);
        ids.push(id);
        splits.push(split.as_str());
        sources.push(origin.kind);
        paths.push(format!("{}{}", origin.name, suffixes.value(row)));
    }
    let kept = UInt32Array::from(kept);
    let others = [tables::TITLE, tables::PAGE_ID, tables::REVISION_ID, tables::URL, tables::CHARACTERS];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(ids)),
        Arc::new(StringArray::from(splits)),
        Arc::new(StringArray::from(sources)),
        Arc::new(StringArray::from(paths)),
    ];
    for name in others {
        let column = batch.column_by_name(name).ok_or_else(|| tables::tampered(path, name))?;
        columns.push(
            arrow::compute::take(column, &kept, None)
                .map_err(|e| Error::arrow("listing the documents", e))?,
        );
    }
    RecordBatch::try_new(schema(), columns).map_err(|e| Error::arrow("listing the documents", e))
}
