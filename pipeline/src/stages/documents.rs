//! Stage 1: an input file becomes rows of documents.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{FixedSizeBinaryBuilder, RecordBatch, StringBuilder, UInt32Builder, UInt64Builder};
use sha2::{Digest, Sha256};

use super::tables;
use crate::error::{Error, Result};
use crate::row_writer::{Grouping, RowWriter, properties};
use crate::source::{self, Document, InputFile, ReadReport, SourceKind};

/// Bump when the rows of an unchanged file change: parsing, cleaning or this table.
pub const VERSION: u32 = 1;

/// The file of a stage directory that holds its rows.
pub const ROWS: &str = "documents.parquet";

/// Bytes of text after which a part ends, at the next line end.
const PART_BYTES: usize = 256 << 10;

/// Bytes of text that complete a row group.
const ROW_GROUP_BYTES: usize = 4 << 20;

/// Names the parse of a file: its content, its name without directories (a book's title), and how it is read.
pub fn fingerprint(kind: &SourceKind, file: &InputFile, sha256: &str, language: &str) -> String {
    let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    super::fingerprint("documents", VERSION)
        .with("content", sha256)
        .with("name", &name)
        .with("kind", &format!("{kind:?}"))
        .with("language", language)
        .finish()
}

/// The `file` column: the first 8 bytes of the parse's fingerprint.
pub fn file_key(fingerprint: &str) -> u64 {
    u64::from_str_radix(&fingerprint[..16], 16).expect("a fingerprint is hexadecimal")
}

/// Parses `file` into `directory`.
pub fn run(
    kind: &SourceKind,
    file: &InputFile,
    fingerprint: &str,
    language: &str,
    directory: &Path,
    stop: &AtomicBool,
) -> Result<ReadReport> {
    let schema = tables::documents();
    let grouping = Grouping { weight: text_bytes, most: ROW_GROUP_BYTES };
    let mut writer = RowWriter::create(&directory.join(ROWS), &schema, properties().build(), grouping)?;
    let mut document_index = 0;
    let report = source::read(kind, file, language, &mut |document| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let rows = rows(kind, file, file_key(fingerprint), document_index, &document)?;
        document_index += 1;
        writer.write(&rows)
    })?;
    writer.finish()?;
    Ok(report)
}

fn text_bytes(batch: &RecordBatch, row: usize) -> usize {
    use arrow::array::AsArray;
    batch[tables::TEXT].as_string::<i32>().value_length(row) as usize
}

/// SHA-256 of what identifies a document, each part prefixed with its length.
fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

fn rows(
    kind: &SourceKind,
    file: &InputFile,
    key: u64,
    index: u32,
    document: &Document,
) -> Result<RecordBatch> {
    let identity = document.page_id.map_or_else(|| document.title.clone(), |id| format!("page {id}"));
    let document_hash = hash(&[kind.name(), &identity, &document.text]);
    let text_hash = hash(&[&document.text]);
    let suffix = document.path.strip_prefix(&file.name).unwrap_or_default();
    let characters = document.text.chars().count() as u64;

    // Sized to the rows: many small documents wait together for their row group to be full, and a builder's
    // default is a thousand rows.
    let parts: Vec<&str> = parts(&document.text).collect();
    let rows = parts.len();
    let number = || UInt64Builder::with_capacity(rows);
    let text_of = |bytes: usize| StringBuilder::with_capacity(rows, rows * bytes);
    let url_text = document.url.as_deref().unwrap_or_default();
    let mut keys = (number(), UInt32Builder::with_capacity(rows), UInt32Builder::with_capacity(rows));
    let hash_column = || FixedSizeBinaryBuilder::with_capacity(rows, tables::HASH_BYTES);
    let mut hashes = (hash_column(), hash_column());
    let (mut title, mut url, mut suffixes) =
        (text_of(document.title.len()), text_of(url_text.len()), text_of(suffix.len()));
    let mut text = StringBuilder::with_capacity(rows, document.text.len());
    let (mut page_id, mut revision_id, mut lengths) = (number(), number(), number());
    for (part, lines) in (0..).zip(parts) {
        keys.0.append_value(key);
        keys.1.append_value(index);
        keys.2.append_value(part);
        for (builder, hash) in [(&mut hashes.0, &document_hash), (&mut hashes.1, &text_hash)] {
            builder.append_value(hash).expect("a hash has 32 bytes");
        }
        title.append_value(&document.title);
        page_id.append_value(document.page_id.unwrap_or(0));
        revision_id.append_value(document.revision_id.unwrap_or(0));
        url.append_value(url_text);
        suffixes.append_value(suffix);
        lengths.append_value(characters);
        text.append_value(lines);
    }
    RecordBatch::try_new(
        tables::documents(),
        vec![
            Arc::new(keys.0.finish()),
            Arc::new(keys.1.finish()),
            Arc::new(keys.2.finish()),
            Arc::new(hashes.0.finish()),
            Arc::new(hashes.1.finish()),
            Arc::new(title.finish()),
            Arc::new(page_id.finish()),
            Arc::new(revision_id.finish()),
            Arc::new(url.finish()),
            Arc::new(suffixes.finish()),
            Arc::new(lengths.finish()),
            Arc::new(text.finish()),
        ],
    )
    .map_err(|e| Error::arrow("building document rows", e))
}

/// Cuts a text at line ends into parts of at least [`PART_BYTES`], the last one excepted.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let from = text.ceil_char_boundary(PART_BYTES.min(text.len()));
        let (part, rest) = match text[from..].find('\n') {
            Some(end) => (&text[..from + end], &text[from + end + 1..]),
            None => (text, ""),
        };
        text = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_and_complete() {
        let line = "word ".repeat(2_000);
        let text = vec![line.trim_end(); 100].join("\n");
        let parts: Vec<&str> = parts(&text).collect();
        assert!(parts.len() > 2);
        assert_eq!(parts.join("\n"), text);
        assert!(parts.iter().all(|part| part.len() <= PART_BYTES + line.len()));
        assert_eq!(super::parts("a\nb").collect::<Vec<_>>(), ["a\nb"]);
    }
}
