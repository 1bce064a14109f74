//! Draft and page become a finished row: B fetched, the pair truncated, joined, masked, and given its place in
//! the global shuffle.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StructArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields, UInt32Type};
use cloze_schemas::{ExampleBuilder, KeyedRng, ListView, Masker, example_schema, list_type};
use datafusion::logical_expr::{Expr, ScalarUDF, col};

use super::{Context, drafts, pages};
use crate::pairing::{Sentences, join, random_b, truncate};
use crate::stages::engine::{self, argument};

const SHUFFLE: &str = "shuffle";

/// The columns that order the rows: train first, then a keyed draw; the rest makes the order total.
pub const ORDER: [&str; 5] =
    [drafts::VALIDATION, SHUFFLE, drafts::DOCUMENT, drafts::PASS, drafts::FIRST_SENTENCE];

/// The arguments of [`function`], in order.
pub fn arguments() -> Vec<Expr> {
    INPUTS.map(col).to_vec()
}

const INPUTS: [&str; 12] = [
    drafts::VALIDATION,
    drafts::DOCUMENT,
    drafts::PASS,
    drafts::FIRST_SENTENCE,
    drafts::A,
    drafts::B,
    drafts::PAGE,
    drafts::SENTENCE,
    drafts::WANTED,
    drafts::PARTNER,
    pages::IDS,
    pages::LENGTHS,
];

fn input_types() -> Vec<DataType> {
    let ids = list_type::<UInt32Type>();
    vec![
        DataType::Boolean,
        DataType::UInt64,
        DataType::UInt32,
        DataType::UInt32,
        ids.clone(),
        ids.clone(),
        DataType::UInt64,
        DataType::UInt32,
        DataType::UInt32,
        DataType::UInt64,
        ids.clone(),
        ids,
    ]
}

/// The columns the shard writer gets: whether the row is held out, then the row.
pub fn output(wide: bool) -> Fields {
    let mut fields = vec![Arc::new(Field::new(drafts::VALIDATION, DataType::Boolean, false))];
    fields.extend(example_schema(wide).fields().iter().cloned());
    Fields::from(fields)
}

/// `assemble(draft and page) -> Struct<row, order>`
pub fn function(context: Arc<Context>) -> ScalarUDF {
    let wide = context.vocabulary.is_wide();
    let mut fields: Vec<_> = output(wide).iter().cloned().collect();
    fields.extend([
        Arc::new(Field::new(SHUFFLE, DataType::UInt64, false)),
        Arc::new(Field::new(drafts::DOCUMENT, DataType::UInt64, false)),
        Arc::new(Field::new(drafts::PASS, DataType::UInt32, false)),
        Arc::new(Field::new(drafts::FIRST_SENTENCE, DataType::UInt32, false)),
    ]);
    let fields = Fields::from(fields);
    engine::function("assemble", input_types(), DataType::Struct(fields.clone()), move |columns| {
        let documents: &UInt64Array = argument(columns, 1);
        let passes: &UInt32Array = argument(columns, 2);
        let first_sentences: &UInt32Array = argument(columns, 3);
        let list = |index: usize| -> ListView<UInt32Type> {
            ListView::new(&columns[index]).expect("the engine coerces arguments")
        };
        let (a, b, page_ids, page_lengths) = (list(4), list(5), list(10), list(11));
        let sentences: &UInt32Array = argument(columns, 7);
        let wanted: &UInt32Array = argument(columns, 8);
        let partners: &UInt64Array = argument(columns, 9);

        let rules = context.settings.masking_rules();
        let mut masker = Masker::new(&rules, &context.vocabulary);
        let special = context.vocabulary.special();
        let mut rows = ExampleBuilder::new(wide);
        let mut shuffle = Vec::with_capacity(documents.len());
        let mut input_ids = Vec::with_capacity(context.settings.max_seq_length);
        for row in 0..documents.len() {
            let (document, partner) = (documents.value(row), partners.value(row));
            let key = Context::key(document, passes.value(row), first_sentences.value(row));
            let random_next = document != partner;
            let b = if random_next {
                let page = Sentences { ids: page_ids.row(row), lengths: page_lengths.row(row) };
                &page.ids[random_b(page, sentences.value(row) as usize, wanted.value(row) as usize)]
            } else {
                b.row(row)
            };
            let mut rng = KeyedRng::new(context.settings.seed, "truncate", &key);
            let (a, b) = truncate(a.row(row), b, context.longest(), &mut rng);
            let segment_b_start = join(a, b, special, &mut input_ids);
            let masked = masker.mask(&mut input_ids, &mut KeyedRng::new(context.settings.seed, "mask", &key));
            rows.push(&input_ids, segment_b_start, masked, random_next, (document, partner));
            shuffle.push(KeyedRng::new(context.settings.seed, "shuffle", &key).next_u64());
        }

        let validation: &BooleanArray = argument(columns, 0);
        let mut finished: Vec<ArrayRef> = vec![Arc::new(validation.clone())];
        finished.extend(rows.finish());
        finished.push(Arc::new(UInt64Array::from(shuffle)));
        finished.extend(columns[1..4].iter().cloned());
        Ok(Arc::new(StructArray::new(fields.clone(), finished, None)) as ArrayRef)
    })
}
