//! Books: one document a text file, loose or as a member of a tar archive.
//!
//! Undoes what files of books have in common: unknown encodings, hard-wrapped lines, words cut at the
//! end of a line, `_italics_`, and Project Gutenberg's boilerplate. Archives are read in place, never unpacked.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::{Document, InputFile, ReadReport, Skipped, SourceKind, compressed, gutenberg};
use crate::error::{Error, Result};
use crate::text::clean::push_line;

/// Lines longer than this are paragraphs, not lines of a page.
const WIDEST_PAGE: usize = 120;

/// Reads the book or the archive of books `file`.
pub(super) fn read(file: &InputFile, emit: &mut dyn FnMut(Document) -> Result<()>) -> Result<ReadReport> {
    let mut report = ReadReport::default();
    let reader = compressed::open(file)?;
    let extension = Path::new(compressed::plain_name(&file.name)).extension();
    let is_archive = extension.is_some_and(|extension| {
        extension.eq_ignore_ascii_case("tar") || extension.eq_ignore_ascii_case("tgz")
    });
    if !is_archive {
        book(&file.name, reader, &mut report, emit)?;
        return Ok(report);
    }
    let damaged = |error: std::io::Error| compressed::read_error(&file.name, &error);
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let member = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let base_name = member.rsplit('/').next().unwrap_or(&member);
        if entry.header().entry_type().is_file()
            && !base_name.starts_with('.')
            && SourceKind::Books.accepts(base_name)
        {
            let name = format!("{}!{member}", file.name);
            let reader = compressed::decode(std::io::BufReader::new(entry), &name)?;
            book(&name, reader, &mut report, emit)?;
        }
    }
    if report == ReadReport::default() {
        return Err(Error::input(&file.name, None, "the archive holds no .txt file"));
    }
    Ok(report)
}

fn book(
    name: &str,
    mut reader: impl Read,
    report: &mut ReadReport,
    emit: &mut dyn FnMut(Document) -> Result<()>,
) -> Result<()> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|error| compressed::read_error(name, &error))?;
    let raw = decode(&bytes, name)?;
    let text = paragraphs(&raw);
    if text.is_empty() {
        report.skip(Skipped::Empty);
        return Ok(());
    }
    let stem = Path::new(compressed::plain_name(name)).file_stem().unwrap_or_default();
    report.documents += 1;
    emit(Document {
        title: stem.to_string_lossy().into_owned(),
        page_id: None,
        revision_id: None,
        url: None,
        path: name.to_owned(),
        text,
    })
}

/// The text of a book: UTF-8 or UTF-16 by its byte order mark, else UTF-8, else Windows-1252.
///
/// What is mostly UTF-8 is a damaged file, not Windows-1252, and NUL bytes are no text at all: errors.
fn decode<'a>(bytes: &'a [u8], name: &str) -> Result<Cow<'a, str>> {
    let (encoding, bytes) = match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, &bytes[mark..]),
        None => (encoding_rs::UTF_8, bytes),
    };
    if encoding != encoding_rs::UTF_8 {
        let (text, malformed) = encoding.decode_without_bom_handling(bytes);
        return if malformed {
            Err(Error::input(name, None, format!("not valid {}", encoding.name())))
        } else {
            Ok(text)
        };
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(Error::input(name, at as u64, "NUL byte: not a text file"));
    }
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => {
            let (mut valid, mut invalid) = (0, 0);
            for chunk in bytes.utf8_chunks() {
                valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
                invalid += usize::from(!chunk.invalid().is_empty());
            }
            if valid > invalid {
                return Err(Error::input(name, error.valid_up_to() as u64, "not valid UTF-8"));
            }
            Ok(encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0)
        }
    }
}

/// The paragraphs of a book, one a line, without boilerplate. Lines of verse stay lines.
fn paragraphs(raw: &str) -> String {
    let unix = raw.replace("\r\n", "\n").replace('\r', "\n");
    let body = gutenberg::body(&unix);
    let page = Page { body, width: page_width(body), words: OnceCell::new() };
    let mut boilerplate = gutenberg::Boilerplate::default();
    let mut text = String::with_capacity(body.len());
    let mut block: Vec<&str> = Vec::new();
    for line in body.split('\n').chain([""]) {
        if !line.trim().is_empty() {
            block.push(line);
        } else if !block.is_empty() {
            if !boilerplate.contains(&block) {
                page.block(&block, &mut text);
            }
            block.clear();
        }
    }
    text
}

/// What the layout of a whole book tells about its lines.
struct Page<'a> {
    body: &'a str,
    /// Characters in a full line; `None` if each line is a paragraph.
    width: Option<usize>,
    /// The words of the book, made when first asked for.
    words: OnceCell<HashSet<&'a str>>,
}

/// The width that 95 of 100 lines keep to.
fn page_width(body: &str) -> Option<usize> {
    let mut lengths: Vec<usize> =
        body.split('\n').map(|line| line.trim_end().chars().count()).filter(|&length| length > 0).collect();
    lengths.sort_unstable();
    let width = *lengths.get(lengths.len().saturating_sub(1) * 95 / 100)?;
    (width <= WIDEST_PAGE).then_some(width)
}

impl Page<'_> {
    /// Appends the lines between two empty ones, as one paragraph or as lines.
    fn block(&self, lines: &[&str], text: &mut String) {
        if !self.is_wrapped(lines) {
            for line in lines {
                push(text, line);
            }
            return;
        }
        let mut paragraph = String::new();
        let mut indent = usize::MAX;
        for line in lines {
            let outer = indent;
            indent = line.len() - line.trim_start().len();
            // Books without empty lines set off a paragraph by its first line.
            if indent > outer && paragraph.ends_with(['.', '!', '?', '"', '\'', '”', '’', ':']) {
                push(text, &paragraph);
                paragraph.clear();
            }
            self.join(&mut paragraph, line.trim());
        }
        push(text, &paragraph);
    }

    /// Whether most lines but the last are full, as in prose and unlike verse, titles and tables.
    fn is_wrapped(&self, lines: &[&str]) -> bool {
        let Some(width) = self.width else {
            return false;
        };
        let but_last = &lines[..lines.len() - 1];
        let is_full = |line: &&&str| line.trim_end().chars().count() * 10 >= width * 7;
        2 * but_last.iter().filter(is_full).count() > but_last.len()
    }

    /// Appends a line to a paragraph. A word cut at the end of the line is mended if the book has the
    /// whole word elsewhere; otherwise the hyphen is its own (`twenty-five`) and stays.
    fn join(&self, paragraph: &mut String, line: &str) {
        let cut = paragraph
            .strip_suffix('-')
            .filter(|head| head.ends_with(char::is_alphabetic) && line.starts_with(char::is_lowercase));
        if let Some(head) = cut {
            let start = head.trim_end_matches(char::is_alphabetic).len();
            let end = line.find(|c: char| !c.is_alphabetic()).unwrap_or(line.len());
            let whole = head[start..].to_owned() + &line[..end];
            let words = self.words.get_or_init(|| self.body.split(|c: char| !c.is_alphabetic()).collect());
            if words.contains(whole.as_str()) {
                paragraph.pop();
            }
        } else if !paragraph.is_empty() && !paragraph.ends_with("--") {
            paragraph.push(' ');
        }
        paragraph.push_str(line);
    }
}

/// Appends a line without the `_` that stand for italics (of a longer run, a blank, all stay). A line
/// of asterisks or dashes is left out.
fn push(text: &mut String, line: &str) {
    if !line.contains(char::is_alphanumeric) {
        return;
    }
    if !line.contains('_') {
        push_line(text, line);
        return;
    }
    let mut plain = String::with_capacity(line.len());
    let mut before = ' ';
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '_' || before == '_' || rest.peek() == Some(&'_') {
            plain.push(c);
        }
        before = c;
    }
    push_line(text, &plain);
}

#[cfg(test)]
mod tests;
