//! `cloze quickstart`: the whole way, on a small corpus that is part of the program.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use cloze_schemas::atomic;
use serde_json::{Value, json};

use super::{evaluate, fill_mask, prepare, stop_on_signals, train, vocab};
use crate::cli::{Common, Split, Stage};
use crate::exit::{Interrupted, Outcome};
use crate::progress::log_writer;

const ARTICLES: &str = include_str!("../../quickstart/articles.xml");
const BOOK: &str = include_str!("../../quickstart/book.txt");
const MASKS: &str = include_str!("../../quickstart/masks.txt");
const PREPARE: &str = include_str!("../../quickstart/prepare.toml");
const TRAIN: &str = include_str!("../../quickstart/train.toml");

/// Entries of the vocabulary: the corpus has few words.
const VOCABULARY: usize = 1600;

/// Sections of the training job. What `--set` says of any other goes to the corpus's job, which refuses unknown
/// ones.
const TRAINING: [&str; 5] = ["data", "model", "optimizer", "schedule", "run"];

/// Prepares, trains, evaluates, fills masks; all in `out`.
pub fn run(out: &Path, common: &Common) -> anyhow::Result<Outcome> {
    let stop = stop_on_signals()?;
    let again = format!("cloze quickstart --out {}", out.display());
    let corpus = out.join("corpus");
    std::fs::create_dir_all(&corpus).map_err(cloze_schemas::Error::io(&corpus))?;
    for (path, text) in [
        (corpus.join("articles.xml"), ARTICLES),
        (corpus.join("book.txt"), BOOK),
        (out.join("prepare.toml"), PREPARE),
        (out.join("train.toml"), TRAIN),
    ] {
        write_if_changed(&path, text)?;
    }

    let is_training = |set: &String| set.split('.').next().is_some_and(|section| TRAINING.contains(&section));
    let (training, preparing): (Vec<_>, Vec<_>) = common.set.iter().cloned().partition(is_training);

    let mut text = String::new();
    let preparing = Common { set: preparing, ..common.clone() };
    let settings = prepare::load(&out.join("prepare.toml"), &preparing)?;
    say(common, "1. Learning a vocabulary");
    let learned = vocab::learn(&settings, VOCABULARY, &out.join("vocab.txt"), common, &stop)?;
    text += &learned.text;
    check(&stop, &again)?;

    say(common, "2. Preparing the dataset");
    let prepared = prepare::prepare(&settings, Stage::Examples, false, common, &stop)?;
    text += &format!("\n{}", prepared.text);
    let dataset = prepared.json["dataset"].as_str().context("a prepared dataset has a directory")?.to_owned();
    check(&stop, &again)?;

    say(common, "3. Training a tiny BERT on the CPU");
    let train_settings = train::load(&out.join("train.toml"), &Common { set: training, ..common.clone() })?;
    let run = train_settings.run.output.clone();
    train::train(&train_settings, true, &again, common, &stop)?;
    let before = first_evaluation(&run)?;
    let options = evaluate::options(Split::Validation, 32, None, None, common);
    let after = evaluate::run(&run, Path::new(&dataset), "cpu", &options)?;
    let loss = |evaluation: &Value| evaluation["mlm_loss"].as_f64().unwrap_or(f64::NAN);
    text += &format!("held-out masked-LM loss before training {:.3}, after:\n{}", loss(&before), after.text);

    say(common, "4. Filling masks");
    let mut masks = Vec::new();
    for sentence in MASKS.lines() {
        let filled = fill_mask::run(&run, sentence, 3, "cpu")?;
        text += &filled.text;
        masks.push(filled.json);
    }
    text +=
        &format!("\nEverything is in {}: the corpus, two job files, the dataset, the run.\n", out.display());
    let json = json!({
        "dataset": dataset,
        "checkpoint": run,
        "before": before,
        "after": after.json,
        "masks": masks,
    });
    Ok(Outcome { text, json })
}

/// The evaluation of the untrained model, from the run's own record.
fn first_evaluation(run: &Path) -> anyhow::Result<Value> {
    let path = run.join("metrics.jsonl");
    let lines = std::fs::read_to_string(&path).map_err(cloze_schemas::Error::io(&path))?;
    let evaluations = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    evaluations
        .into_iter()
        .find(|line| line["evaluation"] == true && line["step"] == 0)
        .with_context(|| format!("{}: no evaluation at step 0", path.display()))
}

fn write_if_changed(path: &Path, text: &str) -> anyhow::Result<()> {
    // An unchanged file keeps its time, so that its content need not be hashed again.
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    Ok(atomic::write_file(path, |file| file.write_all(text.as_bytes()))?)
}

fn check(stop: &AtomicBool, again: &str) -> anyhow::Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(Interrupted(format!("interrupted; continue with: {again}")).into());
    }
    Ok(())
}

fn say(common: &Common, text: &str) {
    if !common.quiet {
        let _ = writeln!(log_writer(), "{text}");
    }
}
