//! `cloze prepare`

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use cloze_pipeline::{Options, PrepareJob, Settings, StageReport};
use serde_json::json;

use super::stop_on_signals;
use crate::cli::{Common, Stage};
use crate::exit::Outcome;
use crate::job_file::JobFile;
use crate::progress::Progress;

/// Prepares the dataset of a job file.
pub fn run(job: &Path, until: Stage, dry_run: bool, common: &Common) -> anyhow::Result<Outcome> {
    let settings = load(job, common)?;
    let stop = stop_on_signals()?;
    prepare(&settings, until, dry_run, common, &stop)
}

/// Reads and checks a job file.
pub fn load(job: &Path, common: &Common) -> anyhow::Result<Settings> {
    let file = JobFile::load(job, &common.set)?;
    Ok(PrepareJob::from_toml(file.table, &job.display().to_string())?.check(&file.base)?)
}

/// Runs a checked job.
pub fn prepare(
    settings: &Settings,
    until: Stage,
    dry_run: bool,
    common: &Common,
    stop: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let progress = Mutex::new(Progress::new(common.quiet));
    let outcome = cloze_pipeline::prepare(
        settings,
        &Options {
            threads: common.threads(),
            memory: common.memory,
            until: match until {
                Stage::Documents => cloze_pipeline::Stage::Documents,
                Stage::Tokens => cloze_pipeline::Stage::Tokens,
                Stage::Examples => cloze_pipeline::Stage::Examples,
            },
            dry_run,
            stop,
            progress: &|stage, done, total| {
                let unit = if total > 0 { "files" } else { "rows" };
                progress.lock().expect("drawing does not panic").update(stage.as_str(), done, total, unit);
            },
        },
    )?;
    drop(progress);

    let mut json = json!({ "dataset": null, "examples": null, "tokens": null, "documents": null, "stages": outcome.stages });
    let mut text = outcome.stages.iter().map(stage_line).collect::<String>();
    if let Some(dataset) = &outcome.dataset {
        let (train, validation) = (dataset.manifest.train, dataset.manifest.validation);
        json["dataset"] = json!(dataset.dir);
        json["examples"] = json!(train.examples + validation.examples);
        json["tokens"] = json!(train.tokens + validation.tokens);
        json["documents"] = json!(train.documents + validation.documents);
        for (name, totals) in [("train", train), ("validation", validation)] {
            text += &format!(
                "{name}: {} examples, {} tokens, {} documents\n",
                totals.examples, totals.tokens, totals.documents
            );
        }
        text += &format!("{}\n", dataset.dir.display());
    }
    Ok(Outcome { text, json })
}

fn stage_line(stage: &StageReport) -> String {
    let status = serde_json::to_value(stage.status).unwrap_or_default();
    let status = status.as_str().unwrap_or_default();
    format!("{:<9} {status:<9} {:>7.1} s  {}\n", stage.name.as_str(), stage.seconds, stage.path.display())
}
