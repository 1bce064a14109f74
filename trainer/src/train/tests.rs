use std::collections::BTreeMap;
use std::fs;

use cloze_schemas::{Dataset, sha256_file};
use serde_json::Value;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::device::DeviceSpec;
use crate::evaluate::evaluate_checkpoint;
use crate::fixture;

const STEPS: u64 = 9;

/// A dataset, and room for runs.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fixture::write(&dir.path().join("data"), &[20, 19], &[9]);
        Self { dir }
    }

    /// A job with accumulation (8 = 3 + 3 + 2) and dropout; `keys` are added to or replace its own.
    fn settings(&self, output: &str, keys: &[(&str, Value)]) -> TrainSettings {
        let mut job: toml::Table = format!(
            "data = {{ train = 'data' }}
             model = {{ layers = 1, hidden = 16, heads = 2, max_positions = 32, dropout = 0.1 }}
             optimizer = {{ learning_rate = 1e-2 }}
             schedule = {{ warmup_steps = 2, total_steps = {STEPS} }}
             [run]
             output = '{output}'
             batch_size = 8
             micro_batch = 3
             seed = 5
             checkpoint_every = 3
             evaluate_every = 4
             log_every = 2"
        )
        .parse()
        .unwrap();
        for (key, value) in keys {
            let (section, key) = key.split_once('.').unwrap();
            let section = job[section].as_table_mut().unwrap();
            section.insert(key.to_owned(), toml::Value::try_from(value).unwrap());
        }
        TrainSettings::from_toml(job, self.dir.path()).unwrap()
    }

    fn train(&self, output: &str, resume: bool, keys: &[(&str, Value)]) -> Result<Outcome> {
        train(&self.settings(output, keys), resume, &AtomicBool::new(false), &mut |_| ())
    }

    /// Trains until `step` updates are done, as if interrupted then.
    fn train_until(&self, output: &str, resume: bool, step: u64) -> Outcome {
        let stop = AtomicBool::new(false);
        let mut observe = |event: Event<'_>| {
            if matches!(event, Event::Updated { step: done } if done == step) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        train(&self.settings(output, &[]), resume, &stop, &mut observe).unwrap()
    }

    fn checkpoints(&self, output: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(output).join("checkpoints")).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Lines of metrics: step, and whether it is an evaluation.
    fn metrics(&self, output: &str) -> Vec<(u64, bool)> {
        let text = fs::read_to_string(self.dir.path().join(output).join("metrics.jsonl")).unwrap();
        let line = |line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["step"].as_u64().unwrap(), line.get("evaluation").is_some())
        };
        text.lines().map(line).collect()
    }
}

/// Hashes of weights and optimizer state.
fn hashes(outcome: &Outcome) -> [String; 2] {
    ["model.safetensors", "optimizer.safetensors"].map(|f| sha256_file(&outcome.checkpoint.join(f)).unwrap())
}

const METRICS: [(u64, bool); 9] =
    [(0, true), (2, false), (4, false), (4, true), (6, false), (8, false), (8, true), (9, false), (9, true)];

#[test]
fn a_resumed_run_equals_the_uninterrupted_one() {
    let bench = Bench::new();
    let whole = bench.train("whole", false, &[]).unwrap();
    assert!((whole.step, whole.interrupted) == (STEPS, false) && whole.evaluation.is_some());
    assert_eq!(bench.checkpoints("whole"), ["step-3", "step-6", "step-9"]);
    assert_eq!(bench.metrics("whole"), METRICS);

    // Interrupted between checkpoints, then at one, then killed after one: 39 examples last 4.9 updates.
    let first = bench.train_until("parts", false, 4);
    assert!((first.step, first.interrupted) == (4, true) && first.checkpoint.ends_with("step-4"));
    let second = bench.train_until("parts", true, 6);
    assert!(second.checkpoint.ends_with("step-6"));
    let last = bench.train("parts", true, &[]).unwrap();
    assert_eq!(hashes(&last), hashes(&whole));
    assert_eq!(bench.metrics("parts"), METRICS);

    // Nothing is left to do.
    let again = bench.train("parts", true, &[]).unwrap();
    assert_eq!((again.step, again.interrupted, again.checkpoint), (STEPS, false, last.checkpoint));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_metrics_are_cut_back() {
    let bench = Bench::new();
    let whole = bench.train("run", false, &[]).unwrap();
    let expected = hashes(&whole);
    let run = bench.dir.path().join("run");
    let newest = run.join("checkpoints/step-9/optimizer.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    bytes[4_000] ^= 1;
    fs::write(&newest, bytes).unwrap();
    fs::remove_file(run.join("checkpoints/step-6/config.json")).unwrap();
    fs::create_dir(run.join("checkpoints/.tmp-killed")).unwrap();
    assert!(Checkpoint::open(&run).unwrap().dir().ends_with("step-3"));

    let error = bench.train_until_error("run", &[("run.seed", 6.into())]);
    assert!(error.contains("run.seed: is 6 now") && error.contains("step-3"), "{error}");
    // A refused request changes nothing.
    assert_eq!(bench.metrics("run"), METRICS);

    assert_eq!(hashes(&bench.train("run", true, &[]).unwrap()), expected);
    assert_eq!(bench.metrics("run"), METRICS);
    assert_eq!(bench.checkpoints("run"), ["damaged-step-6", "damaged-step-9", "step-3", "step-6", "step-9"]);

    for step in [3, 6, 9] {
        fs::remove_file(run.join(format!("checkpoints/step-{step}/checkpoint.json"))).unwrap();
    }
    let error = bench.train_until_error("run", &[]);
    assert!(error.contains("step-9") && error.contains("not a checkpoint"), "{error}");
}

impl Bench {
    fn train_until_error(&self, output: &str, keys: &[(&str, Value)]) -> String {
        let error = self.train(output, true, keys).unwrap_err();
        assert!(error.is_bad_input());
        error.to_string()
    }
}

#[test]
fn what_changes_the_numbers_is_refused_on_resume() {
    let bench = Bench::new();
    bench.train_until("run", false, 1);
    let check = |key: &str, value: Value, expected: &str| {
        let error = bench.train_until_error("run", &[(key, value)]);
        assert!(error.contains(expected) && error.contains("step-1"), "{error}");
    };
    check("run.batch_size", 16.into(), "run.batch_size: is 16 now");
    check("model.hidden", 32.into(), "model (hidden_size): is 32 now");
    check("optimizer.learning_rate", 0.5.into(), "optimizer.learning_rate: is 0.5 now");
    check("schedule.total_steps", 10.into(), "schedule.total_steps: is 10 now");
    fixture::write(&bench.dir.path().join("other"), &[20, 20], &[9]);
    check("data.train", "other".into(), "data.train: is \"[20, 20] [9]\" now");

    let error = bench.train("run", false, &[]).unwrap_err().to_string();
    assert!(error.contains("checkpoints up to step 1") && error.contains("--resume"), "{error}");
}

#[test]
fn an_output_directory_has_one_process() {
    let bench = Bench::new();
    let settings = bench.settings("run", &[]);
    let start = Start::new(&settings, false).unwrap();
    let error = Start::new(&settings, true).err().unwrap().to_string();
    assert!(error.contains("another process is training"), "{error}");
    drop(start);
    Start::new(&settings, true).unwrap();
}

#[test]
fn accumulation_is_one_big_batch() {
    let bench = Bench::new();
    let run = |output: &str, micro_batch: u64| {
        let mut losses = Vec::new();
        let settings = bench.settings(output, &[("run.micro_batch", micro_batch.into())]);
        train(&settings, false, &AtomicBool::new(false), &mut |event| {
            if let Event::Logged(metrics) = event {
                losses.extend([metrics.means.loss, metrics.grad_norm]);
            }
        })
        .unwrap();
        losses
    };
    let (whole, parts) = (run("whole", 8), run("parts", 3));
    assert_eq!(whole.len(), 10);
    // Equal up to rounding, dropout included.
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-4 * a), "{whole:?} {parts:?}");
}

#[test]
fn training_learns_and_evaluation_agrees_with_its_baselines() {
    let bench = Bench::new();
    let keys = [
        ("schedule.total_steps", 60.into()),
        ("run.checkpoint_every", 30.into()),
        ("run.evaluate_every", 60.into()),
        ("run.keep", 1.into()),
    ];
    let outcome = bench.train("run", false, &keys).unwrap();
    assert_eq!(bench.checkpoints("run"), ["step-60"]);
    let trained = outcome.evaluation.unwrap();
    assert_eq!((trained.examples, trained.masked_tokens), (9, 9));
    // Labels are one token in 3 of 4 cases: ln 48 = 3.87 before, at best 0.56.
    assert!(trained.means.mlm_loss < 1.5, "{trained:?}");

    let data = bench.dir.path().join("data");
    let options = EvaluateOptions { unigram: true, ..EvaluateOptions::new() };
    let run = bench.dir.path().join("run");
    let evaluation = evaluate_checkpoint(&run, &data, DeviceSpec::Cpu, &options).unwrap();
    assert!((evaluation.means.mlm_loss - trained.means.mlm_loss).abs() < 1e-5);

    let labels = |split| {
        let mut counts = BTreeMap::<u32, u64>::new();
        let shards = crate::loader::Shards::open(&Dataset::open(&data).unwrap(), split).unwrap();
        for block in shards.plan(Order::Stored).blocks(0) {
            let rows = shards.read(block.shard, block.first_row, block.rows).unwrap();
            for row in 0..rows.len() {
                *counts.entry(rows.row(row).masked_lm_ids.get(0)).or_default() += 1;
            }
        }
        counts
    };
    let (train, validation) = (labels(cloze_schemas::Split::Train), labels(cloze_schemas::Split::Validation));
    let cost = |id| -((train.get(id).unwrap_or(&0) + 1) as f64 / (39 + fixture::VOCABULARY) as f64).ln();
    let expected = validation.iter().map(|(id, &count)| count as f64 * cost(id)).sum::<f64>() / 9.0;
    assert!((evaluation.unigram_loss.unwrap() - expected).abs() < 1e-9);

    let shuffled = EvaluateOptions { shuffle_context: Some(1), ..options };
    let shuffled = evaluate_checkpoint(&run, &data, DeviceSpec::Cpu, &shuffled).unwrap();
    assert!((shuffled.means.mlm_loss - evaluation.means.mlm_loss).abs() > 1e-6);
}

#[test]
fn weights_can_be_taken_from_a_checkpoint() {
    let bench = Bench::new();
    let first = bench.train("first", false, &[]).unwrap();
    let mut settings = bench.settings("second", &[]);
    settings.model = crate::settings::ModelSettings {
        init: Some(bench.dir.path().join("first")),
        ..crate::settings::ModelSettings::default()
    };
    let start = Start::new(&settings, false).unwrap();
    assert_eq!(start.config.hidden_size, 16);
    let (model, _) = start
        .load::<burn::backend::autodiff::Autodiff<burn_flex::Flex>>(&settings, &burn_flex::FlexDevice)
        .unwrap();
    assert_eq!(
        named_tensors(&model),
        Checkpoint::open(&first.checkpoint).unwrap().model_tensors().unwrap().into_iter().collect::<Vec<_>>()
    );
}

#[test]
fn what_does_not_fit_the_dataset_is_refused() {
    let bench = Bench::new();
    let check = |key: &str, value: Value, expected: &str| {
        let error = bench.train("run", false, &[(key, value)]).unwrap_err();
        assert!(error.is_bad_input());
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!bench.dir.path().join("run/checkpoints").exists());
    };
    check("model.vocab_size", 100.into(), "model.vocab_size: 100, but the vocabulary");
    check("model.max_positions", 16.into(), "rows of");
    check("data.train", "missing".into(), "missing: not a dataset");
    fixture::write(&bench.dir.path().join("train-only"), &[20], &[]);
    check("data.validation", "train-only".into(), "validation split has no examples");
    let other = bench.dir.path().join("data/vocab.txt");
    fs::write(&other, fs::read_to_string(&other).unwrap().replace("d0\n", "e0\n")).unwrap();
    check("run.seed", 1.into(), "not the vocabulary the dataset was made with");
}

#[test]
fn a_loss_that_leaves_the_numbers_stops_the_run() {
    let bench = Bench::new();
    let keys = [("optimizer.learning_rate", 1e30.into()), ("run.checkpoint_every", 1.into())];
    let error = bench.train("run", false, &keys).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }) && !error.is_bad_input(), "{error}");
    assert!(error.to_string().contains("learning_rate"), "{error}");
    // What was saved is finite.
    let weights = Checkpoint::open(&bench.dir.path().join("run")).unwrap().model_tensors().unwrap();
    assert!(weights.values().all(|data| data.iter::<f32>().all(f32::is_finite)));
}
