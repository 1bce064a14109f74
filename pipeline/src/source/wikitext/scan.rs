//! Finds the brackets of wikitext and pairs them, in one pass over the text.
//!
//! MediaWiki and the parsers that follow it go back to an opening bracket whose end is missing and
//! read on from there, which takes exponential time on a page with many of them. Pairing first needs
//! no way back: a bracket without a partner is known before the text is rendered.

use std::collections::HashMap;

/// Deepest nesting that is rendered; MediaWiki's own limit is 40 for templates.
const MAX_DEPTH: usize = 100;

/// A piece of markup at `start..end` of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An opening bracket; `mate` is the index of the token that closes it, if any.
    Open { bracket: Bracket, mate: Option<usize> },
    /// A closing bracket, with or without partner.
    Close,
    /// Markup, or an element whose content is no text: comment, reference, formula.
    Gone,
    /// A tag at which a paragraph ends.
    Break,
    /// A tag that separates words.
    Space,
    /// Text that is not markup, at `start..end` (of `<nowiki>`).
    Verbatim { start: usize, end: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bracket {
    /// `{{ }}`
    Template,
    /// `{| |}` or `<table> </table>`
    Table,
    /// `[[ ]]`
    Link,
}

/// Elements whose content is dropped with them; of `nowiki` it is text.
const DROPPED: &str = "ref math gallery timeline score imagemap syntaxhighlight source pre hiero graph \
     inputbox templatedata mapframe maplink categorytree references indicator includeonly charinsert \
     chem ce templatestyles section nowiki";

/// Tags at which a paragraph ends.
const BLOCKS: &str = "p div blockquote center li ul ol dl dd dt hr h1 h2 h3 h4 h5 h6 tr td th caption \
     poem";

/// Tags that change nothing about the text within them.
const INLINE: &str = "b i u s em strong small big sub sup span font tt code kbd samp var cite q abbr \
     acronym bdi bdo del ins strike dfn mark data time rb rt rp ruby wbr noinclude onlyinclude tbody a \
     img blink nobr rtc thead";

/// An opening bracket that waits for its end.
struct Waiting {
    token: usize,
    bracket: Bracket,
    /// Tables open between here and the enclosing template, this one included.
    tables: usize,
    /// A link whose target is complete.
    has_pipe: bool,
    /// A link in whose label a single `[` is open.
    has_bracket: bool,
}

struct Scanner<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    waiting: Vec<Waiting>,
    templates: usize,
    /// Where the next end tag of a [`DROPPED`] element begins: found once, not once for each start tag.
    ends: HashMap<&'static str, Option<usize>>,
}

/// The markup of `source` in order, brackets paired; `None` if nested too deeply.
pub(super) fn scan(source: &str) -> Option<Vec<Token>> {
    let mut scanner =
        Scanner { source, tokens: Vec::new(), waiting: Vec::new(), templates: 0, ends: HashMap::new() };
    let bytes = source.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at = match byte {
            b'<' => scanner.tag(at),
            b'{' | b'}' | b'[' | b']' => scanner.brackets(at, byte),
            b'|' => scanner.pipe(at),
            b'\n' => scanner.newline(at),
            _ => at + 1,
        };
        if scanner.waiting.len() > MAX_DEPTH {
            return None;
        }
    }
    Some(scanner.tokens)
}

impl Scanner<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.source.as_bytes().get(at).copied()
    }

    fn push(&mut self, start: usize, end: usize, kind: Kind) -> usize {
        self.tokens.push(Token { start, end, kind });
        end
    }

    fn open(&mut self, start: usize, end: usize, bracket: Bracket) -> usize {
        let tables = match (bracket, self.waiting.last()) {
            (Bracket::Template, _) => 0,
            (_, above) => above.map_or(0, |above| above.tables) + usize::from(bracket == Bracket::Table),
        };
        self.templates += usize::from(bracket == Bracket::Template);
        self.waiting.push(Waiting {
            token: self.tokens.len(),
            bracket,
            tables,
            has_pipe: false,
            has_bracket: false,
        });
        self.push(start, end, Kind::Open { bracket, mate: None })
    }

    /// A closing bracket. It ends the nearest open one of its sort; what is open within that one has
    /// no end. Templates bind strongest, links weakest.
    fn close(&mut self, start: usize, end: usize, bracket: Bracket) -> usize {
        let reachable = match (bracket, self.waiting.last()) {
            (Bracket::Template, _) => self.templates > 0,
            (Bracket::Table, top) => top.is_some_and(|top| top.tables > 0),
            (Bracket::Link, top) => top.is_some_and(|top| top.bracket == Bracket::Link),
        };
        while reachable && let Some(top) = self.waiting.pop() {
            self.templates -= usize::from(top.bracket == Bracket::Template);
            if top.bracket == bracket {
                let mate = Some(self.tokens.len());
                self.tokens[top.token].kind = Kind::Open { bracket, mate };
                break;
            }
        }
        self.push(start, end, Kind::Close)
    }

    fn brackets(&mut self, at: usize, byte: u8) -> usize {
        let run = self.source.as_bytes()[at..].iter().take_while(|&&other| other == byte).count();
        let end = at + run;
        if run == 1 {
            return match (byte, self.byte(end)) {
                (b'{', Some(b'|')) => self.open(at, end + 1, Bracket::Table),
                (b'[' | b']', _) => {
                    if let Some(top) = self.waiting.last_mut() {
                        top.has_bracket = byte == b'[';
                    }
                    end
                }
                _ => end,
            };
        }
        let (bracket, opens) = match byte {
            b'{' => (Bracket::Template, true),
            b'}' => (Bracket::Template, false),
            b'[' => (Bracket::Link, true),
            _ => (Bracket::Link, false),
        };
        // Of an odd number the first opens nothing, the last closes nothing; unless it ends the
        // external link within a label: `[[File:a|[http://b c]]]`.
        let odd = run % 2;
        let first = match byte {
            b'{' | b'[' => odd,
            b']' if self.waiting.last().is_some_and(|top| top.has_bracket) => odd,
            _ => 0,
        };
        // A single brace beside others is markup (`{{{parameter}}}`), a single bracket may be text.
        if first == 1 && byte == b'{' {
            self.push(at, at + 1, Kind::Gone);
        }
        for pair in 0..run / 2 {
            let start = at + first + 2 * pair;
            if opens {
                self.open(start, start + 2, bracket);
                // Deeper than any limit: no need to remember the rest of a long run.
                if self.waiting.len() > MAX_DEPTH {
                    break;
                }
            } else {
                self.close(start, start + 2, bracket);
            }
        }
        if odd > first && byte == b'}' {
            self.push(end - 1, end, Kind::Gone);
        }
        end
    }

    fn pipe(&mut self, at: usize) -> usize {
        let top = self.waiting.last_mut();
        if self.source.as_bytes().get(at + 1) == Some(&b'}') {
            // `|}}` is the end of a table only in a table; else a template's last, empty argument.
            let in_table = top.as_ref().is_some_and(|top| top.bracket == Bracket::Table);
            if in_table || self.byte(at + 2) != Some(b'}') {
                return self.close(at, at + 2, Bracket::Table);
            }
        } else if let Some(top) = top {
            top.has_pipe = true;
        }
        at + 1
    }

    /// The target of a link ends with its line, its label with the paragraph.
    fn newline(&mut self, at: usize) -> usize {
        let blank = self.byte(at + 1) == Some(b'\n');
        while let Some(top) = self.waiting.last()
            && top.bracket == Bracket::Link
            && (blank || !top.has_pipe)
        {
            self.waiting.pop();
        }
        at + 1
    }

    fn tag(&mut self, at: usize) -> usize {
        let rest = &self.source[at..];
        if rest.starts_with("<!--") {
            let end = rest.find("-->").map_or(self.source.len(), |end| at + end + 3);
            return self.push(at, end, Kind::Gone);
        }
        let closes = self.byte(at + 1) == Some(b'/');
        let name_start = at + 1 + usize::from(closes);
        let length = self.source.as_bytes()[name_start..]
            .iter()
            .take(16)
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let name_end = name_start + length;
        let name = self.source[name_start..name_end].to_ascii_lowercase();
        let dropped = DROPPED.split(' ').find(|&other| other == name);
        let kind = match name.as_str() {
            _ if dropped.is_some() => Kind::Gone,
            "table" => Kind::Close,
            "br" => Kind::Space,
            name if BLOCKS.split(' ').any(|tag| tag == name) => Kind::Break,
            name if INLINE.split(' ').any(|tag| tag == name) => Kind::Gone,
            _ => return at + 1,
        };
        let end = match self.source[name_end..].find(['<', '>']) {
            Some(length) if self.byte(name_end + length) == Some(b'>') => name_end + length + 1,
            // The tag has no end: its name goes, what follows is text.
            _ => return self.push(at, name_end, Kind::Gone),
        };
        if name == "table" {
            return if closes {
                self.close(at, end, Bracket::Table)
            } else {
                self.open(at, end, Bracket::Table)
            };
        }
        if let Some(element) = dropped
            && !closes
            && self.byte(end - 2) != Some(b'/')
            && let Some(content_end) = self.end_of(element, end)
        {
            let after = self.source[content_end..]
                .find('>')
                .map_or(self.source.len(), |length| content_end + length + 1);
            if element == "nowiki" {
                return self.push(at, after, Kind::Verbatim { start: end, end: content_end });
            }
            // `<ref name=a>` without end swallows the text up to the end of the next reference.
            if element != "ref" || !self.source[end..content_end].contains("<ref") {
                return self.push(at, after, Kind::Gone);
            }
        }
        self.push(at, end, kind)
    }

    /// Where the end tag of a dropped element begins, at or after `from`.
    fn end_of(&mut self, name: &'static str, from: usize) -> Option<usize> {
        match self.ends.get(name) {
            Some(None) => return None,
            Some(&Some(known)) if known >= from => return Some(known),
            _ => {}
        }
        let mut at = from;
        let found = loop {
            let Some(length) = self.source[at..].find("</") else {
                break None;
            };
            let start = at + length;
            at = start + 2;
            let bytes = &self.source.as_bytes()[at..];
            if bytes.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
                && !bytes.get(name.len()).is_some_and(u8::is_ascii_alphanumeric)
            {
                break Some(start);
            }
        };
        self.ends.insert(name, found);
        found
    }
}
