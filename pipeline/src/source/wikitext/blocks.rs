//! Cuts rendered wikitext into the lines of a document.

use crate::text::clean::push_line;

/// Sections that hold no prose, lower case.
const APPARATUS: &[&str] = &[
    "references",
    "notes",
    "footnotes",
    "citations",
    "notes and references",
    "references and notes",
    "external links",
    "external link",
    "further reading",
    "see also",
    "sources",
    "bibliography",
    "works cited",
    "einzelnachweise",
    "weblinks",
    "siehe auch",
    "literatur",
];

/// Paragraphs and list items, each as one line: consecutive lines of a paragraph are joined, section
/// titles are left out, and so are sections that hold no prose.
pub(super) fn lines(rendered: &str) -> String {
    let mut text = String::with_capacity(rendered.len());
    let mut paragraph = String::new();
    // Level of the section that is being left out.
    let mut skipped: Option<usize> = None;
    for line in rendered.split('\n') {
        let line = line.trim_end();
        if let Some((level, title)) = heading(line) {
            flush(&mut paragraph, &mut text);
            if skipped.is_none_or(|outer| level <= outer) {
                let title = title.trim().to_lowercase();
                skipped = APPARATUS.contains(&title.as_str()).then_some(level);
            }
            continue;
        }
        if skipped.is_some() {
            continue;
        }
        match line.as_bytes().first() {
            // What a table without end has left behind.
            None | Some(b'|') => flush(&mut paragraph, &mut text),
            Some(b'!') if line[1..].starts_with([' ', '!', '|']) => flush(&mut paragraph, &mut text),
            Some(b'-') if line.starts_with("----") => {
                flush(&mut paragraph, &mut text);
                paragraph.push_str(line.trim_start_matches('-'));
            }
            Some(b'*' | b'#' | b':' | b';' | b' ' | b'\t') => {
                flush(&mut paragraph, &mut text);
                paragraph.push_str(line.trim_start_matches(['*', '#', ':', ';', ' ', '\t']));
                flush(&mut paragraph, &mut text);
            }
            Some(_) => {
                if !paragraph.is_empty() {
                    paragraph.push(' ');
                }
                paragraph.push_str(line.trim_start_matches("=="));
            }
        }
    }
    flush(&mut paragraph, &mut text);
    text
}

/// Level and text of a section title: `== History ==`.
fn heading(line: &str) -> Option<(usize, &str)> {
    let opening = line.bytes().take_while(|&byte| byte == b'=').count();
    let closing = line.bytes().rev().take_while(|&byte| byte == b'=').count();
    let level = opening.min(closing);
    (level > 0 && line.len() > 2 * level).then(|| (level, &line[level..line.len() - level]))
}

/// Moves `paragraph` to `text` as a line, if there is a letter or digit in it.
fn flush(paragraph: &mut String, text: &mut String) {
    if paragraph.contains(char::is_alphanumeric) {
        // Brackets that became visible only now: from entities, or written as text.
        for residue in ["{{", "}}", "[[", "]]", "{|", "|}", "'''"] {
            if paragraph.contains(residue) {
                *paragraph = paragraph.replace(residue, "");
            }
        }
        push_line(text, paragraph);
    }
    paragraph.clear();
}
