use proptest::prelude::*;

use super::*;

fn text(source: &str) -> String {
    let silent = ["file", "image", "category"].map(str::to_owned).into();
    to_text(source, &silent).unwrap().text
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(text(source), expected, "{source}");
}

#[test]
fn links() {
    check("[[a]]s and [[b|c]], [[:Category:d]]; [[e#f|''g'']]", "as and c, Category:d; g");
    check("x [[Category:y]]\n[[de:Titel]]\n[[zh-min-nan:Z]]\n[[simple:Z|Z]]", "x");
    check("a[[File:x.jpg|thumb|A [[b|c]] {{d|[[e]]}} caption]] f", "a f");
    check("[[File:x|[http://a b]]] c", "c");
    check(
        "[http://a.b/c label] [http://a.b] [https://x.y ''z''], http://bare.org",
        "label z, http://bare.org",
    );
    check("a ([http://b c], [http://d]) e ([http://f]) g", "a (c) e g");
    check("array[1] [not a link]", "array[1] [not a link]");
    check("[[wikt:word|word]] [[Star Trek: Voyager]]", "word Star Trek: Voyager");
}

#[test]
fn templates() {
    check("{{Infobox|a=b|c={{d|e}}}}'''X''' is a {{nowrap|long word}}{{cn|date=x}}.", "X is a long word.");
    check("{{convert|10|km|mi}}, {{convert|5|to|7|ft|m|0}}, {{cvt|3|x|4|m}}", "10 km, 5 to 7 ft, 3 by 4 m");
    check("{{lang|fr|[[chat]] noir}} {{lang-de|Hund}} {{Lang_|x}}", "chat noir Hund x");
    check("{{As of|2008|5|3}} and {{as of|2009|lc=y}}", "As of 3 May 2008 and as of 2009");
    check(
        "{{formatnum:1234}}{{snd}}{{frac|1|2}} {{frac|3|1|2}} {{HMS|Hood|51}}",
        "1234 – 1/2 3 1/2 HMS Hood 51",
    );
    check("a {{quote|1=said [[he]]|2=he}} b", "a\nsaid he\nb");
    check("{{nihongo|Tokyo|東京|Tōkyō}} {{val|5|u=kg}} {{circa|1900}}", "Tokyo (東京, Tōkyō) 5 kg c. 1900");
    check("{{{1|default}}} {{{{{x}}}}} y", "y");
}

#[test]
fn gaps_are_closed() {
    check("A ({{IPA|x}}) b", "A b");
    check("A ({{IPA|x}}; born 1950; {{d}}) b", "A (born 1950) b");
    check("A {{x}}, b<ref>c</ref>. (d {{x}}) e", "A, b. (d) e");
    check("A ( <!-- c --> ) b", "A b");
}

#[test]
fn tables_references_and_raw_elements() {
    check("a\n{| class=x\n|-\n| b || c\n{|\n| d\n|}\n| e\n|}\nf", "a\nf");
    check("a <table><tr><td>b</td></tr></table> c", "a c");
    check("a<ref name=x>b [[c]]</ref> d<ref name=x /> e<ref name=y> f<ref>g</ref> h", "a d e f h");
    check(
        "<math>\\{{ x</math>a<!-- {{ --> b<nowiki>''[[c]]</nowiki> &lt;d&gt; e<br/>f<sub>2</sub>",
        "a b''c <d> e f2",
    );
    check("{{a|\n{|\n| b\n|}}} c", "c");
    check("{{a|b|}} c", "c");
    check("a <gallery>\nFile:x|y\n</gallery> 1 < 2 > 0 <b>c</B> <unknown>", "a 1 < 2 > 0 c <unknown>");
}

#[test]
fn lines_and_sections() {
    check("a\nb\n\nc\n* d\n*# e\n; f : g\n: h\n----\ni", "a b\nc\nd\ne\nf : g\nh\ni");
    check("a\n== T ==\nb\n=== U ===\nc\n== References ==\nd\n=== e ===\nf\n==V==<!-- x -->\ng", "a\nb\nc\ng");
    check("<blockquote>a</blockquote>b<p>c", "a\nb\nc");
    check("'''''a''''' l''''b'''' it's ''c''", "a l'b' it's c");
    check("__NOTOC__a __b__ c_d", "a __b__ c_d");
    check("a&nbsp;b &amp;lt; &eacute;&#233;&bogus; AT&T", "a b &lt; éé&bogus; AT&T");
}

#[test]
fn brackets_without_partner_cost_only_themselves() {
    check("a {{b c", "a b c");
    check("a }} b ]] c |} d", "a b c d");
    check("{{Infobox\n| name = x\n\nText [[link|here]] goes on.", "Infobox\nText here goes on.");
    check("a [[b\nc]] d", "a b c d");
    check("a [[b|c\n\nd]] e", "a b|c\nd e");
    check("{{a|[[b}} c]] d", "c d");
    check("a <ref>b", "a b");
    check("{|\n| a\n\nb", "b");
    check("a <!-- b", "a");
}

#[test]
fn disambiguation_pages_are_told() {
    let told = |source: &str| to_text(source, &HashSet::new()).unwrap().disambiguation;
    assert!(told("A\n{{Disambig}}") && told("{{geodis}}") && told("{{Hndis|name=x}}"));
    assert!(!told("{{infobox|{{disambig}}}} [[x]]{{disambiguation needed|date=May}}"));
}

#[test]
fn hostile_nesting_is_linear_or_refused() {
    let silent = HashSet::new();
    for (piece, count) in [("{{", 300_000), ("[[a|", 300_000), ("{|\n", 300_000), ("{{lang|x|", 500)] {
        assert!(to_text(&piece.repeat(count), &silent).is_none(), "{piece}");
    }
    for piece in [
        "[[a|b\n\n",
        "[[",
        "}}",
        "|}",
        "]]",
        "<ref>",
        "<!--",
        "</",
        "<ref name=",
        "<math>",
        "[http://a ",
        "''",
        "&",
        "{{a}}|",
        "{{lang|x|[[a|b]]}} ",
        "<nowiki>",
        "== a\n",
        "\n\n[[",
        "{{a\n\n[[b}}",
        "__A",
        "<b ",
        "{{lc:",
        "(\u{a0}{{x}};",
    ] {
        let source = piece.repeat(200_000 / piece.len() * 5);
        let _ = to_text(&source, &silent);
    }
    let nested = "{{lang|x|".repeat(90) + &"word ".repeat(10_000) + &"}}".repeat(90);
    assert_eq!(to_text(&nested, &silent).unwrap().text.len(), 49_999);
}

proptest! {
    #[test]
    fn any_page_is_rendered_in_the_form_of_a_document(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    "{{", "}}", "[[", "]]", "{|", "|}", "|", "\n", "\n\n", "'''", "''", "<ref>", "</ref>",
                    "<ref/>", "<!--", "-->", "<nowiki>", "</nowiki>", "[http://x ", "]", "&amp;", "&#x41;",
                    "==", "=", "*", "(", ")", ";", " ", "lang", "convert", "quote", "File:", "1=", "é", "{", "}", "[", "<",
                    "formatnum:", "lc:", "<table>", "</table>", "as of", "__TOC__", "nihongo", "\u{a0}", "frac",
                ]).prop_map(str::to_owned),
                any::<String>(),
                "[a-z ]{1,8}",
            ],
            0..60,
        )
    ) {
        let source = pieces.concat();
        let silent = ["file".to_owned()].into();
        if let Some(article) = to_text(&source, &silent) {
            for line in article.text.split('\n') {
                prop_assert_eq!(line.trim(), line);
                prop_assert!(!line.contains(char::is_control));
                prop_assert!(article.text.is_empty() || !line.is_empty());
            }
        }
    }
}
