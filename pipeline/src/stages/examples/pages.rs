//! Pages: a few sentences of a document with as many after them as a random B that starts among them can need.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields, UInt32Type};
use cloze_schemas::{Lists, list_type};
use datafusion::logical_expr::ScalarUDF;

use super::Context;
use super::rows::{TokenRows, struct_list_type, struct_lists};
use crate::stages::engine;

/// The page's number.
pub const PAGE: &str = "page";
/// The page's tokens.
pub const IDS: &str = "page_ids";
/// Tokens of each of its sentences.
pub const LENGTHS: &str = "page_lengths";

/// Sentences that start in a page. Few, because the join copies a page for every random B; not one, because
/// pages overlap by a sequence's length.
const SENTENCES: u32 = 8;

/// The page that sentence `sentence` of part `part` starts in.
pub fn page(part: u32, sentence: u32) -> u64 {
    (u64::from(part) << 32) | u64::from(sentence / SENTENCES)
}

/// The index of a part's sentence within its page.
pub fn within(sentence: u32) -> u32 {
    sentence % SENTENCES
}

/// A number that no page has.
pub fn none(part: u32, sentence: u32) -> u64 {
    (u64::from(part) << 32) | (1 << 31) | u64::from(sentence & 0x7fff_ffff)
}

fn fields() -> Fields {
    let ids = list_type::<UInt32Type>();
    Fields::from(vec![
        Field::new(PAGE, DataType::UInt64, false),
        Field::new(IDS, ids.clone(), false),
        Field::new(LENGTHS, ids, false),
    ])
}

/// `pages(file, document, part, input_ids, sentence_lengths) -> List<Struct<…>>`
pub fn function(context: Arc<Context>) -> ScalarUDF {
    let fields = fields();
    engine::function("pages", super::token_types(), struct_list_type(&fields), move |columns| {
        let rows = TokenRows::new(columns);
        let (mut numbers, mut ids, mut lengths) = (Vec::new(), Lists::default(), Lists::default());
        let mut counts = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let before = numbers.len();
            if let Some(part) = rows.part(row, &context.catalog) {
                let all = part.sentences;
                let mut offset = 0;
                for (first, own) in
                    (0..).step_by(SENTENCES as usize).zip(all.lengths.chunks(SENTENCES as usize))
                {
                    let tail = &all.lengths[first + own.len() - 1..];
                    let more = tail.len().min(sentences_to_reach(tail, context.longest()));
                    let page_lengths = &all.lengths[first..first + own.len() - 1 + more];
                    let tokens = page_lengths.iter().sum::<u32>() as usize;
                    numbers.push(page(part.number, first as u32));
                    ids.push(all.ids[offset..offset + tokens].iter().copied());
                    lengths.push(page_lengths.iter().copied());
                    offset += own.iter().sum::<u32>() as usize;
                }
            }
            counts.push(numbers.len() - before);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(numbers)),
            ids.finish::<UInt32Type>(),
            lengths.finish::<UInt32Type>(),
        ];
        Ok(struct_lists(&fields, columns, counts))
    })
}

/// How many sentences it takes to have `tokens` tokens; at least one, and more than there are if they never do.
fn sentences_to_reach(lengths: &[u32], tokens: usize) -> usize {
    let mut sum = 0;
    lengths
        .iter()
        .take_while(|&&length| {
            let short = sum < tokens;
            sum += length as usize;
            short
        })
        .count()
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_sentences_and_no_more() {
        assert_eq!(sentences_to_reach(&[5, 5, 5], 5), 1);
        assert_eq!(sentences_to_reach(&[5, 5, 5], 6), 2);
        assert_eq!(sentences_to_reach(&[5, 5, 5], 99), 3);
        assert_eq!(sentences_to_reach(&[5, 5, 5], 0), 1);
    }

    #[test]
    fn no_page_has_the_number_of_none() {
        assert_ne!(page(3, u32::MAX), none(3, u32::MAX));
        assert_eq!((page(3, 17) & 0xffff_ffff, within(17)), (2, 1));
    }
}
