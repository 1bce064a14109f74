//! `cloze vocab`

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use cloze_pipeline::{Options, Settings, Stage};
use cloze_schemas::{Vocabulary, atomic};
use serde_json::json;

use super::{prepare, stop_on_signals};
use crate::cli::Common;
use crate::exit::Outcome;
use crate::progress::Progress;

/// Learns a vocabulary from a job's corpus and writes it to `out`.
pub fn run(job: &Path, size: usize, out: &Path, common: &Common) -> anyhow::Result<Outcome> {
    let settings = prepare::load(job, common)?;
    let stop = stop_on_signals()?;
    learn(&settings, size, out, common, &stop)
}

/// Learns a vocabulary from a checked job's corpus and writes it to `out`.
pub fn learn(
    settings: &Settings,
    size: usize,
    out: &Path,
    common: &Common,
    stop: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let progress = Mutex::new(Progress::new(common.quiet));
    let options = Options {
        threads: common.threads(),
        memory: common.memory,
        until: Stage::Documents,
        dry_run: false,
        stop,
        progress: &|stage, done, total| {
            progress.lock().expect("drawing does not panic").update(stage.as_str(), done, total, "files");
        },
    };
    let tokens = cloze_pipeline::learn_vocabulary(settings, &options, size)?;
    let text = tokens.join("\n") + "\n";
    let vocabulary = Vocabulary::from_text(out, &text)?;
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).map_err(cloze_schemas::Error::io(parent))?;
    }
    atomic::write_file(out, |file| file.write_all(text.as_bytes()))?;
    Ok(Outcome {
        text: format!("{} tokens written to {}", vocabulary.len(), out.display()),
        json: json!({ "vocab": out, "size": vocabulary.len(), "sha256": vocabulary.sha256() }),
    })
}
