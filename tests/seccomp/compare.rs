//! The same verdicts as libseccomp's programs, for every number, architecture and argument at
//! which a profile can change its mind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use libc::sock_filter;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};
use orlop::seccomp::arch::{audit, family, is_wide};
use orlop::seccomp::compile::compile;
use orlop::seccomp::rules::Profile;
use orlop::seccomp::syscalls::{Syscall, Within};

use crate::bounds::arguments;
use crate::interpreter::{Data, run};
use crate::libseccomp::{Library, library};
use crate::random::{self, Random};
use crate::{profiles, table};

/// What the profile says about a call by the words of the specification, without any order among
/// rules that have conditions.
struct Meaning {
    default: u32,
    lets_pass: bool,
    architectures: BTreeMap<u32, Table>,
}

/// The rules for one architecture.
#[derive(Default)]
struct Table {
    newest: Option<u32>,
    rules: HashMap<u32, Vec<Entry>>,
}

struct Entry {
    action: u32,
    args: Vec<LinuxSeccompArg>,
    /// The number of the part of socketcall or ipc.
    code: Option<u32>,
}

impl Meaning {
    fn new(profile: &LinuxSeccomp, architectures: &[Arch]) -> Self {
        let default = profile.default_action().as_u32(profile.default_errno_ret());
        let tables = architectures.iter().map(|arch| (*arch as u32, Table::new(profile, *arch)));
        let lets_pass = matches!(default & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000);
        Self { default, lets_pass, architectures: tables.collect() }
    }

    /// The architecture that a call belongs to and its rules, if the profile is for it.
    fn table(&self, data: &Data) -> Option<(Arch, &Table)> {
        let arch = if data.number < 0x4000_0000 || data.arch != audit(Arch::ScmpArchX86_64) {
            table::ARCHITECTURES.into_iter().find(|arch| *arch as u32 == data.arch)?
        } else {
            Arch::ScmpArchX32
        };
        Some((arch, self.architectures.get(&(arch as u32))?))
    }

    /// Where nothing newer is known, calls that are newer than the profile do not exist.
    fn is_newer(&self, data: &Data) -> bool {
        self.table(data).is_some_and(|(arch, table)| {
            let s390 = matches!(arch, Arch::ScmpArchS390x | Arch::ScmpArchS390);
            let setup = s390 && data.number == 0;
            let newer = table.newest.is_some_and(|newest| data.number > newest);
            !self.lets_pass && (newer || setup)
        })
    }

    /// The verdicts that are right.
    fn possible(&self, data: &Data) -> BTreeSet<u32> {
        let Some((arch, table)) = self.table(data) else {
            let skipped = data.arch == audit(Arch::ScmpArchX86_64)
                && data.number == u32::MAX
                && self.architectures.contains_key(&(Arch::ScmpArchX86_64 as u32));
            return BTreeSet::from([if skipped { self.default } else { 0 }]);
        };
        if self.is_newer(data) {
            return BTreeSet::from([0x0005_0026]);
        }
        let mut verdicts = BTreeSet::new();
        for entry in table.rules.get(&data.number).into_iter().flatten() {
            if entry.action == self.default {
                continue;
            }
            if entry.code.is_none() && always(&entry.args, arch) {
                return BTreeSet::from([entry.action]);
            }
            if holds(&entry.args, data, arch, entry.code) {
                verdicts.insert(entry.action);
            }
        }
        if verdicts.is_empty() {
            verdicts.insert(self.default);
        }
        verdicts
    }
}

impl Meaning {
    /// The rules for a call, to be shown.
    fn rules(&self, data: &Data) -> String {
        let table = self.table(data).map(|(_, table)| table);
        let entries = table.and_then(|table| table.rules.get(&data.number)).into_iter().flatten();
        entries.map(|entry| format!("\n  {:x} {:?}", entry.action, entry.args)).collect()
    }

    /// Whether there is what the library, up to 2.5.5 at least, goes wrong with: conditions that
    /// are no plain equalities, in several rules for one call. When it joins the comparisons of
    /// halves of arguments that such rules share, conditions get lost, or change their order.
    fn is_tangled(&self, data: &Data) -> bool {
        let Some((_, table)) = self.table(data) else { return false };
        let entries = table.rules.get(&data.number).into_iter().flatten();
        let conditions: Vec<_> = entries.flat_map(|entry| &entry.args).collect();
        let unequal = |arg: &&LinuxSeccompArg| arg.op() != LinuxSeccompOperator::ScmpCmpEq;
        conditions.len() > 1 && conditions.into_iter().any(|arg| unequal(&arg))
    }
}

impl Table {
    fn new(profile: &LinuxSeccomp, arch: Arch) -> Self {
        let mut table = Self::default();
        for rule in profile.syscalls().iter().flatten() {
            let action = rule.action().as_u32(rule.errno_ret());
            let args = rule.args().clone().unwrap_or_default();
            for call in rule.names().iter().filter_map(|name| Syscall::named(name)) {
                let mut add = |number: u32, code: Option<u32>| {
                    let entry = Entry { action, args: args.clone(), code };
                    table.rules.entry(number).or_default().push(entry);
                };
                if let Some((number, code)) = part(call, arch) {
                    add(number, Some(code));
                }
                if let Some(number) = call.number(arch) {
                    add(number, None);
                    table.newest = table.newest.max(Some(number));
                }
            }
        }
        table
    }
}

/// Where the architecture has a call as a part of another one.
fn part(call: Syscall, arch: Arch) -> Option<(u32, u32)> {
    let (container, code) = call.within().map(Within::parts)?;
    Some((Syscall::named(container)?.number(arch)?, code))
}

fn seen(arch: Arch) -> u64 {
    if is_wide(arch) { u64::MAX } else { u32::MAX.into() }
}

/// Several conditions on one argument are alternatives.
fn are_alternatives(args: &[LinuxSeccompArg]) -> bool {
    args.iter().any(|arg| args.iter().filter(|other| other.index() == arg.index()).count() > 1)
}

fn always(args: &[LinuxSeccompArg], arch: Arch) -> bool {
    let masked = |arg: &LinuxSeccompArg| arg.op() == LinuxSeccompOperator::ScmpCmpMaskedEq;
    let always = |arg| masked(arg) && arg.value() & seen(arch) == 0;
    if are_alternatives(args) { args.iter().any(always) } else { args.iter().all(always) }
}

fn holds(args: &[LinuxSeccompArg], data: &Data, arch: Arch, code: Option<u32>) -> bool {
    let one = |arg: &LinuxSeccompArg| {
        let cut = |value: u64| value & seen(arch);
        let word = cut(data.args[arg.index()]);
        let (value, two) = (cut(arg.value()), cut(arg.value_two().unwrap_or(0)));
        match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => word != value,
            LinuxSeccompOperator::ScmpCmpLt => word < value,
            LinuxSeccompOperator::ScmpCmpLe => word <= value,
            LinuxSeccompOperator::ScmpCmpEq => word == value,
            LinuxSeccompOperator::ScmpCmpGe => word >= value,
            LinuxSeccompOperator::ScmpCmpGt => word > value,
            LinuxSeccompOperator::ScmpCmpMaskedEq => word & value == two & value,
        }
    };
    let selected = code.is_none_or(|code| data.args[0] & seen(arch) == u64::from(code));
    // The number of the part takes the place of conditions on the first argument.
    let counts = |arg: &&LinuxSeccompArg| code.is_none() || arg.index() != 0;
    let holds = if are_alternatives(args) {
        args.iter().any(|arg| !counts(&arg) || one(arg))
    } else {
        args.iter().filter(counts).all(one)
    };
    selected && holds
}

/// What came of comparisons.
#[derive(Default)]
struct Tally {
    compared: usize,
    refused: BTreeMap<String, usize>,
    contradicts: usize,
    other_order: usize,
    example: Option<String>,
}

impl Tally {
    fn print(&self) {
        println!("{} verdicts compared", self.compared);
        println!("libseccomp refused or crashed on profiles: {:?}", self.refused);
        println!("libseccomp contradicts the profile: {}", self.contradicts);
        println!("rules overlap, and libseccomp lets another one decide: {}", self.other_order);
        println!("{}", self.example.as_deref().unwrap_or_default());
    }
}

/// Which numbers are tried.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    All,
    /// Those that the profile names and their neighbours.
    Named,
}

struct Comparison<'a> {
    library: &'a Library,
    profile: &'a LinuxSeccomp,
    architectures: Vec<Arch>,
    numbers: Numbers,
}

impl Comparison<'_> {
    fn run(&self, random: &mut Random, tally: &mut Tally) {
        let native = self.architectures[0];
        let ours = ours(self.profile, &self.architectures);
        let theirs = match self.library.compile(self.profile, &self.architectures) {
            Ok(program) => Some(program),
            Err(why) => {
                *tally.refused.entry(why).or_default() += 1;
                None
            }
        };
        let meaning = Meaning::new(self.profile, &self.architectures);
        let foreign = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchAarch64];
        let kin: BTreeSet<u32> =
            family(native).iter().chain(&foreign).map(|arch| *arch as u32).collect();
        for arch in table::ARCHITECTURES.into_iter().filter(|arch| kin.contains(&(*arch as u32))) {
            let calls: HashMap<u32, Syscall> =
                Syscall::all().filter_map(|call| Some((call.number(arch)?, call))).collect();
            for number in self.numbers(arch) {
                let call = calls.get(&number).copied();
                for args in arguments(self.profile, call, random) {
                    let mut data = Data::new(arch, number, args);
                    data.little = orlop::seccomp::arch::is_little_endian(native);
                    self.check(&ours, theirs.as_deref(), &meaning, &data, tally);
                }
            }
        }
    }

    fn check(
        &self,
        ours: &[sock_filter],
        theirs: Option<&[sock_filter]>,
        meaning: &Meaning,
        data: &Data,
        tally: &mut Tally,
    ) {
        let own = run(ours, data).verdict;
        let possible = meaning.possible(data);
        let say = |what: &str| {
            let rules = meaning.rules(data);
            format!("{what}: {data:x?}: ours {own:x}, right {possible:x?} {rules}")
        };
        assert!(possible.contains(&own), "{}", say("contradicts the profile"));
        let Some(theirs) = theirs else { return };
        let newer = meaning.is_newer(data);
        // libseccomp leaves new calls to its user.
        let theirs = if newer { 0x0005_0026 } else { run(theirs, data).verdict };
        tally.compared += 1;
        // In programs for the other byte order libseccomp swaps some results and others not.
        if theirs == own || (!data.little && theirs.swap_bytes() == own) {
            return;
        }
        let text = format!("{}, libseccomp {theirs:x}", say("differs"));
        if possible.contains(&theirs) {
            assert!(meaning.is_tangled(data), "{text}");
            tally.other_order += 1;
        } else {
            tally.contradicts += 1;
        }
        tally.example.get_or_insert(text);
    }

    fn numbers(&self, arch: Arch) -> Vec<u32> {
        let base = match arch {
            Arch::ScmpArchX32 => 0x4000_0000,
            Arch::ScmpArchMips | Arch::ScmpArchMipsel => 4000,
            Arch::ScmpArchMips64 | Arch::ScmpArchMipsel64 => 5000,
            Arch::ScmpArchMips64n32 | Arch::ScmpArchMipsel64n32 => 6000,
            _ => 0,
        };
        let edges = [0x000f_0000_u32, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        let edges = edges.iter().flat_map(|n| [n.wrapping_sub(1), *n, n.wrapping_add(1)]);
        if self.numbers == Numbers::All {
            return (base..base + 1200).chain(0xf_0000..0xf_0010).chain(edges).collect();
        }
        let names = self.profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
        let calls = names.filter_map(|name| Syscall::named(name)).flat_map(|call| {
            let whole = call.number(arch);
            [whole, part(call, arch).map(|(number, _)| number)].into_iter().flatten()
        });
        let near = calls.flat_map(|n| [n.saturating_sub(1), n, n + 1]).collect::<BTreeSet<_>>();
        near.into_iter().chain(edges).collect()
    }
}

fn ours(profile: &LinuxSeccomp, architectures: &[Arch]) -> Vec<sock_filter> {
    let mut profile = profile.clone();
    profile.set_architectures(Some(architectures.to_vec()));
    let profile = Profile::new(&profile, architectures[0], false).expect("a profile");
    assert_eq!(profile.architectures, architectures);
    compile(&profile).expect("a program")
}

/// The profile without names that the installed library does not know, or knows otherwise.
fn known(library: &Library, profile: &LinuxSeccomp) -> LinuxSeccomp {
    let differing = table::differing(library);
    let mut profile = profile.clone();
    let rules = profile.syscalls().iter().flatten().map(|rule| {
        let mut rule = rule.clone();
        let names = rule.names().iter();
        let names = names.filter(|name| library.knows(name) && !differing.contains(*name));
        rule.set_names(names.cloned().collect());
        rule
    });
    profile.set_syscalls(Some(rules.collect()));
    profile
}

/// Every choice of architectures that a profile can make for one kernel, as far as the library
/// knows them.
fn choices(library: &Library) -> Vec<Vec<Arch>> {
    let mut choices = Vec::new();
    for native in table::ARCHITECTURES.into_iter().filter(|arch| library.knows_arch(*arch)) {
        let others: Vec<_> = family(native).iter().copied().skip(1).collect();
        for chosen in 0..1_usize << others.len() {
            let others = others.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
            choices.push(std::iter::once(native).chain(others.map(|(_, arch)| *arch)).collect());
        }
    }
    choices
}

#[test]
fn profiles_of_engines_decide_as_with_libseccomp() {
    let Some(library) = library() else { return };
    let mut tally = Tally::default();
    let mut random = Random::new(random::seed());
    for named in profiles::of_engines() {
        println!("{}", named.name);
        let profile = known(library, &named.profile);
        for (index, architectures) in choices(library).into_iter().enumerate() {
            // The first four are those of x86-64, the last of which the documents have.
            let numbers = match index {
                3 => Numbers::All,
                _ if architectures.len() == family(architectures[0]).len() => Numbers::Named,
                _ => continue,
            };
            let comparison = Comparison { library, profile: &profile, architectures, numbers };
            comparison.run(&mut random, &mut tally);
        }
    }
    tally.print();
    assert!(tally.refused.is_empty() && tally.contradicts + tally.other_order == 0);
}

#[test]
fn random_profiles_decide_as_with_libseccomp() {
    let Some(library) = library() else { return };
    let mut random = Random::new(random::seed());
    let differing = table::differing(library);
    let names = random::names(|name| library.knows(name) && !differing.contains(name));
    let (mut tally, choices) = (Tally::default(), choices(library));
    for number in 0..random::count(500, 10_000) {
        let profile = random::profile(&mut random, &names);
        let usual = &choices[..4];
        let architectures = if number % 2 == 0 {
            usual[random.below(4)].clone()
        } else {
            choices[random.below(choices.len())].clone()
        };
        let comparison =
            Comparison { library, profile: &profile, architectures, numbers: Numbers::Named };
        comparison.run(&mut random, &mut tally);
    }
    tally.print();
    // What libseccomp gets wrong itself is rare.
    assert!(tally.compared > 100_000 && tally.contradicts * 50 < tally.compared);
}
