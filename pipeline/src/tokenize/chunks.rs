//! Cuts raw text where encoding is local: each chunk can be encoded alone, and the ids joined.
//!
//! `BertNormalizer` deletes, replaces and decomposes characters one by one, except for one step: after
//! decomposition, combining marks are put into canonical order. Marks never move across a character
//! that is not a mark, so any cut before and after whitespace or punctuation is safe, as long as the
//! normaliser keeps that character a boundary between words.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// How a character of raw text bounds chunks.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    /// Part of a longer chunk.
    Inner,
    /// Between chunks, part of none.
    Space,
    /// A chunk of its own. `word,` and `word` then share a cache entry.
    Alone,
}

const ASCII: [Class; 128] = {
    let mut table = [Class::Inner; 128];
    let mut byte = 0;
    while byte < 128 {
        // Neither vertical tab nor form feed: the normaliser deletes them and joins what they separate.
        if matches!(byte as u8, b' ' | b'\t' | b'\n' | b'\r') {
            table[byte] = Class::Space;
        } else if (byte as u8).is_ascii_punctuation() {
            table[byte] = Class::Alone;
        }
        byte += 1;
    }
    table
};

fn class(c: char) -> Class {
    match c {
        '\0'..='\x7f' => ASCII[c as usize],
        // Next line is deleted like the other control characters.
        '\u{85}' => Class::Inner,
        // General punctuation (quotes, dashes, ellipsis), ideographic comma and full stop, and the two
        // large blocks of ideographs. Other punctuation stays inside chunks: rarer, and just as correct.
        '\u{2010}'..='\u{2027}'
        | '\u{3001}'..='\u{3003}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' => Class::Alone,
        _ if c.is_whitespace() => Class::Space,
        _ => Class::Inner,
    }
}

/// The chunks of `text` in order. Encoding each alone gives the ids of the whole text.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c| class(c) == Class::Space);
        let first = rest.chars().next()?;
        let end = match class(first) {
            Class::Alone => first.len_utf8(),
            _ => rest.find(|c| class(c) != Class::Inner).unwrap_or(rest.len()),
        };
        let (chunk, after) = rest.split_at(end);
        rest = after;
        Some(chunk)
    })
}

/// A map from chunks, for one look-up per chunk of text.
pub(super) type ChunkMap<V> = HashMap<Box<str>, V, BuildHasherDefault<ChunkHasher>>;

/// Multiplies and folds eight bytes at a time. The standard hasher, which resists chosen keys, takes
/// longer than all the rest of a hit; the worst a chosen text can do here is to slow its own encoding.
#[derive(Clone, Default)]
pub(super) struct ChunkHasher(u64);

impl ChunkHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for ChunkHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        // The length leads, so that texts which differ by leading zero bytes only are kept apart.
        self.mix(rest.iter().fold(rest.len() as u64, |word, &byte| word << 8 | u64::from(byte)));
    }

    fn write_u8(&mut self, _: u8) {
        // The terminator of a `str`: keys here are single strings, there is nothing to keep apart.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(chunks(text).collect::<Vec<_>>(), expected, "{text:?}");
    }

    #[test]
    fn cuts_at_space_and_punctuation() {
        check("", &[]);
        check(" \t\r\n\u{a0}\u{3000}", &[]);
        check("Don't stop.", &["Don", "'", "t", "stop", "."]);
        check("“well”—said\u{2003}he…", &["“", "well", "”", "—", "said", "he", "…"]);
        check("漢字とかな、ok", &["漢", "字", "とかな", "、", "ok"]);
    }

    #[test]
    fn keeps_what_the_normaliser_joins() {
        check("a\u{b}b\u{c}c\u{85}d\u{200b}e", &["a\u{b}b\u{c}c\u{85}d\u{200b}e"]);
        check("e\u{301}=\u{338}x", &["e\u{301}", "=", "\u{338}x"]);
    }
}
