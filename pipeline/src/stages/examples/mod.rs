//! Stage 3: tokens become masked sentence pairs, shuffled over the whole corpus and cut into shards.
//!
//! A random B is fetched without holding the corpus: [`drafts`] cuts chunks and names the *page* (a few
//! sentences of some document) that holds the B it drew, [`pages`] cuts every document into pages, a sort-merge
//! join brings the two together, [`assemble`] finishes the row, and a sort by a keyed draw shuffles all rows.
//!
//! ```text
//! tokens ─► drafts ─┐
//!    │              ├─ join on page ─► assemble ─► sort ─► shards
//!    └────► pages ──┘
//! ```

mod assemble;
mod drafts;
mod google;
mod lineage;
mod pages;
mod rows;
mod shards;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::DataType;
use cloze_schemas::{Compat, Split, Vocabulary};
use datafusion::common::JoinType;
use datafusion::logical_expr::{Expr, ScalarUDF, col};
use datafusion::prelude::DataFrame;

use super::engine::Engine;
use super::tables;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::settings::ExamplesTable;

pub use lineage::{Origin, write as write_lineage};
pub use shards::ShardWriter;

/// Bump when the rows of unchanged tokens change.
pub const VERSION: u32 = 1;

/// Rows handled at once: a joined one has some two kilobytes, and several operators hold a few batches each.
pub fn batch_rows(memory: usize) -> usize {
    (memory >> 18).clamp(128, 2048)
}

/// What every function of the plan shares.
pub struct Context {
    /// Which documents are kept, and where.
    pub catalog: Catalog,
    /// The settings of the stage.
    pub settings: ExamplesTable,
    /// The vocabulary of the tokens.
    pub vocabulary: Vocabulary,
}

impl Context {
    /// Tokens of A and B together: the sequence less `[CLS]` and two `[SEP]`.
    fn longest(&self) -> usize {
        self.settings.max_seq_length - 3
    }

    /// Passes over a split. Held-out documents are gone through once: another pass would only weigh the same
    /// text again.
    fn passes(&self, split: Split) -> u32 {
        match split {
            Split::Train => self.settings.dupe_factor,
            Split::Validation => 1,
        }
    }

    /// The key of an example's draws: its document, pass, and first sentence within the document.
    fn key(id: u64, pass: u32, sentence: u32) -> [u64; 3] {
        [id, u64::from(pass), u64::from(sentence)]
    }
}

/// Writes the examples of `tokens` (files of the tokens stage, in the order of the job) to `writer`.
///
/// `progress` is told the rows written so far; `stop` ends the work early.
pub fn run(
    engine: &Engine,
    context: &Arc<Context>,
    tokens: &[PathBuf],
    memory: usize,
    writer: &mut ShardWriter,
    stop: &AtomicBool,
    progress: &dyn Fn(u64),
) -> Result<()> {
    if context.settings.compat == Compat::Google {
        return google::run(context, tokens, memory, writer);
    }
    let doing = "building the examples";
    let plan = plan(engine, context, tokens).map_err(|e| match e {
        PlanError::Ours(error) => error,
        PlanError::Engine(error) => Error::datafusion(doing, error),
    })?;
    let mut rows = 0;
    engine.for_each(doing, plan, stop, |batch| {
        rows += batch.num_rows() as u64;
        progress(rows);
        writer.write(&batch)
    })
}

enum PlanError {
    Ours(Error),
    Engine(datafusion::error::DataFusionError),
}

impl From<Error> for PlanError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<datafusion::error::DataFusionError> for PlanError {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Self::Engine(error)
    }
}

fn plan(engine: &Engine, context: &Arc<Context>, tokens: &[PathBuf]) -> Result<DataFrame, PlanError> {
    let columns = [tables::FILE, tables::DOCUMENT, tables::PART, tables::INPUT_IDS, tables::SENTENCE_LENGTHS];
    let tokens = engine.read(tokens)?.select(columns.map(col))?;
    let arguments = || columns.map(col).to_vec();

    let drafts = rows(tokens.clone(), &drafts::function(context.clone()), arguments())?;
    let pages = rows(tokens, &pages::function(context.clone()), arguments())?;
    let joined = drafts.join(pages, JoinType::Left, &[drafts::PAGE], &[pages::PAGE], None)?;

    let examples =
        joined.select(vec![assemble::function(context.clone()).call(assemble::arguments()).alias(ROW)])?;
    let examples = examples.unnest_columns(&[ROW])?;
    let strip = |field: &str| field_of(ROW, field).alias(field);
    let order = assemble::ORDER.map(|field| field_of(ROW, field).sort(true, false)).to_vec();
    let examples = examples.sort(order)?;
    Ok(examples.select(
        assemble::output(context.vocabulary.is_wide())
            .iter()
            .map(|field| strip(field.name()))
            .collect::<Vec<_>>(),
    )?)
}

const ROW: &str = "row";

/// A column that unnesting a struct made; its name holds a dot.
fn field_of(column: &str, field: &str) -> Expr {
    datafusion::logical_expr::ident(format!("{column}.{field}"))
}

/// Applies a function that returns a list of structs and makes each struct a row, its fields columns.
fn rows(table: DataFrame, function: &ScalarUDF, arguments: Vec<Expr>) -> Result<DataFrame, PlanError> {
    let table = table
        .select(vec![function.call(arguments).alias(ROW)])?
        .unnest_columns(&[ROW])?
        .unnest_columns(&[ROW])?;
    let names: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    let columns = names.iter().map(|name| {
        let field = name.strip_prefix(ROW).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
        datafusion::logical_expr::ident(name).alias(field)
    });
    Ok(table.select(columns.collect::<Vec<_>>())?)
}

/// The types of a token row's columns, as functions take them.
fn token_types() -> Vec<DataType> {
    let schema = tables::tokens();
    [tables::FILE, tables::DOCUMENT, tables::PART, tables::INPUT_IDS, tables::SENTENCE_LENGTHS]
        .map(|name| schema.field_with_name(name).expect("a column of the table").data_type().clone())
        .to_vec()
}

/// The directory of a split within a dataset, made if need be.
fn split_directory(dataset: &Path, split: Split) -> Result<PathBuf> {
    let directory = dataset.join(split.as_str());
    std::fs::create_dir_all(&directory).map_err(|e| Error::write(&directory, e))?;
    Ok(directory)
}
