//! Stage 2: the documents of a file become token ids and sentence lengths.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, UInt32Type};
use cloze_schemas::{Lists, Vocabulary, list_type};
use datafusion::functions::core::expr_ext::FieldAccessor;
use datafusion::logical_expr::{ScalarUDF, col};

use super::engine::{Engine, argument, function};
use super::tables;
use crate::error::{Error, Result};
use crate::row_writer::{Grouping, RowWriter, properties_for_ids};
use crate::text::Splitter;
use crate::tokenize::{Encoder, WordPiece};

/// Bump when the ids of an unchanged text change.
pub const VERSION: u32 = 1;

/// The file of a stage directory that holds its rows.
pub const ROWS: &str = "tokens.parquet";

/// Rows handled at once: a row is a part of a document, up to half a megabyte.
pub const BATCH_ROWS: usize = 32;

/// Tokens that complete a row group.
const ROW_GROUP_TOKENS: usize = 1 << 18;

/// How text becomes tokens.
#[derive(Clone)]
pub struct Tokenizer {
    /// The vocabulary with its cache-filling front.
    pub wordpiece: WordPiece,
    /// Hash of the vocabulary.
    pub vocabulary_sha256: String,
    /// Lowercase and strip accents.
    pub lowercase: bool,
    /// Splits paragraphs.
    pub splitter: Splitter,
    /// The splitter's language.
    pub language: String,
}

impl Tokenizer {
    /// A tokenizer for one vocabulary and language.
    pub fn new(vocabulary: &Vocabulary, lowercase: bool, language: &str) -> Result<Self> {
        Ok(Self {
            wordpiece: WordPiece::new(vocabulary, lowercase),
            vocabulary_sha256: vocabulary.sha256().to_owned(),
            lowercase,
            splitter: Splitter::new(language)?,
            language: language.to_owned(),
        })
    }

    /// Names the tokens of the documents that `documents` names. A language only matters where it splits.
    pub fn fingerprint(&self, documents: &str, lines_are_sentences: bool) -> String {
        super::fingerprint("tokens", VERSION)
            .with("documents", documents)
            .with("vocabulary", &self.vocabulary_sha256)
            .with("lowercase", &self.lowercase.to_string())
            .with("splitter", if lines_are_sentences { "lines" } else { &self.language })
            .finish()
    }

    /// Appends the sentences of `text` to the two lists; a sentence without tokens is left out.
    fn encode(
        &self,
        encoder: &mut Encoder,
        text: &str,
        lines_are_sentences: bool,
        ids: &mut Vec<u32>,
        lengths: &mut Vec<u32>,
    ) {
        let mut sentence = |sentence: &str| {
            let before = ids.len();
            encoder.encode(sentence, ids);
            if ids.len() > before {
                lengths.push((ids.len() - before) as u32);
            }
        };
        for line in text.split('\n') {
            if lines_are_sentences { sentence(line) } else { self.splitter.for_each(line, &mut sentence) }
        }
    }
}

/// Tokenises `documents` (a [`documents::ROWS`](super::documents::ROWS) file) into `directory`.
pub fn run(
    engine: &Engine,
    tokenizer: &Tokenizer,
    lines_are_sentences: bool,
    documents: &Path,
    directory: &Path,
    stop: &AtomicBool,
) -> Result<()> {
    const TOKENS: &str = "tokens";
    let doing = "tokenising the documents";
    let failed = |e| Error::datafusion(doing, e);
    let tokenize = tokenize_function(tokenizer.clone(), lines_are_sentences);
    let keys = [tables::FILE, tables::DOCUMENT, tables::PART, tables::DOCUMENT_HASH, tables::TEXT_HASH];
    let key_columns = || keys.iter().map(|name| col(*name)).collect::<Vec<_>>();
    let mut columns = key_columns();
    columns.push(tokenize.call(vec![col(tables::TEXT)]).alias(TOKENS));
    let mut flat = key_columns();
    flat.extend(
        [tables::INPUT_IDS, tables::SENTENCE_LENGTHS].map(|name| col(TOKENS).field(name).alias(name)),
    );
    let plan = engine
        .read(&[documents.to_owned()])?
        .select(columns)
        .and_then(|plan| plan.select(flat))
        .and_then(|plan| {
            plan.sort(vec![col(tables::DOCUMENT).sort(true, false), col(tables::PART).sort(true, false)])
        })
        .map_err(failed)?;

    let schema = tables::tokens();
    let grouping = Grouping { weight: token_count, most: ROW_GROUP_TOKENS };
    let properties = properties_for_ids(&[tables::INPUT_IDS]).build();
    let mut writer = RowWriter::create(&directory.join(ROWS), &schema, properties, grouping)?;
    engine.for_each(doing, plan, stop, |batch| {
        // The engine calls every column of ours nullable; none holds a null.
        let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
            .map_err(|e| Error::arrow(doing, e))?;
        writer.write(&batch)
    })?;
    writer.finish()?;
    Ok(())
}

fn token_count(batch: &RecordBatch, row: usize) -> usize {
    use arrow::array::AsArray;
    // A part without tokens still weighs something.
    batch[tables::INPUT_IDS].as_list::<i32>().value_length(row) as usize + 1
}

fn tokenize_function(tokenizer: Tokenizer, lines_are_sentences: bool) -> ScalarUDF {
    let fields = Fields::from(vec![
        Field::new(tables::INPUT_IDS, list_type::<UInt32Type>(), false),
        Field::new(tables::SENTENCE_LENGTHS, list_type::<UInt32Type>(), false),
    ]);
    // Encoders remember words: each call takes one that is free, so there are as many as threads.
    let encoders: Mutex<Vec<Encoder>> = Mutex::default();
    function("tokenize", vec![DataType::Utf8], DataType::Struct(fields.clone()), move |columns| {
        let texts: &StringArray = argument(columns, 0);
        let free = encoders.lock().expect("nothing panics while holding the lock").pop();
        let mut encoder = free.unwrap_or_else(|| tokenizer.wordpiece.encoder());
        let (mut input_ids, mut sentence_lengths) = (Lists::default(), Lists::default());
        let (mut ids, mut lengths) = (Vec::new(), Vec::new());
        for row in 0..texts.len() {
            ids.clear();
            lengths.clear();
            tokenizer.encode(&mut encoder, texts.value(row), lines_are_sentences, &mut ids, &mut lengths);
            input_ids.push(ids.iter().copied());
            sentence_lengths.push(lengths.iter().copied());
        }
        encoders.lock().expect("nothing panics while holding the lock").push(encoder);
        let columns: Vec<ArrayRef> =
            vec![input_ids.finish::<UInt32Type>(), sentence_lengths.finish::<UInt32Type>()];
        Ok(Arc::new(StructArray::new(fields.clone(), columns, None)) as ArrayRef)
    })
}
