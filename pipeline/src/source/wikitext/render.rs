//! Writes what a reader of the page sees between and within its brackets.

use std::collections::HashSet;

use super::entities;
use super::scan::{Bracket, Kind, Token};
use super::templates::{self, Rule};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const PROTOCOLS: &[&str] = &["http://", "https://", "//", "ftp://", "mailto:", "irc://", "news:"];

/// Text still divided into lines as the page is.
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) disambiguation: bool,
}

struct Renderer<'a> {
    source: &'a str,
    tokens: &'a [Token],
    silent: &'a HashSet<String>,
    disambiguation: bool,
    /// External links whose label is being read.
    external: usize,
}

/// A stretch of the source, with the index of the first token in it.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    token: usize,
}

/// Arguments of a template.
#[derive(Default)]
struct Arguments<'a> {
    positional: Vec<Span>,
    named: Vec<(&'a str, Span)>,
}

/// Renders a page whose markup is `tokens`.
pub(super) fn render(source: &str, tokens: &[Token], silent: &HashSet<String>) -> Rendered {
    let mut renderer = Renderer { source, tokens, silent, disambiguation: false, external: 0 };
    let mut text = String::with_capacity(source.len() / 2);
    renderer.span(Span { start: 0, end: source.len(), token: 0 }, &mut text);
    Rendered { text, disambiguation: renderer.disambiguation }
}

impl<'a> Renderer<'a> {
    fn span(&mut self, span: Span, out: &mut String) {
        let Span { start: mut at, end, token: mut index } = span;
        while let Some(&token) = self.tokens.get(index)
            && token.start < end
        {
            self.inline(&self.source[at..token.start], out);
            at = token.end;
            index += 1;
            match token.kind {
                Kind::Gone => at = self.gap(at, end, out),
                Kind::Break => out.push_str("\n\n"),
                Kind::Space => out.push(' '),
                Kind::Verbatim { start, end } => self.verbatim(start, end, out),
                Kind::Close | Kind::Open { mate: None, .. } => {}
                Kind::Open { bracket, mate: Some(mate) } => {
                    let body = Span { start: at, end: self.tokens[mate].start, token: index };
                    at = self.tokens[mate].end;
                    index = mate + 1;
                    let shown = match bracket {
                        Bracket::Template => self.template(body, out),
                        Bracket::Table => false,
                        Bracket::Link => self.link(body, out),
                    };
                    if !shown {
                        at = self.gap(at, end, out);
                    }
                }
            }
        }
        self.inline(&self.source[at..end], out);
    }

    /// Closes the gap that dropped markup leaves at `at`: the space before a comma, the separators
    /// and the parentheses it was alone in. Returns where to read on.
    fn gap(&self, at: usize, end: usize, out: &mut String) -> usize {
        let rest = &self.source[at..end];
        let ahead = rest.trim_start_matches([' ', ',', ';', '\u{a0}']);
        if out.ends_with(['(', ' ', ',', ';']) {
            let before = out.trim_end_matches([' ', ',', ';']);
            if before.ends_with('(') {
                out.truncate(before.len());
                let at = end - ahead.len();
                if ahead.starts_with(')') {
                    out.pop();
                    out.truncate(out.trim_end_matches(' ').len());
                    return at + 1;
                }
                return at;
            }
            if ahead.starts_with(')') {
                out.truncate(before.len());
                return end - ahead.len();
            }
            if rest.starts_with([' ', ',', '.', ';', ':']) {
                out.truncate(out.trim_end_matches(' ').len());
            }
        }
        at
    }

    /// Text without brackets: entities, quotes for bold and italic, external links, switches.
    fn inline(&mut self, text: &str, out: &mut String) {
        let bytes = text.as_bytes();
        let (mut copied, mut at) = (0, 0);
        while at < bytes.len() {
            let (replacement, length): (Option<char>, usize) = match bytes[at] {
                b'&' => match entities::decode(&text[at..]) {
                    Some((c, length)) => (Some(c), length),
                    None => (None, 0),
                },
                // Two quotes are italic, three bold, five both; a fourth is an apostrophe.
                b'\'' => match run(&bytes[at..], b'\'') {
                    1 => (None, 0),
                    4 => (Some('\''), 4),
                    length => (None, length),
                },
                b'_' if bytes.get(at + 1) == Some(&b'_') => (None, switch(&text[at..])),
                b'[' => {
                    let url = external_url(&text[at + 1..]);
                    self.external += usize::from(url > 0);
                    (None, if url > 0 { url + 1 } else { 0 })
                }
                b']' if self.external > 0 => {
                    self.external -= 1;
                    (None, 1)
                }
                b'\n' => {
                    self.external = 0;
                    (None, 0)
                }
                _ => (None, 0),
            };
            if length == 0 {
                at += 1;
                continue;
            }
            out.push_str(&text[copied..at]);
            out.extend(replacement);
            at += length;
            copied = at;
        }
        out.push_str(&text[copied..]);
    }

    fn verbatim(&self, start: usize, end: usize, out: &mut String) {
        let mut text = &self.source[start..end];
        while let Some(at) = text.find('&') {
            out.push_str(&text[..at]);
            let (c, length) = entities::decode(&text[at..]).unwrap_or(('&', 1));
            out.push(c);
            text = &text[at + length..];
        }
        out.push_str(text);
    }

    /// `[[target]]`, `[[target|label]]`; false if the link is no text.
    fn link(&mut self, body: Span, out: &mut String) -> bool {
        let first = self.split(body, Some(1));
        let target_end = first[0].start + self.source[first[0].start..first[0].end].trim_end().len();
        let target = self.source[first[0].start..target_end].trim_start();
        let shown = target.strip_prefix(':').unwrap_or(target);
        if shown.len() == target.len()
            && let Some((prefix, _)) = target.split_once(':')
        {
            let prefix = prefix.trim().replace('_', " ");
            if is_language(&prefix) || self.silent.contains(&prefix.to_lowercase()) {
                return false;
            }
        }
        let label = first.get(1).copied().filter(|label| label.start < label.end);
        if label.is_none() && target.is_empty() {
            return false;
        }
        let whole = Span { start: target_end - shown.len(), end: target_end, ..first[0] };
        self.span(label.unwrap_or(whole), out);
        true
    }

    /// False if the template is no text.
    fn template(&mut self, body: Span, out: &mut String) -> bool {
        let source = self.source;
        let head_end = self.tokens.get(body.token).map_or(body.end, |token| token.start.min(body.end));
        let head = &source[body.start..head_end];
        let head = head.split('|').next().unwrap_or(head);
        // `{{lc:text}}` is a function of the parser: what follows the colon is its argument.
        let function = head.split_once(':').map(|(name, _)| name.trim());
        let function = function.filter(|name| ["formatnum", "lc", "uc", "lcfirst", "ucfirst"].contains(name));
        if head.len() > 64 {
            return false;
        }
        let name = function.unwrap_or(head).replace('_', " ").trim().to_lowercase();
        if templates::is_disambiguation(&name) {
            self.disambiguation = true;
        }
        let Some(rule) = templates::rule(&name) else {
            return false;
        };
        let mut spans = self.split(body, None);
        match function {
            Some(name) => spans[0].start += head.find(name).unwrap_or(0) + name.len() + 1,
            None => drop(spans.remove(0)),
        }
        let arguments = self.arguments(spans);
        let before = out.len();
        self.apply(rule, &arguments, out);
        out.len() > before
    }

    fn apply(&mut self, rule: Rule, arguments: &Arguments<'_>, out: &mut String) {
        let positional = &arguments.positional;
        match rule {
            Rule::Words(words) => out.push_str(words),
            Rule::Argument(number) => {
                if let Some(&span) = positional.get(..number.min(positional.len())).and_then(<[_]>::last) {
                    self.span(span, out);
                }
            }
            Rule::Last => {
                if let Some(&span) = positional.last() {
                    self.span(span, out);
                }
            }
            Rule::Joined(separator) => {
                let words = self.texts(positional);
                out.push_str(&words.join(separator));
            }
            Rule::After(words, number) => {
                let mut parts = vec![words.to_owned()];
                parts.extend(self.texts(positional.get(number - 1..).unwrap_or_default()));
                parts.retain(|part| !part.is_empty());
                out.push_str(&parts.join(" "));
            }
            Rule::Prefix(words) => {
                out.push_str(words);
                if let Some(&span) = positional.first() {
                    self.span(span, out);
                }
            }
            Rule::Paragraph => {
                let quoted = arguments.named("text").or(arguments.named("quote"));
                if let Some(span) = positional.first().copied().or(quoted) {
                    out.push_str("\n\n");
                    self.span(span, out);
                    out.push_str("\n\n");
                }
            }
            Rule::Lines => {
                for &span in positional {
                    out.push_str("\n\n");
                    self.span(span, out);
                }
                out.push_str("\n\n");
            }
            Rule::Convert => {
                // Numbers and the words between them, up to the first unit.
                let words = self.texts(positional);
                let is_number =
                    |word: &str| word.starts_with(|c: char| c.is_ascii_digit() || "-−+.".contains(c));
                let mut shown = Vec::new();
                let mut numbers = 0;
                for word in &words {
                    let number = is_number(word) && word.len() > usize::from(word == "-");
                    let word = match word.as_str() {
                        "-" | "–" | "to(-)" => "to",
                        "x" | "×" | "*" => "by",
                        "+/-" | "±" => "±",
                        word => word,
                    };
                    let between = ["to", "and", "or", "by", "±"].contains(&word);
                    shown.push(word);
                    numbers += usize::from(number);
                    if numbers > 0 && !number && !between {
                        break;
                    }
                }
                out.push_str(&shown.join(" "));
            }
            Rule::AsOf => {
                let lower = arguments.named("lc").is_some();
                let mut words = self.texts(positional);
                if let Some(month) = words.get_mut(1)
                    && let Some(name) =
                        month.parse::<usize>().ok().and_then(|m| MONTHS.get(m.wrapping_sub(1)))
                {
                    (*name).clone_into(month);
                }
                words.truncate(3);
                words.push(if lower { "as of" } else { "As of" }.to_owned());
                words.reverse();
                out.push_str(&words.join(" "));
            }
            Rule::Fraction => match self.texts(positional).as_slice() {
                [denominator] => out.extend(["1/", denominator]),
                [numerator, denominator] => out.extend([numerator, "/", denominator]),
                [whole, numerator, denominator, ..] => {
                    out.extend([whole, " ", numerator, "/", denominator]);
                }
                [] => {}
            },
            Rule::Nihongo => {
                let words = self.texts(positional);
                let (first, rest) = words.split_at(1.min(words.len()));
                let rest: Vec<&str> =
                    rest.iter().take(2).map(String::as_str).filter(|word| !word.is_empty()).collect();
                out.push_str(&first.concat());
                if !rest.is_empty() {
                    out.extend([" (", rest.join(", ").as_str(), ")"]);
                }
            }
            Rule::Value => {
                let unit = arguments.named("u").or(arguments.named("ul"));
                let shown: Vec<Span> = positional.first().copied().into_iter().chain(unit).collect();
                out.push_str(&self.texts(&shown).join(" "));
            }
        }
    }

    fn texts(&mut self, spans: &[Span]) -> Vec<String> {
        let render = |&span: &Span| {
            let mut text = String::new();
            self.span(span, &mut text);
            text.trim().to_owned()
        };
        spans.iter().map(render).collect()
    }

    /// Cuts `body` at the `|` that are in no inner bracket, at most `limit` times.
    fn split(&self, body: Span, limit: Option<usize>) -> Vec<Span> {
        let mut parts = Vec::new();
        let mut part = body;
        let (mut at, mut index) = (body.start, body.token);
        loop {
            let inner = self.tokens.get(index).filter(|token| token.start < body.end);
            let stop = inner.map_or(body.end, |token| token.start);
            while let Some(length) = self.source[at..stop].find('|')
                && limit.is_none_or(|limit| parts.len() < limit)
            {
                parts.push(Span { end: at + length, ..part });
                at += length + 1;
                part = Span { start: at, end: body.end, token: index };
            }
            let Some(token) = inner else { break };
            (at, index) = match token.kind {
                Kind::Open { mate: Some(mate), .. } => (self.tokens[mate].end, mate + 1),
                _ => (token.end, index + 1),
            };
        }
        parts.push(part);
        parts
    }

    fn arguments(&self, spans: Vec<Span>) -> Arguments<'a> {
        let mut arguments = Arguments::default();
        for span in spans {
            let plain = self.tokens.get(span.token).map_or(span.end, |token| token.start.min(span.end));
            let plain = &self.source[span.start..plain];
            match plain.split_once('=') {
                Some((name, _)) => {
                    let value = Span { start: span.start + name.len() + 1, ..span };
                    match name.trim().parse::<usize>() {
                        Ok(_) => arguments.positional.push(value),
                        Err(_) => arguments.named.push((name.trim(), value)),
                    }
                }
                None => arguments.positional.push(span),
            }
        }
        arguments
    }
}

impl Arguments<'_> {
    fn named(&self, name: &str) -> Option<Span> {
        self.named.iter().find(|(other, _)| *other == name).map(|&(_, span)| span)
    }
}

fn run(bytes: &[u8], byte: u8) -> usize {
    bytes.iter().take_while(|&&other| other == byte).count()
}

/// Length of a behaviour switch such as `__NOTOC__` that `text` begins with, or 0.
fn switch(text: &str) -> usize {
    let word = text[2..].bytes().take_while(u8::is_ascii_uppercase).count();
    let closed = text[2 + word..].starts_with("__");
    if word > 2 && closed { word + 4 } else { 0 }
}

/// Length of the address after the `[` of an external link, or 0 if it is no link.
fn external_url(text: &str) -> usize {
    if !PROTOCOLS.iter().any(|protocol| text.starts_with(protocol)) {
        return 0;
    }
    text.find([' ', '\t', '\n', ']', '<', '"']).unwrap_or(text.len())
}

/// Prefixes of links to the same page in another language: `[[de:Titel]]`.
fn is_language(prefix: &str) -> bool {
    let is_code = |code: &str| code.bytes().all(|byte| byte.is_ascii_lowercase());
    match prefix.split_once('-') {
        Some((code, _)) => (2..=3).contains(&code.len()) && is_code(code),
        None => {
            prefix == "simple"
                || (2..=3).contains(&prefix.len())
                    && is_code(prefix)
                    && !["doi", "rfc", "meatball"].contains(&prefix)
        }
    }
}
