//! Numbers and profiles by chance, the same ones for the same seed.

use oci_spec::runtime::LinuxSeccomp;
use orlop::seccomp::syscalls::Syscall;
use serde_json::{Value, json};

/// A generator: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 33) % limit as u64).expect("below a usize")
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The seed of this run: `SEED`, or the time.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.expect("a time after 1970").subsec_nanos())
    });
    println!("SEED={seed}");
    seed
}

/// How many random cases to try.
pub(crate) fn count(usual: usize, torture: usize) -> usize {
    if std::env::var_os("TORTURE").is_some() { torture } else { usual }
}

const ACTIONS: [(&str, bool); 8] = [
    ("SCMP_ACT_KILL", false),
    ("SCMP_ACT_KILL_PROCESS", false),
    ("SCMP_ACT_TRAP", false),
    ("SCMP_ACT_ERRNO", true),
    ("SCMP_ACT_TRACE", true),
    ("SCMP_ACT_ALLOW", false),
    ("SCMP_ACT_LOG", false),
    ("SCMP_ACT_NOTIFY", false),
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// A profile: some rules for many calls, and many rules with conditions for few.
pub(crate) fn profile(random: &mut Random, names: &[&str]) -> LinuxSeccomp {
    let mut profile = json!({"syscalls": []});
    let default = action(random, "defaultAction", "defaultErrnoRet", &ACTIONS[..7]);
    merge(&mut profile, default);
    let crowded: Vec<&str> = (0..4).map(|_| random.pick(names)).collect();
    let mut syscalls = Vec::new();
    for _ in 0..random.below(4) {
        let count = 1 + random.below(80);
        let names: Vec<_> = (0..count).map(|_| random.pick(names)).collect();
        let mut rule = action(random, "action", "errnoRet", &ACTIONS);
        merge(&mut rule, json!({"names": names}));
        syscalls.push(rule);
    }
    for _ in 0..random.below(14) {
        let from = if random.chance(80) { &crowded } else { names };
        let names = [random.pick(from)];
        let count = if random.chance(95) { 1 + random.below(3) } else { random.below(9) };
        let args: Vec<_> = (0..count).map(|_| condition(random)).collect();
        let mut rule = action(random, "action", "errnoRet", &ACTIONS);
        merge(&mut rule, json!({"names": names, "args": args}));
        let at = random.below(syscalls.len() + 1);
        syscalls.insert(at, rule);
    }
    profile["syscalls"] = json!(syscalls);
    serde_json::from_value(profile).expect("a profile")
}

fn action(random: &mut Random, action: &str, errno: &str, from: &[(&str, bool)]) -> Value {
    let (name, has_errno) = random.pick(from);
    let mut rule = json!({action: name});
    if has_errno && random.chance(60) {
        rule[errno] = json!(random.pick(&[0_u32, 1, 2, 22, 38, 4095]));
    }
    rule
}

fn condition(random: &mut Random) -> Value {
    let operator = random.pick(&OPERATORS);
    let mut condition = json!({"index": random.below(6).min(random.below(6)), "op": operator, "value": value(random)});
    if random.chance(70) && operator == "SCMP_CMP_MASKED_EQ" {
        condition["valueTwo"] = json!(value(random));
    }
    condition
}

/// Small numbers, bits, and numbers of which both halves count.
fn value(random: &mut Random) -> u64 {
    match random.below(6) {
        0 => 0,
        1 | 2 => random.below(10) as u64,
        3 => 1 << random.below(64),
        4 => (random.below(3) as u64) << 32 | random.below(4) as u64,
        _ => random.next(),
    }
}

fn merge(into: &mut Value, from: Value) {
    let into = into.as_object_mut().expect("an object");
    into.extend(from.as_object().expect("an object").clone());
}

/// The names of calls that both sides have.
pub(crate) fn names(allowed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    Syscall::all().map(Syscall::name).filter(|name| allowed(name)).collect()
}
