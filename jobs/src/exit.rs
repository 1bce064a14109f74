//! How a command ends: message, JSON line, exit code.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

/// A request that is wrong, found by this crate; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub String);

/// Work that was asked to stop and can go on; exit code 3. Holds how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub String);

/// What a command has to say when it is done: lines for a person, an object for a program.
pub struct Outcome {
    /// Printed without `--json`; may be empty.
    pub text: String,
    /// Printed with `--json`.
    pub json: Value,
}

/// Prints the outcome and returns the exit code.
pub fn report(json: bool, outcome: anyhow::Result<Outcome>) -> ExitCode {
    match outcome {
        Ok(outcome) => {
            let text = if json { outcome.json.to_string() } else { outcome.text };
            if !text.is_empty() {
                print_line(text.trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let message = message(&error);
            complain(&message);
            if json {
                print_line(&json!({ "error": message }).to_string());
            }
            ExitCode::from(code(&error))
        }
    }
}

/// An error and its causes on one line. Some errors tell their cause themselves: that is not told again.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints what is wrong with the command line.
pub fn report_usage(json: bool, error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        print_line(&json!({ "error": message }).to_string());
    }
    ExitCode::from(2)
}

fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<cloze_pipeline::Error>() {
            return match error {
                cloze_pipeline::Error::Interrupted => 3,
                error => bad_input(error.is_bad_input()),
            };
        }
        if let Some(error) = cause.downcast_ref::<cloze_trainer::Error>() {
            return bad_input(error.is_bad_input());
        }
        if let Some(error) = cause.downcast_ref::<cloze_schemas::Error>() {
            return bad_input(error.is_bad_input());
        }
        if cause.is::<BadRequest>() {
            return 2;
        }
        if cause.is::<Interrupted>() {
            return 3;
        }
    }
    1
}

fn bad_input(is: bool) -> u8 {
    if is { 2 } else { 1 }
}

/// A reader that went away is not our failure.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "error: {message}");
}
