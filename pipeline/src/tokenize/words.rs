//! Counts the words a vocabulary is learned from.

use std::collections::BTreeMap;

use super::chunks::{ChunkMap, chunks};
use super::{MAX_CHARS_PER_WORD, for_each_word, normalizer};

/// Counts the words of a corpus. The order of texts, and how they were divided among counters, does not
/// show in the result. Memory grows with the number of distinct words.
#[derive(Clone, Debug)]
pub struct WordCounter {
    lowercase: bool,
    /// Raw chunks: finding their words can wait until each distinct one is handled once.
    chunks: ChunkMap<u64>,
}

impl WordCounter {
    /// A counter of no words; `lowercase` as for the encoding to come.
    pub fn new(lowercase: bool) -> Self {
        Self { lowercase, chunks: ChunkMap::default() }
    }

    /// Counts the words of `text`.
    pub fn add(&mut self, text: &str) {
        for chunk in chunks(text) {
            if let Some(count) = self.chunks.get_mut(chunk) {
                *count += 1;
            } else {
                self.chunks.insert(chunk.into(), 1);
            }
        }
    }

    /// Takes over the counts of another counter of the same `lowercase`.
    pub fn merge(&mut self, other: Self) {
        debug_assert_eq!(self.lowercase, other.lowercase, "counters of one corpus agree on lowercase");
        for (chunk, count) in other.chunks {
            *self.chunks.entry(chunk).or_default() += count;
        }
    }

    /// Every word, normalised, with its count.
    pub(super) fn words(&self) -> BTreeMap<String, u64> {
        let normalizer = normalizer(self.lowercase);
        let mut words = BTreeMap::new();
        for (chunk, &count) in &self.chunks {
            for_each_word(normalizer, chunk, |word| {
                if let Some(total) = words.get_mut(word) {
                    *total += count;
                } else {
                    words.insert(word.to_owned(), count);
                }
            });
        }
        // Such a word becomes `[UNK]` whatever the vocabulary.
        words.retain(|word, _| word.chars().count() <= MAX_CHARS_PER_WORD);
        words
    }

    /// Whether `c` can continue a word. Punctuation and ideographs always stand alone.
    pub(super) fn continues(&self, c: char) -> bool {
        let mut words = 0;
        for_each_word(normalizer(self.lowercase), &format!("a{c}"), |_| words += 1);
        words == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_normalised_words() {
        let mut counter = WordCounter::new(true);
        counter.add("Été, été. ÉTÉ! 漢字 [MASK]");
        counter.add(&"x".repeat(MAX_CHARS_PER_WORD + 1));
        let words: Vec<_> = counter.words().into_iter().collect();
        let expected =
            [("!", 1), (",", 1), (".", 1), ("[", 1), ("]", 1), ("ete", 3), ("mask", 1), ("字", 1), ("漢", 1)];
        assert_eq!(words, expected.map(|(word, count)| (word.to_owned(), count)));

        let mut cased = WordCounter::new(false);
        cased.add("Été");
        assert_eq!(cased.words().keys().collect::<Vec<_>>(), ["Été"]);
    }

    #[test]
    fn asks_what_continues_a_word() {
        let counter = WordCounter::new(true);
        assert!(['b', 'ß', '9', 'か', '\u{1161}'].into_iter().all(|c| counter.continues(c)));
        assert!(!['.', '[', '#', '…', '漢', '。'].into_iter().any(|c| counter.continues(c)));
    }
}
