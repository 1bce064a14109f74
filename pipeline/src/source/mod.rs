//! Corpora as documents: finds the input files and reads each as a stream of [`Document`]s.
//!
//! Reading is sequential and its memory bounded by one document; parallelism over files,
//! identifiers, de-duplication and storage belong to the documents stage.

mod books;
mod compressed;
mod gutenberg;
mod inputs;
mod lines;
mod wikipedia;
mod wikitext;

use std::collections::BTreeMap;

pub use inputs::{InputFile, expand};

use crate::error::Result;

/// One document as read.
///
/// `text` holds paragraphs (or sentences, see [`SourceKind::lines_are_sentences`]) one a line, ended
/// by `'\n'` but the last; no line is empty, and no control character but `'\n'` occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Title of the page, stem of the book's file name, `""` for line formats. Never holds a
    /// position or a directory: it enters the document's identifier.
    pub title: String,
    /// Identifier of the wiki page.
    pub page_id: Option<u64>,
    /// Identifier of the page's revision.
    pub revision_id: Option<u64>,
    /// Address of the wiki page.
    pub url: Option<String>,
    /// Where it was read: `file`, `archive!member`, or `file#n` for the n-th (from 1) document of a
    /// line format.
    pub path: String,
    /// The text, never empty.
    pub text: String,
}

/// How the files of a source are to be read: `[[source]] kind` of the job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// MediaWiki export XML; articles only.
    Wikipedia,
    /// One document a text file, loose or in a tar archive.
    Books,
    /// One sentence a line, books not separated: cut every `document_sentences` sentences.
    BooksCorpus {
        /// Sentences a document, at least 1.
        document_sentences: usize,
    },
    /// One sentence a line, empty line between documents (Google's input format).
    Lines,
}

impl SourceKind {
    /// The name used in job files and document identifiers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wikipedia => "wikipedia",
            Self::Books => "books",
            Self::BooksCorpus { .. } => "bookscorpus",
            Self::Lines => "lines",
        }
    }

    /// Whether each line of a document is one sentence already, so that no splitter may touch it.
    pub fn lines_are_sentences(&self) -> bool {
        matches!(self, Self::BooksCorpus { .. } | Self::Lines)
    }

    /// Whether a file of this name, found in a directory given as input, belongs to this source.
    fn accepts(&self, file_name: &str) -> bool {
        let name = file_name.to_ascii_lowercase();
        let plain =
            [".bz2", ".gz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        let endings: &[&str] = match self {
            Self::Wikipedia => &[".xml"],
            Self::Books => &[".txt", ".tar", ".tgz"],
            Self::BooksCorpus { .. } | Self::Lines => &[".txt"],
        };
        endings.iter().any(|ending| plain.ends_with(ending))
    }
}

/// Why a page or file of a source did not become a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// A wiki page that only points to another.
    Redirect,
    /// A wiki page outside the article namespace.
    Namespace,
    /// A wiki page that lists the meanings of a name.
    Disambiguation,
    /// Nothing was left of its text.
    Empty,
    /// A wiki page whose content is not wikitext, or whose markup is too deeply nested to be read.
    Unparsable,
}

impl Skipped {
    /// A word for statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Namespace => "namespace",
            Self::Disambiguation => "disambiguation",
            Self::Empty => "empty",
            Self::Unparsable => "unparsable",
        }
    }
}

/// What was read from one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Documents emitted.
    pub documents: u64,
    /// Pages or files left out, by reason.
    pub skipped: BTreeMap<Skipped, u64>,
}

impl ReadReport {
    fn skip(&mut self, reason: Skipped) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

/// Reads one file and hands each document to `emit`, in the order of the file.
///
/// `language` is the wiki's language code, used for the address of a page when the dump does not say
/// where it is from. Stops at the first error of the file or of `emit`.
pub fn read(
    kind: &SourceKind,
    file: &InputFile,
    language: &str,
    emit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<ReadReport> {
    match kind {
        SourceKind::Wikipedia => wikipedia::read(file, language, emit),
        SourceKind::Books => books::read(file, emit),
        SourceKind::BooksCorpus { document_sentences } => lines::read(file, Some(*document_sentences), emit),
        SourceKind::Lines => lines::read(file, None, emit),
    }
}

#[cfg(test)]
mod tests;
