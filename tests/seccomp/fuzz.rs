//! Documents that nobody would write: each is refused with words, or becomes a program that the
//! kernel takes. Nothing panics. `make fuzz` goes on for as long as it is told.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;
use orlop::seccomp::Filter;
use orlop::seccomp::arch::NATIVE;
use orlop::seccomp::compile::compile;
use orlop::seccomp::rules::Profile;
use serde_json::{Value, json};

use crate::random::{self, Random};
use crate::{kernel, profiles};

/// Words that have a meaning somewhere in a profile.
const WORDS: [&str; 20] = [
    "",
    "read",
    "socket",
    "socketcall",
    "semop",
    "nosuchcall",
    "write",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_KILL",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_GT",
    "SCMP_CMP_NE",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_NATIVE",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    "/run/agent\u{0}",
];

const NUMBERS: [u64; 12] =
    [0, 1, 5, 6, 38, 4095, 4096, 65_536, 0x7fff_ffff, 0xffff_ffff, 1 << 32, u64::MAX];

fn anything(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 | 3 => json!(random.pick(&NUMBERS)),
        4 => json!(-1),
        5 => json!(0.5),
        6 => json!([]),
        7 => json!({}),
        _ => json!(random.pick(&WORDS)),
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum(),
        _ => 0,
    }
}

/// The value at this place, counting as [`size`] does.
fn at(value: &mut Value, mut place: usize) -> &mut Value {
    if place == 0 {
        return value;
    }
    place -= 1;
    let below: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    for member in below {
        let size = size(member);
        if place < size {
            return at(member, place);
        }
        place -= size;
    }
    unreachable!("the place is inside")
}

/// Changes something somewhere.
fn change(value: &mut Value, random: &mut Random) {
    let place = random.below(size(value));
    let found = at(value, place);
    match (random.below(4), found) {
        (0, Value::Array(list)) if !list.is_empty() => {
            let copies = 1 + random.below(60);
            let copy = list[random.below(list.len())].clone();
            list.extend(std::iter::repeat_n(copy, copies));
        }
        (1, Value::Array(list)) if !list.is_empty() => drop(list.remove(random.below(list.len()))),
        (1, Value::Object(members)) if !members.is_empty() => {
            let key = members.keys().nth(random.below(members.len())).cloned();
            members.remove(&key.expect("a member"));
        }
        (_, found) => *found = anything(random),
    }
}

fn document(seeds: &[Value], random: &mut Random) -> Vec<u8> {
    let mut profile = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(3) {
        change(&mut profile, random);
    }
    let document = json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"]},
        "linux": {"namespaces": [{"type": "mount"}], "seccomp": profile},
    });
    let mut bytes = document.to_string().into_bytes();
    for _ in 0..if random.below(8) == 0 { 1 + random.below(4) } else { 0 } {
        let place = random.below(bytes.len());
        bytes[place] ^= 1 << random.below(8);
    }
    bytes
}

/// The seeds: profiles of engines, and random ones.
fn seeds(random: &mut Random) -> Vec<Value> {
    let names = random::names(|_| true);
    let mut seeds: Vec<_> = profiles::of_engines().into_iter().map(|named| named.profile).collect();
    seeds.extend((0..30).map(|_| random::profile(random, &names)));
    let values = seeds.iter().map(|profile| serde_json::to_value(profile).expect("a value"));
    values
        .map(|mut value| {
            value["listenerPath"] = json!("/run/agent");
            value
        })
        .collect()
}

/// What became of a document.
#[derive(Default)]
struct Tally {
    refused: usize,
    taken: usize,
}

impl Tally {
    fn count(&mut self, spec: anyhow::Result<Spec>) {
        let compiled = spec.and_then(|spec| Filter::from_spec(&spec).map(|_| spec));
        let spec = match compiled {
            Ok(spec) => spec,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                self.refused += 1;
                return;
            }
        };
        let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
            return;
        };
        let profile = Profile::new(seccomp, NATIVE, false).expect("a profile");
        assert!(kernel::takes(&compile(&profile).expect("a program")), "the kernel refuses it");
        self.taken += 1;
    }
}

#[test]
fn whatever_is_written_is_refused_or_taken_by_the_kernel() {
    let mut random = Random::new(random::seed());
    let seeds = seeds(&mut random);
    let bundle =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz{}", std::process::id()));
    fs::create_dir_all(&bundle).expect("make a directory");
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let count = random::count(400, 10_000);
    let mut tally = Tally::default();
    let mut done = 0;
    while end.map_or(done < count, |end| Instant::now() < end) {
        let bytes = document(&seeds, &mut random);
        fs::write(bundle.join("config.json"), &bytes).expect("write a document");
        let tried = catch_unwind(std::panic::AssertUnwindSafe(|| {
            tally.count(orlop::spec::document(&bundle));
        }));
        assert!(tried.is_ok(), "document {done}: {}", String::from_utf8_lossy(&bytes));
        done += 1;
    }
    fs::remove_dir_all(&bundle).expect("remove the directory");
    println!("{done} documents, {} refused, {} taken", tally.refused, tally.taken);
    assert!(tally.refused > done / 20 && tally.taken > done / 20);
}
