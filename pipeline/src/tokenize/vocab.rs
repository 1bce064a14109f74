//! Learns a WordPiece vocabulary: the same words and counts give the same vocabulary, byte for byte.
//!
//! Byte-pair style, as the `tokenizers` crate's trainer: start from characters, then again and again join
//! the most frequent pair of neighbouring pieces. That trainer itself numbers `##` pieces and breaks ties
//! in the order of a randomly seeded hash map, so its result differs from process to process. Here every
//! order that shows in the result is a total order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use cloze_schemas::SpecialTokens;

use super::WordCounter;
use crate::{Error, Result};

/// Characters of a learned vocabulary unless told otherwise: every script common in English text, without
/// thousands of ideographs that occur a few times each.
pub const ALPHABET_LIMIT: usize = 1000;

/// Learns a vocabulary of `size` entries, in the order of a `vocab.txt`:
///
/// 1. `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`;
/// 2. the alphabet, by code point: the `alphabet_limit` most frequent characters (ties: lower code point
///    first), each as `c` and, where it can continue a word, as `##c`;
/// 3. joined pieces, most frequent pair first. Among equally frequent pairs the one whose left piece, then
///    right piece, entered the vocabulary earlier comes first.
///
/// Every word made of the alphabet can be encoded without `[UNK]`. Words with a character outside it never
/// can, so they are not learned from. A corpus with too few pairs gives fewer entries and a warning.
///
/// # Errors
/// When the corpus has no words, or `size` leaves no room for special tokens and alphabet.
pub fn learn(counter: &WordCounter, size: usize, alphabet_limit: usize) -> Result<Vec<String>> {
    let mut words = counter.words();
    if words.is_empty() {
        return Err(Error::corpus(
            "the corpus has no words to learn a vocabulary from",
            "check the paths of [[source]]",
        ));
    }
    let alphabet = alphabet(&words, alphabet_limit);
    words.retain(|word, _| word.chars().all(|c| alphabet.binary_search(&c).is_ok()));

    let mut pieces = Pieces::default();
    for name in SpecialTokens::NAMES {
        pieces.id(name.to_owned());
    }
    for &c in &alphabet {
        pieces.id(c.to_string());
        if counter.continues(c) {
            pieces.id(format!("##{c}"));
        }
    }
    let mut corpus = Corpus::new(&words, &mut pieces);
    let least = pieces.list.len();
    if size < least {
        return Err(Error::setting(
            "--size",
            format!(
                "{size} entries are too few: the special tokens and the alphabet of this corpus need {least}"
            ),
            format!("use at least {least}; a few times that is useful"),
        ));
    }

    while pieces.list.len() < size
        && let Some(pair) = corpus.most_frequent()
    {
        let joined = pieces.joined(pair);
        corpus.join(pair, joined);
    }
    if pieces.list.len() < size {
        tracing::warn!(
            size,
            learned = pieces.list.len(),
            "The corpus is too small for a vocabulary of this size."
        );
    }
    Ok(pieces.list)
}

/// The `limit` most frequent characters, sorted.
fn alphabet(words: &BTreeMap<String, u64>, limit: usize) -> Vec<char> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (word, count) in words {
        for c in word.chars() {
            *counts.entry(c).or_default() += count;
        }
    }
    let mut alphabet: Vec<char> = counts.keys().copied().collect();
    alphabet.sort_unstable_by_key(|c| (Reverse(counts[c]), *c));
    alphabet.truncate(limit);
    alphabet.sort_unstable();
    alphabet
}

/// The vocabulary so far, both ways.
#[derive(Default)]
struct Pieces {
    list: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Pieces {
    /// The id of a piece, which becomes a new entry if it is none yet.
    fn id(&mut self, piece: String) -> u32 {
        *self.ids.entry(piece).or_insert_with_key(|piece| {
            self.list.push(piece.clone());
            self.list.len() as u32 - 1
        })
    }

    /// The id of both pieces in one. Several pairs may join to the same piece.
    fn joined(&mut self, (left, right): Pair) -> u32 {
        let right = &self.list[right as usize];
        let right = right.strip_prefix("##").unwrap_or(right);
        let piece = format!("{}{right}", self.list[left as usize]);
        self.id(piece)
    }
}

/// Two neighbouring pieces of a word, by id.
type Pair = (u32, u32);

/// The distinct words, cut into pieces, and how often each pair of neighbours occurs.
struct Corpus {
    /// Pieces and count of each word.
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    /// Every word that has the pair, and maybe some that had it once.
    places: HashMap<Pair, Vec<u32>>,
    /// Every pair under its present count; entries with another count are out of date.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Corpus {
    fn new(words: &BTreeMap<String, u64>, pieces: &mut Pieces) -> Self {
        let mut corpus = Self {
            words: Vec::new(),
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for (word, &count) in words {
            let mut ids = Vec::new();
            for (at, c) in word.chars().enumerate() {
                ids.push(pieces.id(if at == 0 { c.to_string() } else { format!("##{c}") }));
            }
            for pair in pairs(&ids) {
                *corpus.counts.entry(pair).or_default() += count;
                corpus.places.entry(pair).or_default().push(corpus.words.len() as u32);
            }
            corpus.words.push((ids, count));
        }
        corpus.queue = corpus.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        corpus
    }

    fn most_frequent(&mut self) -> Option<Pair> {
        loop {
            let (count, Reverse(pair)) = self.queue.pop()?;
            if self.counts.get(&pair) == Some(&count) {
                return Some(pair);
            }
        }
    }

    /// Replaces `pair` by the piece `joined` in every word, from left to right.
    fn join(&mut self, pair: Pair, joined: u32) {
        let mut changed = Vec::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            let (ids, count) = &mut self.words[index as usize];
            if !pairs(ids).any(|other| other == pair) {
                continue;
            }
            for old in pairs(ids) {
                if let Some(total) = self.counts.get_mut(&old) {
                    *total -= *count;
                }
                changed.push(old);
            }
            replace(ids, pair, joined);
            for new in pairs(ids) {
                *self.counts.entry(new).or_default() += *count;
                if new.0 == joined || new.1 == joined {
                    self.places.entry(new).or_default().push(index);
                }
                changed.push(new);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for pair in changed {
            match self.counts.get(&pair) {
                Some(0) => drop(self.counts.remove(&pair)),
                Some(&count) => self.queue.push((count, Reverse(pair))),
                None => {}
            }
        }
    }
}

fn pairs(ids: &[u32]) -> impl Iterator<Item = Pair> {
    ids.array_windows().map(|&[left, right]| (left, right))
}

fn replace(ids: &mut Vec<u32>, pair: Pair, joined: u32) {
    let mut kept = 0;
    let mut at = 0;
    while at < ids.len() {
        let found = ids.get(at + 1).is_some_and(|&right| (ids[at], right) == pair);
        ids[kept] = if found { joined } else { ids[at] };
        kept += 1;
        at += 1 + usize::from(found);
    }
    ids.truncate(kept);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenize::WordPiece;
    use cloze_schemas::Vocabulary;
    use std::path::Path;

    fn counter<'a>(texts: impl IntoIterator<Item = &'a str>) -> WordCounter {
        let mut counter = WordCounter::new(true);
        texts.into_iter().for_each(|text| counter.add(text));
        counter
    }

    const SPECIAL: [&str; 5] = SpecialTokens::NAMES;

    #[test]
    fn joins_the_most_frequent_pair_and_breaks_ties_by_age() {
        let text = format!(
            "{}{}{}{}",
            "low ".repeat(5),
            "lower ".repeat(2),
            "newest ".repeat(6),
            "widest ".repeat(3)
        );
        let counter = counter([text.as_str()]);
        let learned = learn(&counter, 100, ALPHABET_LIMIT).unwrap();
        let letters = ["d", "e", "i", "l", "n", "o", "r", "s", "t", "w"];
        let (special, rest) = learned.split_at(5);
        let (alphabet, joined) = rest.split_at(20);
        assert_eq!(special, SPECIAL);
        assert_eq!(alphabet, letters.map(|c| [c.to_owned(), format!("##{c}")]).concat());
        // Counts:  9       9        7     7      6       6      6         3         3          3         2       2
        let expected = [
            "##es", "##est", "lo", "low", "##ew", "new", "newest", "##dest", "##idest", "widest", "##er",
            "lower",
        ];
        assert_eq!(joined, expected);
        assert_eq!(learn(&counter, 28, ALPHABET_LIMIT).unwrap(), learned[..28]);
    }

    #[test]
    fn gives_continuations_to_letters_only() {
        let learned = learn(&counter(["Ete, ete. 漢字 [MASK]"]), 35, 100).unwrap();
        for piece in ["##e", "##t", ",", "[", "漢"] {
            assert!(learned.iter().any(|entry| entry == piece), "{piece}");
        }
        for piece in ["##,", "##[", "##漢"] {
            assert!(!learned.iter().any(|entry| entry == piece), "{piece}");
        }
    }

    #[test]
    fn alphabet_keeps_the_most_frequent_then_the_lowest() {
        let learned = learn(&counter(["ccc bb aa d", "é"]), 50, 3).unwrap();
        assert_eq!(learned[5..11], ["a", "##a", "b", "##b", "c", "##c"]);
        assert!(!learned.iter().any(|piece| piece.contains(['d', 'e'])));
    }

    #[test]
    fn too_small_a_size_and_an_empty_corpus_are_errors() {
        let error = learn(&counter(["abc"]), 10, 100).unwrap_err();
        assert!(error.is_bad_input());
        assert_eq!(
            error.to_string(),
            "--size: 10 entries are too few: the special tokens and the alphabet of this corpus need 11 \
             (use at least 11; a few times that is useful)"
        );
        assert_eq!(learn(&counter(["abc"]), 11, 100).unwrap().len(), 11);
        assert!(learn(&counter([" \u{b} "]), 100, 100).unwrap_err().to_string().contains("no words"));
    }

    /// The definition, without any bookkeeping: count all pairs anew for each entry.
    fn learn_naively(words: &[String], size: usize) -> Vec<String> {
        let mut words: Vec<Vec<String>> = words
            .iter()
            .map(|word| {
                word.chars()
                    .enumerate()
                    .map(|(at, c)| format!("{}{c}", if at == 0 { "" } else { "##" }))
                    .collect()
            })
            .collect();
        let mut letters: Vec<String> = words.iter().flatten().map(|piece| piece.replace("##", "")).collect();
        letters.sort();
        letters.dedup();
        let mut pieces: Vec<String> = SPECIAL.map(str::to_owned).to_vec();
        pieces.extend(letters.iter().flat_map(|c| [c.clone(), format!("##{c}")]));
        while pieces.len() < size {
            let id = |piece: &String| pieces.iter().position(|other| other == piece).unwrap();
            let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
            for pair in words.iter().flat_map(|word| word.windows(2)) {
                *counts.entry((id(&pair[0]), id(&pair[1]))).or_default() += 1;
            }
            let Some((&(left, right), _)) =
                counts.iter().max_by_key(|&(&pair, &count)| (count, Reverse(pair)))
            else {
                break;
            };
            let [left, right] = [left, right].map(|id| pieces[id].clone());
            let joined = format!("{left}{}", &right[2..]);
            for word in &mut words {
                let mut at = 0;
                while at + 1 < word.len() {
                    if word[at] == left && word[at + 1] == right {
                        word.splice(at..at + 2, [joined.clone()]);
                    }
                    at += 1;
                }
            }
            if !pieces.contains(&joined) {
                pieces.push(joined);
            }
        }
        pieces
    }

    proptest! {
        #[test]
        fn equals_its_definition(words in prop::collection::vec("[a-c]{1,9}", 1..40), more in 0_usize..60) {
            let size = 11 + more;
            let learned = learn(&counter(words.iter().map(String::as_str)), size, 100);
            prop_assume!(learned.is_ok());
            prop_assert_eq!(learned.unwrap(), learn_naively(&words, size));
        }

        #[test]
        fn order_and_division_of_texts_do_not_show(
            (texts, shuffled) in prop::collection::vec("[a-eéA-C,. ]{0,30}", 1..20)
                .prop_flat_map(|texts| (Just(texts.clone()), Just(texts).prop_shuffle())),
            cut in 0_usize..20,
        ) {
            let whole = counter(texts.iter().map(String::as_str));
            let (left, right) = shuffled.split_at(cut.min(shuffled.len()));
            let mut merged = counter(left.iter().map(String::as_str));
            merged.merge(counter(right.iter().map(String::as_str)));
            match (learn(&whole, 60, 100), learn(&merged, 60, 100)) {
                (Ok(whole), Ok(merged)) => prop_assert_eq!(whole, merged),
                (whole, merged) => prop_assert!(whole.is_err() && merged.is_err()),
            }
        }

        #[test]
        fn the_alphabet_is_encoded_without_unk(texts in prop::collection::vec("[a-zA-ZéüßΣа-я漢字,.' ]{1,40}", 1..20)) {
            let counter = counter(texts.iter().map(String::as_str));
            prop_assume!(!counter.words().is_empty());
            let learned = learn(&counter, 400, 1000).unwrap();
            let vocabulary = Vocabulary::from_text(Path::new("learned"), &learned.join("\n")).unwrap();
            prop_assert_eq!(vocabulary.tokens(), &learned[..]);
            let mut ids = Vec::new();
            let mut encoder = WordPiece::new(&vocabulary, true).encoder();
            for text in &texts {
                encoder.encode(text, &mut ids);
            }
            prop_assert!(!ids.is_empty());
            prop_assert!(!ids.contains(&vocabulary.special().unk));
        }
    }
}
