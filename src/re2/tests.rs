use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    compile(pattern).unwrap().is_match(text)
}

#[test]
fn searches_unanchored() {
    assert!(matches(r"proxmox/.*\.sops\.yml$", "a/proxmox/x.sops.yml"));
    assert!(matches(".*.yaml", ".sops.yaml"));
    assert!(matches("", "anything"));
    assert!(!matches(
        r"^docker/(.*/)?[^/]*\.sops\.(env|json)$",
        "x/docker/a.sops.env"
    ));
}

#[test]
fn classes_are_ascii() {
    for (pattern, text) in [
        (r"^\d$", "٣"),
        (r"^\w$", "é"),
        (r"^\s$", "\u{a0}"),
        (r"^\s$", "\u{b}"),
    ] {
        assert!(!matches(pattern, text), "{pattern}");
    }
    assert!(matches(r"^\W\D\S$", "ééé"));
    // The place between two letters that are no ASCII word characters is no boundary.
    assert!(!matches(r"é\bé", "éé"));
    assert!(matches(r"a\bé", "aé"));
    assert!(matches(r"é\Bé", "éé"));
    assert!(matches(r"^\pL\p{Greek}.$", "éαé"));
    assert!(matches(r"^[\PL\p{^Greek}]+$", "aé1"));
}

#[test]
fn quotes_are_literal() {
    assert!(matches(r"^\Qa.b*\E+$", "a.b**"));
    assert!(!matches(r"^\Qa.b\E$", "axb"));
    assert!(matches(r"\Q(", "("));
}

#[test]
fn braces_that_count_nothing_are_literal() {
    for (pattern, text) in [
        ("^a{$", "a{"),
        ("^a{,5}$", "a{,5}"),
        ("^{a}$", "{a}"),
        ("^a{1,2$", "a{1,2"),
        ("^a{01}$", "a{01}"),
        ("^a{2, 3}$", "a{2, 3}"),
    ] {
        assert!(matches(pattern, text), "{pattern}");
    }
    assert!(matches("^a{2,3}?$", "aaa"));
    assert!(!matches("^a{2}$", "a"));
}

#[test]
fn brackets_hold_literals() {
    for (pattern, text) in [
        ("^[[]$", "["),
        (r"^[\d-z]+$", "1-z"),
        ("^[a&&b]+$", "a&b"),
        ("^[~~]$", "~"),
        ("^[]a]+$", "]a"),
        ("^[^]a]$", "b"),
        ("^[a-]+$", "a-"),
        ("^[-a]+$", "a-"),
        ("^[--a]$", "5"),
        ("^[[:alpha:]-]+$", "a-"),
        ("^[[:^alpha:]]$", "1"),
        ("^[[:a]+$", "[:a"),
        (r"^[\]\-\x41]+$", "]-A"),
    ] {
        assert!(matches(pattern, text), "{pattern}");
    }
    assert!(!matches("^[a&&b]$", "z"));
}

#[test]
fn refuses_what_go_refuses() {
    for (pattern, problem) in [
        ("x**", "invalid nested repetition operator"),
        ("x{2}{3}", "invalid nested repetition operator"),
        ("a++", "invalid nested repetition operator"),
        ("(?x)a", "invalid or unsupported Perl syntax"),
        ("(?R)", "invalid or unsupported Perl syntax"),
        ("(?=a)", "invalid or unsupported Perl syntax"),
        ("(?!a)", "invalid or unsupported Perl syntax"),
        ("(?i-)", "invalid or unsupported Perl syntax"),
        (r"\u0041", "invalid escape sequence"),
        (r"\1", "invalid escape sequence"),
        (r"\8", "invalid escape sequence"),
        (r"\Z", "invalid escape sequence"),
        (r"\C", "invalid escape sequence"),
        (r"\xZZ", "invalid escape sequence"),
        ("a{1001}", "invalid repeat count"),
        ("a{3,2}", "invalid repeat count"),
        ("[a--c]", "invalid character class range"),
        ("[z-a]", "invalid character class range"),
        ("[[:nope:]]", "invalid character class range"),
        (r"\p{Letter}", "invalid character class range"),
        (r"\p{greek}", "invalid character class range"),
        ("(", "missing closing )"),
        (")", "unexpected )"),
        ("[a", "missing closing ]"),
        ("[", "missing closing ]"),
        ("*a", "missing argument to repetition operator"),
        ("(|*)", "missing argument to repetition operator"),
        ("a\\", "trailing backslash at end of expression"),
        ("(?P<n>a)(?P<n>b)", "duplicate capture group name"),
        ("(?P<n-m>a)", "invalid named capture"),
    ] {
        assert_eq!(compile(pattern).unwrap_err().problem, problem, "{pattern}");
    }
}

#[test]
fn escapes_mean_what_they_mean_in_go() {
    assert!(matches(r"^\<$", "<"));
    assert!(matches(r"^\>\_\ \#$", ">_ #"));
    assert!(matches(r"^\012$", "\n"));
    assert!(matches(r"^\12\x{1F600}\x41$", "\n\u{1F600}A"));
    assert!(matches(r"\Aa\z", "a"));
    assert!(!matches(r"a$", "a\n"));
    assert!(matches(r"^\a\f\n\r\t\v$", "\u{7}\u{c}\n\r\t\u{b}"));
}

#[test]
fn groups_and_flags() {
    assert!(matches("^(?P<1a>x)(?<b>y)$", "xy"));
    assert!(matches("(?i)SECRET", "a-secret"));
    assert!(matches("(?ii-s)A", "a"));
    assert!(!matches("(?i-i)A", "a"));
    assert!(matches("(?)a", "a"));
    assert!(matches("(?i:A)b", "ab"));
    assert!(!matches("(?i:A)b", "aB"));
    assert!(matches("(?U)a+", "a"));
    assert!(matches("(?m)^b$", "a\nb"));
    assert!(matches("^(|a)()$", "a"));
}

#[test]
fn the_error_reads_as_in_go() {
    let error = compile("a**").unwrap_err();
    assert_eq!(
        error.to_string(),
        "error parsing regexp: invalid nested repetition operator: `**`"
    );
}

proptest! {
    #[test]
    fn what_is_translated_compiles(
        pattern in "(a|é|\\\\[dDsSwWbBQEAzpPx01n<.]|[\\[\\](){}*+?|^$.,&~:<>=!-]|\\(\\?[imsUP<:)-]|[0-9]|\\{L\\}|\\[:alpha:\\]){0,12}"
    ) {
        if let Ok(translated) = translate(&pattern) {
            prop_assert!(compile(&pattern).is_ok(), "{} became {}", pattern, translated);
        }
    }

    #[test]
    fn never_panics(pattern in "\\PC{0,16}") {
        let _ = compile(&pattern);
    }
}
