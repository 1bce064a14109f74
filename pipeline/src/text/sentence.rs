//! Splits a paragraph into sentences by the rules `sentencex` has for its language.

use crate::error::{Error, Result};

/// Longest stretch of text given to the rules at once, in bytes. Their time grows with the square of
/// the quotes and parentheses in it; no real paragraph is as long.
const LONGEST: usize = 16 * 1024;

/// Languages with rules of their own in `sentencex`; its table of fallbacks lends them to others.
const OWN_RULES: &str =
    "am ar bg bn ca da de el en es fi fr gu hi hy it ja kk kn ml mr my nl pa pl pt ru sk ta te uk";

/// Further languages of large Wikipedias. They get the punctuation of all scripts and the
/// abbreviations of English.
const DEFAULT_RULES: &str = "af az be br bs ceb cy eo et eu fa ga he hr hu id is ka km ko ky la lo lt lv mk mn ms ne ps \
     ro sco si simple sl sq sv sw th tr ur uz vi war zh";

/// Splits paragraphs of one language.
#[derive(Debug, Clone)]
pub struct Splitter {
    language: String,
}

impl Splitter {
    /// A splitter for the language of a code such as `"en"`, the one of Wikipedia's addresses.
    ///
    /// A language without rules is a settings error.
    pub fn new(language: &str) -> Result<Self> {
        let known =
            [OWN_RULES, DEFAULT_RULES].iter().any(|list| list.split(' ').any(|code| code == language))
                || sentencex::languages::get_fallbacks(language).is_some();
        if !known {
            return Err(Error::setting(
                "documents.language",
                format!("no rules to split sentences of \"{language}\""),
                "use the code of a Wikipedia, such as en",
            ));
        }
        Ok(Self { language: language.to_owned() })
    }

    /// Calls `emit` with each sentence of `paragraph`, trimmed and not empty, in order.
    ///
    /// Together they are the paragraph but for white space. Linear in the paragraph's length: one
    /// longer than any real paragraph is cut after a sentence, a word, or anywhere, in this order.
    pub fn for_each(&self, paragraph: &str, mut emit: impl FnMut(&str)) {
        let mut rest = paragraph;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(cut(rest));
            for sentence in sentencex::segment(&self.language, part) {
                let sentence = sentence.trim();
                if !sentence.is_empty() {
                    emit(sentence);
                }
            }
            rest = after;
        }
    }
}

/// Where to end the first stretch of `text`.
fn cut(text: &str) -> usize {
    if text.len() <= LONGEST {
        return text.len();
    }
    let head = &text[..text.floor_char_boundary(LONGEST)];
    let sentence = head
        .rmatch_indices(' ')
        .map(|(at, _)| at)
        .find(|&at| at > LONGEST / 2 && head[..at].ends_with(['.', '!', '?']));
    sentence.or_else(|| head.rfind(' ')).map_or(head.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(language: &str, paragraph: &str) -> Vec<String> {
        let mut sentences = Vec::new();
        let splitter = Splitter::new(language).unwrap();
        splitter.for_each(paragraph, |sentence| sentences.push(sentence.to_owned()));
        sentences
    }

    #[test]
    fn abbreviations_and_numbers_do_not_end_a_sentence() {
        assert_eq!(
            split("en", "Dr. Smith paid $3.50 to Mr. J. Doe.  He left. \"Why?\" she asked."),
            ["Dr. Smith paid $3.50 to Mr. J. Doe.", "He left.", "\"Why?\" she asked."]
        );
        assert_eq!(split("en", " \n "), Vec::<String>::new());
    }

    #[test]
    fn unknown_languages_are_refused() {
        for language in ["en", "de", "zh", "sv", "simple"] {
            assert!(Splitter::new(language).is_ok(), "{language}");
        }
        for language in ["", " ", "xx", "EN", "english"] {
            let error = Splitter::new(language).unwrap_err();
            assert!(error.is_bad_input());
            assert!(error.to_string().starts_with("documents.language"), "{error}");
        }
    }

    #[test]
    fn endless_paragraphs_are_cut_at_sentences_then_words() {
        let sentence = "These words are one sentence. ";
        let long = sentence.repeat(40_000);
        assert!(split("en", &long).iter().all(|found| found == sentence.trim()));
        let words = split("en", &"word ".repeat(100_000));
        assert!(words.iter().all(|part| part.len() <= LONGEST && part.ends_with("word")));
        assert_eq!(split("en", &"é".repeat(LONGEST)).concat(), "é".repeat(LONGEST));
        // Quotes and parentheses without end, terminators without space.
        for hostile in ["(\"a. ", "(a.)\"", "...", "\"", "“‘(", "1. ", "a.b@c. "] {
            let text = hostile.repeat(60_000);
            let kept: String = split("en", &text).concat();
            assert_eq!(kept.replace(' ', ""), text.replace(' ', ""));
        }
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost(text in "[a-zA-Z.!?\"'() é„“‘…\n1-9]{0,200}") {
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            for language in ["en", "de", "ja"] {
                prop_assert_eq!(squeeze(&split(language, &text).concat()), squeeze(&text));
            }
        }
    }
}
