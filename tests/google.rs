//! `compat = "google"` through the binary: row for row what `create_pretraining_data.py` writes.

use std::fs;
use std::path::Path;

use cloze_schemas::Split;
use serde::Deserialize;
use serde_json::Value;

use crate::util::{ROOT, Row, Scratch, rows};

/// Prepares `corpus` with these `[examples]` settings and compares the rows.
fn check(corpus: &Path, vocab: &Path, settings: &Value, expected: &[Row]) {
    let scratch = Scratch::new();
    let settings: toml::Table = serde_json::from_value(settings.clone()).unwrap();
    scratch.write(
        "job.toml",
        format!(
            "[[source]]\nkind = \"lines\"\npath = {corpus:?}\n[tokenizer]\nvocab = {vocab:?}\n[examples]\n\
             name = \"replay\"\nshards = 1\ncompat = \"google\"\n{settings}"
        ),
    );
    let dataset = scratch.prepare("job.toml", &[]);
    scratch.ok(&["verify", dataset.to_str().unwrap()]);
    let rows = rows(&dataset, Split::Train);
    assert_eq!(rows.len(), expected.len(), "{settings}");
    for (index, (row, expected)) in rows.into_iter().zip(expected).enumerate() {
        assert_eq!(&Row { documents: (0, 0), ..row }, expected, "row {index} of {settings}");
    }
}

/// Instances written by a port of Google's rules to Python, whose `random.Random` is the source of draws. The port
/// reproduces Google's own output on the published cases.
#[test]
fn a_small_corpus_comes_out_as_from_python() {
    #[derive(Deserialize)]
    struct Case {
        settings: Value,
        instances: Vec<Row>,
    }
    let fixtures = Path::new(ROOT).join("tests/fixtures");
    let golden = fs::read(fixtures.join("google/instances.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&golden).unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let corpus = fixtures.join("google/corpus.txt").canonicalize().unwrap();
        let vocab = fixtures.join("golden/vocab.txt").canonicalize().unwrap();
        check(&corpus, &vocab, &case.settings, &case.instances);
    }
}

/// Google's own output, when that data is at hand.
#[test]
fn googles_sample_text_comes_out_as_from_google() {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        max_seq_length: usize,
        dupe_factor: u32,
        max_predictions_per_seq: usize,
        masked_lm_prob: f64,
        short_seq_prob: f64,
        random_seed: u64,
        do_whole_word_mask: bool,
        instances: Vec<Row>,
    }
    let Ok(shared) = Path::new(ROOT).join("../shared").canonicalize() else { return };
    let Ok(golden) = fs::read(shared.join("golden/google_instances.json")) else { return };
    let golden: Golden = serde_json::from_slice(&golden).unwrap();
    for case in golden.cases.into_iter().take(3) {
        let settings = serde_json::json!({
            "max_seq_length": case.max_seq_length,
            "dupe_factor": case.dupe_factor,
            "max_predictions_per_seq": case.max_predictions_per_seq,
            "masked_lm_prob": case.masked_lm_prob,
            "short_seq_prob": case.short_seq_prob,
            "seed": case.random_seed,
            "masking": if case.do_whole_word_mask { "whole-word" } else { "token" },
        });
        let vocab = shared.join("data/vocab/bert-base-uncased-vocab.txt");
        check(&shared.join("data/sample_text.txt"), &vocab, &settings, &case.instances);
    }
}

#[test]
fn the_order_of_files_is_part_of_the_request() {
    let scratch = Scratch::with_corpus();
    let prepare = |paths: &str| {
        let set = format!("source.0.path={paths}");
        let sets = [set.as_str(), "examples.compat=google", "examples.shards=1"];
        rows(&scratch.prepare("job.toml", &sets), Split::Train)
    };
    scratch.edit(
        "job.toml",
        "[documents]",
        "[[source]]\nkind = \"lines\"\npath = \"corpus/b.txt\"\n[documents]",
    );
    let first = prepare("corpus/a.txt");
    let again = prepare("corpus/a.txt");
    assert_eq!(first, again);
    assert_ne!(first, prepare("corpus/c.txt"));
    // Neither held-out documents nor a limit on memory that would change the rows.
    assert!(rows(&scratch.path("store/datasets/set"), Split::Validation).is_empty());
}
