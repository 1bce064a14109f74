//! DataFusion, set up the same way for every stage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionConfig, SessionContext};
use futures::TryStreamExt;

use crate::error::{Error, Result};

/// An embedded query engine with a bounded memory pool.
pub struct Engine {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
}

impl Engine {
    /// An engine of `threads` threads, whose operators hold at most `memory` bytes and then spill to `spill`.
    /// `batch_rows` is how many rows they handle at once: few where rows are large.
    pub fn new(threads: usize, memory: usize, spill: &Path, batch_rows: usize) -> Result<Self> {
        let disk =
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![spill.to_owned()]));
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|e| Error::datafusion("starting the query engine", e))?;
        let mut config =
            SessionConfig::new().with_target_partitions(threads.max(2)).with_batch_size(batch_rows);
        let options = config.options_mut();
        // Hash joins hold one side in memory; sort-merge joins spill. With one partition the engine would not
        // take the latter, so there are two at least.
        options.optimizer.prefer_hash_join = false;
        options.execution.parquet.schema_force_view_types = false;
        // Small stages are worth splitting too: one row group may hold minutes of work.
        options.optimizer.repartition_file_min_size = 1 << 16;
        options.execution.sort_spill_reservation_bytes = (memory / 16 / threads).min(10 << 20);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("cloze-pipeline")
            .build()
            .map_err(|e| Error::write("a thread", e))?;
        Ok(Self { context: SessionContext::new_with_config_rt(config, environment), runtime })
    }

    /// A table of Parquet files.
    pub fn read(&self, files: &[PathBuf]) -> Result<DataFrame> {
        let paths: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        self.runtime
            .block_on(self.context.read_parquet(paths, ParquetReadOptions::default()))
            .map_err(|e| Error::datafusion("opening the stage's input", e))
    }

    /// Runs a plan and hands over its batches in order, until `stop` is set.
    pub fn for_each(
        &self,
        doing: &str,
        plan: DataFrame,
        stop: &AtomicBool,
        mut each: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.runtime.block_on(async {
            let mut stream = plan.execute_stream().await.map_err(|e| Error::datafusion(doing, e))?;
            while let Some(batch) = stream.try_next().await.map_err(|e| Error::datafusion(doing, e))? {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                each(batch)?;
            }
            Ok(())
        })
    }
}

/// A scalar function over whole columns. It must be a pure function of its arguments and what it captures.
pub fn function(
    name: &str,
    arguments: Vec<DataType>,
    result: DataType,
    body: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let body = move |values: &[ColumnarValue]| {
        let columns = ColumnarValue::values_to_arrays(values)?;
        body(&columns).map(ColumnarValue::Array).map_err(DataFusionError::from)
    };
    create_udf(name, arguments, result, Volatility::Immutable, Arc::new(body))
}

/// Column `index` of a function's arguments, downcast.
pub fn argument<T: Array + 'static>(columns: &[ArrayRef], index: usize) -> &T {
    columns[index].as_any().downcast_ref::<T>().expect("the engine coerces arguments to the declared types")
}
