//! Removes what Project Gutenberg adds to a book: header, licence, credits, transcribers' notes.
//!
//! The markers changed over the years: `*END*THE SMALL PRINT!` until 2003, `*** START OF THIS PROJECT
//! GUTENBERG EBOOK` since, `End of the Project Gutenberg EBook of …` in between and beside.

/// The text between header and footer; all of it if there is none.
pub(super) fn body(text: &str) -> &str {
    let mut start = 0;
    let mut in_marker = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let upper = line.trim().to_ascii_uppercase();
        let after = at + line.len();
        if in_marker {
            // A long title continues the marker on the next line.
            start = after;
            in_marker = !upper.ends_with("***") && !upper.is_empty();
        } else if is_start(&upper) || is_small_print_end(&upper) && at < text.len() / 2 {
            start = after;
            in_marker = is_start(&upper) && !upper.ends_with("***");
        } else if is_end(&upper) {
            return &text[start..at];
        }
        at = after;
    }
    &text[start..]
}

fn is_start(upper: &str) -> bool {
    upper.starts_with("***") && upper.contains("START OF TH") && upper.contains("GUTENBERG")
}

fn is_small_print_end(upper: &str) -> bool {
    upper.starts_with("*END") && upper.contains("SMALL PRINT")
}

fn is_end(upper: &str) -> bool {
    let line = upper.trim_start_matches(['*', ' ']);
    line.contains("PROJECT GUTENBERG")
        && ["END OF THE ", "END OF THIS ", "END OF PROJECT ", "END THE PROJECT "]
            .iter()
            .any(|start| line.starts_with(start))
        || upper.starts_with("***") && line.starts_with("START: FULL LICENSE")
}

/// Blocks at the front of a book among which credits are looked for.
const FRONT: usize = 40;

/// First words of credits, upper case.
const CREDITS: &[&str] = &[
    "PRODUCED BY",
    "E-TEXT PREPARED BY",
    "ETEXT PREPARED BY",
    "PREPARED BY",
    "TRANSCRIBED FROM",
    "TRANSCRIBED BY",
    "THIS ETEXT WAS",
    "THIS E-TEXT WAS",
    "THIS EBOOK WAS",
    "HTML VERSION BY",
    "SCANNED BY",
    "SCANNED AND PROOFED BY",
    "DIGITIZED BY",
    "NOTE: IMAGES OF THE ORIGINAL PAGES",
];

/// Recognises the blocks of a book that come from its transcribers; sees them in order.
#[derive(Debug, Default)]
pub(super) struct Boilerplate {
    seen: usize,
    note_follows: bool,
}

impl Boilerplate {
    /// Whether the next block (lines between two empty ones, at least one) is to be left out.
    pub(super) fn contains(&mut self, block: &[&str]) -> bool {
        self.seen += 1;
        let is_note = std::mem::take(&mut self.note_follows);
        let first = block[0].trim().replace('’', "'").to_ascii_uppercase();
        let opening = first.trim_start_matches(['[', '*', '_', ' ', '(']);
        if opening.starts_with("TRANSCRIBER'S NOTE") || opening.starts_with("TRANSCRIBERS' NOTE") {
            // A heading of its own announces the note in the next block.
            self.note_follows = block.len() == 1 && first.len() < 25;
            return true;
        }
        is_note
            || ["[ILLUSTRATION", "[PICTURE"].iter().any(|mark| first.starts_with(mark))
            || self.seen <= FRONT && CREDITS.iter().any(|credit| opening.starts_with(credit))
            || mentions_project(block)
    }
}

/// Whether the project or its proofreaders are named, also across the end of a line.
fn mentions_project(block: &[&str]) -> bool {
    let names = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["project gutenberg", "gutenberg.org", "gutenberg.net", "pgdp.net", "gutenberg-tm"]
            .iter()
            .any(|name| text.contains(name))
    };
    block.iter().any(|line| names(line))
        || block.windows(2).any(|pair| {
            pair[0].trim_end().to_ascii_lowercase().ends_with("project")
                && pair[1].trim_start().to_ascii_lowercase().starts_with("gutenberg")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_of_marker() {
        let check = |text: &str| assert_eq!(body(text).trim(), "The book.", "{text}");
        check("The book.\n");
        check(
            "x\n*** START OF THIS PROJECT GUTENBERG EBOOK A ***\nThe book.\n*** END OF THIS PROJECT GUTENBERG EBOOK A ***\ny",
        );
        check(
            "***START OF THE PROJECT GUTENBERG EBOOK A LONG\nTITLE***\n\nThe book.\n\nEnd of Project Gutenberg's A\ny",
        );
        check(
            "***START**THE SMALL PRINT!**\nlaw\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.07*END*\nThe book.\nEnd of the Project Gutenberg Etext of A",
        );
        check("The book.\n***START: FULL LICENSE***\nlaw");
    }

    #[test]
    fn credits_notes_and_pictures_go() {
        let mut blocks = Boilerplate::default();
        let mut check = |block: &str, expected| {
            let lines: Vec<&str> = block.lines().collect();
            assert_eq!(blocks.contains(&lines), expected, "{block}");
        };
        check("Produced by Somebody", true);
        check("E-text prepared by A and the Project\nGutenberg Online Team", true);
        check("CHAPTER I", false);
        check("[Illustration: a house]", true);
        check("Transcriber’s Note:", true);
        check("Spelling was kept.", true);
        check("He was a transcriber's son.\nThe notes were his.", false);
        check("About the Project\nGutenberg licence", true);
    }
}
