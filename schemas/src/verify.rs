//! Checks a dataset from manifest to last row.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{Dataset, Error, ExampleBatch, Result, Shard, Split, columns, example_schema};

/// Rows read at once.
const BATCH_ROWS: usize = 4096;

/// Reads a shard from its first row to its last; each batch is checked against the format.
///
/// # Errors
/// What the reader says of a damaged file, and the first row that breaks an invariant.
pub fn read_shard(
    dataset: &Dataset,
    shard: &Shard,
    mut each: impl FnMut(&ExampleBatch) -> Result<()>,
) -> Result<()> {
    let rules = dataset.manifest.example_rules();
    let schema = example_schema(dataset.manifest.vocabulary.size > 1 << 16);
    let mut rows = 0;
    for_each_batch(&dataset.shard_path(shard), |batch| {
        if batch.schema().fields() != schema.fields() {
            return Err(damaged(shard, format!("its columns are {:?}, expected {schema:?}", batch.schema())));
        }
        let examples = ExampleBatch::try_new(batch, &rules, &shard.path, rows)?;
        rows += examples.len() as u64;
        each(&examples)
    })?;
    if rows == shard.rows {
        Ok(())
    } else {
        Err(damaged(shard, format!("has {rows} rows, the manifest says {}", shard.rows)))
    }
}

/// Checks everything a dataset promises: manifest, vocabulary, checksums, schema, every row, the sums of the
/// manifest, and that no held-out document occurs in training or the other way round.
///
/// # Errors
/// The first offence, naming shard and row.
pub fn verify(dataset: &Dataset) -> Result<()> {
    dataset.vocabulary()?;
    let splits = document_splits(dataset)?;
    for shard in &dataset.manifest.shards {
        dataset.verify_checksum(shard)?;
        let (mut row, mut tokens) = (0, 0);
        read_shard(dataset, shard, |examples| {
            for index in 0..examples.len() {
                let example = examples.row(index);
                tokens += example.input_ids.len() as u64;
                for id in [example.document_id, example.document_b_id] {
                    let message = match splits.get(&id) {
                        Some(&split) if split == shard.split => continue,
                        Some(split) => format!("document {id} belongs to the {} split", split.as_str()),
                        None => format!("document {id} is not listed in documents.parquet"),
                    };
                    return Err(Error::Row { shard: shard.path.clone(), row, message });
                }
                row += 1;
            }
            Ok(())
        })?;
        if tokens != shard.tokens {
            return Err(damaged(shard, format!("has {tokens} tokens, the manifest says {}", shard.tokens)));
        }
    }
    Ok(())
}

fn document_splits(dataset: &Dataset) -> Result<HashMap<u64, Split>> {
    let path = dataset.dir.join("documents.parquet");
    let mut splits = HashMap::new();
    for_each_batch(&path, |batch| {
        let ids = batch.column_by_name(columns::DOCUMENT_ID).and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let names = batch.column_by_name("split").and_then(|c| c.as_string_opt::<i32>());
        let (Some(ids), Some(names)) = (ids, names) else {
            return Err(Error::Shard {
                shard: path.display().to_string(),
                message: "has no columns document_id (UInt64) and split (Utf8)".to_owned(),
            });
        };
        for (id, name) in ids.values().iter().zip(names.iter().flatten()) {
            let split = if name == Split::Validation.as_str() { Split::Validation } else { Split::Train };
            splits.insert(*id, split);
        }
        Ok(())
    })?;
    Ok(splits)
}

fn for_each_batch(path: &Path, mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let broken = |source| Error::Parquet { path: path.to_owned(), source };
    let file = File::open(path).map_err(Error::io(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(broken)?
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(broken)?;
    for batch in reader {
        let batch =
            batch.map_err(|e| Error::Shard { shard: path.display().to_string(), message: e.to_string() })?;
        each(&batch)?;
    }
    Ok(())
}

fn damaged(shard: &Shard, message: String) -> Error {
    Error::Shard { shard: shard.path.clone(), message }
}
