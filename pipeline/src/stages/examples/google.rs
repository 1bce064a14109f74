//! `compat = "google"`: one stream of draws over the corpus in the order of the job.

use std::path::PathBuf;

use arrow::array::{FixedSizeBinaryArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use cloze_schemas::{ExampleBuilder, ListView, Split};

use super::{Context, ShardWriter};
use crate::error::{Error, Result};
use crate::pairing::google::{Document, create_instances};
use crate::stages::tables;

/// Rows handed over at once.
const BATCH_ROWS: usize = 1024;

pub fn run(context: &Context, tokens: &[PathBuf], memory: usize, writer: &mut ShardWriter) -> Result<()> {
    let documents = read(tokens, context, memory)?;
    let instances = create_instances(documents, &context.settings, &context.vocabulary);
    for chunk in instances.chunks(BATCH_ROWS) {
        let mut rows = ExampleBuilder::new(context.vocabulary.is_wide());
        for one in chunk {
            rows.push(&one.input_ids, one.segment_b_start, &one.masked, one.random_next, one.documents);
        }
        writer.write_split(Split::Train, &rows.finish_batch())?;
    }
    Ok(())
}

/// All documents, in order. Google's code holds its examples too, about as large as the tokens per pass.
fn read(tokens: &[PathBuf], context: &Context, memory: usize) -> Result<Vec<Document>> {
    let columns = [tables::DOCUMENT, tables::DOCUMENT_HASH, tables::INPUT_IDS, tables::SENTENCE_LENGTHS];
    let mut documents: Vec<Document> = Vec::new();
    let mut size = 0;
    for path in tokens {
        let mut last = None;
        tables::for_each_batch(path, &columns, |batch| {
            let numbers: &UInt32Array = tables::column(batch, tables::DOCUMENT, path)?;
            let hashes: &FixedSizeBinaryArray = tables::column(batch, tables::DOCUMENT_HASH, path)?;
            let list = |name: &str| {
                let column = batch.column_by_name(name);
                column.and_then(ListView::<UInt32Type>::new).ok_or_else(|| tables::tampered(path, name))
            };
            let (ids, lengths) = (list(tables::INPUT_IDS)?, list(tables::SENTENCE_LENGTHS)?);
            for row in 0..numbers.len() {
                if last != Some(numbers.value(row)) {
                    last = Some(numbers.value(row));
                    let hash =
                        hashes.value(row)[..8].try_into().map_err(|_| tables::tampered(path, "hash"))?;
                    documents.push(Document { id: u64::from_be_bytes(hash), ..Document::default() });
                }
                let document = documents.last_mut().expect("pushed above");
                document.ids.extend_from_slice(ids.row(row));
                document.lengths.extend_from_slice(lengths.row(row));
                size += (ids.row(row).len() + lengths.row(row).len()) * size_of::<u32>();
            }
            let needed = size * (1 + context.settings.dupe_factor as usize);
            if needed > memory {
                return Err(Error::setting(
                    "--memory",
                    format!("{} MiB do not hold the corpus, which compat = \"google\" needs", memory >> 20),
                    "give more, make the corpus or dupe_factor smaller, or use compat = \"none\"",
                ));
            }
            Ok(())
        })?;
    }
    documents.retain(|document| !document.lengths.is_empty());
    if documents.is_empty() {
        return Err(Error::corpus(
            "the corpus is empty: no document with text",
            "check the paths of [[source]]",
        ));
    }
    Ok(documents)
}
