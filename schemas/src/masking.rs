//! Masked language modelling: which tokens to predict, and what the model sees in their place.
//!
//! The rules are those of `create_masked_lm_predictions` in google-research/bert's
//! `create_pretraining_data.py` (paper section 3.1, task #1), with two mends outside `compat = "google"`:
//! a whole-word group never crosses a special token, and a random replacement is never special or unused.

use serde::{Deserialize, Serialize};

use crate::{RandomSource, Vocabulary};

/// What is masked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskingKind {
    /// Each token on its own.
    Token,
    /// A word's pieces together.
    WholeWord,
}

/// The settings of masking.
#[derive(Clone, Debug)]
pub struct MaskingRules {
    /// What is masked together.
    pub kind: MaskingKind,
    /// Share of tokens to predict, `[CLS]` and `[SEP]` counted.
    pub masked_lm_prob: f64,
    /// Upper bound of predictions in an example.
    pub max_predictions_per_seq: usize,
    /// Draw exactly as Google's code does.
    pub google: bool,
}

/// One prediction: where, and the original token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked {
    /// Index into `input_ids`.
    pub position: u16,
    /// The token that stood there.
    pub id: u32,
}

/// Number of tokens to predict in a sequence of `length` tokens, `[CLS]` and `[SEP]` counted. Rounds halves to
/// even, as Python's `round` does.
pub fn prediction_count(length: usize, rules: &MaskingRules) -> usize {
    let wanted = (length as f64 * rules.masked_lm_prob).round_ties_even() as usize;
    rules.max_predictions_per_seq.min(wanted.max(1))
}

/// Masks sequences; keeps its buffers between them.
pub struct Masker<'a> {
    rules: &'a MaskingRules,
    vocabulary: &'a Vocabulary,
    /// Positions that may be masked, ascending.
    maskable: Vec<u16>,
    /// Groups masked together, as ranges of `maskable`.
    groups: Vec<(u16, u16)>,
    masked: Vec<Masked>,
}

impl<'a> Masker<'a> {
    /// A masker of one thread.
    pub fn new(rules: &'a MaskingRules, vocabulary: &'a Vocabulary) -> Self {
        Self { rules, vocabulary, maskable: Vec::new(), groups: Vec::new(), masked: Vec::new() }
    }

    /// Masks `input_ids` (`[CLS] A [SEP] B [SEP]`, at most 65,535 tokens) in place and returns the predictions
    /// by ascending position.
    pub fn mask(&mut self, input_ids: &mut [u32], rng: &mut impl RandomSource) -> &[Masked] {
        let special = self.vocabulary.special();
        self.find_groups(input_ids);
        let wanted = prediction_count(input_ids.len(), self.rules);
        if self.rules.google {
            rng.shuffle(&mut self.groups);
        }
        self.masked.clear();
        for next in 0..self.groups.len() {
            if self.masked.len() >= wanted {
                break;
            }
            if !self.rules.google {
                // The shuffle again, but only as far as groups are looked at.
                let remaining = (self.groups.len() - next) as u32;
                self.groups.swap(next, next + rng.below(remaining) as usize);
            }
            let (start, end) = self.groups[next];
            let group = &self.maskable[usize::from(start)..usize::from(end)];
            if self.masked.len() + group.len() > wanted {
                continue;
            }
            for &position in group {
                let token = &mut input_ids[usize::from(position)];
                self.masked.push(Masked { position, id: *token });
                if rng.random() < 0.8 {
                    *token = special.mask;
                } else if rng.random() >= 0.5 {
                    *token = if self.rules.google {
                        rng.below(self.vocabulary.len() as u32)
                    } else {
                        let replaceable = self.vocabulary.replaceable();
                        replaceable[rng.below(replaceable.len() as u32) as usize]
                    };
                }
            }
        }
        self.masked.sort_unstable_by_key(|m| m.position);
        &self.masked
    }

    fn find_groups(&mut self, input_ids: &[u32]) {
        let special = self.vocabulary.special();
        self.maskable.clear();
        self.groups.clear();
        let mut after_special = true;
        for (position, &id) in input_ids.iter().enumerate() {
            if id == special.cls || id == special.sep {
                after_special = true;
                continue;
            }
            let index = self.maskable.len() as u16;
            self.maskable.push(position as u16);
            let joins = self.rules.kind == MaskingKind::WholeWord
                && self.vocabulary.is_continuation(id)
                && (self.rules.google || !after_special);
            match self.groups.last_mut() {
                Some(group) if joins => group.1 = index + 1,
                _ => self.groups.push((index, index + 1)),
            }
            after_special = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::KeyedRng;

    const CLS: u32 = 2;
    const SEP: u32 = 3;
    const MASK: u32 = 4;

    fn vocabulary() -> Vocabulary {
        let words = (0..50).map(|i| format!("w{i}\n##w{i}\n"));
        let text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[unused0]\n".to_owned() + &words.collect::<String>();
        Vocabulary::from_text(Path::new("v"), &text).unwrap()
    }

    fn rules(kind: MaskingKind) -> MaskingRules {
        MaskingRules { kind, masked_lm_prob: 0.15, max_predictions_per_seq: 20, google: false }
    }

    #[test]
    fn counts_round_halves_to_even() {
        let count = |length, max| {
            prediction_count(
                length,
                &MaskingRules { max_predictions_per_seq: max, ..rules(MaskingKind::Token) },
            )
        };
        // 10 × 0.15 = 1.5 -> 2; 30 × 0.15 = 4.5 -> 4; 128 × 0.15 = 19.2.
        assert_eq!(
            [count(3, 20), count(10, 20), count(30, 20), count(128, 20), count(512, 77), count(512, 76)],
            [1, 2, 4, 19, 77, 76]
        );
    }

    fn sequence() -> impl Strategy<Value = Vec<u32>> {
        (prop::collection::vec(6..106_u32, 1..60), prop::collection::vec(6..106_u32, 1..60))
            .prop_map(|(a, b)| [&[CLS][..], &a, &[SEP], &b, &[SEP]].concat())
    }

    proptest! {
        #[test]
        fn masking_keeps_its_invariants(original in sequence(), seed: u64, whole: bool) {
            let vocabulary = vocabulary();
            let rules = rules(if whole { MaskingKind::WholeWord } else { MaskingKind::Token });
            let mut masker = Masker::new(&rules, &vocabulary);
            let mut ids = original.clone();
            let masked = masker.mask(&mut ids, &mut KeyedRng::new(seed, "mask", &[])).to_vec();

            let wanted = prediction_count(original.len(), &rules);
            prop_assert!(masked.len() <= wanted);
            if !whole {
                prop_assert_eq!(masked.len(), wanted.min(original.len() - 3));
            }
            prop_assert!(masked.windows(2).all(|w| w[0].position < w[1].position));
            for (i, (&before, &after)) in original.iter().zip(&ids).enumerate() {
                let prediction = masked.iter().find(|m| usize::from(m.position) == i);
                match prediction {
                    None => prop_assert_eq!(before, after),
                    Some(m) => {
                        prop_assert_eq!(m.id, before);
                        prop_assert!(before != CLS && before != SEP);
                        prop_assert!(after == MASK || after >= 6);
                    }
                }
                // A word is masked whole or not at all, and never across [SEP].
                if whole && i + 1 < original.len() && vocabulary.is_continuation(original[i + 1]) && original[i] != CLS && original[i] != SEP {
                    let has = |p: usize| masked.iter().any(|m| usize::from(m.position) == p);
                    prop_assert_eq!(has(i), has(i + 1));
                }
            }
        }
    }

    #[test]
    fn shares_are_80_10_10_and_positions_uniform() {
        let vocabulary = vocabulary();
        let rules = rules(MaskingKind::Token);
        let mut masker = Masker::new(&rules, &vocabulary);
        let original: Vec<u32> =
            [vec![CLS], (6..106).collect(), vec![SEP], (6..31).collect(), vec![SEP]].concat();
        let (mut total, mut mask, mut kept) = (0, 0, 0);
        let mut at = vec![0_u32; original.len()];
        for example in 0..5_000 {
            let mut ids = original.clone();
            for m in masker.mask(&mut ids, &mut KeyedRng::new(1, "mask", &[example])) {
                let position = usize::from(m.position);
                total += 1;
                at[position] += 1;
                mask += u32::from(ids[position] == MASK);
                kept += u32::from(ids[position] == original[position]);
            }
        }
        let share = |n: u32| f64::from(n) / f64::from(total);
        assert!((share(mask) - 0.8).abs() < 0.01, "{}", share(mask));
        // A random replacement hits the original once in 100.
        assert!((share(kept) - 0.101).abs() < 0.01, "{}", share(kept));
        // 5,000 × 19 / 125 = 760 a position, six sigma 165.
        let ordinary = original.iter().zip(&at).filter(|(id, _)| **id >= 6);
        assert!(
            ordinary.clone().count() == 125 && ordinary.into_iter().all(|(_, &n)| n.abs_diff(760) < 165),
            "{at:?}"
        );
    }
}
