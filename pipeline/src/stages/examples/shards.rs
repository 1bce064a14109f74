//! Deals the shuffled rows out to the shards: row r of a split goes to shard r mod N.
//!
//! So shards differ by at most one row without knowing how many rows will come, all shards are written at
//! once, and each portion of rows is encoded on all threads.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use cloze_schemas::{Shard, Split, columns, example_schema, sha256_file};
use rayon::prelude::*;

use super::{drafts, split_directory};
use crate::error::{Error, Result};
use crate::row_writer::{Grouping, RowWriter, properties_for_ids};

/// Rows a shard gets per portion.
const PORTION_ROWS: usize = 256;

/// Rows buffered, encoded, in all shards of a split together; bounds memory whatever the number of shards.
const BUFFERED_ROWS: usize = 1 << 19;

/// Writes the shards of a dataset.
pub struct ShardWriter {
    pool: Arc<rayon::ThreadPool>,
    train: SplitWriter,
    validation: SplitWriter,
}

struct SplitWriter {
    split: Split,
    schema: SchemaRef,
    shards: Vec<OpenShard>,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    rows: u64,
}

struct OpenShard {
    path: String,
    writer: RowWriter,
    rows: u64,
    tokens: u64,
}

impl ShardWriter {
    /// Opens `train` and `validation` shards in the directory `dataset`; `wide` when ids need 32 bits.
    pub fn create(
        dataset: &Path,
        wide: bool,
        train: usize,
        validation: usize,
        pool: Arc<rayon::ThreadPool>,
    ) -> Result<Self> {
        Ok(Self {
            pool,
            train: SplitWriter::create(dataset, Split::Train, wide, train)?,
            validation: SplitWriter::create(dataset, Split::Validation, wide, validation)?,
        })
    }

    /// Appends rows of [`assemble::output`](super::assemble::output), train before validation.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let validation = batch[drafts::VALIDATION].as_boolean();
        let train_rows = validation.len() - validation.true_count();
        let rows = RecordBatch::try_new(self.train.schema.clone(), batch.columns()[1..].to_vec())
            .map_err(|e| Error::arrow("building the examples", e))?;
        self.write_split(Split::Train, &rows.slice(0, train_rows))?;
        self.write_split(Split::Validation, &rows.slice(train_rows, rows.num_rows() - train_rows))
    }

    /// Appends rows of one split.
    pub fn write_split(&mut self, split: Split, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let writer = match split {
            Split::Train => &mut self.train,
            Split::Validation => &mut self.validation,
        };
        writer.pending_rows += rows.num_rows();
        writer.pending.push(rows.clone());
        if writer.pending_rows >= PORTION_ROWS * writer.shards.len() {
            self.pool.install(|| writer.deal())
        } else {
            Ok(())
        }
    }

    /// Closes all files and describes them.
    pub fn finish(mut self) -> Result<Vec<Shard>> {
        let pool = self.pool.clone();
        pool.install(|| {
            for writer in [&mut self.train, &mut self.validation] {
                writer.deal()?;
                writer.check_rows()?;
            }
            let shards: Vec<(Split, OpenShard)> = [self.train, self.validation]
                .into_iter()
                .flat_map(|writer| writer.shards.into_iter().map(move |shard| (writer.split, shard)))
                .collect();
            shards.into_par_iter().map(|(split, shard)| shard.finish(split)).collect()
        })
    }
}

impl SplitWriter {
    fn create(dataset: &Path, split: Split, wide: bool, shards: usize) -> Result<Self> {
        let schema = example_schema(wide);
        let properties = properties_for_ids(&[columns::INPUT_IDS, columns::MASKED_LM_IDS]).build();
        let grouping = Grouping::rows((BUFFERED_ROWS / shards.max(1)).clamp(1 << 10, 1 << 14));
        let open = (0..shards)
            .map(|index| {
                let directory = split_directory(dataset, split)?;
                let name = format!("{index:05}-of-{shards:05}.parquet");
                let writer =
                    RowWriter::create(&directory.join(&name), &schema, properties.clone(), grouping)?;
                Ok(OpenShard { path: format!("{}/{name}", split.as_str()), writer, rows: 0, tokens: 0 })
            })
            .collect::<Result<_>>()?;
        Ok(Self { split, schema, shards: open, pending: Vec::new(), pending_rows: 0, rows: 0 })
    }

    /// Deals out what is pending.
    fn deal(&mut self) -> Result<()> {
        let rows =
            concat_batches(&self.schema, &self.pending).map_err(|e| Error::arrow("joining rows", e))?;
        self.pending.clear();
        self.pending_rows = 0;
        let shards = self.shards.len();
        let first = self.rows;
        self.rows += rows.num_rows() as u64;
        self.shards.par_iter_mut().enumerate().try_for_each(|(index, shard)| {
            // The first pending row that is this shard's.
            let skip = (index as u64 + shards as u64 - first % shards as u64) % shards as u64;
            let own: UInt32Array =
                (skip as u32..rows.num_rows() as u32).step_by(shards).collect::<Vec<_>>().into();
            let own = take_record_batch(&rows, &own).map_err(|e| Error::arrow("dealing out rows", e))?;
            shard.rows += own.num_rows() as u64;
            shard.tokens += own[columns::INPUT_IDS].as_list::<i32>().values().len() as u64;
            shard.writer.write(&own)
        })
    }

    fn check_rows(&self) -> Result<()> {
        if self.rows >= self.shards.len() as u64 {
            return Ok(());
        }
        let (split, rows, shards) = (self.split.as_str(), self.rows, self.shards.len());
        Err(Error::setting(
            "examples.shards",
            format!("the {split} split has {rows} examples, too few for {shards} shards"),
            "use fewer shards or more text",
        ))
    }
}

impl OpenShard {
    fn finish(self, split: Split) -> Result<Shard> {
        let (path, bytes) = self.writer.finish()?;
        Ok(Shard {
            path: self.path,
            split,
            rows: self.rows,
            tokens: self.tokens,
            bytes,
            sha256: sha256_file(&path)?,
        })
    }
}
