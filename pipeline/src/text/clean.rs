//! Brings text into the form of `Document::text`: one paragraph or sentence a line, words separated
//! by one space, nothing invisible.
//!
//! Nothing else is touched: no Unicode normalisation, no case, no quotes, no dashes. What is dropped
//! (control and format characters) BERT's tokenizer drops as well; the one difference is
//! that U+000B, U+000C and U+0085 separate words here instead of vanishing between them.

/// Appends `line` as one more line of `text`, unless nothing visible is in it.
pub(crate) fn push_line(text: &mut String, line: &str) {
    let before = text.len();
    if before > 0 {
        text.push('\n');
    }
    let start = text.len();
    for word in line.split_whitespace() {
        if text.len() > start && !text.ends_with(' ') {
            text.push(' ');
        }
        push_visible(text, word);
    }
    text.truncate(text.trim_end_matches(' ').len().max(start));
    if text.len() == start {
        text.truncate(before);
    }
}

/// Appends `sentence` as one more line of `text`, as it is but for its ends and for invisible
/// characters: a tab becomes a space and other control characters go, exactly as in BERT's tokenizer,
/// which therefore sees the same tokens.
pub(crate) fn push_sentence(text: &mut String, sentence: &str) {
    let before = text.len();
    if before > 0 {
        text.push('\n');
    }
    let start = text.len();
    for part in sentence.trim().split(['\t', '\r']) {
        if text.len() > start {
            text.push(' ');
        }
        push_visible(text, part);
    }
    text.truncate(text.trim_end().len().max(start));
    if text.len() == start {
        text.truncate(before);
    }
}

fn push_visible(text: &mut String, part: &str) {
    if part.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        text.push_str(part);
    } else {
        text.extend(part.chars().filter(|&c| !is_invisible(c)));
    }
}

/// Control characters, and the format characters that carry no letter: soft hyphen, zero-width space
/// and joiners of no width, marks of direction, byte order mark.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(input: &[&str]) -> String {
        let mut text = String::new();
        for line in input {
            push_line(&mut text, line);
        }
        text
    }

    #[test]
    fn whitespace_is_folded_and_invisible_characters_go() {
        assert_eq!(lines(&["  a\u{a0}\tb \u{3000} c\u{0c}d "]), "a b c d");
        assert_eq!(lines(&["co\u{ad}op\u{200b}er\u{feff}ate\u{7}"]), "cooperate");
        assert_eq!(lines(&["a", " ", "\u{200b} \u{1}", "b"]), "a\nb");
        assert_eq!(lines(&["a \u{200b} b \u{200e}"]), "a b");
    }

    #[test]
    fn sentences_keep_their_inner_spaces() {
        let mut text = String::new();
        push_sentence(&mut text, " two  spaces\tand\u{85}next\r");
        push_sentence(&mut text, "\u{0}");
        push_sentence(&mut text, "second");
        assert_eq!(text, "two  spaces andnext\nsecond");
    }

    proptest! {
        #[test]
        fn every_line_is_visible_and_trimmed(input in proptest::collection::vec(any::<String>(), 0..6)) {
            let parts: Vec<&str> = input.iter().map(String::as_str).collect();
            let text = lines(&parts);
            if !text.is_empty() {
                for line in text.split('\n') {
                    prop_assert!(!line.is_empty());
                    prop_assert_eq!(line.trim(), line);
                    prop_assert!(!line.contains("  "));
                    prop_assert!(!line.chars().any(char::is_control));
                }
            }
        }
    }
}
