//! `cloze train`

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cloze_trainer::{Event, TrainSettings};
use serde_json::json;
use toml::Value;

use super::stop_on_signals;
use crate::cli::Common;
use crate::exit::{Interrupted, Outcome};
use crate::job_file::JobFile;
use crate::progress::Progress;

/// Trains as a job file says.
pub fn run(job: &Path, resume: bool, common: &Common) -> anyhow::Result<Outcome> {
    let settings = load(job, common)?;
    let stop = stop_on_signals()?;
    train(&settings, resume, &format!("cloze train {} --resume", job.display()), common, &stop)
}

/// Reads and checks a job file. `run.output` is `runs/<job>` in the current directory unless the job says more.
pub fn load(job: &Path, common: &Common) -> anyhow::Result<TrainSettings> {
    let mut file = JobFile::load(job, &common.set)?;
    if let Some(run) = file.table.get_mut("run").and_then(Value::as_table_mut) {
        let default = std::path::absolute(Path::new("runs").join(&file.stem))?;
        run.entry("output").or_insert_with(|| Value::String(default.display().to_string()));
    }
    if let Some(data) = file.table.get_mut("data").and_then(Value::as_table_mut) {
        for key in ["train", "validation"] {
            // A bare name is a dataset of the store in the current directory.
            let bare =
                data.get(key).and_then(Value::as_str).filter(|name| !name.contains('/')).map(str::to_owned);
            if let Some(name) = bare.filter(|name| !file.base.join(name).exists()) {
                let path: PathBuf = std::path::absolute(Path::new("store/datasets").join(name))?;
                data.insert(key.to_owned(), Value::String(path.display().to_string()));
            }
        }
    }
    Ok(TrainSettings::from_toml(file.table, &file.base)?)
}

/// Runs a checked job; `continue_with` is told when it is interrupted.
pub fn train(
    settings: &TrainSettings,
    resume: bool,
    continue_with: &str,
    common: &Common,
    stop: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let mut progress = Progress::new(common.quiet);
    let (mut total, mut note) = (0, String::new());
    let outcome = cloze_trainer::train(settings, resume, stop, &mut |event| match event {
        Event::Started { step, total_steps, examples, parameters } => {
            total = total_steps;
            progress.line(&format!(
                "{:.2} M parameters, {examples} examples, steps {step} to {total_steps}",
                parameters as f64 / 1e6
            ));
        }
        Event::Logged(metrics) => {
            note = format!(
                "loss {:.3} (mlm {:.3}, nsp {:.3}) {:.0} examples/s",
                metrics.means.loss,
                metrics.means.mlm_loss,
                metrics.means.nsp_loss,
                metrics.examples_per_second
            );
            progress.update("train", metrics.step, total, &note);
        }
        Event::Updated { step } => progress.update("train", step, total, &note),
        Event::Evaluated { step, evaluation } => progress.line(&format!(
            "step {step}: validation mlm loss {:.4}, accuracy {:.3}; nsp loss {:.4}, accuracy {:.3}",
            evaluation.means.mlm_loss,
            evaluation.means.mlm_accuracy,
            evaluation.means.nsp_loss,
            evaluation.means.nsp_accuracy
        )),
        Event::Saved { .. } | _ => {}
    })?;
    progress.finish();
    if outcome.interrupted {
        let message = format!("interrupted after step {}; continue with: {continue_with}", outcome.step);
        return Err(Interrupted(message).into());
    }
    let text = format!("{} steps done; {}", outcome.step, outcome.checkpoint.display());
    Ok(Outcome { text, json: json!(outcome) })
}
