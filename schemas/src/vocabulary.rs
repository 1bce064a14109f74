//! WordPiece vocabularies and their special tokens.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, sha256_hex};

/// Ids of the five special tokens of BERT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialTokens {
    /// `[PAD]`
    pub pad: u32,
    /// `[UNK]`
    pub unk: u32,
    /// `[CLS]`
    pub cls: u32,
    /// `[SEP]`
    pub sep: u32,
    /// `[MASK]`
    pub mask: u32,
}

impl SpecialTokens {
    /// The five names in the order of the fields.
    pub const NAMES: [&'static str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

    /// The five ids in the order of [`NAMES`](Self::NAMES).
    pub fn ids(&self) -> [u32; 5] {
        [self.pad, self.unk, self.cls, self.sep, self.mask]
    }
}

/// A WordPiece vocabulary: one token a line, the line number is the id.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    special: SpecialTokens,
    replaceable: Vec<u32>,
    continuation: Vec<bool>,
    sha256: String,
}

impl Vocabulary {
    /// Reads a `vocab.txt`.
    ///
    /// # Errors
    /// When the file can't be read, is not UTF-8, lacks a special token or lists a token twice.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8(bytes).map_err(|e| Error::Vocabulary {
            path: path.to_owned(),
            message: format!(
                "not UTF-8 at byte {}; a vocabulary has one token a line",
                e.utf8_error().valid_up_to()
            ),
        })?;
        Self::from_text(path, &text)
    }

    /// Parses the text of a `vocab.txt`; `path` is named in errors.
    pub fn from_text(path: &Path, text: &str) -> Result<Self> {
        let bad = |message: String| Error::Vocabulary { path: path.to_owned(), message };
        // Lines end in LF or CRLF only: vocabularies of multilingual models contain other line separators.
        let text = text.strip_suffix('\n').unwrap_or(text);
        let tokens: Vec<String> =
            text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).collect();
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if let Some(first) = ids.insert(token.clone(), id as u32) {
                return Err(bad(format!(
                    "line {}: token {token:?} stands on line {} already; ids must be unique",
                    id + 1,
                    first + 1
                )));
            }
        }
        let special_id = |name: &str| {
            ids.get(name).copied().ok_or_else(|| {
                bad(format!(
                    "no {name} token; a BERT vocabulary has a line each for {}",
                    SpecialTokens::NAMES.join(", ")
                ))
            })
        };
        let [pad, unk, cls, sep, mask] = SpecialTokens::NAMES.map(special_id);
        let special = SpecialTokens { pad: pad?, unk: unk?, cls: cls?, sep: sep?, mask: mask? };
        let replaceable: Vec<u32> = (0..tokens.len() as u32)
            .filter(|&id| !special.ids().contains(&id) && !is_unused(&tokens[id as usize]))
            .collect();
        if replaceable.is_empty() {
            return Err(bad("no ordinary token besides the special ones".to_owned()));
        }
        let continuation = tokens.iter().map(|token| token.starts_with("##")).collect();
        let sha256 = sha256_hex(joined(&tokens).as_bytes());
        Ok(Self { tokens, ids, special, replaceable, continuation, sha256 })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Never true: a vocabulary has at least its special tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token of an id below [`len`](Self::len).
    pub fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// Ids a random replacement may have: neither special nor `[unusedN]`, ascending.
    pub fn replaceable(&self) -> &[u32] {
        &self.replaceable
    }

    /// For each id, whether it continues a word (`##…`).
    pub fn continuations(&self) -> &[bool] {
        &self.continuation
    }

    /// Whether an id continues a word (`##…`).
    pub fn is_continuation(&self, id: u32) -> bool {
        self.continuation[id as usize]
    }

    /// Hash of the tokens; independent of line endings.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The text of a `vocab.txt`.
    pub fn to_text(&self) -> String {
        joined(&self.tokens)
    }

    /// Whether ids need 32 bits in a dataset.
    pub fn is_wide(&self) -> bool {
        self.len() > 1 << 16
    }
}

fn joined(tokens: &[String]) -> String {
    let mut text = tokens.join("\n");
    text.push('\n');
    text
}

/// Google's placeholders: `[unused0]`, `[unused1]`, …
fn is_unused(token: &str) -> bool {
    token
        .strip_prefix("[unused")
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vocabulary> {
        Vocabulary::from_text(Path::new("vocab.txt"), text)
    }

    #[test]
    fn special_unused_and_continuation() {
        let vocab = parse("[PAD]\n[unused1]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\n[unused]\n").unwrap();
        assert_eq!(vocab.special().ids(), [0, 2, 3, 4, 5]);
        assert_eq!(vocab.replaceable(), [6, 7, 8]);
        assert!(vocab.is_continuation(7) && !vocab.is_continuation(6));
        assert_eq!(vocab.len(), 9);
        assert_eq!(parse(&vocab.to_text().replace('\n', "\r\n")).unwrap().sha256(), vocab.sha256());
    }

    #[test]
    fn bad_vocabularies_are_named() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n").contains("vocab.txt: no [MASK] token"));
        assert!(message("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n").contains("line 7: token \"a\""));
        assert!(message("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]").contains("no ordinary token"));
    }
}
