//! `compat = "google"`: `create_training_instances` of google-research/bert's `create_pretraining_data.py`,
//! draw for draw, traps included. Sequential and in memory, as the original is.

use cloze_schemas::{Masked, Masker, RandomSource, Vocabulary};

use super::{Mt19937, Next, Sentences, cut, draw_target, join, random_b, truncate};
use crate::settings::ExamplesTable;

/// A whole document, token ids and sentence lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Goes into the rows' `document_id` and `document_b_id`.
    pub id: u64,
    /// The sentences' tokens, one after another.
    pub ids: Vec<u32>,
    /// Tokens of each sentence; none is 0.
    pub lengths: Vec<u32>,
}

impl Document {
    fn sentences(&self) -> Sentences<'_> {
        Sentences { ids: &self.ids, lengths: &self.lengths }
    }
}

/// One example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `[CLS] A [SEP] B [SEP]`, masked.
    pub input_ids: Vec<u32>,
    /// Index of B's first token.
    pub segment_b_start: usize,
    /// The predictions by position.
    pub masked: Vec<Masked>,
    /// Whether B is random. It may come from A's own document: one of the traps.
    pub random_next: bool,
    /// The documents of A and B.
    pub documents: (u64, u64),
}

/// All examples in Google's order. `documents` are in the order of the input files, empty ones removed.
pub fn create_instances(
    mut documents: Vec<Document>,
    settings: &ExamplesTable,
    vocabulary: &Vocabulary,
) -> Vec<Instance> {
    let mut rng = Mt19937::new(settings.seed as u32);
    let rules = settings.masking_rules();
    let mut masker = Masker::new(&rules, vocabulary);
    rng.shuffle(&mut documents);
    let mut instances = Vec::new();
    for _ in 0..settings.dupe_factor {
        for own in 0..documents.len() {
            instances_of_document(
                &documents,
                own,
                settings,
                vocabulary,
                &mut masker,
                &mut rng,
                &mut instances,
            );
        }
    }
    rng.shuffle(&mut instances);
    instances
}

fn instances_of_document(
    documents: &[Document],
    own: usize,
    settings: &ExamplesTable,
    vocabulary: &Vocabulary,
    masker: &mut Masker<'_>,
    rng: &mut Mt19937,
    instances: &mut Vec<Instance>,
) {
    let document = &documents[own];
    let longest = settings.max_seq_length - 3;
    let target = draw_target(longest, settings.short_seq_prob, rng);
    let (mut sentence, mut offset) = (0, 0);
    while sentence < document.lengths.len() {
        let draft = cut(document.sentences(), sentence, offset, target, rng, |rng| {
            let mut partner = own;
            // Ten tries to leave the own document, then it is taken.
            for _ in 0..10 {
                partner = rng.below(documents.len() as u32) as usize;
                if partner != own {
                    break;
                }
            }
            (partner, rng.below(documents[partner].lengths.len() as u32) as usize)
        });
        let a = &document.ids[draft.a.clone()];
        let (b, random_next, b_document) = match &draft.next {
            Next::Following(b) => (&document.ids[b.clone()], false, own),
            Next::Random { partner: (partner, start), wanted } => {
                let range = random_b(documents[*partner].sentences(), *start, *wanted);
                (&documents[*partner].ids[range], true, *partner)
            }
        };
        let (a, b) = truncate(a, b, longest, rng);
        let mut input_ids = Vec::with_capacity(a.len() + b.len() + 3);
        let segment_b_start = join(a, b, vocabulary.special(), &mut input_ids);
        let masked = masker.mask(&mut input_ids, rng).to_vec();
        let documents = (document.id, documents[b_document].id);
        instances.push(Instance { input_ids, segment_b_start, masked, random_next, documents });
        offset += document.lengths[sentence..draft.resume].iter().sum::<u32>() as usize;
        sentence = draft.resume;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cloze_schemas::{Compat, MaskingKind, Masks, Pairs};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        max_seq_length: usize,
        dupe_factor: u32,
        max_predictions_per_seq: usize,
        masked_lm_prob: f64,
        short_seq_prob: f64,
        random_seed: u64,
        do_whole_word_mask: bool,
        documents: Vec<Vec<Vec<u32>>>,
        instances: Vec<Row>,
    }

    #[derive(Deserialize, Debug, PartialEq, Eq)]
    struct Row {
        input_ids: Vec<u32>,
        segment_b_start: usize,
        masked_lm_positions: Vec<u16>,
        masked_lm_ids: Vec<u32>,
        next_sentence_label: u8,
    }

    impl Case {
        fn check(self, vocabulary: &Vocabulary) {
            let documents = (0..)
                .zip(self.documents)
                .map(|(id, sentences)| Document {
                    id,
                    lengths: sentences.iter().map(|s| s.len() as u32).collect(),
                    ids: sentences.concat(),
                })
                .collect();
            let settings = ExamplesTable {
                name: self.name.clone(),
                max_seq_length: self.max_seq_length,
                max_predictions_per_seq: self.max_predictions_per_seq,
                masked_lm_prob: self.masked_lm_prob,
                masking: if self.do_whole_word_mask { MaskingKind::WholeWord } else { MaskingKind::Token },
                masks: Masks::Static,
                pairs: Pairs::NextSentence,
                short_seq_prob: self.short_seq_prob,
                dupe_factor: self.dupe_factor,
                shards: 1,
                seed: self.random_seed,
                compat: Compat::Google,
            };
            let rows: Vec<Row> = create_instances(documents, &settings, vocabulary)
                .into_iter()
                .map(|instance| Row {
                    masked_lm_positions: instance.masked.iter().map(|m| m.position).collect(),
                    masked_lm_ids: instance.masked.iter().map(|m| m.id).collect(),
                    input_ids: instance.input_ids,
                    segment_b_start: instance.segment_b_start,
                    next_sentence_label: u8::from(instance.random_next),
                })
                .collect();
            assert_eq!(rows.len(), self.instances.len(), "{}", self.name);
            for (i, (row, golden)) in rows.iter().zip(&self.instances).enumerate() {
                assert_eq!(row, golden, "{}, instance {i}", self.name);
            }
        }
    }

    fn check(golden: &str, vocabulary: &str) -> usize {
        let golden: Golden = serde_json::from_str(golden).unwrap();
        let vocabulary = Vocabulary::from_text(Path::new("vocab.txt"), vocabulary).unwrap();
        let cases = golden.cases.len();
        golden.cases.into_iter().for_each(|case| case.check(&vocabulary));
        cases
    }

    /// Google's own output on the six published cases, when that data is at hand.
    #[test]
    fn equals_googles_instances() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let Ok(golden) = std::fs::read_to_string(shared.join("golden/google_instances.json")) else { return };
        let vocabulary =
            std::fs::read_to_string(shared.join("data/vocab/bert-base-uncased-vocab.txt")).unwrap();
        assert_eq!(check(&golden, &vocabulary), 6);
    }
}
