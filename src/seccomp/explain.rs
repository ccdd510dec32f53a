//! What a profile does with each call, for people.

use std::fmt::Write;

use nix::errno::Errno;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompOperator as Operator};
use serde::Serialize;

use super::arch::NATIVE;
use super::rules::{Calls, Condition, Profile, Rule};
use super::syscalls::Syscall;

/// What happens to one call on one architecture.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The architecture.
    pub architecture: String,
    /// The name of the call.
    pub syscall: &'static str,
    /// Its number.
    pub number: u32,
    /// What is asked, in this order; the last one always holds.
    pub decisions: Vec<Decision>,
}

/// An action and when it is taken.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What has to hold of the arguments, all of it.
    pub conditions: Vec<String>,
    /// What is done.
    pub action: String,
    /// Which part of the document says so.
    pub rule: String,
}

/// Explains the calls with these names, or all that the architectures of the profile have.
#[must_use]
pub fn explain(profile: &Profile, names: &[Syscall]) -> Vec<Explanation> {
    let mut explanations = Vec::new();
    for arch in &profile.architectures {
        let calls = profile.calls(*arch);
        let decided: Vec<_> = calls.decisions().collect();
        let mut known: Vec<_> = Syscall::all()
            .filter(|call| names.is_empty() || names.iter().any(|n| n.name() == call.name()))
            .filter_map(|call| Some((call.number(*arch)?, call)))
            .collect();
        known.sort_unstable_by_key(|(number, _)| *number);
        for (number, call) in known {
            let rules = decided.iter().find(|(decided, _)| *decided == number);
            let rules = rules.map(|(_, rules)| rules.rules()).unwrap_or_default();
            explanations.push(Explanation {
                architecture: arch.to_string(),
                syscall: call.name(),
                number,
                decisions: decisions(profile, &calls, number, rules),
            });
        }
    }
    explanations
}

fn decisions(profile: &Profile, calls: &Calls<'_>, number: u32, rules: &[&Rule]) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for rule in rules {
        let seen = rule.conditions.iter().filter_map(|c| c.seen_by(calls.arch()));
        let conditions: Vec<_> = seen.map(condition).collect();
        let always = conditions.is_empty();
        decisions.push(Decision {
            conditions,
            action: action(rule.action),
            rule: format!("linux.seccomp.syscalls[{}]", rule.source),
        });
        if always {
            return decisions;
        }
    }
    let newer = calls.newest.is_some_and(|newest| number > newest) && profile.unknown_is_enosys;
    decisions.push(if newer {
        Decision {
            conditions: Vec::new(),
            action: "errno 38 (ENOSYS)".to_string(),
            rule: "newer than every call that the profile names".to_string(),
        }
    } else {
        Decision {
            conditions: Vec::new(),
            action: action(profile.default),
            rule: "linux.seccomp.defaultAction".to_string(),
        }
    });
    decisions
}

fn condition(condition: Condition) -> String {
    let Condition { index, operator, mask, value } = condition;
    let sign = match operator {
        Operator::ScmpCmpMaskedEq => return format!("arg{index} & {mask:#x} == {value:#x}"),
        Operator::ScmpCmpNe => "!=",
        Operator::ScmpCmpLt => "<",
        Operator::ScmpCmpLe => "<=",
        Operator::ScmpCmpEq => "==",
        Operator::ScmpCmpGe => ">=",
        Operator::ScmpCmpGt => ">",
    };
    format!("arg{index} {sign} {value:#x}")
}

/// The words for a value that a program returns.
#[must_use]
pub fn action(value: u32) -> String {
    let data = value & libc::SECCOMP_RET_DATA;
    match value & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW => "allow".to_string(),
        libc::SECCOMP_RET_LOG => "allow and log".to_string(),
        libc::SECCOMP_RET_TRACE => format!("ask the tracer, with {data}"),
        libc::SECCOMP_RET_USER_NOTIF => "ask the listener".to_string(),
        libc::SECCOMP_RET_ERRNO => {
            let errno = Errno::from_raw(data.cast_signed());
            format!("errno {data} ({errno:?})")
        }
        libc::SECCOMP_RET_TRAP => "signal SIGSYS".to_string(),
        libc::SECCOMP_RET_KILL_PROCESS => "kill the process".to_string(),
        _ => "kill the thread".to_string(),
    }
}

/// The explanations as text: one line for each decision.
#[must_use]
pub fn text(explanations: &[Explanation]) -> String {
    let mut text = String::new();
    let mut arch = "";
    for explanation in explanations {
        if explanation.architecture != arch {
            arch = &explanation.architecture;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{arch}:");
        }
        let mut name = explanation.syscall;
        for decision in &explanation.decisions {
            let Decision { conditions, action, rule } = decision;
            let when = match conditions.as_slice() {
                [] => String::new(),
                conditions => format!(" if {}", conditions.join(" and ")),
            };
            let _ = writeln!(text, "  {name:<24}{action}{when}  [{rule}]");
            name = "";
        }
    }
    text
}

/// Takes a profile over for this machine.
///
/// # Errors
/// None: unknown names are passed over.
pub fn profile(seccomp: &LinuxSeccomp) -> anyhow::Result<Profile> {
    Profile::new(seccomp, NATIVE, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Arch;
    use serde_json::json;

    fn explained(name: &str) -> String {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {"names": ["read", "mseal"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_LOG",
                    "args": [{"index": 0, "value": 15, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"},
                             {"index": 1, "value": 1, "op": "SCMP_CMP_GT"}]},
            ],
        });
        let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
        let profile = Profile::new(&profile, Arch::ScmpArchX86_64, false).unwrap();
        text(&explain(&profile, &[Syscall::named(name).unwrap()]))
    }

    #[test]
    fn rules_and_defaults_are_named() {
        let lines = |lines: &[&str]| format!("SCMP_ARCH_X86_64:\n{}\n", lines.join("\n"));
        for (name, want) in [
            ("read", vec!["  read                    allow  [linux.seccomp.syscalls[0]]"]),
            (
                "close",
                vec!["  close                   errno 1 (EPERM)  [linux.seccomp.defaultAction]"],
            ),
            (
                "file_setattr",
                vec![
                    "  file_setattr            errno 38 (ENOSYS)  \
                [newer than every call that the profile names]",
                ],
            ),
            (
                "personality",
                vec![
                    "  personality             allow if arg0 == 0x8  [linux.seccomp.syscalls[1]]",
                    "                          allow and log if arg0 & 0xf == 0x3 and arg1 > 0x1  \
                [linux.seccomp.syscalls[2]]",
                    "                          errno 1 (EPERM)  [linux.seccomp.defaultAction]",
                ],
            ),
        ] {
            assert_eq!(explained(name), lines(&want));
        }
    }
}
