//! Wikitext to plain text.
//!
//! Kept: paragraphs, list items (one a line), labels of links, the text of templates that stand for
//! words (see [`templates`]). Dropped: section titles, and whole sections of references and links;
//! tables, other templates, references, formulas, code, galleries, images, categories, links to the
//! same page in other languages.
//!
//! `scan` pairs the brackets, `render` writes what is to be read (`expand` for templates), `blocks` cuts it
//! into lines. The
//! time is linear in the length of the page, and the stack bounded by the depth `scan` allows.

mod blocks;
mod entities;
mod expand;
mod render;
mod scan;
mod templates;

use std::collections::HashSet;

/// The readable part of a page.
#[derive(Debug)]
pub(super) struct Article {
    /// In the form of `Document::text`; may be empty.
    pub(super) text: String,
    /// The page says that it only lists the meanings of a name.
    pub(super) disambiguation: bool,
}

/// Renders `source`, leaving out links to the namespaces `silent` (lower case). `None` if markup is
/// nested too deeply.
pub(super) fn to_text(source: &str, silent: &HashSet<String>) -> Option<Article> {
    let tokens = scan::scan(source)?;
    let rendered = render::render(source, &tokens, silent);
    Some(Article { text: blocks::lines(&rendered.text), disambiguation: rendered.disambiguation })
}

#[cfg(test)]
mod tests;
