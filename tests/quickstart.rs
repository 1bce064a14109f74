//! `cloze quickstart`, with fewer steps than it takes by default.

use serde_json::Value;

use crate::util::{Scratch, hashes};

const SHORT: [&str; 8] = [
    "--set",
    "schedule.total_steps=20",
    "--set",
    "schedule.warmup_steps=2",
    "--set",
    "run.log_every=5",
    "--set",
    "examples.dupe_factor=1",
];

#[test]
fn it_prepares_trains_evaluates_and_fills() {
    let scratch = Scratch::new();
    let request = [&["quickstart", "--out", "here"], &SHORT[..]].concat();
    let outcome = scratch.ok(&request);
    let loss = |evaluation: &Value| evaluation["mlm_loss"].as_f64().unwrap();
    assert!(loss(&outcome["after"]) < loss(&outcome["before"]), "{outcome}");
    assert_eq!(outcome["before"]["step"], 0);
    let unigram = outcome["after"]["unigram_loss"].as_f64().unwrap();
    assert!((1.0..8.0).contains(&unigram), "{unigram}");
    let masks = outcome["masks"].as_array().unwrap();
    assert!(masks.len() >= 3);
    for mask in masks {
        let candidates = mask["masks"][0].as_array().unwrap();
        assert_eq!(candidates.len(), 3, "{mask}");
        let probabilities: Vec<f64> = candidates.iter().map(|c| c["probability"].as_f64().unwrap()).collect();
        assert!(probabilities.is_sorted_by(|a, b| a >= b), "{mask}");
    }
    scratch.ok(&["verify", outcome["dataset"].as_str().unwrap()]);

    // Once more: nothing is made anew.
    let store = scratch.path("here/store/datasets");
    let before = (hashes(&store), hashes(&scratch.path("here/run/checkpoints")));
    let again = scratch.ok(&request);
    assert_eq!((hashes(&store), hashes(&scratch.path("here/run/checkpoints"))), before);
    assert_eq!((&again["after"], &again["dataset"]), (&outcome["after"], &outcome["dataset"]));
    let told = scratch.run(&request).stdout;
    assert_eq!(told.matches("reused").count(), 3, "{told}");
    assert!(told.contains('→') && told.contains("unigram"), "{told}");
}

#[test]
fn unknown_keys_are_errors_there_too() {
    let scratch = Scratch::new();
    let message = scratch.fails(2, &["quickstart", "--out", "here", "--set", "exmples.seed=1"]);
    assert!(message.contains("exmples"), "{message}");
    scratch.write("file", "");
    let message = scratch.fails(2, &["quickstart", "--out", "file/here"]);
    assert!(message.contains("file/here"), "{message}");
}
