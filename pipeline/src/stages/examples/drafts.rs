//! Chunks of documents, each with A and with either its B or the page where a random B starts.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields, UInt32Type};
use cloze_schemas::{KeyedRng, Lists, RandomSource, list_type};
use datafusion::logical_expr::ScalarUDF;

use super::rows::{Part, TokenRows, struct_list_type, struct_lists};
use super::{Context, pages};
use crate::pairing::{Next, cut, draw_target};
use crate::stages::engine;

/// Whether the document is held out.
pub const VALIDATION: &str = "validation";
/// A's document id.
pub const DOCUMENT: &str = "draft_document";
/// The pass over the document.
pub const PASS: &str = "pass";
/// The chunk's first sentence within its document.
pub const FIRST_SENTENCE: &str = "first_sentence";
/// A's tokens.
pub const A: &str = "a";
/// B's tokens; empty if B is random.
pub const B: &str = "b";
/// The page a random B starts in; else a number that no page has.
pub const PAGE: &str = "draft_page";
/// The sentence of the page a random B starts with.
pub const SENTENCE: &str = "sentence";
/// Tokens a random B aims at.
pub const WANTED: &str = "wanted";
/// The document a random B is from; A's if B follows A.
pub const PARTNER: &str = "partner";

fn fields() -> Fields {
    let ids = list_type::<UInt32Type>();
    Fields::from(vec![
        Field::new(VALIDATION, DataType::Boolean, false),
        Field::new(DOCUMENT, DataType::UInt64, false),
        Field::new(PASS, DataType::UInt32, false),
        Field::new(FIRST_SENTENCE, DataType::UInt32, false),
        Field::new(A, ids.clone(), false),
        Field::new(B, ids, false),
        Field::new(PAGE, DataType::UInt64, false),
        Field::new(SENTENCE, DataType::UInt32, false),
        Field::new(WANTED, DataType::UInt32, false),
        Field::new(PARTNER, DataType::UInt64, false),
    ])
}

/// `drafts(file, document, part, input_ids, sentence_lengths) -> List<Struct<…>>`
pub fn function(context: Arc<Context>) -> ScalarUDF {
    let fields = fields();
    engine::function("drafts", super::token_types(), struct_list_type(&fields), move |columns| {
        let rows = TokenRows::new(columns);
        let mut drafts = Drafts::default();
        let mut lengths = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let before = drafts.pass.len();
            if let Some(part) = rows.part(row, &context.catalog) {
                for pass in 0..context.passes(part.place.split) {
                    drafts.add_part(&context, &part, pass);
                }
            }
            lengths.push(drafts.pass.len() - before);
        }
        Ok(struct_lists(&fields, drafts.finish(), lengths))
    })
}

#[derive(Default)]
struct Drafts {
    validation: Vec<bool>,
    document: Vec<u64>,
    pass: Vec<u32>,
    first_sentence: Vec<u32>,
    a: Lists<u32>,
    b: Lists<u32>,
    page: Vec<u64>,
    sentence: Vec<u32>,
    wanted: Vec<u32>,
    partner: Vec<u64>,
}

impl Drafts {
    /// One pass over a part. Each chunk has its own generator, and draws its own target: drawn once per
    /// document, as Google's code does, one unlucky book floods the output with short rows.
    fn add_part(&mut self, context: &Context, part: &Part<'_>, pass: u32) {
        let Part { document, place, sentences, .. } = part;
        let documents = context.catalog.documents(place.split);
        let (mut start, mut offset) = (0, 0);
        while start < sentences.lengths.len() {
            let first_sentence = part.first_sentence + start as u32;
            let key = Context::key(document.id, pass, first_sentence);
            let mut rng = KeyedRng::new(context.settings.seed, "pair", &key);
            let target = draw_target(context.longest(), context.settings.short_seq_prob, &mut rng);
            let draft = cut(*sentences, start, offset, target, &mut rng, |rng| {
                // Any document but the own one.
                let other = rng.below(documents.len() as u32 - 1);
                let partner = &documents[(other + u32::from(other >= place.ordinal)) as usize];
                (partner, rng.below(partner.sentences))
            });
            self.validation.push(place.split == cloze_schemas::Split::Validation);
            self.document.push(document.id);
            self.pass.push(pass);
            self.first_sentence.push(first_sentence);
            self.a.push(sentences.ids[draft.a].iter().copied());
            match draft.next {
                Next::Following(b) => {
                    self.b.push(sentences.ids[b].iter().copied());
                    // Spread over the partitions of the join, where equal keys would all meet in one.
                    self.page.push(pages::none(part.number, start as u32));
                    self.sentence.push(0);
                    self.wanted.push(0);
                    self.partner.push(document.id);
                }
                Next::Random { partner: (partner, sentence), wanted } => {
                    let (number, sentence) = context.catalog.locate(partner, sentence);
                    self.b.push([]);
                    self.page.push(pages::page(number, sentence));
                    self.sentence.push(pages::within(sentence));
                    self.wanted.push(wanted as u32);
                    self.partner.push(partner.id);
                }
            }
            offset += sentences.lengths[start..draft.resume].iter().sum::<u32>() as usize;
            start = draft.resume;
        }
    }

    fn finish(self) -> Vec<ArrayRef> {
        vec![
            Arc::new(BooleanArray::from(self.validation)),
            Arc::new(UInt64Array::from(self.document)),
            Arc::new(UInt32Array::from(self.pass)),
            Arc::new(UInt32Array::from(self.first_sentence)),
            self.a.finish::<UInt32Type>(),
            self.b.finish::<UInt32Type>(),
            Arc::new(UInt64Array::from(self.page)),
            Arc::new(UInt32Array::from(self.sentence)),
            Arc::new(UInt32Array::from(self.wanted)),
            Arc::new(UInt64Array::from(self.partner)),
        ]
    }
}
