//! One file a command.

mod evaluate;
mod fill_mask;
mod inspect;
mod prepare;
mod quickstart;
mod train;
mod verify;
mod vocab;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::cli::{Cli, Command};
use crate::exit::Outcome;

/// Runs the command that was asked for.
pub fn run(cli: &Cli) -> anyhow::Result<Outcome> {
    let common = &cli.common;
    match &cli.command {
        Command::Quickstart { out } => quickstart::run(out, common),
        Command::Prepare { job, until, dry_run } => prepare::run(job, *until, *dry_run, common),
        Command::Vocab { job, size, out } => vocab::run(job, *size, out, common),
        Command::Inspect { dataset, examples } => inspect::run(dataset, *examples),
        Command::Verify { dataset } => verify::run(dataset),
        Command::Train { job, resume } => train::run(job, *resume, common),
        Command::Evaluate { checkpoint, dataset, split, device, batch_size, batches, shuffle_context } => {
            let options = evaluate::options(*split, *batch_size as usize, *batches, *shuffle_context, common);
            evaluate::run(checkpoint, dataset, device, &options)
        }
        Command::FillMask { checkpoint, text, top, device } => fill_mask::run(checkpoint, text, *top, device),
    }
}

/// Set by the first Ctrl-C or SIGTERM; the second ends the process.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        tracing::warn!("Stopping; once more to stop at once.");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
