//! The model as a whole.

use std::collections::BTreeMap;

use burn::backend::autodiff::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use cloze_schemas::{KeyedRng, RandomSource};

use super::*;
use crate::batch::HostBatch;
use crate::kernels::TrainBackend;
use crate::loss::losses;
use crate::optimizer::{AdamConfig, Gradients, Optimizer};

pub(crate) type Train = Autodiff<Flex>;

/// A model that trains in milliseconds.
pub(crate) fn small_config() -> BertConfig {
    BertConfig {
        vocab_size: 50,
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: 24,
        ..BertConfig::default()
    }
}

pub(crate) fn model(seed: u64) -> Bert<Train> {
    Bert::new(&small_config(), seed, &FlexDevice).unwrap()
}

/// A batch of random rows, each of half to full `length`, three masked tokens each.
pub(crate) fn batch(seed: u64, rows: usize, length: usize) -> HostBatch {
    let mut rng = KeyedRng::new(seed, "test batch", &[]);
    let mut batch = HostBatch { rows, length, ..HostBatch::default() };
    for row in 0..rows {
        let real = rng.between(length as u32 / 2, length as u32) as usize;
        let second = rng.between(1, real as u32 - 1) as usize;
        batch.lengths.push(real as i32);
        for position in 0..length {
            let id = if position < real { rng.between(5, 49) as i32 } else { 0 };
            batch.input_ids.push(id);
            batch.segment_ids.push(i32::from((second..real).contains(&position)));
        }
        for masked in 0..3 {
            batch.masked_lm_positions.push((row * length + masked * real / 3) as i32);
            batch.masked_lm_ids.push(rng.between(5, 49) as i32);
            batch.masked_lm_weights.push(1.0);
        }
        batch.next_sentence_labels.push(rng.below(2) as i32);
        batch.example_indices.push(row as u32);
    }
    batch
}

/// Some rows of a batch, as a micro-batch of it.
fn rows_of(batch: &HostBatch, rows: std::ops::Range<usize>) -> HostBatch {
    let (first, length) = (rows.start, batch.length);
    let tokens = rows.start * length..rows.end * length;
    let masked = 3 * rows.start..3 * rows.end;
    HostBatch {
        rows: rows.len(),
        length,
        input_ids: batch.input_ids[tokens.clone()].to_vec(),
        segment_ids: batch.segment_ids[tokens].to_vec(),
        lengths: batch.lengths[rows.clone()].to_vec(),
        masked_lm_positions: batch.masked_lm_positions[masked.clone()]
            .iter()
            .map(|&position| position - (first * length) as i32)
            .collect(),
        masked_lm_ids: batch.masked_lm_ids[masked.clone()].to_vec(),
        masked_lm_weights: batch.masked_lm_weights[masked].to_vec(),
        next_sentence_labels: batch.next_sentence_labels[rows.clone()].to_vec(),
        example_indices: batch.example_indices[rows].to_vec(),
    }
}

/// The same rows, padded to `length`, with padded masked entries.
fn pad(batch: &HostBatch, length: usize) -> HostBatch {
    let widen = |values: &[i32]| {
        values
            .chunks(batch.length)
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, length - row.len())))
            .collect()
    };
    let position = |&flat: &i32| flat / batch.length as i32 * length as i32 + flat % batch.length as i32;
    let mut padded = HostBatch {
        length,
        input_ids: widen(&batch.input_ids),
        segment_ids: widen(&batch.segment_ids),
        masked_lm_positions: batch.masked_lm_positions.iter().map(position).collect(),
        ..batch.clone()
    };
    padded.masked_lm_positions.extend([0, 0]);
    padded.masked_lm_ids.extend([0, 0]);
    padded.masked_lm_weights.extend([0.0, 0.0]);
    padded
}

const KEY: DropoutKey = DropoutKey { seed: 4, step: 9 };

fn host<B: Kernels, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

#[track_caller]
fn assert_near(left: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(left.len(), right.len());
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        let difference = (left - right).abs();
        assert!(difference <= tolerance * (1.0 + right.abs()), "element {index}: {left} is not {right}");
    }
}

/// Loss sums and gradients of a micro-batch of a batch of `masked` masked tokens and `rows` rows.
fn contribution(
    model: &Bert<Train>,
    host_batch: &HostBatch,
    masked: usize,
    rows: usize,
) -> ([f32; 4], Gradients<Train>) {
    let batch = Batch::upload(host_batch, &FlexDevice);
    let sums = losses(&model.forward(&batch, Some(&KEY)), &batch);
    let gradients = Gradients::backward(&sums.objective(masked, Some(rows)), model);
    let numbers = [sums.mlm_sum, sums.mlm_correct, sums.nsp_sum, sums.nsp_correct].map(|sum| host(sum)[0]);
    (numbers, gradients)
}

#[test]
fn weights_are_a_function_of_seed_and_name() {
    let weights = |model: &Bert<Train>| named_tensors(model).into_iter().collect::<BTreeMap<_, _>>();
    let one = weights(&model(1));
    assert_eq!(one, weights(&model(1)));
    let deeper = BertConfig { num_hidden_layers: 3, vocab_size: 60, ..small_config() };
    let deeper = weights(&Bert::new(&deeper, 1, &FlexDevice).unwrap());
    for name in ["bert.encoder.layer.1.attention.self.key.weight", "bert.pooler.dense.weight"] {
        assert_eq!(one[name], deeper[name], "{name}");
    }
    let other = weights(&model(2));
    for (name, tensor) in &one {
        assert_eq!(tensor == &other[name], tensor.shape.num_dims() == 1, "{name}");
    }
}

#[test]
fn weights_begin_as_published() {
    let config = BertConfig { vocab_size: 2000, ..small_config() };
    let model: Bert<Flex> = Bert::new(&config, 1, &FlexDevice).unwrap();
    for (name, tensor) in named_tensors(&model) {
        let values = tensor.into_vec::<f32>().unwrap();
        if name.ends_with("LayerNorm.weight") {
            assert!(values.iter().all(|&value| (value - 1.0).abs() < f32::EPSILON), "{name}");
        } else if name.ends_with("bias") {
            assert!(values.iter().all(|&value| value == 0.0), "{name}");
        } else {
            assert!(values.iter().all(|value| value.abs() <= 0.040_001), "{name}");
        }
        if name == "bert.embeddings.word_embeddings.weight" {
            let count = values.len() as f64;
            let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
            let variance = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / count;
            // A normal distribution cut at two deviations has 0.8796 of the deviation.
            assert!(mean.abs() < 5e-4 && (variance.sqrt() / (0.02 * 0.8796) - 1.0).abs() < 0.01);
        }
    }
}

#[test]
fn names_are_those_of_hugging_face() {
    let config = BertConfig { num_hidden_layers: 1, ..small_config() };
    let model: Bert<Flex> = Bert::new(&config, 1, &FlexDevice).unwrap();
    let layer = "bert.encoder.layer.0";
    let both = |name: &str| [format!("{name}.bias"), format!("{name}.weight")];
    let mut expected: Vec<String> = [
        "bert.embeddings.LayerNorm".to_owned(),
        format!("{layer}.attention.self.query"),
        format!("{layer}.attention.self.key"),
        format!("{layer}.attention.self.value"),
        format!("{layer}.attention.output.dense"),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.intermediate.dense"),
        format!("{layer}.output.dense"),
        format!("{layer}.output.LayerNorm"),
        "bert.pooler.dense".to_owned(),
        "cls.predictions.transform.dense".to_owned(),
        "cls.predictions.transform.LayerNorm".to_owned(),
        "cls.seq_relationship".to_owned(),
    ]
    .iter()
    .flat_map(|name| both(name))
    .collect();
    expected.extend(
        ["word", "position", "token_type"].map(|table| format!("bert.embeddings.{table}_embeddings.weight")),
    );
    expected.push("cls.predictions.bias".to_owned());
    expected.sort();
    let tensors = named_tensors(&model);
    assert_eq!(tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
    let shapes: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, data)| (name, data.shape.to_vec())).collect();
    assert_eq!(shapes[&format!("{layer}.intermediate.dense.weight")], [64, 32]);
    assert_eq!(shapes[&format!("{layer}.attention.self.value.weight")], [32, 32]);
    assert_eq!(shapes["cls.seq_relationship.weight"], [2, 32]);
}

#[test]
fn named_tensors_round_trip() {
    let tensors: BTreeMap<_, _> = named_tensors(&model(1)).into_iter().collect();
    let loaded = load_named_tensors(model(2), &tensors).unwrap();
    assert_eq!(named_tensors(&loaded).into_iter().collect::<BTreeMap<_, _>>(), tensors);
    // The loaded parameters still train.
    let host_batch = batch(1, 2, 8);
    assert_eq!(
        contribution(&loaded, &host_batch, 6, 2).1.0.len(),
        contribution(&model(1), &host_batch, 6, 2).1.0.len()
    );
}

#[test]
fn wrong_tensors_are_named() {
    let check = |change: fn(&mut BTreeMap<String, TensorData>), expected: &[&str]| {
        let mut tensors = named_tensors(&model(1)).into_iter().collect();
        change(&mut tensors);
        let error = load_named_tensors(model(1), &tensors).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    check(
        |tensors| drop(tensors.remove("bert.encoder.layer.1.attention.self.key.bias")),
        &["bert.encoder.layer.1.attention.self.key.bias", "missing"],
    );
    check(
        |tensors| drop(tensors.insert("bert.extra".into(), TensorData::new(vec![0.0_f32], [1]))),
        &["bert.extra", "not a tensor of this model"],
    );
    check(
        |tensors| drop(tensors.insert("cls.predictions.bias".into(), TensorData::new(vec![0.0_f32; 3], [3]))),
        &["cls.predictions.bias", "[3]", "[50]"],
    );
    check(
        |tensors| {
            drop(tensors.insert("cls.seq_relationship.bias".into(), TensorData::new(vec![0_i32; 2], [2])));
        },
        &["cls.seq_relationship.bias", "I32"],
    );
}

#[test]
fn padding_does_not_change_predictions() {
    let model = model(1);
    let plain = batch(1, 4, 12);
    let padded = pad(&plain, 19);
    for dropout in [None, Some(&KEY)] {
        let [plain, padded] = [&plain, &padded].map(|batch| {
            let output = model.forward(&Batch::upload(batch, &FlexDevice), dropout);
            (host(output.mlm_logits), host(output.nsp_logits))
        });
        assert_near(&padded.0[..plain.0.len()], &plain.0, 2e-6);
        assert_near(&padded.1, &plain.1, 2e-6);
    }
    let sums = contribution(&model, &plain, 12, 4).0;
    assert_near(&contribution(&model, &padded, 12, 4).0, &sums, 2e-6);
}

#[test]
fn micro_batches_add_up() {
    let model = model(1);
    let whole = batch(2, 6, 12);
    let (sums, gradients) = contribution(&model, &whole, 18, 6);
    let (first, front) = contribution(&model, &rows_of(&whole, 0..4), 18, 6);
    let (second, back) = contribution(&model, &pad(&rows_of(&whole, 4..6), 16), 18, 6);
    let added: Vec<f32> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
    assert_near(&added, &sums, 1e-6);
    let accumulated = front.accumulate(back);
    assert_eq!(accumulated.0.len(), gradients.0.len());
    for (name, gradient) in gradients.0 {
        let gradient = host(gradient);
        assert!(gradient.iter().any(|&value| value != 0.0), "{name}");
        assert_near(&host(accumulated.0[&name].clone()), &gradient, 1e-6);
    }
}

#[test]
fn inference_and_training_predict_alike_without_dropout() {
    let model = model(1);
    let host_batch = batch(3, 3, 10);
    let train = model.forward(&Batch::upload(&host_batch, &FlexDevice), None);
    let valid = model.valid().forward(&Batch::upload(&host_batch, &FlexDevice), None);
    assert_eq!(host(train.mlm_logits), host(valid.mlm_logits));
    assert_eq!(host(train.nsp_logits), host(valid.nsp_logits));
}

/// Some steps on one batch; the parameters and the last loss.
fn train<B: TrainBackend>(steps: u64, device: &B::Device) -> (Vec<(String, TensorData)>, f32) {
    let mut model: Bert<B> = Bert::new(&small_config(), 1, device).unwrap();
    let mut optimizer = Optimizer::new(AdamConfig::default(), &model, device);
    let host_batch = batch(4, 8, 16);
    let batch = Batch::upload(&host_batch, device);
    let mut loss = f32::NAN;
    for step in 1..=steps {
        let sums = losses(&model.forward(&batch, Some(&DropoutKey { seed: 1, step })), &batch);
        let objective = sums.objective(host_batch.masked_tokens(), Some(host_batch.rows));
        let gradients = Gradients::backward(&objective, &model);
        (model, _) = optimizer.update(model, gradients, step, 3e-3);
        loss = host(objective)[0];
    }
    (named_tensors(&model), loss)
}

#[test]
fn a_small_model_learns_one_batch_by_heart() {
    let loss = train::<Train>(150, &FlexDevice).1;
    assert!(loss < 0.1, "{loss}");
}

#[test]
fn training_repeats_bit_for_bit() {
    assert_eq!(train::<Train>(3, &FlexDevice).0, train::<Train>(3, &FlexDevice).0);
}

#[test]
fn a_dataset_without_pairs_has_no_gradient_for_them() {
    let model = model(1);
    let batch = Batch::upload(&batch(1, 2, 8), &FlexDevice);
    let sums = losses(&model.forward(&batch, None), &batch);
    let gradients = Gradients::backward(&sums.objective(6, None), &model);
    assert!(!gradients.0.contains_key("cls.seq_relationship.weight"));
    assert!(gradients.0.contains_key("cls.predictions.bias"));
}
