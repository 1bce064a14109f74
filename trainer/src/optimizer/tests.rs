//! The optimizer against plain arithmetic.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use proptest::prelude::*;

use super::clip::{clip_factor, global_norm};
use super::*;
use crate::model::tests::{Train, model};
use crate::model::{Bert, named_tensors};

fn tensor(values: &[f32]) -> Tensor<Flex, 1> {
    Tensor::from_floats(values, &FlexDevice)
}

fn host(tensor: &Tensor<Flex, 1>) -> Vec<f32> {
    tensor.to_data().into_vec().unwrap()
}

/// A gradient of a weight and one of a bias; they change with the step.
const WEIGHT: &str = "cls.seq_relationship.weight";
const BIAS: &str = "cls.seq_relationship.bias";

fn gradient(step: u64, index: usize) -> f64 {
    let angle = step as f64 * 0.37 + index as f64;
    angle.sin() * 0.05 + 0.01
}

fn gradients(step: u64) -> Gradients<Train> {
    let part = |range: std::ops::Range<usize>| {
        tensor(&range.map(|index| gradient(step, index) as f32).collect::<Vec<_>>())
    };
    Gradients(BTreeMap::from([(WEIGHT.to_owned(), part(0..64)), (BIAS.to_owned(), part(64..66))]))
}

fn weights(model: &Bert<Train>) -> Vec<f64> {
    let tensors: BTreeMap<_, _> = named_tensors(model).into_iter().collect();
    [WEIGHT, BIAS].iter().flat_map(|name| tensors[*name].iter::<f64>().collect::<Vec<_>>()).collect()
}

/// 50 steps in f64, element by element, as the papers and Google's `optimization.py` write them.
fn check_trajectory(config: AdamConfig) {
    let mut bert = model(1);
    let mut optimizer = Optimizer::new(config, &bert, &FlexDevice);
    let mut expected = weights(&bert);
    let mut moments = vec![(0.0, 0.0); expected.len()];
    for step in 1..=50 {
        let rate = 1e-3 * (51 - step) as f64;
        let (updated, norm) = optimizer.update(bert, gradients(step), step, rate);
        bert = updated;
        let exact_norm = (0..66).map(|index| gradient(step, index).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(host(&norm)[0]) / exact_norm - 1.0).abs() < 1e-6);
        let factor = config.clip_norm.map_or(1.0, |limit| (limit / exact_norm).min(1.0));
        for (index, (weight, (first, second))) in expected.iter_mut().zip(&mut moments).enumerate() {
            let gradient = gradient(step, index) * factor;
            *first = 0.9 * *first + 0.1 * gradient;
            *second = 0.999 * *second + 0.001 * gradient * gradient;
            let direction = match config.kind {
                OptimizerKind::AdamW => {
                    let first = *first / (1.0 - 0.9_f64.powi(step as i32));
                    let second: f64 = *second / (1.0 - 0.999_f64.powi(step as i32));
                    first / (second.sqrt() + 1e-6)
                }
                OptimizerKind::BertAdam => *first / (second.sqrt() + 1e-6),
            };
            let decay = if index < 64 { 0.01 } else { 0.0 };
            *weight -= rate * (direction + decay * *weight);
        }
        for (index, (actual, expected)) in weights(&bert).iter().zip(&expected).enumerate() {
            let tolerance = 1e-5 * (1.0 + expected.abs());
            assert!(
                (actual - expected).abs() < tolerance,
                "step {step}, {index}: {actual} is not {expected}"
            );
        }
    }
}

#[test]
fn adamw_follows_the_papers() {
    check_trajectory(AdamConfig { clip_norm: None, ..AdamConfig::default() });
    check_trajectory(AdamConfig { clip_norm: Some(0.1), ..AdamConfig::default() });
}

#[test]
fn bert_adam_follows_google() {
    check_trajectory(AdamConfig { kind: OptimizerKind::BertAdam, ..AdamConfig::default() });
}

#[test]
fn parameters_without_gradient_stay() {
    let before = named_tensors(&model(1));
    let mut optimizer = Optimizer::new(AdamConfig::default(), &model(1), &FlexDevice);
    let (after, _) = optimizer.update(model(1), gradients(1), 1, 0.1);
    for ((name, before), (_, after)) in before.iter().zip(&named_tensors(&after)) {
        assert_eq!(before == after, name != WEIGHT && name != BIAS, "{name}");
    }
}

#[test]
fn undefined_gradients_change_nothing() {
    for undefined in [f32::NAN, f32::INFINITY] {
        let mut bad = gradients(1);
        bad.0.insert(BIAS.to_owned(), tensor(&[1.0, undefined]));
        let mut optimizer = Optimizer::new(AdamConfig::default(), &model(1), &FlexDevice);
        let (after, norm) = optimizer.update(model(1), bad, 1, 0.1);
        assert!(!host(&norm)[0].is_finite());
        assert_eq!(named_tensors(&after), named_tensors(&model(1)));
        assert!(
            optimizer.named_tensors().iter().all(|(_, data)| data.iter::<f32>().all(|value| value == 0.0))
        );
    }
}

#[test]
fn state_round_trips_and_resumes_bit_for_bit() {
    let config = AdamConfig::default();
    let run =
        |bert: &mut Bert<Train>, optimizer: &mut Optimizer<Train>, steps: std::ops::RangeInclusive<u64>| {
            for step in steps {
                *bert = optimizer.update(bert.clone(), gradients(step), step, 0.01).0;
            }
        };
    let mut whole = model(1);
    let mut optimizer = Optimizer::new(config, &whole, &FlexDevice);
    run(&mut whole, &mut optimizer, 1..=6);

    let mut resumed = model(1);
    let mut first = Optimizer::new(config, &resumed, &FlexDevice);
    run(&mut resumed, &mut first, 1..=3);
    let saved: BTreeMap<_, _> = first.named_tensors().into_iter().collect();
    assert!(saved.contains_key("exp_avg.bert.encoder.layer.0.attention.self.query.weight"));
    let mut second = Optimizer::new(config, &resumed, &FlexDevice);
    second.load_named_tensors(&saved, &FlexDevice).unwrap();
    run(&mut resumed, &mut second, 4..=6);
    assert_eq!(named_tensors(&resumed), named_tensors(&whole));
    assert_eq!(second.named_tensors(), optimizer.named_tensors());

    let mut damaged = saved.clone();
    damaged.remove("exp_avg_sq.cls.predictions.bias");
    let error = second.load_named_tensors(&damaged, &FlexDevice).unwrap_err().to_string();
    assert!(error.contains("exp_avg_sq.cls.predictions.bias"), "{error}");
    damaged = saved;
    damaged.insert("exp_avg.other".into(), damaged["exp_avg.cls.predictions.bias"].clone());
    let error = second.load_named_tensors(&damaged, &FlexDevice).unwrap_err().to_string();
    assert!(error.contains("exp_avg.other"), "{error}");
}

#[test]
fn clipping_only_shortens() {
    let factor = |norm: f32, limit| host(&clip_factor(tensor(&[norm]), limit))[0];
    for (norm, limit, expected) in
        [(4.0, Some(1.0), 0.25), (0.5, Some(1.0), 1.0), (0.0, Some(1.0), 1.0), (9.0, None, 1.0)]
    {
        assert!((factor(norm, limit) - expected).abs() < 1e-6, "{norm}, {limit:?}");
    }
    for limit in [Some(1.0), None] {
        assert!(factor(f32::NAN, limit).is_nan() && factor(f32::INFINITY, limit).is_nan());
    }
}

proptest! {
    #[test]
    fn the_norm_ignores_how_gradients_are_split(
        values in prop::collection::vec(-10.0_f32..10.0, 1..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(values.len())).chain([0, values.len()]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let split = cuts.windows(2).map(|cut| (format!("{:03}", cut[0]), tensor(&values[cut[0]..cut[1]])));
        let split = host(&global_norm(&Gradients::<Train>(split.collect())))[0];
        let whole = host(&global_norm(&Gradients::<Train>(BTreeMap::from([(String::new(), tensor(&values))]))))[0];
        let exact = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        prop_assert!((f64::from(split) / exact - 1.0).abs() < 1e-6);
        prop_assert!((f64::from(whole) / exact - 1.0).abs() < 1e-6);
    }
}
