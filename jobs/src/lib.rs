//! The `cloze` command: parses the request, wires the libraries, tells the outcome. The work is done elsewhere.

mod cli;
mod commands;
mod exit;
mod job_file;
mod progress;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Runs the command line and returns its exit code: 0 done, 1 the machine failed, 2 the request is wrong, 3
/// interrupted and resumable.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match cli::Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            start_logging(cli.common.quiet);
            // The first and only use of the global pool's builder: it can't have been built before.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cli.common.threads()).build_global();
            let outcome = pool.map_err(anyhow::Error::from).and_then(|()| commands::run(&cli));
            exit::report(cli.common.json, outcome)
        }
        Err(help) if !help.use_stderr() => {
            // A closed pipe is no reason to fail.
            let _ = help.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let json = arguments.iter().any(|argument| argument == "--json");
            exit::report_usage(json, &error)
        }
    }
}

/// Logs go to stderr; `RUST_LOG` overrides the level.
fn start_logging(quiet: bool) {
    use tracing_subscriber::EnvFilter;
    // The engine's own warnings are about its plans, not about the user's data.
    let default = if quiet { "error" } else { "warn,cloze_pipeline=info,cloze_trainer=info,cloze_jobs=info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(progress::log_writer)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .init();
}
