//! `cloze verify`

use std::path::Path;

use cloze_schemas::{Dataset, verify};
use serde_json::json;

use crate::exit::Outcome;

/// Checks a dataset from manifest to last row.
pub fn run(dataset: &Path) -> anyhow::Result<Outcome> {
    let dataset = Dataset::open(dataset)?;
    verify(&dataset)?;
    let (train, validation) = (dataset.manifest.train, dataset.manifest.validation);
    let examples = train.examples + validation.examples;
    let shards = dataset.manifest.shards.len();
    Ok(Outcome {
        text: format!("{}: {examples} examples in {shards} shards, no offence", dataset.dir.display()),
        json: json!({ "dataset": dataset.dir, "examples": examples, "shards": shards, "verified": true }),
    })
}
