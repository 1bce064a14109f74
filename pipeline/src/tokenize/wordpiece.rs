//! WordPiece encoding: the `tokenizers` crate behind a bounded cache of chunk → ids.
//!
//! The crate alone encodes about 2 MB/s a core; text repeats its words, so nearly every chunk is a hit.

use std::sync::Arc;

use cloze_schemas::Vocabulary;
use tokenizers::Model;
use tokenizers::models::wordpiece::WordPiece as CrateModel;
use tokenizers::normalizers::BertNormalizer;

use super::chunks::{ChunkMap, chunks};
use super::{MAX_CHARS_PER_WORD, for_each_word, normalizer};

/// Longest chunk worth remembering, in bytes. Longer ones are web addresses and the like, seen once.
const MAX_CACHED_BYTES: usize = 64;

/// Chunks an [`Encoder`] remembers: about 20 MB.
const CAPACITY: usize = 1 << 18;

/// A vocabulary ready to encode with. Cloning is cheap; threads share one.
///
/// There are no added tokens, so the text `[MASK]` is three ordinary words and no text yields `[PAD]`,
/// `[CLS]`, `[SEP]` or `[MASK]`: their brackets are cut off before any look-up. `[UNK]` may occur.
#[derive(Clone, Debug)]
pub struct WordPiece {
    normalizer: BertNormalizer,
    model: Arc<CrateModel>,
}

impl WordPiece {
    /// Encodes with `vocabulary`, which must have been made with the same `lowercase`.
    pub fn new(vocabulary: &Vocabulary, lowercase: bool) -> Self {
        // The crate does not re-export its map type; reading an empty vocabulary makes one.
        let mut ids = CrateModel::read_bytes(b"").expect("memory can be read");
        ids.extend(vocabulary.tokens().iter().zip(0..).map(|(token, id)| (token.clone(), id)));
        let model = CrateModel::builder()
            .vocab(ids)
            .unk_token("[UNK]".to_owned())
            .continuing_subword_prefix("##".to_owned())
            .max_input_chars_per_word(MAX_CHARS_PER_WORD)
            .build()
            .expect("only reading a file can fail");
        Self { normalizer: normalizer(lowercase), model: Arc::new(model) }
    }

    /// A thread's own encoder, its cache still empty.
    pub fn encoder(&self) -> Encoder {
        self.encoder_with_capacity(CAPACITY)
    }

    fn encoder_with_capacity(&self, capacity: usize) -> Encoder {
        Encoder { wordpiece: self.clone(), capacity, spans: ChunkMap::default(), ids: Vec::new() }
    }

    /// Appends the ids of `text` to `out`, without a cache.
    fn encode_uncached(&self, text: &str, out: &mut Vec<u32>) {
        for_each_word(self.normalizer, text, |word| {
            let pieces = self.model.tokenize(word).expect("every Vocabulary has [UNK]");
            out.extend(pieces.iter().map(|piece| piece.id));
        });
    }
}

/// Encodes texts and remembers the chunks they are made of. What it remembers never shows in the ids.
#[derive(Debug)]
pub struct Encoder {
    wordpiece: WordPiece,
    capacity: usize,
    /// Where the ids of a chunk lie in `ids`: start and length. Of length 1 it is the id itself: most words
    /// of a text are one piece, and this spares them a visit to memory.
    spans: ChunkMap<(u32, u32)>,
    ids: Vec<u32>,
}

impl Encoder {
    /// Appends the ids of `text` to `out`.
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) {
        for chunk in chunks(text) {
            match self.spans.get(chunk) {
                Some(&(id, 1)) => out.push(id),
                Some(&(start, len)) => out.extend_from_slice(&self.ids[start as usize..][..len as usize]),
                None => self.encode_new(chunk, out),
            }
        }
    }

    #[cold]
    fn encode_new(&mut self, chunk: &str, out: &mut Vec<u32>) {
        let start = out.len();
        self.wordpiece.encode_uncached(chunk, out);
        if chunk.len() > MAX_CACHED_BYTES {
            return;
        }
        if self.spans.len() >= self.capacity {
            // Starting over is rare, and the frequent chunks are back within a few pages of text.
            self.spans.clear();
            self.ids.clear();
        }
        let span = match out[start..] {
            [id] => (id, 1),
            ref ids => {
                self.ids.extend_from_slice(ids);
                ((self.ids.len() - ids.len()) as u32, ids.len() as u32)
            }
        };
        self.spans.insert(chunk.into(), span);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
    use tokenizers::{DecoderWrapper, PostProcessorWrapper, TokenizerBuilder};

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    fn vocabulary() -> Vocabulary {
        Vocabulary::load(&Path::new(ROOT).join("tests/golden/tokenization_vocab.txt")).unwrap()
    }

    fn encode(encoder: &mut Encoder, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        encoder.encode(text, &mut ids);
        ids
    }

    /// The crate's own whole-text encoding.
    fn reference(wordpiece: &WordPiece) -> impl Fn(&str) -> Vec<u32> {
        let tokenizer = TokenizerBuilder::new()
            .with_normalizer(Some(wordpiece.normalizer))
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_model(CrateModel::clone(&wordpiece.model))
            .with_post_processor(None::<PostProcessorWrapper>)
            .with_decoder(None::<DecoderWrapper>)
            .build()
            .unwrap();
        move |text| tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    }

    /// Lines of a golden file whose ids differ from `expected`, of how many.
    fn differing(golden: &Path, vocabulary: &Vocabulary) -> (Vec<String>, usize) {
        #[derive(serde::Deserialize)]
        struct Line {
            text: String,
            ids: Vec<u32>,
        }
        let mut encoder = WordPiece::new(vocabulary, true).encoder();
        let lines: Vec<Line> = std::fs::read_to_string(golden)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let total = lines.len();
        let differing = lines.into_iter().filter(|line| encode(&mut encoder, &line.text) != line.ids);
        (differing.map(|line| line.text).collect(), total)
    }

    #[test]
    fn golden() {
        let (differing, total) =
            differing(&Path::new(ROOT).join("tests/golden/tokenization.jsonl"), &vocabulary());
        assert_eq!(differing, [""; 0]);
        assert!(total > 20);
    }

    #[test]
    fn golden_of_google() {
        let shared = Path::new(ROOT).join("../shared");
        let golden = shared.join("golden/google_tokenization.jsonl");
        if !golden.exists() {
            return;
        }
        let vocabulary = Vocabulary::load(&shared.join("data/vocab/bert-base-uncased-vocab.txt")).unwrap();
        let (differing, total) = differing(&golden, &vocabulary);
        // Python lowercases a final sigma by its context, and keeps private-use characters as unknown words.
        assert_eq!(differing, ["ὈΔΥΣΣΕΎΣ ς σ", "\u{e000}private\u{f8ff}"]);
        assert_eq!(total, 487);
    }

    #[test]
    fn written_special_tokens_are_ordinary_words() {
        let vocabulary = vocabulary();
        let mut encoder = WordPiece::new(&vocabulary, true).encoder();
        let tokens: Vec<_> =
            encode(&mut encoder, "a [MASK] b").into_iter().map(|id| vocabulary.token(id)).collect();
        assert_eq!(tokens, ["a", "[", "mask", "]", "b"]);
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut encoder = WordPiece::new(&vocabulary(), true).encoder_with_capacity(4);
        for n in 0..500 {
            encode(&mut encoder, &format!("{n} {}", "ab".repeat(n)));
        }
        assert!((1..=4).contains(&encoder.spans.len()));
        assert!(encoder.spans.keys().all(|chunk| chunk.len() <= MAX_CACHED_BYTES));
        assert!(encoder.ids.len() <= 4 * MAX_CACHED_BYTES);
    }

    /// Words, boundaries of every kind, and characters the normaliser deletes, decomposes or reorders.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "the", "Mask", "playing", "unaffable", "é", "e\u{301}", "İ", "ß", "Σας", "ǅ", "ﬁ", "한국", "漢", "字",
                "\u{f900}", "\u{2f800}", "か\u{3099}", "ท\u{e33}", "\u{1d15e}", "[MASK]", "[CLS]", "[SEP]", "[PAD]",
                "[UNK]", "##s", "don't", "1,000.5", "https://example.org/a_b?c=d&e=f#a-fragment-beyond-what-is-cached",
            ]).prop_map(str::to_owned),
            4 => prop::sample::select(vec![
                ' ', ' ', '\t', '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{85}', '\u{a0}', '\u{1680}', '\u{180e}',
                '\u{2000}', '\u{2003}', '\u{200b}', '\u{200d}', '\u{2028}', '\u{2029}', '\u{202f}', '\u{3000}', '\u{feff}',
                '\0', '\u{fffd}', '\u{ad}', '\u{300}', '\u{301}', '\u{323}', '\u{338}', '\u{345}', '\u{5b0}', '\u{20dd}',
                '=', '`', '\u{1fef}', '\u{37e}', '\u{2014}', '\u{2019}', '\u{2026}', '\u{3002}', '\u{ff01}', '\u{e000}',
            ]).prop_map(String::from),
            2 => any::<char>().prop_map(String::from),
            1 => (0x2000_u32..0x3100).prop_filter_map("no surrogate", char::from_u32).prop_map(String::from),
            1 => "[ -~]{0,12}",
            1 => "[a-z]{190,210}",
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn equals_whole_text_encoding(texts in prop::collection::vec(text(), 1..4), lowercase: bool, capacity in 1_usize..9) {
            let vocabulary = vocabulary();
            let wordpiece = WordPiece::new(&vocabulary, lowercase);
            let reference = reference(&wordpiece);
            let mut encoder = wordpiece.encoder_with_capacity(capacity);
            let special = vocabulary.special();
            for text in texts.iter().chain(&texts) {
                let ids = encode(&mut encoder, text);
                prop_assert_eq!(&ids, &reference(text), "{:?}", text);
                prop_assert!(!ids.iter().any(|&id| id != special.unk && special.ids().contains(&id)));
                prop_assert!(encoder.spans.len() <= capacity);
            }
        }
    }

    /// Each character right after, right before and between letters, marks and spaces.
    #[test]
    fn equals_whole_text_encoding_around_every_character() {
        for lowercase in [false, true] {
            let wordpiece = WordPiece::new(&vocabulary(), lowercase);
            let reference = reference(&wordpiece);
            let mut encoder = wordpiece.encoder();
            let mut text = String::new();
            let astral = ('\u{1d100}'..='\u{1d1ff}').chain('\u{2f800}'..='\u{2faff}');
            for c in ('\0'..='\u{ffff}').chain(astral) {
                text.extend([' ', 'a', c, 'b', c, '\u{301}', c, '\u{323}', ' ', c, '.', c]);
                if c as u32 % 256 == 255 {
                    assert_eq!(encode(&mut encoder, &text), reference(&text), "up to {c:?}");
                    text.clear();
                }
            }
        }
    }
}
