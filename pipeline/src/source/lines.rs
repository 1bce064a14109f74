//! Text that is one sentence a line already: Google's input format (an empty line between documents)
//! and the BookCorpus files (no documents; cut every so many sentences).
//!
//! The sentences are handed on as they are (see [`push_sentence`]). Google's reader is
//! `create_training_instances` of `create_pretraining_data.py`.

use std::io::BufRead;

use super::{Document, InputFile, ReadReport, compressed};
use crate::error::{Error, Result};
use crate::text::clean::push_sentence;

/// Reads `file`; with `document_sentences`, empty lines mean nothing and documents have that length.
pub(super) fn read(
    file: &InputFile,
    document_sentences: Option<usize>,
    emit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<ReadReport> {
    let mut reader = compressed::open(file)?;
    let mut report = ReadReport::default();
    let mut line = Vec::new();
    let mut offset = 0;
    let (mut text, mut sentences) = (String::new(), 0);
    loop {
        line.clear();
        // Only '\n' ends a line: U+0085, U+2028 and '\r' occur inside sentences.
        let bytes = reader
            .read_until(b'\n', &mut line)
            .map_err(|error| compressed::read_error(&file.name, &error))?;
        let sentence = str::from_utf8(&line).map_err(|error| {
            let at = offset + error.valid_up_to() as u64;
            Error::input(&file.name, at, "not valid UTF-8")
        })?;
        offset += bytes as u64;

        let full = match document_sentences {
            Some(limit) => sentences == limit,
            None => sentence.trim().is_empty(),
        };
        if (full || bytes == 0) && !text.is_empty() {
            report.documents += 1;
            emit(Document {
                title: String::new(),
                page_id: None,
                revision_id: None,
                url: None,
                path: format!("{}#{}", file.name, report.documents),
                text: std::mem::take(&mut text),
            })?;
            sentences = 0;
        }
        if bytes == 0 {
            return Ok(report);
        }
        let before = text.len();
        push_sentence(&mut text, sentence);
        sentences += usize::from(text.len() > before);
    }
}
