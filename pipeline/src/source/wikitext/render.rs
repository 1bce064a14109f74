//! Writes what a reader of the page sees between and within its brackets.

use std::collections::HashSet;

use super::entities;
use super::scan::{Bracket, Kind, Token};
use super::templates;

const PROTOCOLS: &[&str] = &["http://", "https://", "//", "ftp://", "mailto:", "irc://", "news:"];

/// Text still divided into lines as the page is.
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) disambiguation: bool,
}

pub(super) struct Renderer<'a> {
    source: &'a str,
    tokens: &'a [Token],
    silent: &'a HashSet<String>,
    disambiguation: bool,
    /// External links whose label is being read.
    external: usize,
}

/// A stretch of the source, with the index of the first token in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
    token: usize,
}

/// Arguments of a template.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    pub(super) positional: Vec<Span>,
    pub(super) named: Vec<(&'a str, Span)>,
}

/// Renders a page whose markup is `tokens`.
pub(super) fn render(source: &str, tokens: &[Token], silent: &HashSet<String>) -> Rendered {
    let mut renderer = Renderer { source, tokens, silent, disambiguation: false, external: 0 };
    let mut text = String::with_capacity(source.len() / 2);
    renderer.span(Span { start: 0, end: source.len(), token: 0 }, &mut text);
    Rendered { text, disambiguation: renderer.disambiguation }
}

impl<'a> Renderer<'a> {
    /// Renders a stretch of the source.
    pub(super) fn span(&mut self, span: Span, out: &mut String) {
        let Span { start: mut at, end, token: mut index } = span;
        while let Some(&token) = self.tokens.get(index)
            && token.start < end
        {
            self.inline(&self.source[at..token.start], out);
            at = token.end;
            index += 1;
            match token.kind {
                Kind::Gone => at += gap(out, &self.source[at..end]),
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
                        at += gap(out, &self.source[at..end]);
                    }
                }
            }
        }
        self.inline(&self.source[at..end], out);
    }

    /// Text without brackets: entities, quotes for bold and italic, external links, switches.
    fn inline(&mut self, text: &str, out: &mut String) {
        let bytes = text.as_bytes();
        let (mut copied, mut at) = (0, 0);
        while at < bytes.len() {
            let mut bare_link = false;
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
                b'[' => match external_url(&text[at + 1..]) {
                    0 => (None, 0),
                    url if bytes.get(at + 1 + url) == Some(&b']') => {
                        bare_link = true;
                        (None, url + 2)
                    }
                    url => {
                        self.external += 1;
                        (None, url + 1)
                    }
                },
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
            if bare_link {
                at += gap(out, &text[at..]);
            }
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
        self.expand(rule, &arguments, out);
        out.len() > before
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

/// Closes the gap that dropped markup leaves between `out` and `rest`: the space before a comma, the
/// separators and the parentheses it was alone in. Returns how much of `rest` goes with it.
fn gap(out: &mut String, rest: &str) -> usize {
    if !out.ends_with(['(', ' ', ',', ';']) {
        return 0;
    }
    let ahead = rest.trim_start_matches([' ', ',', ';', '\u{a0}']);
    let before = out.trim_end_matches([' ', ',', ';']).len();
    if out[..before].ends_with('(') {
        out.truncate(before);
        if ahead.starts_with(')') {
            out.pop();
            out.truncate(out.trim_end_matches(' ').len());
            return rest.len() - ahead.len() + 1;
        }
        return rest.len() - ahead.len();
    }
    if ahead.starts_with(')') {
        out.truncate(before);
        return rest.len() - ahead.len();
    }
    if rest.starts_with([' ', ',', '.', ';', ':']) {
        out.truncate(out.trim_end_matches(' ').len());
    }
    0
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
    let url = text.find([' ', '\t', '\n', ']', '<', '"']).unwrap_or(text.len());
    let spaces = text[url..].bytes().take_while(|&byte| byte == b' ').count();
    url + spaces
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
