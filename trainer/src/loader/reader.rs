//! Rows of one split, read from its shards and checked. No threads here.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use arrow::compute::concat_batches;
use cloze_schemas::{Dataset, Error as DataError, ExampleBatch, ExampleRules, Shard, Split};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::PageIndexPolicy;

use super::plan::{Order, Plan};
use crate::error::{Error, Result};

/// The shards of one split. A shard's checksum is compared with the manifest's when it is first read.
pub struct Shards {
    dataset: Dataset,
    rules: ExampleRules,
    /// Those of the split, in the manifest's order.
    files: Vec<Shard>,
    /// The footer of each shard that passed its checks.
    footers: Vec<Mutex<Option<ArrowReaderMetadata>>>,
}

impl Shards {
    /// The shards of one split; a split without rows is an error.
    pub fn open(dataset: &Dataset, split: Split) -> Result<Self> {
        let shards: Vec<Shard> = dataset.shards(split).cloned().collect();
        if shards.iter().all(|shard| shard.rows == 0) {
            return Err(Error::EmptySplit {
                dataset: dataset.dir.clone(),
                split: split.as_str(),
                cure: match split {
                    Split::Train => "prepare it from more text",
                    Split::Validation => {
                        "prepare it with documents.validation above 0, or name another dataset"
                    }
                },
            });
        }
        Ok(Self {
            rules: dataset.manifest.example_rules(),
            footers: shards.iter().map(|_| Mutex::new(None)).collect(),
            dataset: dataset.clone(),
            files: shards,
        })
    }

    /// The dataset they belong to.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Number of shards.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no shard: never.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Rows in all shards.
    pub fn examples(&self) -> u64 {
        self.files.iter().map(|shard| shard.rows).sum()
    }

    /// An order of visit of all rows.
    pub fn plan(&self, order: Order) -> Plan {
        Plan::new(self.files.iter().map(|shard| shard.rows).collect(), order)
    }

    /// Rows `first_row..first_row + rows` of the shard at `index`, checked.
    pub fn read(&self, index: usize, first_row: u64, rows: usize) -> Result<ExampleBatch> {
        let shard = &self.files[index];
        let path = self.dataset.shard_path(shard);
        let name = path.display().to_string();
        let footer = self.footer(index)?;
        let broken = |message: String| DataError::Shard {
            shard: name.clone(),
            message: format!("rows {first_row} to {}: {message}", first_row + rows as u64 - 1),
        };

        let (mut groups, mut offset, mut start) = (Vec::new(), 0, 0);
        for (group, metadata) in footer.metadata().row_groups().iter().enumerate() {
            let end = start + metadata.num_rows() as u64;
            if end > first_row && start < first_row + rows as u64 {
                if groups.is_empty() {
                    offset = (first_row - start) as usize;
                }
                groups.push(group);
            }
            start = end;
        }
        let file = File::open(&path).map_err(DataError::io(&path))?;
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer)
            .with_row_groups(groups)
            .with_offset(offset)
            .with_limit(rows)
            .with_batch_size(rows)
            .build()
            .map_err(|e| broken(e.to_string()))?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| broken(e.to_string()))?;
        let schema = batches.first().ok_or_else(|| broken("no rows".to_owned()))?.schema();
        let batch = concat_batches(&schema, &batches).map_err(|e| broken(e.to_string()))?;
        Ok(ExampleBatch::try_new(&batch, &self.rules, &name, first_row)?)
    }

    /// The shard's footer; checks the shard as a whole the first time.
    fn footer(&self, index: usize) -> Result<ArrowReaderMetadata> {
        // A reader that panicked here left no footer behind: the next one checks again.
        let mut footer = self.footers[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(footer) = &*footer {
            return Ok(footer.clone());
        }
        let shard = &self.files[index];
        self.dataset.verify_checksum(shard)?;
        let path = self.dataset.shard_path(shard);
        let file = File::open(&path).map_err(DataError::io(&path))?;
        // The offset index lets a block in the middle be read without decoding what lies before it.
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let read = ArrowReaderMetadata::load(&file, options)
            .map_err(|source| DataError::Parquet { path: path.clone(), source })?;
        let rows = read.metadata().file_metadata().num_rows() as u64;
        if rows != shard.rows {
            return Err(DataError::Shard {
                shard: path.display().to_string(),
                message: format!("has {rows} rows, the manifest says {}", shard.rows),
            }
            .into());
        }
        *footer = Some(read.clone());
        Ok(read)
    }
}
