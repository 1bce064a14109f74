//! What a person sees while work goes on: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar on the screen, if any: log lines must not be drawn over it.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// A line every so often where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows how far some work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_line: Option<Instant>,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = BAR.get_or_init(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar.clone()
        });
        Self { bar, quiet, last_line: None }
    }

    /// `done` of `total` units of `what`; a total of 0 is unknown. `note` is shown behind.
    pub fn update(&mut self, what: &str, done: u64, total: u64, note: &str) {
        if let Some(bar) = &self.bar {
            let template = match total {
                0 => "{prefix} {spinner} {human_pos} {per_sec} {msg}",
                _ => "{prefix} [{bar:30}] {human_pos}/{human_len} {msg} ETA {eta}",
            };
            bar.set_style(
                ProgressStyle::with_template(template)
                    .expect("the templates above are valid")
                    .progress_chars("=> "),
            );
            bar.set_prefix(what.to_owned());
            bar.set_message(note.to_owned());
            if total > 0 {
                bar.set_length(total);
            }
            bar.set_position(done);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last_line = Some(Instant::now());
            match total {
                0 => self.line(&format!("{what}: {done} {note}")),
                _ => self.line(&format!("{what}: {done}/{total} {note}")),
            }
        }
    }

    /// A line that stays, unless `--quiet`.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(log_writer(), "{}", text.trim_end());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Stderr, written around the bar.
pub fn log_writer() -> impl Write {
    struct AroundBar;
    impl Write for AroundBar {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match BAR.get() {
                Some(bar) => bar.suspend(|| std::io::stderr().write(bytes)),
                None => std::io::stderr().write(bytes),
            }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            std::io::stderr().flush()
        }
    }
    // One write a line, so that lines of threads do not mix.
    std::io::LineWriter::new(AroundBar)
}
