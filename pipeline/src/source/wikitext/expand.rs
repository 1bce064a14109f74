//! Writes the words that a template stands for.

use super::render::{Arguments, Renderer, Span};
use super::templates::Rule;

const MONTHS: &str = "January February March April May June July August September October November December";

impl Renderer<'_> {
    /// Writes what a template with this rule shows.
    pub(super) fn expand(&mut self, rule: Rule, arguments: &Arguments<'_>, out: &mut String) {
        let positional = &arguments.positional;
        match rule {
            Rule::Words(words) => out.push_str(words),
            Rule::First => {
                if let Some(&span) = positional.first() {
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
            Rule::After(words) => {
                let mut parts = vec![words.to_owned()];
                parts.extend(self.texts(positional));
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
                let month = words.get(1).and_then(|month| month.parse::<usize>().ok());
                if let Some(name) = month.and_then(|month| MONTHS.split(' ').nth(month.checked_sub(1)?)) {
                    name.clone_into(&mut words[1]);
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
}

impl Arguments<'_> {
    fn named(&self, name: &str) -> Option<Span> {
        self.named.iter().find(|(other, _)| *other == name).map(|&(_, span)| span)
    }
}
