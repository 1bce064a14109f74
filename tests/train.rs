//! `cloze train` and `cloze evaluate`: what a run leaves behind, what it learns, and how it goes on.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use cloze_schemas::sha256_file;
use serde_json::Value;

use crate::util::{Running, Scratch, files};

const JOB: &str = r#"
[data]
train = "store/datasets/set"
[model]
layers = 1
hidden = 32
heads = 2
max_positions = 32
[optimizer]
learning_rate = 5e-3
[schedule]
warmup_steps = 5
total_steps = 30
[run]
output = "run"
batch_size = 16
seed = 3
checkpoint_every = 10
keep = 2
evaluate_every = 15
log_every = 5
"#;

fn scratch() -> Scratch {
    let scratch = Scratch::with_corpus();
    scratch.prepare("job.toml", &["examples.dupe_factor=5"]);
    scratch.write("train.toml", JOB);
    scratch
}

/// The lines of `metrics.jsonl`, evaluations apart.
fn metrics(scratch: &Scratch, run: &str) -> (Vec<Value>, Vec<Value>) {
    let text = fs::read_to_string(scratch.path(run).join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter().partition(|line| line.get("evaluation").is_none())
}

fn steps(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["step"].as_u64().unwrap()).collect()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
fn a_run_leaves_metrics_checkpoints_and_evaluations() {
    let scratch = scratch();
    let outcome = scratch.ok(&["train", "train.toml"]);
    assert_eq!((&outcome["step"], &outcome["interrupted"]), (&30.into(), &false.into()));
    assert!(outcome["checkpoint"].as_str().unwrap().ends_with("checkpoints/step-30"), "{outcome}");

    let (logged, evaluated) = metrics(&scratch, "run");
    assert_eq!(steps(&logged), [5, 10, 15, 20, 25, 30]);
    assert_eq!(steps(&evaluated), [0, 15, 30]);
    for line in &logged {
        for key in [
            "loss",
            "mlm_loss",
            "mlm_accuracy",
            "nsp_loss",
            "nsp_accuracy",
            "learning_rate",
            "grad_norm",
            "examples_per_second",
            "tokens_per_second",
            "data_wait_fraction",
        ] {
            assert!(number(line, key).is_finite(), "{line}");
        }
        assert!((number(line, "loss") - number(line, "mlm_loss") - number(line, "nsp_loss")).abs() < 1e-6);
        assert!((0.0..=1.0).contains(&number(line, "data_wait_fraction")), "{line}");
        assert!(number(line, "tokens_per_second") < 32.0 * number(line, "examples_per_second"), "{line}");
    }
    // From an even guess over the vocabulary (about 100 entries) to something better.
    let losses: Vec<f64> = evaluated.iter().map(|line| number(line, "mlm_loss")).collect();
    assert!((4.3..5.2).contains(&losses[0]), "{losses:?}");
    assert!(losses[1] < losses[0] - 0.5 && losses[2] < losses[1], "{losses:?}");
    assert!(number(&logged[5], "loss") < number(&logged[0], "loss") - 0.5);
    // Warmup from 0 to 5e-3 in 5 updates, then linearly to 0 at 30; update number n is reported as step n + 1.
    for line in &logged {
        let update = number(line, "step") - 1.0;
        let expected = 5e-3 * f64::min(update / 5.0, (30.0 - update) / 25.0);
        assert!((number(line, "learning_rate") - expected).abs() < 1e-9, "{line}");
    }

    // Two checkpoints are kept, whole, and nothing else.
    let checkpoints = scratch.path("run/checkpoints");
    let names: Vec<String> = files(&checkpoints)
        .iter()
        .map(|path| path.strip_prefix(&checkpoints).unwrap().display().to_string())
        .collect();
    let content =
        ["checkpoint.json", "config.json", "model.safetensors", "optimizer.safetensors", "vocab.txt"];
    let expected: Vec<String> = ["step-20", "step-30"]
        .iter()
        .flat_map(|step| [(*step).to_owned()].into_iter().chain(content.map(|file| format!("{step}/{file}"))))
        .collect();
    assert_eq!(names, expected);
    let weights = fs::read(checkpoints.join("step-30/model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let config: Value =
        serde_json::from_slice(&fs::read(checkpoints.join("step-30/config.json")).unwrap()).unwrap();
    let embedding = weights.tensor("bert.embeddings.word_embeddings.weight").unwrap();
    assert_eq!(embedding.shape(), [config["vocab_size"].as_u64().unwrap() as usize, 32]);
    assert_eq!((&config["model_type"], &config["hidden_size"]), (&"bert".into(), &32.into()));

    // The last evaluation of the run is what evaluating its checkpoint says.
    let evaluation = scratch.ok(&["evaluate", "run", "store/datasets/set"]);
    assert!((number(&evaluation, "mlm_loss") - losses[2]).abs() < 1e-4, "{evaluation}");
    for key in ["mlm_accuracy", "nsp_loss", "nsp_accuracy", "unigram_loss"] {
        assert!(number(&evaluation, key).is_finite());
    }
    let part = scratch.ok(&["evaluate", "run", "store/datasets/set", "--batches", "1", "--batch-size", "4"]);
    assert_eq!(part["examples"], 4);

    // A finished run has nothing to go on with, and no second run is mixed into it.
    let again = scratch.ok(&["train", "train.toml", "--resume"]);
    assert_eq!(again["step"], 30);
    let message = scratch.fails(2, &["train", "train.toml"]);
    assert!(message.contains("run.output") && message.contains("--resume"), "{message}");
    let filled = scratch.ok(&["fill-mask", "run", "the [MASK] opens the [MASK] .", "--top", "4"]);
    assert_eq!(
        filled["masks"].as_array().unwrap().iter().map(|m| m.as_array().unwrap().len()).sum::<usize>(),
        8
    );
}

/// Text in which each word but the first of a pair follows from the word before, and from nothing else.
fn pairs() -> String {
    const FIRST: [&str; 8] = ["river", "stone", "lantern", "walks", "under", "quiet", "bridge", "keeper"];
    const SECOND: [&str; 8] = ["opens", "gate", "morning", "boat", "carries", "salt", "harbour", "wind"];
    let (mut text, mut state) = (String::new(), 1_u64);
    for line in 0..800 {
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pair = (state >> 40) as usize % 8;
            let _ = write!(text, "{} {} ", FIRST[pair], SECOND[pair]);
        }
        text += if line % 8 == 7 { "\n\n" } else { "\n" };
    }
    text
}

#[test]
fn what_was_learned_is_context() {
    let scratch = Scratch::with_corpus();
    scratch.write("pairs.txt", pairs());
    scratch.edit("job.toml", "corpus/*.txt", "pairs.txt");
    scratch.prepare("job.toml", &["examples.dupe_factor=10", "documents.validation=0.1"]);
    scratch.write("train.toml", JOB);
    let sets = [
        "schedule.total_steps=400",
        "schedule.warmup_steps=40",
        "run.evaluate_every=400",
        "run.batch_size=32",
        "model.dropout=0.0",
    ];
    let mut request = vec!["train", "train.toml"];
    request.extend(sets.iter().flat_map(|set| ["--set", set]));
    scratch.ok(&request);
    let evaluate = |more: &[&str]| scratch.ok(&[&["evaluate", "run", "store/datasets/set"], more].concat());
    let ordered = evaluate(&[]);
    let shuffled = evaluate(&["--shuffle-context", "1"]);
    let unigram = number(&ordered, "unigram_loss");
    assert!((2.3..3.2).contains(&unigram), "{ordered}");
    assert_eq!(unigram.to_bits(), number(&shuffled, "unigram_loss").to_bits());
    let (gain, left) = (unigram - number(&ordered, "mlm_loss"), unigram - number(&shuffled, "mlm_loss"));
    assert!(gain > 0.5 && left < gain / 2.0, "{ordered}\n{shuffled}");
}

fn weights(scratch: &Scratch, run: &str) -> [String; 2] {
    ["model", "optimizer"].map(|name| {
        sha256_file(&scratch.path(&format!("{run}/checkpoints/step-60/{name}.safetensors"))).unwrap()
    })
}

/// A run of 60 steps in `output`.
fn arguments(output: &str) -> Vec<String> {
    let sets = ["schedule.total_steps=60", "run.evaluate_every=1000", "run.log_every=1"];
    let mut arguments = vec!["train".to_owned(), "train.toml".to_owned(), "--json".to_owned()];
    for set in sets.map(str::to_owned).into_iter().chain([format!("run.output={output}")]) {
        arguments.extend(["--set".to_owned(), set]);
    }
    arguments
}

fn start(scratch: &Scratch, output: &str, more: &[&str]) -> Running {
    let arguments = arguments(output);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    scratch.start(&arguments)
}

/// Waits until so many lines of metrics are written.
fn wait_for_step(scratch: &Scratch, process: &mut Running, output: &str, step: usize) {
    let metrics = scratch.path(output).join("metrics.jsonl");
    let count = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
    assert!(process.wait_until(|| count() >= step), "ended before step {step}");
}

#[test]
fn interrupted_or_killed_a_run_goes_on_to_the_same_weights() {
    let scratch = scratch();
    assert_eq!(start(&scratch, "whole", &[]).finish().code, Some(0));
    let expected = weights(&scratch, "whole");

    let mut process = start(&scratch, "asked", &[]);
    wait_for_step(&scratch, &mut process, "asked", 13);
    process.terminate();
    let ran = process.finish();
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let message = ran.json()["error"].as_str().unwrap().to_owned();
    assert!(message.contains("cloze train train.toml --resume"), "{message}");
    // It stopped between checkpoints, and wrote one.
    let newest = files(&scratch.path("asked/checkpoints"));
    assert!(newest.iter().any(|path| path.ends_with("checkpoint.json")), "{newest:?}");
    assert_eq!(start(&scratch, "asked", &["--resume"]).finish().code, Some(0));
    assert_eq!(weights(&scratch, "asked"), expected);

    for (step, more) in [(5, &[][..]), (25, &["--resume"]), (48, &["--resume"])] {
        let mut process = start(&scratch, "killed", more);
        wait_for_step(&scratch, &mut process, "killed", step);
        process.kill();
    }
    assert_eq!(start(&scratch, "killed", &["--resume"]).finish().code, Some(0));
    assert_eq!(weights(&scratch, "killed"), expected);
    assert_eq!(scratch.files_with("killed", ".tmp-"), Vec::<PathBuf>::new());
    // Its record has each step once, as if nothing had happened; speeds aside.
    let losses = |run: &str| {
        let (logged, evaluated) = metrics(&scratch, run);
        let loss = |line: &Value| (line["step"].as_u64().unwrap(), line["loss"].to_string());
        logged.iter().chain(&evaluated).map(loss).collect::<Vec<_>>()
    };
    assert_eq!(losses("killed"), losses("whole"));
    assert_eq!(losses("asked"), losses("whole"));
}

#[test]
fn one_process_at_a_time_writes_to_an_output() {
    let scratch = scratch();
    let mut first = scratch.start(&[
        "train",
        "train.toml",
        "--set",
        "schedule.total_steps=1000000",
        "--set",
        "run.log_every=1",
    ]);
    wait_for_step(&scratch, &mut first, "run", 2);
    for more in [&[][..], &["--resume"]] {
        let message = scratch.fails(2, &[&["train", "train.toml"], more].concat());
        assert!(message.contains("another process"), "{message}");
    }
    first.terminate();
    assert_eq!(first.finish().code, Some(3));
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let scratch = scratch();
    scratch.ok(&["train", "train.toml"]);
    let other = scratch.prepare("job.toml", &["examples.seed=8", "examples.name=other"]);
    let other = format!("data.train={}", other.display());
    for (set, key) in
        [(other.as_str(), "data.train"), ("run.seed=4", "run.seed"), ("model.hidden=16", "hidden")]
    {
        let message = scratch.fails(2, &["train", "train.toml", "--resume", "--set", set]);
        assert!(message.contains(key) && message.contains("step-30"), "{message}");
    }
    scratch.ok(&["train", "train.toml", "--resume"]);
}
