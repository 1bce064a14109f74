//! Text to WordPiece ids, and learning the vocabulary those ids come from.
//!
//! What a word is and which pieces it has is always the `tokenizers` crate's answer (its
//! `BertNormalizer`, `BertPreTokenizer` and `WordPiece` model). This module makes that fast, by asking
//! once per distinct chunk of text, and makes the learning of a vocabulary reproducible. It adds no
//! special tokens and builds no examples.

mod chunks;
mod vocab;
mod wordpiece;
mod words;

use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

pub use vocab::{ALPHABET_LIMIT, learn};
pub use wordpiece::{Encoder, WordPiece};
pub use words::WordCounter;

/// A longer word, in characters, becomes `[UNK]`: the limit of Google's `WordpieceTokenizer`
/// (google-research/bert, `tokenization.py`).
const MAX_CHARS_PER_WORD: usize = 200;

/// Google's `BasicTokenizer`: accents are stripped exactly when the text is lowercased.
fn normalizer(lowercase: bool) -> BertNormalizer {
    BertNormalizer::new(true, true, None, lowercase)
}

/// Calls `each` with every word of `text`: normalised, cut at whitespace, punctuation and ideographs.
fn for_each_word(normalizer: BertNormalizer, text: &str, mut each: impl FnMut(&str)) {
    // One word, at most to be lowercased. Most words that a cache has not met are of this kind, and the
    // crate's machinery, which keeps track of every byte's origin, takes several times as long for them.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return if normalizer.lowercase { each(&text.to_ascii_lowercase()) } else { each(text) };
    }
    let mut normalized = NormalizedString::from(text);
    normalizer.normalize(&mut normalized).expect("normalising maps characters and cannot fail");
    let mut words = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut words).expect("splitting by character class cannot fail");
    for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
        each(word);
    }
}
