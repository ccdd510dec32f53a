//! Somebody who plays systemd behind a bus, or only listens.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What the one who listens does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Accepts, and never says a word.
    Silent,
    /// Greets, and answers no call.
    Greets,
    /// Says that it has done what it was asked for.
    Plays {
        /// So many requests to start a unit are refused, since there is one of that name.
        refuses: usize,
        /// How the job to start a unit ends.
        result: &'static str,
    },
}

/// A bus at a path, with a record of the calls.
pub struct Bus {
    path: PathBuf,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// A call: its method, and the bytes of its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    body: Vec<u8>,
}

impl Call {
    /// The arguments hold this text.
    pub fn says(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Bus {
    /// Listens below `directory`.
    pub fn new(directory: &Path, manners: Manners) -> Self {
        let path = directory.join("bus");
        let listener = UnixListener::bind(&path).expect("listen");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&calls);
        // It ends with the test's process; by then nobody calls any more.
        thread::spawn(move || {
            let refusals = Arc::new(Mutex::new(match manners {
                Manners::Plays { refuses, .. } => refuses,
                _ => 0,
            }));
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                if manners == Manners::Silent {
                    silent.push(stream);
                    continue;
                }
                let mut side =
                    Side { stream, manners, record: record.clone(), refusals: refusals.clone() };
                thread::spawn(move || side.serve());
            }
        });
        Self { path, calls }
    }

    /// For the environment of the runtime.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.path.display())
    }

    /// Nobody can connect any more.
    pub fn vanish(&self) {
        fs::remove_file(&self.path).expect("remove a socket");
    }

    /// The calls until now.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The methods of the calls, without those that every connection begins with.
    pub fn methods(&self) -> Vec<String> {
        let begins = ["Hello", "AddMatch", "Subscribe", "Get"];
        let methods = self.calls().into_iter().map(|call| call.method);
        methods.filter(|method| !begins.contains(&method.as_str())).collect()
    }

    /// The only call of this method.
    #[track_caller]
    pub fn call(&self, method: &str) -> Call {
        let mut calls: VecDeque<_> =
            self.calls().into_iter().filter(|call| call.method == method).collect();
        assert_eq!(calls.len(), 1, "{method} in {:?}", self.methods());
        calls.pop_front().expect("a call")
    }
}

/// One connection.
struct Side {
    stream: UnixStream,
    manners: Manners,
    record: Arc<Mutex<Vec<Call>>>,
    refusals: Arc<Mutex<usize>>,
}

impl Side {
    /// Returns when the other side is gone.
    fn serve(&mut self) -> Option<()> {
        let mut reader = BufReader::new(self.stream.try_clone().ok()?);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            if line.contains("AUTH EXTERNAL") {
                self.stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").ok()?;
            }
            if line.contains("BEGIN") {
                break;
            }
        }
        loop {
            let mut start = [0; 16];
            reader.read_exact(&mut start).ok()?;
            let number = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().expect("4"));
            let (body, serial, fields) = (number(4), number(8), number(12) as usize);
            let mut rest = vec![0; fields.next_multiple_of(8) + body as usize];
            reader.read_exact(&mut rest).ok()?;
            let body = rest.split_off(fields.next_multiple_of(8));
            let call = Call { method: method(&rest[..fields])?, body };
            self.record.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
            if self.manners != Manners::Greets {
                self.answer(&call, serial)?;
            }
        }
    }

    fn answer(&mut self, call: &Call, serial: u32) -> Option<()> {
        let Manners::Plays { result, .. } = self.manners else { return Some(()) };
        match call.method.as_str() {
            "Hello" => self.reply(serial, "s", &string(":1.1")),
            // A variant with a text: one byte for the length of its type, the type, NUL.
            "Get" => {
                let value = if call.says("ControlGroup") { "/" } else { "257.1" };
                self.reply(serial, "v", &[b"\x01s\0\0".to_vec(), string(value)].concat())
            }
            "StartTransientUnit" => {
                let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
                if *refusals > 0 {
                    *refusals -= 1;
                    drop(refusals);
                    let error = "org.freedesktop.systemd1.UnitExists";
                    return self.error(serial, error, "Unit was already loaded.");
                }
                drop(refusals);
                self.reply(serial, "o", &string("/job/1"))?;
                self.job_removed(result)
            }
            "StopUnit" => {
                self.reply(serial, "o", &string("/job/1"))?;
                self.job_removed("done")
            }
            "ResetFailedUnit" => {
                self.error(serial, "org.freedesktop.systemd1.NoSuchUnit", "Unit not loaded.")
            }
            _ => self.reply(serial, "", &[]),
        }
    }

    fn reply(&mut self, serial: u32, kind: &str, body: &[u8]) -> Option<()> {
        let mut fields = vec![5, 1, b'u', 0];
        fields.extend(serial.to_le_bytes());
        self.send(2, fields, kind, body)
    }

    fn error(&mut self, serial: u32, name: &str, text: &str) -> Option<()> {
        let mut fields = vec![5, 1, b'u', 0];
        fields.extend(serial.to_le_bytes());
        fields.extend([4, 1, b's', 0]);
        fields.extend(string(name));
        self.send(3, fields, "s", &string(text))
    }

    fn job_removed(&mut self, result: &str) -> Option<()> {
        let mut fields = vec![3, 1, b's', 0];
        fields.extend(string("JobRemoved"));
        let mut body = 1_u32.to_le_bytes().to_vec();
        for text in ["/job/1", "some.scope", result] {
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend(string(text));
        }
        self.send(4, fields, "uoss", &body)
    }

    fn send(&mut self, kind: u8, mut fields: Vec<u8>, signature: &str, body: &[u8]) -> Option<()> {
        if !signature.is_empty() {
            fields.resize(fields.len().next_multiple_of(8), 0);
            fields.extend([8, 1, b'g', 0, u8::try_from(signature.len()).ok()?]);
            fields.extend(signature.bytes().chain([0]));
        }
        let mut message = vec![b'l', kind, 0, 1];
        message.extend(u32::try_from(body.len()).ok()?.to_le_bytes());
        message.extend(1_u32.to_le_bytes());
        message.extend(u32::try_from(fields.len()).ok()?.to_le_bytes());
        message.extend(fields);
        message.resize(message.len().next_multiple_of(8), 0);
        message.extend(body);
        self.stream.write_all(&message).ok()
    }
}

fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text");
    [&length.to_le_bytes(), text.as_bytes(), b"\0"].concat()
}

/// The field with the name of the method, the third kind.
fn method(fields: &[u8]) -> Option<String> {
    let at = fields.windows(4).position(|window| window == [3, 1, b's', 0])? + 4;
    let length = u32::from_le_bytes(fields.get(at..at + 4)?.try_into().ok()?) as usize;
    String::from_utf8(fields.get(at + 4..at + 4 + length)?.to_vec()).ok()
}
