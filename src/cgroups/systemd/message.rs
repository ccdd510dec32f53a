//! Messages of D-Bus: a header with its fields, and values (D-Bus specification, "Message
//! protocol").

use anyhow::{Context, Result, bail, ensure};

use super::value::{Reader, Value, Writer};

/// Nothing that systemd sends comes near this; the specification allows 128 MiB.
const MAX_LENGTH: usize = 1 << 20;
/// The part of the header that has a fixed length: it tells how long the rest is.
pub(super) const FIXED: usize = 16;
const VERSION: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Reply,
    Error,
    Signal,
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// A message that was read.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The number of the call that it answers.
    pub(super) reply_to: u32,
    /// The name of a signal.
    pub(super) member: String,
    /// The name of an error.
    pub(super) error: String,
    pub(super) body: Vec<Value>,
}

/// The bytes of a call.
///
/// # Errors
/// For what D-Bus cannot send.
pub(super) fn call(serial: u32, target: Target, member: &str, body: &[Value]) -> Result<Vec<u8>> {
    let mut values = Writer::default();
    body.iter().try_for_each(|value| values.value(value))?;
    let field = |code: u8, value: Value| {
        Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))])
    };
    let mut fields = vec![
        field(1, Value::Path(target.path.into())),
        field(2, Value::text(target.interface)),
        field(3, Value::text(member)),
        field(6, Value::text(target.destination)),
    ];
    if !body.is_empty() {
        let signature = body.iter().map(Value::signature).collect();
        fields.push(field(8, Value::Signature(signature)));
    }
    let mut message = Writer(vec![b'l', 1, 0, VERSION]);
    message.value(&Value::U32(u32::try_from(values.0.len()).context("a call of 4 GiB")?))?;
    message.value(&Value::U32(serial))?;
    message.value(&Value::Array("(yv)".into(), fields))?;
    message.align(8);
    message.0.extend(values.0);
    Ok(message.0)
}

fn is_big(start: &[u8]) -> Result<bool> {
    match start.first() {
        Some(b'l') => Ok(false),
        Some(b'B') => Ok(true),
        _ => bail!("what came is no message of D-Bus"),
    }
}

/// How long the message with this fixed part of a header is.
///
/// # Errors
/// When it is no such part.
pub(super) fn length(start: &[u8; FIXED]) -> Result<usize> {
    let mut reader = Reader::new(&start[4..], is_big(start)?);
    let (body, _, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let length = FIXED + (fields as usize).next_multiple_of(8) + body as usize;
    ensure!(length <= MAX_LENGTH, "a message of {length} bytes");
    Ok(length)
}

impl Message {
    /// Reads a whole message.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let big = is_big(bytes)?;
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Reply,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            other => bail!("a message of the unknown kind {other:?}"),
        };
        let mut message =
            Self { kind, reply_to: 0, member: String::new(), error: String::new(), body: vec![] };
        let mut reader = Reader::new(bytes, big);
        let header = reader.values("yyyyuua(yv)")?;
        let mut signature = String::new();
        let Some(Value::Array(_, fields)) = header.into_iter().next_back() else {
            bail!("a message without a header")
        };
        for field in fields {
            let Value::Struct(parts) = field else { continue };
            let [Value::Byte(code), Value::Variant(value)] = parts.as_slice() else { continue };
            match (code, value.as_ref()) {
                (3, Value::Text(text)) => message.member.clone_from(text),
                (4, Value::Text(text)) => message.error.clone_from(text),
                (5, Value::U32(number)) => message.reply_to = *number,
                (8, Value::Signature(text)) => signature.clone_from(text),
                _ => {}
            }
        }
        reader.align(8);
        message.body = reader.values(&signature)?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { destination: "a.b", path: "/a/b", interface: "a.b.C" };

    #[test]
    fn a_call_is_a_message() {
        for body in [vec![], vec![Value::text("x"), Value::Array("u".into(), vec![Value::U32(1)])]]
        {
            let bytes = call(7, TARGET, "Do", &body).unwrap();
            let start: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
            assert_eq!(length(&start).unwrap(), bytes.len());
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "Do"));
            assert_eq!(message.body, body);
        }
    }

    #[test]
    fn what_is_no_message() {
        for start in [*b"HTTP/1.1 200 OK\r", *b"l\x02\0\x01\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0"] {
            assert!(length(&start).is_err());
        }
        let bytes = call(7, TARGET, "Do", &[Value::text("x")]).unwrap();
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "{end}");
        }
    }

    /// Whatever bytes come, reading them ends without a panic.
    #[test]
    fn damaged_messages() {
        let bytes = call(7, TARGET, "Do", &[Value::bytes(b"abc"), Value::text("x")]).unwrap();
        for at in 0..bytes.len() {
            for byte in [0, 1, b'a', b'(', b'v', 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                drop(Message::parse(&damaged));
            }
        }
    }
}
