//! Sentence pairs: cuts documents into chunks, splits a chunk into A and B, and joins them to sequences.
//!
//! The rules are those of `create_instances_from_document` and `truncate_seq_pair` in google-research/bert's
//! `create_pretraining_data.py` (paper section 3.1, task #2). The random source is a parameter, so the same
//! code replays Google's stream ([`google`]) and runs on keyed draws, where each chunk has its own generator.

pub mod google;
mod mt19937;

use std::ops::Range;

use cloze_schemas::{RandomSource, SpecialTokens};

pub use mt19937::Mt19937;

/// A document, or a part of one, as token ids and the lengths of its sentences. No sentence is empty.
#[derive(Clone, Copy, Debug)]
pub struct Sentences<'a> {
    /// The sentences' tokens, one after another.
    pub ids: &'a [u32],
    /// Tokens of each sentence.
    pub lengths: &'a [u32],
}

/// What a chunk's second segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<P> {
    /// The rest of the chunk: a range of the document's tokens.
    Following(Range<usize>),
    /// Sentences of another document.
    Random {
        /// Where they start.
        partner: P,
        /// Whole sentences are taken until there are at least this many tokens, and at least one sentence.
        wanted: usize,
    },
}

/// One chunk of a document, split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<P> {
    /// Segment A, a range of the document's tokens.
    pub a: Range<usize>,
    /// Segment B.
    pub next: Next<P>,
    /// The sentence at which the next chunk starts: sentences a random B displaced are used again.
    pub resume: usize,
}

/// The length a chunk aims at: `longest`, or with probability `short_seq_prob` anything from 2 up, so that
/// fine-tuning on short inputs is no surprise.
pub fn draw_target(longest: usize, short_seq_prob: f64, rng: &mut impl RandomSource) -> usize {
    if rng.random() < short_seq_prob { rng.between(2, longest as u32) as usize } else { longest }
}

/// Cuts the chunk that starts at sentence `start`, whose first token is at `offset`: sentences until `target`
/// tokens are reached or the document ends. `draw_partner` draws where a random B starts.
pub fn cut<R: RandomSource, P>(
    document: Sentences<'_>,
    start: usize,
    offset: usize,
    target: usize,
    rng: &mut R,
    draw_partner: impl FnOnce(&mut R) -> P,
) -> Draft<P> {
    let mut end = start;
    let mut length = 0;
    while end < document.lengths.len() && (end == start || length < target) {
        length += document.lengths[end] as usize;
        end += 1;
    }
    let sentences = end - start;
    let a_sentences = if sentences >= 2 { rng.between(1, sentences as u32 - 1) as usize } else { 1 };
    let a_length: usize = document.lengths[start..start + a_sentences].iter().map(|&n| n as usize).sum();
    let a = offset..offset + a_length;
    if sentences == 1 || rng.random() < 0.5 {
        let partner = draw_partner(rng);
        Draft {
            a,
            next: Next::Random { partner, wanted: target.saturating_sub(a_length) },
            resume: start + a_sentences,
        }
    } else {
        Draft { next: Next::Following(a.end..offset + length), a, resume: end }
    }
}

/// The tokens of a random B: whole sentences from `sentence` on, at least one, until there are `wanted` tokens.
pub fn random_b(partner: Sentences<'_>, sentence: usize, wanted: usize) -> Range<usize> {
    let before: usize = partner.lengths[..sentence].iter().map(|&n| n as usize).sum();
    let mut length = 0;
    for &n in &partner.lengths[sentence..] {
        length += n as usize;
        if length >= wanted {
            break;
        }
    }
    before..before + length
}

/// Shortens a pair to `longest` tokens: one token at a time from the longer segment, front or back by coin toss.
pub fn truncate<'a>(
    mut a: &'a [u32],
    mut b: &'a [u32],
    longest: usize,
    rng: &mut impl RandomSource,
) -> (&'a [u32], &'a [u32]) {
    while a.len() + b.len() > longest {
        let longer = if a.len() > b.len() { &mut a } else { &mut b };
        *longer = if rng.random() < 0.5 { &longer[1..] } else { &longer[..longer.len() - 1] };
    }
    (a, b)
}

/// Writes `[CLS] A [SEP] B [SEP]` into `input_ids` and returns the index of B's first token.
pub fn join(a: &[u32], b: &[u32], special: SpecialTokens, input_ids: &mut Vec<u32>) -> usize {
    input_ids.clear();
    input_ids.push(special.cls);
    input_ids.extend_from_slice(a);
    input_ids.push(special.sep);
    let segment_b_start = input_ids.len();
    input_ids.extend_from_slice(b);
    input_ids.push(special.sep);
    segment_b_start
}

#[cfg(test)]
mod tests {
    use cloze_schemas::KeyedRng;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Without random partners the chunks partition the document; with them, every sentence is still used.
        #[test]
        fn chunks_cover_the_document(lengths in prop::collection::vec(1..40_u32, 1..60), target in 2..126_usize, seed: u64) {
            let total = lengths.iter().sum::<u32>() as usize;
            let ids: Vec<u32> = (0..total as u32).collect();
            let document = Sentences { ids: &ids, lengths: &lengths };
            let mut rng = KeyedRng::new(seed, "test", &[]);
            let (mut start, mut offset) = (0, 0);
            while start < lengths.len() {
                let draft = cut(document, start, offset, target, &mut rng, |_| ());
                prop_assert!(draft.resume > start);
                prop_assert_eq!(draft.a.start, offset);
                prop_assert!(!draft.a.is_empty());
                let used = match &draft.next {
                    Next::Following(b) => {
                        prop_assert!(b.start == draft.a.end && !b.is_empty());
                        b.end
                    }
                    Next::Random { wanted, .. } => {
                        prop_assert_eq!(*wanted, target.saturating_sub(draft.a.len()));
                        draft.a.end
                    }
                };
                offset += lengths[start..draft.resume].iter().sum::<u32>() as usize;
                prop_assert_eq!(used, offset);
                start = draft.resume;
            }
            prop_assert_eq!(offset, total);
        }

        #[test]
        fn truncation_keeps_both_segments(a in 1..300_usize, b in 1..300_usize, longest in 2..200_usize, seed: u64) {
            let ids: Vec<u32> = (0..600).collect();
            let (whole_a, whole_b) = (&ids[..a], &ids[300..300 + b]);
            let (a, b) = truncate(whole_a, whole_b, longest, &mut KeyedRng::new(seed, "test", &[]));
            prop_assert_eq!(a.len() + b.len(), longest.min(whole_a.len() + whole_b.len()));
            prop_assert!(!a.is_empty() && !b.is_empty());
            prop_assert!(a.windows(2).chain(b.windows(2)).all(|w| w[1] == w[0] + 1));
            // The shorter segment is only cut once the longer has come down to it.
            prop_assert!(a.len() == whole_a.len() || b.len() == whole_b.len() || a.len().abs_diff(b.len()) <= 1);
        }
    }

    #[test]
    fn a_random_b_is_whole_sentences() {
        let ids: Vec<u32> = (0..12).collect();
        let partner = Sentences { ids: &ids, lengths: &[3, 4, 5] };
        assert_eq!(random_b(partner, 0, 0), 0..3);
        assert_eq!(random_b(partner, 1, 4), 3..7);
        assert_eq!(random_b(partner, 1, 5), 3..12);
        assert_eq!(random_b(partner, 2, 99), 7..12);
    }
}
