//! The corpus as a whole: which documents are kept, under which id, in which split.
//!
//! Built from the tokens stage's keys, never from paths, positions or listing order: an id is the first 8
//! bytes of the document's hash, documents of equal hash are told apart by an occurrence number, and of
//! documents with equal text the one with the lowest id is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrow::array::{FixedSizeBinaryArray, UInt32Array, UInt64Array};
use arrow::datatypes::UInt32Type;
use cloze_schemas::{KeyedRng, ListView, Split};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::settings::Deduplicate;
use crate::stages::tables;

/// A kept document.
#[derive(Clone, Copy, Debug)]
pub struct Document {
    /// Its id in the dataset.
    pub id: u64,
    /// Index of its first part in [`Catalog::parts`].
    first_part: usize,
    /// Number of its parts.
    parts: usize,
    /// Number of its sentences.
    pub sentences: u32,
}

/// A kept document's place: its split, and its index there by ascending id.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The split.
    pub split: Split,
    /// Index into [`Catalog::documents`] of that split.
    pub ordinal: u32,
}

/// The documents of a corpus.
#[derive(Debug, Default)]
pub struct Catalog {
    train: Vec<Document>,
    validation: Vec<Document>,
    /// For each part of each document, the number of sentences before it.
    parts: Vec<u32>,
    /// By `file` and `document` of the tables.
    places: HashMap<u64, Vec<Option<Place>>>,
    /// Documents left out because their text occurs already.
    pub duplicates: u64,
    /// Documents left out because they have no tokens.
    pub empty: u64,
}

/// A document of the tables.
struct Found {
    hash: [u8; 32],
    text: [u8; 32],
    file: u64,
    document: u32,
    first_part: usize,
    parts: usize,
    sentences: u32,
    id: u64,
}

/// Bytes of memory a document takes while the catalog is built.
const BYTES_PER_DOCUMENT: usize = size_of::<Found>() + 2 * size_of::<Document>();

impl Catalog {
    /// Reads the keys of all `files` (of the tokens stage), at most `memory` bytes of them.
    pub fn build(
        files: &[PathBuf],
        deduplicate: Deduplicate,
        validation: f64,
        memory: usize,
    ) -> Result<Self> {
        let mut catalog = Self::default();
        let mut found = Vec::new();
        for file in files {
            catalog.collect(file, &mut found)?;
            let needed = found.len() * BYTES_PER_DOCUMENT;
            if needed > memory {
                let problem = format!("--memory {memory} bytes is too small for the list of documents alone");
                return Err(Error::setting(
                    "--memory",
                    problem,
                    format!("give at least {} MiB", (needed >> 19) + 1),
                ));
            }
        }
        let all = found.len();
        for one in &found {
            let places = catalog.places.entry(one.file).or_default();
            places.resize(places.len().max(one.document as usize + 1), None);
        }
        found.retain(|one| one.sentences > 0);
        catalog.empty = (all - found.len()) as u64;
        identify(&mut found)?;
        let identified = found.len();
        if deduplicate == Deduplicate::Exact {
            found.sort_unstable_by_key(|one| (one.text, one.id));
            found.dedup_by_key(|one| one.text);
        }
        catalog.duplicates = (identified - found.len()) as u64;
        found.sort_unstable_by_key(|one| one.id);
        catalog.split(&found, validation)?;
        Ok(catalog)
    }

    /// The documents of a split by ascending id.
    pub fn documents(&self, split: Split) -> &[Document] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
        }
    }

    /// Where document `document` of `file` is, unless it was left out.
    pub fn place(&self, file: u64, document: u32) -> Option<Place> {
        *self.places.get(&file)?.get(document as usize)?
    }

    /// The document at a place.
    pub fn document(&self, place: Place) -> &Document {
        &self.documents(place.split)[place.ordinal as usize]
    }

    /// The corpus-wide number of a document's part, and the number of the document's sentences before it.
    pub fn part(&self, document: &Document, part: u32) -> (u32, u32) {
        let index = document.first_part + part as usize;
        (index as u32, self.parts[index])
    }

    /// The part that holds a sentence of a document, and the sentence's index within that part.
    pub fn locate(&self, document: &Document, sentence: u32) -> (u32, u32) {
        let parts = &self.parts[document.first_part..document.first_part + document.parts];
        let part = parts.partition_point(|&first| first <= sentence) - 1;
        ((document.first_part + part) as u32, sentence - parts[part])
    }

    fn collect(&mut self, path: &Path, found: &mut Vec<Found>) -> Result<()> {
        let columns = [
            tables::FILE,
            tables::DOCUMENT,
            tables::DOCUMENT_HASH,
            tables::TEXT_HASH,
            tables::SENTENCE_LENGTHS,
        ];
        let start = found.len();
        tables::for_each_batch(path, &columns, |batch| {
            let files: &UInt64Array = tables::column(batch, tables::FILE, path)?;
            let documents: &UInt32Array = tables::column(batch, tables::DOCUMENT, path)?;
            let hashes: &FixedSizeBinaryArray = tables::column(batch, tables::DOCUMENT_HASH, path)?;
            let texts: &FixedSizeBinaryArray = tables::column(batch, tables::TEXT_HASH, path)?;
            let lengths = batch
                .column_by_name(tables::SENTENCE_LENGTHS)
                .and_then(ListView::<UInt32Type>::new)
                .ok_or_else(|| tables::tampered(path, tables::SENTENCE_LENGTHS))?;
            for row in 0..batch.num_rows() {
                let document = documents.value(row);
                if found.len() == start || found.last().is_some_and(|last| last.document != document) {
                    let hash = |array: &FixedSizeBinaryArray| {
                        array.value(row).try_into().map_err(|_| tables::tampered(path, tables::DOCUMENT_HASH))
                    };
                    found.push(Found {
                        hash: hash(hashes)?,
                        text: hash(texts)?,
                        file: files.value(row),
                        document,
                        first_part: self.parts.len(),
                        parts: 0,
                        sentences: 0,
                        id: 0,
                    });
                }
                let last = found.last_mut().expect("pushed above");
                self.parts.push(last.sentences);
                last.parts += 1;
                last.sentences += lengths.row(row).len() as u32;
            }
            Ok(())
        })
    }

    fn split(&mut self, found: &[Found], share: f64) -> Result<()> {
        let draw = |one: &Found| KeyedRng::new(0, "validation", &[one.id]).next_u64();
        let mut draws: Vec<u64> = found.iter().map(draw).collect();
        draws.sort_unstable();
        let held_out = if share > 0.0 {
            draws.partition_point(|&draw| (draw as f64) < share * 2_f64.powi(64)).max(2)
        } else {
            0
        };
        check_size(found.len(), held_out)?;
        // The lowest draws are held out. 64-bit draws of different ids do not tie in practice.
        let below = draws.get(held_out).copied().unwrap_or(u64::MAX);
        for one in found {
            let split = if held_out > 0 && draw(one) < below { Split::Validation } else { Split::Train };
            let documents = match split {
                Split::Train => &mut self.train,
                Split::Validation => &mut self.validation,
            };
            let place = Place { split, ordinal: documents.len() as u32 };
            documents.push(Document {
                id: one.id,
                first_part: one.first_part,
                parts: one.parts,
                sentences: one.sentences,
            });
            self.places.get_mut(&one.file).expect("every file has an entry")[one.document as usize] =
                Some(place);
        }
        Ok(())
    }
}

/// A random B needs another document of the same split.
fn check_size(documents: usize, held_out: usize) -> Result<()> {
    let plural = if documents == 1 { "document" } else { "documents" };
    if documents == 0 {
        return Err(Error::corpus(
            "the corpus is empty: no document with text",
            "check the paths and kinds of [[source]]",
        ));
    }
    if documents < 2 {
        let problem = "the corpus has one document, but a random second sentence must come from another one";
        return Err(Error::corpus(problem, "add documents, or use compat = \"google\""));
    }
    if documents < held_out + 2 {
        let problem = format!(
            "the corpus has {documents} {plural}, of which {held_out} would be held out for validation"
        );
        return Err(Error::corpus(problem, "set documents.validation = 0 or add documents"));
    }
    Ok(())
}

/// Gives every document its id.
fn identify(found: &mut [Found]) -> Result<()> {
    found.sort_unstable_by_key(|one| (one.hash, one.file, one.document));
    let mut occurrence = 0_u64;
    for i in 0..found.len() {
        occurrence = if i > 0 && found[i].hash == found[i - 1].hash { occurrence + 1 } else { 0 };
        let hash: [u8; 32] = match occurrence {
            0 => found[i].hash,
            n => Sha256::new().chain_update(found[i].hash).chain_update(n.to_le_bytes()).finalize().into(),
        };
        found[i].id = u64::from_be_bytes(hash[..8].try_into().expect("8 of 32 bytes"));
    }
    found.sort_unstable_by_key(|one| one.id);
    match found.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(Error::corpus(
            format!("two different documents have the same id {:016x}", pair[0].id),
            "remove one of them",
        )),
        None => Ok(()),
    }
}
