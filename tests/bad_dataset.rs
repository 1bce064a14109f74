//! Datasets that are damaged or do not fit: `verify`, `train` and `evaluate` refuse them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::util::{Scratch, vocabulary};

const TRAIN: &str = r#"
[data]
train = "store/datasets/set"
[model]
layers = 1
hidden = 16
heads = 2
max_positions = 32
[optimizer]
learning_rate = 1e-3
[schedule]
warmup_steps = 1
total_steps = 2
[run]
output = "run"
batch_size = 8
"#;

const SECOND: [&str; 2] = ["--set", "run.output=second"];

/// A dataset, and a job to train on it.
fn scratch() -> (Scratch, PathBuf) {
    let scratch = Scratch::with_corpus();
    let dataset = scratch.prepare("job.toml", &[]);
    scratch.write("train.toml", TRAIN);
    (scratch, dataset)
}

/// The same, trained.
fn trained() -> (Scratch, PathBuf) {
    let (scratch, dataset) = scratch();
    scratch.ok(&["train", "train.toml"]);
    (scratch, dataset)
}

/// Every command that reads shards refuses the dataset, in words that hold all of `expected`.
fn refused_by_all(scratch: &Scratch, expected: &[&str]) {
    let requests: [&[&str]; 3] = [
        &["verify", "store/datasets/set"],
        &["train", "train.toml", "--set", "run.output=second"],
        &["evaluate", "run", "store/datasets/set", "--split", "train"],
    ];
    for request in requests {
        let message = scratch.fails(2, request);
        for part in expected {
            assert!(message.contains(part), "{request:?}: {part:?} is not in: {message}");
        }
    }
    assert!(!scratch.path("second/checkpoints").exists());
}

/// A shard of the train split, by its name, and its bytes.
fn shard(dataset: &Path) -> (String, PathBuf, Vec<u8>) {
    let name = "train/00001-of-00002.parquet";
    let path = dataset.join(name);
    let bytes = fs::read(&path).unwrap();
    (name.to_owned(), path, bytes)
}

#[test]
fn missing_shard() {
    let (scratch, dataset) = trained();
    let (name, path, _) = shard(&dataset);
    fs::remove_file(path).unwrap();
    refused_by_all(&scratch, &[&name, "missing", "prepare the dataset again"]);
}

#[test]
fn truncated_shard() {
    let (scratch, dataset) = trained();
    let (name, path, bytes) = shard(&dataset);
    for length in [bytes.len() - 1, bytes.len() / 2, 0] {
        fs::write(&path, &bytes[..length]).unwrap();
        refused_by_all(&scratch, &[&name, &format!("has {length} bytes"), "truncated"]);
    }
}

#[test]
fn one_flipped_bit() {
    let (scratch, dataset) = trained();
    let (name, path, bytes) = shard(&dataset);
    for position in [0, bytes.len() / 3, bytes.len() - 20] {
        let mut damaged = bytes.clone();
        damaged[position] ^= 4;
        fs::write(&path, damaged).unwrap();
        refused_by_all(&scratch, &[&name, "checksum differs"]);
    }
}

#[test]
fn damaged_surroundings() {
    let (scratch, dataset) = trained();
    let vocab = dataset.join("vocab.txt");
    let text = fs::read_to_string(&vocab).unwrap();
    fs::write(&vocab, text.replace("\nriver\n", "\nlake\n")).unwrap();
    for request in [["verify", "store/datasets/set"], ["inspect", "store/datasets/set"]] {
        let message = scratch.fails(2, &request);
        assert!(message.contains("vocab.txt") && message.contains("sha256"), "{message}");
    }
    fs::write(&vocab, text).unwrap();
    scratch.ok(&["verify", "store/datasets/set"]);

    let lineage = dataset.join("documents.parquet");
    let bytes = fs::read(&lineage).unwrap();
    fs::write(&lineage, &bytes[..bytes.len() / 2]).unwrap();
    assert!(scratch.fails(2, &["verify", "store/datasets/set"]).contains("documents.parquet"));
    fs::remove_file(&lineage).unwrap();
    assert!(scratch.fails(2, &["verify", "store/datasets/set"]).contains("documents.parquet"));
}

/// Rewrites a value of the manifest.
fn edit_manifest(dataset: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = dataset.join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn unknown_format_version() {
    let (scratch, dataset) = trained();
    edit_manifest(&dataset, |manifest| {
        manifest["format_version"] = 99.into();
        manifest["something_new"] = true.into();
    });
    refused_by_all(&scratch, &["manifest.json", "format version 99 is unknown", "version 1"]);
}

#[test]
fn a_manifest_that_contradicts_itself() {
    let (scratch, dataset) = trained();
    let path = dataset.join("manifest.json");
    let whole = fs::read(&path).unwrap();
    let check = |edit: &dyn Fn(&mut serde_json::Value), expected: &str| {
        edit_manifest(&dataset, edit);
        refused_by_all(&scratch, &["manifest.json", expected]);
        fs::write(&path, &whole).unwrap();
    };
    check(&|m| m["shards"][0]["rows"] = 1.into(), "add up to");
    check(&|m| m["shards"][0]["path"] = "../../../../etc/passwd".into(), "leads out of the dataset");
    check(&|m| m["vocabulary"]["size"] = 3.into(), "vocabulary.size");
    check(&|m| m["kind"] = "poems".into(), "poems");
    check(&|m| m["sead"] = 1.into(), "sead");
    check(&|m| drop(m.as_object_mut().unwrap().remove("seed")), "seed");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused_by_all(&scratch, &["manifest.json", "EOF"]);
}

#[test]
fn rows_that_break_an_invariant_are_named() {
    let (scratch, dataset) = scratch();
    edit_manifest(&dataset, |manifest| manifest["max_predictions_per_seq"] = 3.into());
    let message = scratch.fails(2, &["verify", "store/datasets/set"]);
    assert!(message.contains("train/00000-of-00002.parquet, row 0: "), "{message}");
    assert!(message.contains("max_predictions_per_seq = 3"), "{message}");
    let message = scratch.fails(2, &["train", "train.toml"]);
    assert!(message.contains("row ") && message.contains("max_predictions_per_seq = 3"), "{message}");
}

#[test]
fn a_vocabulary_of_another_size() {
    let (scratch, _) = trained();
    let message = scratch
        .fails(2, &[&["train", "train.toml", "--set", "model.vocab_size=30522"], &SECOND[..]].concat());
    assert!(message.contains("model.vocab_size: 30522"), "{message}");

    scratch.write("larger.txt", vocabulary(&["lighthouse"]));
    let sets = ["tokenizer.vocab=larger.txt", "examples.name=larger"];
    scratch.prepare("job.toml", &sets);
    let message = scratch.fails(2, &["evaluate", "run", "store/datasets/larger"]);
    assert!(message.contains("vocab_size") && message.contains("larger"), "{message}");
    // Of the same size, and yet another one.
    scratch.write("other.txt", vocabulary(&[]).replace("\nriver\n", "\nlake\n"));
    scratch.prepare("job.toml", &["tokenizer.vocab=other.txt", "examples.name=other"]);
    let message = scratch.fails(2, &["evaluate", "run", "store/datasets/other"]);
    assert!(message.contains("vocabularies") && message.contains("other"), "{message}");
    let init =
        ["--set", "model.init=run", "--set", "run.output=second", "--set", "data.train=store/datasets/other"];
    scratch.edit("train.toml", "layers = 1\nhidden = 16\nheads = 2\nmax_positions = 32\n", "");
    let message = scratch.fails(2, &[&["train", "train.toml"], &init[..], &SECOND[..]].concat());
    assert!(message.contains("vocabularies"), "{message}");
}

#[test]
fn rows_longer_than_the_model() {
    let (scratch, _) = scratch();
    let message = scratch.fails(2, &["train", "train.toml", "--set", "model.max_positions=16"]);
    assert!(message.contains("model.max_positions") && message.contains("32 tokens"), "{message}");
}

#[test]
fn bad_values_in_the_training_job() {
    let (scratch, _) = scratch();
    let check = |set: &str, expected: &str| {
        let message = scratch.fails(2, &["train", "train.toml", "--set", set]);
        assert!(message.contains(expected), "{set}: {message}");
        assert!(!scratch.path("run").exists(), "{set}");
    };
    check("run.batch_sice=3", "run: unknown field `batch_sice`");
    check("run.batch_size=0", "run.batch_size");
    check("run.device=gpu", "run.device");
    check("model.preset=bert-enormous", "bert-enormous");
    check("optimizer.learning_rate=-1.0", "optimizer.learning_rate");
    check("modell.layers=1", "modell");
    check("data.train=store/datasets/none", "store/datasets/none");
}

#[cfg(unix)]
#[test]
fn full_disk() {
    let (scratch, _) = scratch();
    let ran = crate::bad_input::with_file_limit(&scratch, 16, &["train", "train.toml"]);
    let message = ran.check_failure(1, "train");
    assert!(message.contains("checkpoints") && message.contains("too large"), "{message}");
    assert_eq!(crate::util::files(&scratch.path("run/checkpoints")), Vec::<PathBuf>::new());
    // With room again, the run goes on.
    scratch.ok(&["train", "train.toml", "--resume"]);
}

#[test]
fn damaged_checkpoint() {
    let (scratch, _) = trained();
    let weights = scratch.path("run/checkpoints/step-2/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    for request in [
        ["evaluate", "run/checkpoints/step-2", "store/datasets/set"],
        ["fill-mask", "run", "the [MASK] turns ."],
    ] {
        let message = scratch.fails(2, &request);
        assert!(message.contains("model.safetensors") && message.contains("checksum"), "{message}");
    }
}
