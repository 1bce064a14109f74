//! Rows to padded batches on the host. A pure function; the only copy of the rows' ids.

use cloze_schemas::Example;

use crate::batch::HostBatch;

/// Lengths and numbers of predictions are rounded up to a multiple of this: kernels like it, and a GPU
/// backend compiles and tunes for fewer shapes.
const MULTIPLE: usize = 8;

/// An optimizer batch: everything one update is computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct StepBatch {
    /// Its parts, in order; only the last may have fewer rows.
    pub micro_batches: Vec<HostBatch>,
    /// Examples in all parts.
    pub rows: usize,
    /// Predictions in all parts: the denominator of the masked-LM loss.
    pub masked_tokens: usize,
    /// Tokens in all parts, padding not counted.
    pub real_tokens: usize,
    /// Examples consumed by the run up to here, these included.
    pub cursor: u64,
}

/// How to collate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collator {
    /// Most rows of a part.
    pub(super) micro_batch: usize,
    /// No row is longer, and no padding beyond it.
    pub(super) max_seq_length: usize,
    /// Id of `[PAD]`.
    pub(super) pad: u32,
}

impl Collator {
    /// Collates an optimizer batch.
    pub(super) fn step(&self, rows: &[Example<'_>], cursor: u64) -> StepBatch {
        let micro_batches: Vec<HostBatch> = rows
            .chunks(self.micro_batch)
            .enumerate()
            .map(|(part, rows)| self.collate(rows, part * self.micro_batch))
            .collect();
        StepBatch {
            rows: rows.len(),
            masked_tokens: micro_batches.iter().map(HostBatch::masked_tokens).sum(),
            real_tokens: micro_batches.iter().map(HostBatch::real_tokens).sum(),
            micro_batches,
            cursor,
        }
    }

    /// Pads rows to their longest; `first` is the index of the first within the optimizer batch.
    fn collate(&self, rows: &[Example<'_>], first: usize) -> HostBatch {
        let longest = rows.iter().map(|row| row.input_ids.len()).max().unwrap_or(0);
        let length = longest.next_multiple_of(MULTIPLE).min(self.max_seq_length);
        let masked: usize = rows.iter().map(|row| row.masked_lm_positions.len()).sum();
        // At least one entry: no kernel likes an empty tensor.
        let padded = masked.max(1).next_multiple_of(MULTIPLE);
        let mut batch = HostBatch {
            rows: rows.len(),
            length,
            input_ids: Vec::with_capacity(rows.len() * length),
            segment_ids: Vec::with_capacity(rows.len() * length),
            masked_lm_positions: Vec::with_capacity(padded),
            masked_lm_ids: Vec::with_capacity(padded),
            masked_lm_weights: vec![1.0; masked],
            example_indices: (first..first + rows.len()).map(|index| index as u32).collect(),
            ..HostBatch::default()
        };
        for (index, row) in rows.iter().enumerate() {
            let start = index * length;
            row.input_ids.extend_i32(&mut batch.input_ids);
            batch.input_ids.resize(start + length, self.pad as i32);
            batch.segment_ids.resize(start + row.segment_b_start, 0);
            batch.segment_ids.resize(start + row.input_ids.len(), 1);
            batch.segment_ids.resize(start + length, 0);
            batch.lengths.push(row.input_ids.len() as i32);
            let positions =
                row.masked_lm_positions.iter().map(|&position| (start + usize::from(position)) as i32);
            batch.masked_lm_positions.extend(positions);
            row.masked_lm_ids.extend_i32(&mut batch.masked_lm_ids);
            batch.next_sentence_labels.push(i32::from(row.next_sentence_label));
        }
        batch.masked_lm_positions.resize(padded, 0);
        batch.masked_lm_ids.resize(padded, 0);
        batch.masked_lm_weights.resize(padded, 0.0);
        batch
    }
}

#[cfg(test)]
mod tests {
    use cloze_schemas::Ids;

    use super::*;

    fn example<'a>(
        ids: &'a [u16],
        b: usize,
        positions: &'a [u16],
        originals: &'a [u16],
        label: u8,
    ) -> Example<'a> {
        Example {
            input_ids: Ids::U16(ids),
            segment_b_start: b,
            masked_lm_positions: positions,
            masked_lm_ids: Ids::U16(originals),
            next_sentence_label: label,
            document_id: 1,
            document_b_id: 1,
        }
    }

    #[test]
    fn rows_are_padded_and_predictions_flattened() {
        let rows = [
            example(&[2, 4, 11, 3, 12, 3], 4, &[1], &[10], 0),
            example(&[2, 13, 14, 15, 3, 4, 4, 16, 3], 5, &[5, 6], &[17, 18], 1),
            example(&[2, 19, 3], 3, &[], &[], 0),
        ];
        let step = Collator { micro_batch: 2, max_seq_length: 10, pad: 7 }.step(&rows, 30);
        assert_eq!((step.rows, step.masked_tokens, step.real_tokens, step.cursor), (3, 3, 18, 30));

        let [first, last] = &step.micro_batches[..] else { panic!("two parts") };
        // The longest has 9 tokens: 16 would be beyond the model's positions.
        assert_eq!((first.rows, first.length), (2, 10));
        assert_eq!(first.input_ids[..10], [2, 4, 11, 3, 12, 3, 7, 7, 7, 7]);
        assert_eq!(first.segment_ids[..10], [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(first.segment_ids[10..], [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]);
        assert_eq!(first.lengths, [6, 9]);
        assert_eq!(first.masked_lm_positions, [1, 15, 16, 0, 0, 0, 0, 0]);
        assert_eq!(first.masked_lm_ids, [10, 17, 18, 0, 0, 0, 0, 0]);
        assert_eq!(first.masked_lm_weights, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(first.next_sentence_labels, [0, 1]);
        assert_eq!((&first.example_indices[..], &last.example_indices[..]), (&[0, 1][..], &[2][..]));
        // Without a B, everything is A; without predictions, only padding.
        assert_eq!((last.length, &last.segment_ids[..]), (8, &[0; 8][..]));
        assert_eq!((last.masked_lm_weights.len(), last.masked_tokens()), (8, 0));
    }
}
