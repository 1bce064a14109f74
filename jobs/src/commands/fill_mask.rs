//! `cloze fill-mask`

use std::fmt::Write;
use std::path::Path;

use cloze_pipeline::WordPiece;
use cloze_trainer::{Checkpoint, DeviceSpec, fill_masks};
use serde_json::json;

use crate::exit::{BadRequest, Outcome};

const MASK: &str = "[MASK]";

/// Fills every `[MASK]` of a text; the `top` most probable tokens each.
pub fn run(checkpoint: &Path, text: &str, top: usize, device: &str) -> anyhow::Result<Outcome> {
    if !text.contains(MASK) {
        return Err(BadRequest(format!(
            "the text has no {MASK}: write {MASK} where a word is to be guessed"
        ))
        .into());
    }
    let device: DeviceSpec = device.parse()?;
    let checkpoint = Checkpoint::open(checkpoint)?;
    let vocabulary = checkpoint.vocabulary()?;
    let special = vocabulary.special();
    let mut encoder = WordPiece::new(&vocabulary, checkpoint.lowercase()).encoder();

    let mut input_ids = vec![special.cls];
    for (index, piece) in text.split(MASK).enumerate() {
        if index > 0 {
            input_ids.push(special.mask);
        }
        encoder.encode(piece, &mut input_ids);
    }
    input_ids.push(special.sep);

    let predictions = fill_masks(&checkpoint, device, &input_ids, top)?;
    let mut lines = format!("{text}\n");
    for candidates in &predictions {
        let words: Vec<String> = candidates
            .iter()
            .map(|one| format!("{} {:.1} %", vocabulary.token(one.id), 100.0 * one.probability))
            .collect();
        let _ = writeln!(lines, "  → {}", words.join(", "));
    }
    let masks: Vec<Vec<_>> = predictions
        .iter()
        .map(|candidates| {
            let object = |one: &cloze_trainer::Prediction| {
                json!({ "token": vocabulary.token(one.id), "id": one.id, "probability": one.probability })
            };
            candidates.iter().map(object).collect()
        })
        .collect();
    Ok(Outcome { text: lines, json: json!({ "text": text, "masks": masks }) })
}
