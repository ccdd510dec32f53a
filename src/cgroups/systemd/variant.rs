//! Values in the text form of GVariant, which annotations of the config have (BXG-09):
//! `org.systemd.property.TimeoutStopUSec: "uint64 5000000"`.

use anyhow::{Context, Result, bail, ensure};

use super::properties::Property;
use super::value::Value;

const PREFIX: &str = "org.systemd.property.";
/// Values inside each other.
const MAX_DEPTH: usize = 16;

/// The properties that annotations ask for, with the types that systemd wants.
///
/// # Errors
/// For a name or a value that is none, with the name of the annotation.
pub(super) fn annotations<'a>(
    all: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (key, text) in all {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        ensure!(name.len() >= 3, "annotation {key} name incorrect: too short");
        let letters = name.bytes().all(|byte| byte.is_ascii_alphabetic());
        ensure!(letters, "annotation {key} name incorrect: contains non-alphabetic character");
        let context = || format!("annotation {key}={text} value parse error");
        let value = parse(text).with_context(context)?;
        // What the manual calls TimeoutStopSec is sent as TimeoutStopUSec.
        let before = name.strip_suffix("Sec").filter(|before| ends_lowercase(before));
        properties.push(match before {
            Some(before) => (format!("{before}USec"), microseconds(&value).with_context(context)?),
            None => (name.to_string(), value),
        });
    }
    properties.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(properties)
}

fn ends_lowercase(text: &str) -> bool {
    text.bytes().next_back().is_some_and(|byte| byte.is_ascii_lowercase())
}

fn microseconds(seconds: &Value) -> Result<Value> {
    const SECOND: u64 = 1_000_000;
    let whole = match *seconds {
        Value::Byte(n) => Some(n.into()),
        Value::U16(n) => Some(n.into()),
        Value::U32(n) => Some(n.into()),
        Value::U64(n) => Some(n),
        Value::I16(n) => u64::try_from(n).ok(),
        Value::I32(n) => u64::try_from(n).ok(),
        Value::I64(n) => u64::try_from(n).ok(),
        Value::Double(n) => return fraction(n),
        _ => bail!("not a number"),
    };
    let product = whole.and_then(|seconds| seconds.checked_mul(SECOND));
    product.map(Value::U64).context("no number of seconds")
}

fn fraction(seconds: f64) -> Result<Value> {
    ensure!((0.0..=1e12).contains(&seconds), "no number of seconds");
    // At most 1e18, which fits.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let microseconds = (seconds * 1e6) as u64;
    Ok(Value::U64(microseconds))
}

/// Reads one value.
///
/// # Errors
/// When the text is none, or there is more behind it.
fn parse(text: &str) -> Result<Value> {
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(None, 0)?;
    parser.skip_blanks();
    ensure!(parser.rest.is_empty(), "{:?} follows the value", parser.rest);
    Ok(value)
}

struct Parser<'a> {
    rest: &'a str,
}

/// The words that say of which type a number or a text is.
const TYPES: [(&str, &str); 11] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("objectpath", "o"),
    ("signature", "g"),
];

impl<'a> Parser<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip_blanks();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The characters up to the next one that ends a number or a word.
    fn word(&mut self) -> &'a str {
        let ends = |c: char| c.is_whitespace() || "[](),<>{}:'\"".contains(c);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn value(&mut self, kind: Option<&str>, depth: usize) -> Result<Value> {
        ensure!(depth < MAX_DEPTH, "too many values inside each other");
        self.skip_blanks();
        if self.eat('@') {
            let end = self.rest.find(char::is_whitespace).context("a type without a value")?;
            let (kind, rest) = self.rest.split_at(end);
            self.rest = rest;
            return self.value(Some(kind), depth + 1);
        }
        if self.eat('[') {
            return self.array(kind, depth);
        }
        if self.eat('(') {
            return self.tuple(depth);
        }
        if self.eat('<') {
            let inner = self.value(None, depth + 1)?;
            ensure!(self.eat('>'), "a variant that does not end");
            return Ok(Value::Variant(Box::new(inner)));
        }
        if let Some(rest) = self.rest.strip_prefix("b'").or(self.rest.strip_prefix("b\"")) {
            let quote = self.rest[1..].chars().next().unwrap_or('\'');
            self.rest = rest;
            // A string of bytes ends in NUL, as in C.
            return Ok(Value::bytes(&[self.quoted(quote)?.as_bytes(), b"\0"].concat()));
        }
        for quote in ['\'', '"'] {
            if self.eat(quote) {
                return typed_text(self.quoted(quote)?, kind);
            }
        }
        let word = self.word();
        if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == word) {
            return self.value(Some(kind), depth + 1);
        }
        scalar(word, kind)
    }

    fn array(&mut self, kind: Option<&str>, depth: usize) -> Result<Value> {
        let element = kind.map(|kind| kind.strip_prefix('a').context("an array of another type"));
        let element = element.transpose()?;
        let values = self.list(']', element, depth)?;
        let first = values.first().map(Value::signature);
        let signature = first.as_deref().or(element).context("an empty array without a type")?;
        let same = values.iter().all(|value| value.signature() == signature);
        ensure!(same, "an array of several types");
        Ok(Value::Array(signature.to_string(), values))
    }

    fn tuple(&mut self, depth: usize) -> Result<Value> {
        let values = self.list(')', None, depth)?;
        ensure!(!values.is_empty(), "a tuple of nothing");
        Ok(Value::Struct(values))
    }

    fn list(&mut self, end: char, kind: Option<&str>, depth: usize) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        while !self.eat(end) {
            ensure!(values.is_empty() || self.eat(','), "{end:?} is missing");
            if self.eat(end) {
                break;
            }
            values.push(self.value(kind, depth + 1)?);
        }
        Ok(values)
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = chars.as_str();
                    return Ok(text);
                }
                '\\' => text.push(escaped(&mut chars)?),
                c => text.push(c),
            }
        }
        bail!("a text that does not end")
    }
}

/// The escapes that the text form has.
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<char> {
    let digits = match chars.next().context("a text that does not end")? {
        'a' => return Ok('\u{7}'),
        'b' => return Ok('\u{8}'),
        'f' => return Ok('\u{c}'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\u{b}'),
        'u' => 4,
        'U' => 8,
        other => return Ok(other),
    };
    let hex: String = chars.by_ref().take(digits).collect();
    let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
    code.and_then(char::from_u32).context("an escape without its digits")
}

fn typed_text(text: String, kind: Option<&str>) -> Result<Value> {
    Ok(match kind {
        None | Some("s") => Value::Text(text),
        Some("o") => Value::Path(text),
        Some("g") => Value::Signature(text),
        Some(other) => bail!("the text {text:?} is not of type {other:?}"),
    })
}

fn scalar(word: &str, kind: Option<&str>) -> Result<Value> {
    let context = || match kind {
        Some(kind) => format!("{word:?} is not of type {kind:?}"),
        None => format!("{word:?} is no value"),
    };
    let number = || match word.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => word.parse::<i128>().ok(),
    };
    let value = match kind {
        None | Some("b") if ["true", "false"].contains(&word) => Some(Value::Bool(word == "true")),
        None if word.contains('.') => word.parse().ok().map(Value::Double),
        // Numbers are of 32 bits where nothing says otherwise.
        None | Some("i") => number().and_then(|n| n.try_into().ok()).map(Value::I32),
        Some("y") => number().and_then(|n| n.try_into().ok()).map(Value::Byte),
        Some("n") => number().and_then(|n| n.try_into().ok()).map(Value::I16),
        Some("q") => number().and_then(|n| n.try_into().ok()).map(Value::U16),
        Some("u") => number().and_then(|n| n.try_into().ok()).map(Value::U32),
        Some("x") => number().and_then(|n| n.try_into().ok()).map(Value::I64),
        Some("t") => number().and_then(|n| n.try_into().ok()).map(Value::U64),
        Some("d") => word.parse().ok().map(Value::Double),
        Some(_) => None,
    };
    value.with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let text = |text: &str| Value::text(text);
        for (source, want) in [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("-5", Value::I32(-5)),
            ("0x10", Value::I32(16)),
            ("2.5", Value::Double(2.5)),
            ("uint64 123456789", Value::U64(123_456_789)),
            ("@t 5", Value::U64(5)),
            ("byte 7", Value::Byte(7)),
            ("int16 -7", Value::I16(-7)),
            ("double 3", Value::Double(3.0)),
            ("'a b'", text("a b")),
            ("\"it's\"", text("it's")),
            (r"'a\'b\\c\u0041\n'", text("a'b\\cA\n")),
            ("objectpath '/a'", Value::Path("/a".into())),
            ("['a', 'b']", Value::Array("s".into(), vec![text("a"), text("b")])),
            ("@as []", Value::Array("s".into(), vec![])),
            ("@at [1, 2]", Value::Array("t".into(), vec![Value::U64(1), Value::U64(2)])),
            ("[uint32 1, uint32 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
            ("('/dev/null', uint64 4)", Value::Struct(vec![text("/dev/null"), Value::U64(4)])),
            (
                "[('a', 'r')]",
                Value::Array("(ss)".into(), vec![Value::Struct(vec![text("a"), text("r")])]),
            ),
            ("<'a'>", Value::Variant(Box::new(text("a")))),
            ("b'ab'", Value::bytes(b"ab\0")),
            (" 'a' ", text("a")),
        ] {
            assert_eq!(parse(source).unwrap(), want, "{source}");
        }
        for wrong in [
            "",
            "a",
            "'a",
            "[1, 'a']",
            "[]",
            "()",
            "(",
            "['a' 'b']",
            "uint64 -1",
            "byte 256",
            "1 2",
            "3000000000",
            "@t",
            "@s 5",
            "uint64 'a'",
            "<5",
            r"'\u12'",
            "@(t) 5",
            "--5",
            &"[".repeat(100),
            &"@t ".repeat(100),
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        for (key, value, want) in [
            (
                "org.systemd.property.CollectMode",
                "'inactive-or-failed'",
                Ok(("CollectMode", Value::text("inactive-or-failed"))),
            ),
            (
                "org.systemd.property.TimeoutStopUSec",
                "uint64 5",
                Ok(("TimeoutStopUSec", Value::U64(5))),
            ),
            (
                "org.systemd.property.TimeoutStopSec",
                "5",
                Ok(("TimeoutStopUSec", Value::U64(5_000_000))),
            ),
            (
                "org.systemd.property.TimeoutStopSec",
                "1.5",
                Ok(("TimeoutStopUSec", Value::U64(1_500_000))),
            ),
            ("org.systemd.property.CPUSec", "5", Ok(("CPUSec", Value::I32(5)))),
            ("org.systemd.property.TimeoutStopSec", "'5'", Err("not a number")),
            ("org.systemd.property.TimeoutStopSec", "-5", Err("no number of seconds")),
            ("org.systemd.property.Ab", "5", Err("name incorrect: too short")),
            ("org.systemd.property.A_b", "5", Err("name incorrect: contains non-alphabetic")),
            (
                "org.systemd.property.Abc",
                "x",
                Err("annotation org.systemd.property.Abc=x value parse error"),
            ),
        ] {
            let (key, value) = (key.to_string(), value.to_string());
            match (annotations([(&key, &value)].into_iter()), want) {
                (Ok(got), Ok((name, value))) => assert_eq!(got, [(name.to_string(), value)]),
                (Err(error), Err(want)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(want), "{key}={value}: {error}");
                }
                (got, want) => panic!("{key}={value}: got {got:?}, want {want:?}"),
            }
        }
        let other = ("org.example".to_string(), "x".to_string());
        assert_eq!(annotations([(&other.0, &other.1)].into_iter()).unwrap(), []);
    }
}
