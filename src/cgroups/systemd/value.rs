//! Values of D-Bus: their types, and how they are written and read (D-Bus specification, "Type
//! system" and "Marshaling").

use anyhow::{Context, Result, bail, ensure};

/// The specification allows 32 arrays and 32 structures in each other.
const MAX_DEPTH: usize = 64;

/// One value of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    Path(String),
    Signature(String),
    /// The type of its elements, and them.
    Array(String, Vec<Self>),
    /// Also an entry of a dictionary that was read.
    Struct(Vec<Self>),
    Variant(Box<Self>),
}

impl Value {
    /// A text.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_string())
    }

    /// An array of bytes.
    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self::Array("y".into(), bytes.iter().copied().map(Self::Byte).collect())
    }

    /// The type as D-Bus writes it.
    pub(super) fn signature(&self) -> String {
        let letter = match self {
            Self::Bool(_) => "b",
            Self::Byte(_) => "y",
            Self::I16(_) => "n",
            Self::U16(_) => "q",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::Double(_) => "d",
            Self::Text(_) => "s",
            Self::Path(_) => "o",
            Self::Signature(_) => "g",
            Self::Variant(_) => "v",
            Self::Array(element, _) => return format!("a{element}"),
            Self::Struct(fields) => {
                return format!("({})", fields.iter().map(Self::signature).collect::<String>());
            }
        };
        letter.to_string()
    }

    /// The text of a text or a path.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Path(text) => Some(text),
            Self::Variant(inner) => inner.as_text(),
            _ => None,
        }
    }
}

fn alignment(kind: u8) -> usize {
    match kind {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Writes values one after another, with the lowest byte first.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend(bytes);
    }

    fn length(length: usize) -> Result<u32> {
        u32::try_from(length).context("a value that is too long for D-Bus")
    }

    fn string(&mut self, text: &str) -> Result<()> {
        ensure!(!text.contains('\0'), "{text:?} holds a NUL, which D-Bus cannot send");
        self.number(Self::length(text.len())?.to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(0);
        Ok(())
    }

    /// # Errors
    /// For what D-Bus cannot send.
    pub(super) fn value(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Bool(is) => self.number(u32::from(*is).to_le_bytes()),
            Value::Byte(byte) => self.0.push(*byte),
            Value::I16(n) => self.number(n.to_le_bytes()),
            Value::U16(n) => self.number(n.to_le_bytes()),
            Value::I32(n) => self.number(n.to_le_bytes()),
            Value::U32(n) => self.number(n.to_le_bytes()),
            Value::I64(n) => self.number(n.to_le_bytes()),
            Value::U64(n) => self.number(n.to_le_bytes()),
            Value::Double(n) => self.number(n.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => self.string(text)?,
            Value::Signature(text) => self.signature(text)?,
            Value::Array(element, values) => self.array(element, values)?,
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().try_for_each(|field| self.value(field))?;
            }
            Value::Variant(inner) => {
                self.signature(&inner.signature())?;
                self.value(inner)?;
            }
        }
        Ok(())
    }

    fn signature(&mut self, text: &str) -> Result<()> {
        self.0.push(u8::try_from(text.len()).context("a type that is too long for D-Bus")?);
        self.0.extend(text.as_bytes());
        self.0.push(0);
        Ok(())
    }

    fn array(&mut self, element: &str, values: &[Value]) -> Result<()> {
        self.number(0_u32.to_le_bytes());
        let length_at = self.0.len() - 4;
        self.align(alignment(element.bytes().next().unwrap_or_default()));
        let start = self.0.len();
        values.iter().try_for_each(|value| self.value(value))?;
        let length = Self::length(self.0.len() - start)?;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// Reads values out of a message of somebody else.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The highest byte of a number comes first.
    big: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], big: bool) -> Self {
        Self { bytes, at: 0, big }
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.context("a message that ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.align(N);
        let mut bytes: [u8; N] = self.take(N)?.try_into().context("a number")?;
        if self.big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn string(&mut self, length: usize) -> Result<String> {
        let text = self.take(length)?.to_vec();
        ensure!(self.take(1)? == [0], "a text of a message does not end");
        String::from_utf8(text).context("a text of a message is not UTF-8")
    }

    /// Reads one value for each type of `signature`.
    ///
    /// # Errors
    /// When the bytes are not such values.
    pub(super) fn values(&mut self, signature: &str) -> Result<Vec<Value>> {
        self.all(signature.as_bytes(), 0)
    }

    fn all(&mut self, mut signature: &[u8], depth: usize) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = signature.split_at(type_length(signature, depth)?);
            values.push(self.value(first, depth)?);
            signature = rest;
        }
        Ok(values)
    }

    fn value(&mut self, kind: &[u8], depth: usize) -> Result<Value> {
        Ok(match kind[0] {
            b'b' => Value::Bool(self.u32()? != 0),
            b'y' => Value::Byte(self.take(1)?[0]),
            b'n' => Value::I16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.number()?)),
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(i64::from_le_bytes(self.number()?)),
            b't' => Value::U64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                let text = self.string(length)?;
                if kind[0] == b's' { Value::Text(text) } else { Value::Path(text) }
            }
            b'g' => Value::Signature(self.short_string()?),
            b'a' => self.array(&kind[1..], depth)?,
            b'(' | b'{' => {
                self.align(8);
                Value::Struct(self.all(&kind[1..kind.len() - 1], depth + 1)?)
            }
            b'v' => {
                let signature = self.short_string()?;
                let length = type_length(signature.as_bytes(), depth)?;
                ensure!(length == signature.len(), "a variant of several types");
                Value::Variant(Box::new(self.value(signature.as_bytes(), depth + 1)?))
            }
            other => bail!("a message with the unknown type {:?}", char::from(other)),
        })
    }

    fn short_string(&mut self) -> Result<String> {
        let length = self.take(1)?[0].into();
        self.string(length)
    }

    fn array(&mut self, element: &[u8], depth: usize) -> Result<Value> {
        let length = self.u32()? as usize;
        self.align(alignment(element[0]));
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.context("an array that is longer than its message")?;
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.value(element, depth + 1)?);
        }
        ensure!(self.at == end, "an array of a message has another length than it says");
        Ok(Value::Array(String::from_utf8_lossy(element).into_owned(), values))
    }
}

/// The length of the first complete type of a signature.
fn type_length(signature: &[u8], depth: usize) -> Result<usize> {
    ensure!(depth < MAX_DEPTH, "a message with too many types in each other");
    match signature.first() {
        Some(b'a') => Ok(1 + type_length(&signature[1..], depth + 1)?),
        Some(open @ (b'(' | b'{')) => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while signature.get(at).context("a type that does not end")? != &close {
                at += type_length(&signature[at..], depth + 1)?;
            }
            ensure!(at > 1, "a message with an empty structure");
            Ok(at + 1)
        }
        Some(_) => Ok(1),
        None => bail!("a type that does not end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(value: Value) -> Value {
        Value::Variant(Box::new(value))
    }

    #[test]
    fn what_is_written_is_read() {
        let values = vec![
            Value::Byte(1),
            Value::Bool(true),
            Value::text("some text"),
            Value::U64(u64::MAX),
            Value::I16(-2),
            Value::Double(1.5),
            Value::Array(
                "(sv)".into(),
                vec![
                    Value::Struct(vec![Value::text("a"), variant(Value::U32(7))]),
                    Value::Struct(vec![Value::text("b"), variant(Value::bytes(&[1, 2]))]),
                ],
            ),
            Value::Array("(sa(sv))".into(), vec![]),
            Value::Signature("a{sv}".into()),
            Value::Path("/a".into()),
        ];
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.value(value).unwrap());
        let signature: String = values.iter().map(Value::signature).collect();
        assert_eq!(signature, "ybstnda(sv)a(sa(sv))go");
        let mut reader = Reader::new(&writer.0, false);
        assert_eq!(reader.values(&signature).unwrap(), values);
        // Whatever is cut off is noticed.
        for end in 0..writer.0.len() {
            assert!(Reader::new(&writer.0[..end], false).values(&signature).is_err(), "{end}");
        }
    }

    #[test]
    fn numbers_of_other_machines() {
        assert_eq!(Reader::new(&[0, 0, 1, 2], true).u32().unwrap(), 258);
        assert_eq!(Reader::new(&[2, 1, 0, 0], false).u32().unwrap(), 258);
    }

    #[test]
    fn types_that_are_none() {
        for signature in ["a", "(", "(s", "()", "!", "{s", &"a".repeat(70), &"(".repeat(70)] {
            assert!(Reader::new(&[0; 64], false).values(signature).is_err(), "{signature}");
        }
        // A variant in a variant in a variant…
        let deep: Vec<u8> = [1, b'v', 0].repeat(100);
        assert!(Reader::new(&deep, false).values("v").is_err());
        // An array that says it were longer than everything.
        assert!(Reader::new(&[255, 255, 255, 255, 0], false).values("ay").is_err());
    }
}
