//! The invariants of a row.

use crate::{Example, SpecialTokens, columns};

/// What every row of a dataset must satisfy, taken from its manifest.
#[derive(Clone, Copy, Debug)]
pub struct ExampleRules {
    /// Ids are below this.
    pub vocabulary_size: usize,
    /// Ids of the special tokens.
    pub special: SpecialTokens,
    /// Rows are at most this long.
    pub max_seq_length: usize,
    /// Rows have at most this many predictions.
    pub max_predictions_per_seq: usize,
    /// Google's traps are allowed: a random B from A's own document, special tokens as random replacements.
    pub google: bool,
}

impl ExampleRules {
    /// Checks one row against every invariant of the format.
    pub fn check(&self, row: &Example<'_>) -> Result<(), String> {
        let ids = row.input_ids;
        let length = ids.len();
        let special = self.special;
        if length < 3 || length > self.max_seq_length {
            return Err(format!("{length} tokens, expected 3 to max_seq_length = {}", self.max_seq_length));
        }
        for (column, ids) in [(columns::INPUT_IDS, ids), (columns::MASKED_LM_IDS, row.masked_lm_ids)] {
            if let Some(id) = ids.max().filter(|&id| id as usize >= self.vocabulary_size) {
                return Err(format!(
                    "{column} holds {id}, but the vocabulary has {} entries",
                    self.vocabulary_size
                ));
            }
        }
        if ids.get(0) != special.cls || ids.get(length - 1) != special.sep {
            return Err("does not run from [CLS] to [SEP]".to_owned());
        }
        let b = row.segment_b_start;
        let separated = b == length || (b >= 2 && b < length && ids.get(b - 1) == special.sep);
        if !separated {
            return Err(format!("segment_b_start {b} does not follow a [SEP]"));
        }
        self.check_predictions(row)?;
        // Special tokens at predicted positions are what masking put there; everywhere else they are structure.
        let separators = if b == length { 1 } else { 2 };
        let predicted = || row.masked_lm_positions.iter().map(|&position| ids.get(usize::from(position)));
        let structural = |id| ids.count(id) - predicted().filter(|&other| other == id).count();
        if structural(special.sep) != separators
            || structural(special.cls) != 1
            || structural(special.pad) != 0
        {
            return Err(format!("expected 1 [CLS], {separators} [SEP] and no [PAD]"));
        }
        if structural(special.mask) != 0 {
            return Err("a [MASK] stands where nothing is predicted".to_owned());
        }
        if !self.google
            && predicted().any(|id| [special.pad, special.unk, special.cls, special.sep].contains(&id))
        {
            // A kept [UNK] is the one exception.
            let kept = |(index, &position): (usize, &u16)| {
                let shown = ids.get(usize::from(position));
                shown == special.mask
                    || shown == row.masked_lm_ids.get(index)
                    || !special.ids().contains(&shown)
            };
            if !row.masked_lm_positions.iter().enumerate().all(kept) {
                return Err("a token was replaced by a special one other than [MASK]".to_owned());
            }
        }
        self.check_documents(row)
    }

    fn check_predictions(&self, row: &Example<'_>) -> Result<(), String> {
        let (positions, length) = (row.masked_lm_positions, row.input_ids.len());
        if positions.len() != row.masked_lm_ids.len() {
            return Err(format!(
                "{} masked positions but {} masked ids",
                positions.len(),
                row.masked_lm_ids.len()
            ));
        }
        if positions.len() > self.max_predictions_per_seq {
            return Err(format!(
                "{} predictions, more than max_predictions_per_seq = {}",
                positions.len(),
                self.max_predictions_per_seq
            ));
        }
        if positions.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("masked_lm_positions do not ascend".to_owned());
        }
        let special = self.special;
        for (index, &position) in positions.iter().enumerate() {
            let position = usize::from(position);
            let is_separator = position == 0 || position + 1 >= length || position + 1 == row.segment_b_start;
            if is_separator {
                return Err(format!("masked position {position} is [CLS], [SEP] or beyond the end"));
            }
            let original = row.masked_lm_ids.get(index);
            if [special.pad, special.cls, special.sep, special.mask].contains(&original) {
                return Err(format!("the original token at {position} is special (id {original})"));
            }
        }
        Ok(())
    }

    fn check_documents(&self, row: &Example<'_>) -> Result<(), String> {
        if row.next_sentence_label > 1 {
            return Err(format!("next_sentence_label is {}, expected 0 or 1", row.next_sentence_label));
        }
        let own = row.document_id == row.document_b_id;
        match (row.next_sentence_label, own) {
            (0, false) => Err("next_sentence_label is 0, but B's document is not A's".to_owned()),
            (1, true) if !self.google => Err("next_sentence_label is 1, but B's document is A's".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{ExampleBatch, ExampleBuilder, Masked};

    pub(crate) const RULES: ExampleRules = ExampleRules {
        vocabulary_size: 20,
        special: SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 },
        max_seq_length: 10,
        max_predictions_per_seq: 2,
        google: false,
    };

    /// A good row, changed by `change`, must be refused with `expected` (or accepted when that is empty).
    fn check(change: fn(&mut Vec<u32>, &mut usize, &mut Vec<Masked>, &mut bool), expected: &str) {
        let mut ids = vec![2, 10, 4, 3, 12, 13, 3];
        let (mut b, mut masked, mut random) = (4, vec![Masked { position: 2, id: 11 }], false);
        change(&mut ids, &mut b, &mut masked, &mut random);
        let mut builder = ExampleBuilder::new(false);
        builder.push(&ids, b, &masked, random, (7, 7));
        match ExampleBatch::try_new(&builder.finish_batch(), &RULES, "train/0", 5) {
            Ok(rows) => {
                assert_eq!(expected, "");
                assert_eq!(rows.row(0).input_ids.iter().collect::<Vec<_>>(), ids);
            }
            Err(error) => {
                let message = error.to_string();
                assert!(!expected.is_empty() && message.contains(expected), "{message}");
                assert!(message.starts_with("shard train/0, row 5: "), "{message}");
            }
        }
    }

    #[test]
    fn every_broken_invariant_is_named() {
        check(|_, _, _, _| (), "");
        check(|ids, _, _, _| ids[4] = 20, "vocabulary has 20 entries");
        check(|ids, _, _, _| ids[0] = 9, "from [CLS] to [SEP]");
        check(|ids, _, _, _| ids[5] = 0, "no [PAD]");
        check(|ids, _, _, _| ids[5] = 3, "2 [SEP]");
        check(|ids, _, _, _| ids[5] = 4, "where nothing is predicted");
        check(|ids, _, _, _| ids.extend([9; 9]), "max_seq_length = 10");
        check(|_, b, _, _| *b = 5, "segment_b_start 5");
        check(|_, b, _, _| *b = 7, "1 [SEP]");
        check(|_, _, m, _| m[0].position = 3, "masked position 3");
        check(|_, _, m, _| m[0].position = 60, "masked position 60");
        check(|_, _, m, _| m[0].id = 3, "is special");
        check(|_, _, m, _| m.push(Masked { position: 1, id: 9 }), "do not ascend");
        check(
            |_, _, m, _| m.extend([Masked { position: 4, id: 9 }, Masked { position: 5, id: 9 }]),
            "3 predictions",
        );
        check(|_, _, _, random| *random = true, "B's document is A's");
    }
}
