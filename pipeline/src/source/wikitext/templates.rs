//! Templates that stand for words of the sentence around them, by what they show.
//!
//! Names are those of the English Wikipedia, many of which other wikis share. A template that is not
//! here shows nothing: boxes, notes, references, maintenance.

/// What a template shows of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// These words, whatever the arguments.
    Words(&'static str),
    /// The first positional argument.
    First,
    /// The last positional argument.
    Last,
    /// All positional arguments with this between them.
    Joined(&'static str),
    /// These words and the arguments, separated by spaces.
    After(&'static str),
    /// These words directly before the first argument.
    Prefix(&'static str),
    /// The first argument as a paragraph of its own.
    Paragraph,
    /// Each argument as a line of its own.
    Lines,
    /// A quantity and its unit, with words such as `to` between numbers.
    Convert,
    /// `As of` and a date of year, month, day.
    AsOf,
    /// Numerator and denominator, after a whole number if there are three.
    Fraction,
    /// English, then the original and its transcription in parentheses.
    Nihongo,
    /// A number and its unit `u`.
    Value,
}

/// The rule for a name in lower case, spaces for underscores.
pub(super) fn rule(name: &str) -> Option<Rule> {
    use Rule::{After, First, Joined, Last, Lines, Paragraph, Prefix, Words};
    Some(match name {
        "convert" | "cvt" | "converted" => Rule::Convert,
        "lang" | "transl" | "transliteration" | "tlit" | "color" | "font" | "script" => Last,
        "nowrap"
        | "nobr"
        | "nobreak"
        | "j"
        | "big"
        | "small"
        | "smaller"
        | "larger"
        | "large"
        | "sc"
        | "smallcaps"
        | "small caps"
        | "abbr"
        | "tooltip"
        | "abbrlink"
        | "em"
        | "strong"
        | "mvar"
        | "var"
        | "code"
        | "tt"
        | "mono"
        | "samp"
        | "kbd"
        | "sup"
        | "sub"
        | "smallsup"
        | "unicode"
        | "polytonic"
        | "hebrew"
        | "ipa text"
        | "angbr"
        | "angle bracket"
        | "math"
        | "not a typo"
        | "notatypo"
        | "proper name"
        | "visible anchor"
        | "vanchor"
        | "as written"
        | "sic"
        | "typo"
        | "illm"
        | "ill"
        | "interlanguage link"
        | "interlanguage link multi"
        | "flag"
        | "flagcountry"
        | "flagu"
        | "chem2"
        | "formatnum"
        | "lc"
        | "uc"
        | "lcfirst"
        | "ucfirst"
        | "noitalic"
        | "normal"
        | "nobold"
        | "noitalics"
        | "underline"
        | "u"
        | "strike"
        | "del"
        | "highlight"
        | "by"
        | "linktext"
        | "respell"
        | "crossref"
        | "quote inline"
        | "tq"
        | "q"
        | "key press"
        | "button"
        | "bold"
        | "italic"
        | "italics" => First,
        "bibleverse" => Joined(" "),
        "chem" | "su" => Joined(""),
        "quote" | "cquote" | "blockquote" | "quotation" | "rquote" | "quote box" | "poem" | "poemquote"
        | "columns-list" | "columnslist" | "column list" | "block indent" | "verse translation" => Paragraph,
        "plainlist" | "plain list" | "flatlist" | "unbulleted list" | "ubl" | "ubli" | "ublist" | "hlist"
        | "bulleted list" | "blist" | "ordered list" => Lines,
        "ship" => After(""),
        "hms" => After("HMS"),
        "uss" => After("USS"),
        "ss" => After("SS"),
        "rms" => After("RMS"),
        "hmas" => After("HMAS"),
        "hmcs" => After("HMCS"),
        "sms" => After("SMS"),
        "as of" | "asof" => Rule::AsOf,
        "circa" | "c." | "ca" | "ca." | "c" => After("c."),
        "floruit" | "fl." | "fl" => After("fl."),
        "reign" | "r." => After("r."),
        "frac" | "sfrac" | "fraction" | "tfrac" => Rule::Fraction,
        "val" => Rule::Value,
        "nihongo" | "nihongo2" | "nihongo3" => Rule::Nihongo,
        "e" => Prefix("×10^"),
        "us$" | "usd" | "united states dollar" => Prefix("US$"),
        "a$" | "aud" | "au$" => Prefix("A$"),
        "c$" | "cad" | "ca$" => Prefix("C$"),
        "gbp" | "pound sterling" | "£" | "£sd" => Prefix("£"),
        "eur" | "euro" | "€" => Prefix("€"),
        "inr" | "indian rupee" | "₹" => Prefix("₹"),
        "jpy" | "yen" | "¥" | "cny" => Prefix("¥"),
        "ndash" | "–" | "en dash" => Words("–"),
        "snd" | "spnd" | "sndash" | "spaced ndash" | "spaced en dash" | "dash" | "spndash" => Words(" – "),
        "mdash" | "—" | "em dash" => Words("—"),
        "spaced mdash" | "smd" | "spaced em dash" | "snd—" => Words(" — "),
        "nbsp" | "space" | "spaces" | "nb5" | "thinsp" | "thin space" | "hair space" | "break" | "br"
        | "nnbsp" | "figure space" | "pad" => Words(" "),
        "·" | "dot" | "middot" | "•" | "bullet" | "*" => Words(" · "),
        "!" => Words("|"),
        "=" => Words("="),
        "'s" => Words("'s"),
        "okina" | "hamza" => Words("ʻ"),
        "number sign" | "no." => Words("No."),
        "sect" | "§" => Words("§"),
        "times" => Words("×"),
        "minus" => Words("−"),
        "pm" => Words("±"),
        "degree" | "deg" => Words("°"),
        "half" | "1/2" => Words("½"),
        "flat" => Words("♭"),
        "sharp" => Words("♯"),
        "pi" => Words("π"),
        _ if name.starts_with("lang-") => First,
        _ => return None,
    })
}

/// Templates at the end of a page that lists the meanings of a name, beside those that say so.
const MEANINGS: &str = "dab disamb hndis geodis numberdis roaddis schooldis songdis mathdab mil-unit-dis tla 4la 4cc \
     2cc 2lc lnd begriffsklärung homonymie désambiguïsation desambiguación disambigua desambiguação dp \
     doorverwijspagina förgrening aimai неоднозначность ujednoznacznienie";

/// Whether a template of this name (lower case) says that the page lists the meanings of a name.
pub(super) fn is_disambiguation(name: &str) -> bool {
    // `{{place name disambiguation}}`, but not `{{disambiguation needed}}` after a link.
    let about_link = ["need", "link", "not", "redirect", "other"];
    MEANINGS.split(' ').any(|other| other == name)
        || name.contains("disambig") && !about_link.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_meanings_and_pages_that_mention_them() {
        for name in ["disambig", "geodis", "disambiguation", "disambig cleanup", "begriffsklärung"] {
            assert!(is_disambiguation(name), "{name}");
        }
        for name in ["disambiguation needed", "cite web", "other uses", "infobox", "about"] {
            assert!(!is_disambiguation(name), "{name}");
        }
    }
}
