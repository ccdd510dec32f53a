//! From arguments to [`Cli`], with runc's tolerance for forms and runc's words for mistakes.
//!
//! runc's own parser takes long options with one dash too (containerd writes `-no-subreaper`) and
//! values for switches (`--debug=true`). The arguments are rewritten to the one form that clap
//! knows before it sees them.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches};

use crate::cli::{COMMANDS, Command, Entry, Global, NAME, called, name};

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Stop {
    /// Help was asked for: the text, for standard output.
    Help(String),
    /// The arguments make no sense.
    Mistake {
        /// What is wrong.
        text: String,
        /// Help for the command in question, for standard output.
        help: Option<String>,
        /// The exit code: runc's.
        code: i32,
    },
}

/// Reads the arguments, the program's name first. Without a command the version is asked for.
///
/// # Errors
/// When they ask for help or make no sense.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Global, Option<Command>), Stop> {
    let mut args = args.into_iter();
    if let Some(path) = args.next() {
        called(&path);
    }
    let mut root = Global::command();
    let (options, word) = options(&root, &mut args);
    let matches = root.try_get_matches_from_mut(first(NAME, options));
    let global = matches.and_then(|matches| Global::from_arg_matches(&matches));
    let global = global.map_err(|error| explain(&error, None, &root_help()))?;
    let Some(word) = word else {
        return if global.version { Ok((global, None)) } else { Err(Stop::Help(root_help())) };
    };
    let word = word.to_string_lossy();
    if word == "help" || word == "h" {
        return Err(help_for(args.next().map(|topic| topic.to_string_lossy().into_owned())));
    }
    let Some(entry) = COMMANDS.iter().find(|entry| entry.name == word) else {
        return Err(no_topic(&word));
    };
    parse_command(entry, args).map(|command| (global, Some(command)))
}

fn parse_command(entry: &Entry, mut args: impl Iterator<Item = OsString>) -> Result<Command, Stop> {
    let mut parser = entry.parser();
    let mut words = Vec::new();
    loop {
        let (options, argument) = options(&parser, &mut args);
        words.extend(options);
        match argument {
            // What follows belongs to the program that is to be executed.
            Some(argument) if entry.takes_program() => {
                words.extend([OsString::from("--"), argument]);
                words.extend(args);
                break;
            }
            Some(argument) => words.push(argument),
            None => break,
        }
    }
    let matches = parser.try_get_matches_from_mut(first(entry.name, words));
    let command = matches.and_then(|matches| entry.read(&matches));
    command.map_err(|error| explain(&error, Some(entry), &help(entry)))
}

fn first(name: &str, words: Vec<OsString>) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from(name)).chain(words)
}

/// `help` and `help COMMAND`.
fn help_for(topic: Option<String>) -> Stop {
    let Some(topic) = topic else { return Stop::Help(root_help()) };
    match COMMANDS.iter().find(|entry| entry.name == topic) {
        Some(entry) => Stop::Help(help(entry)),
        None => no_topic(&topic),
    }
}

fn no_topic(word: &str) -> Stop {
    Stop::Mistake { text: format!("No help topic for '{word}'"), help: None, code: 3 }
}

fn root_help() -> String {
    let commands = COMMANDS.iter().fold("COMMANDS:\n".to_string(), |mut text, entry| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<12}{}", entry.name, entry.about);
        text
    });
    named(&Global::command().after_help(commands).render_help().to_string())
}

fn help(entry: &Entry) -> String {
    named(&entry.parser().render_help().to_string())
}

/// Help with the name by which the program was started.
fn named(help: &str) -> String {
    help.replace(NAME, name())
}

/// Says what clap found wrong in runc's words, which engines probe for (ENGINES 2).
fn explain(error: &clap::Error, entry: Option<&Entry>, help: &str) -> Stop {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let invalid = context(ContextKind::InvalidArg);
    // `--option <value>` as clap shows it.
    let option = invalid.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-');
    let value = context(ContextKind::InvalidValue);
    let text = match (error.kind(), entry) {
        (ErrorKind::DisplayHelp, _) => return Stop::Help(help.to_string()),
        (ErrorKind::UnknownArgument, Some(entry)) if !invalid.starts_with('-') => {
            count(entry, entry.arguments.1)
        }
        (ErrorKind::MissingRequiredArgument, Some(entry)) => count(entry, entry.arguments.0),
        (ErrorKind::UnknownArgument, _) => format!("flag provided but not defined: -{option}"),
        (ErrorKind::InvalidValue, _) if value.is_empty() => {
            format!("flag needs an argument: -{option}")
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, _) => {
            format!("invalid value {value:?} for flag -{option}")
        }
        _ => error.to_string(),
    };
    Stop::Mistake { text, help: Some(help.to_string()), code: 1 }
}

/// How many arguments a command takes.
fn count(entry: &Entry, limit: usize) -> String {
    let (program, command) = (name(), entry.name);
    let word = match entry.arguments {
        (least, most) if least == most => "exactly",
        (least, _) if least == limit => "a minimum of",
        _ => "a maximum of",
    };
    format!("{program}: {command:?} requires {word} {limit} argument(s)")
}

/// Takes options off `args` and rewrites them to the form `--option`, switches without a value;
/// returns them and the argument that follows. What follows `--` is an argument.
fn options(
    command: &clap::Command,
    args: &mut impl Iterator<Item = OsString>,
) -> (Vec<OsString>, Option<OsString>) {
    let mut words = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "--" {
            words.push(arg);
            words.extend(args);
            break;
        }
        if arg.as_encoded_bytes().first() != Some(&b'-') || arg.len() == 1 {
            return (words, Some(arg));
        }
        let Some((option, value)) = option(command, &arg) else {
            words.push(with_two_dashes(arg));
            continue;
        };
        let switch = matches!(option.get_action(), ArgAction::SetTrue);
        match (switch, value) {
            (true, Some(value)) if !is_true(value) => {}
            (true, _) => words.push(long(option)),
            // In one word, so that a value may begin with a dash.
            (false, value) => match value.map(OsStr::to_os_string).or_else(|| args.next()) {
                Some(value) => {
                    let mut word = long(option);
                    word.push("=");
                    word.push(value);
                    words.push(word);
                }
                None => words.push(long(option)),
            },
        }
    }
    (words, None)
}

/// Finds the option that a word with a dash names, and its value after `=`.
fn option<'a>(command: &'a clap::Command, word: &'a OsStr) -> Option<(&'a Arg, Option<&'a OsStr>)> {
    let word = word.to_str()?;
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(OsStr::new(value))),
        None => (name, None),
    };
    let named = |arg: &&Arg| {
        let mut letters = name.chars();
        let short = (letters.next(), letters.next());
        arg.get_long() == Some(name) || (arg.get_short(), None) == short && short.0.is_some()
    };
    command.get_arguments().find(named).map(|arg| (arg, value))
}

/// An option that nobody knows, so that all of it is named in the error and not its first letter.
fn with_two_dashes(arg: OsString) -> OsString {
    let name = arg.to_str().and_then(|arg| arg.strip_prefix('-'));
    match name.filter(|name| name.len() > 1 && !name.starts_with('-')) {
        Some(name) => format!("--{name}").into(),
        None => arg,
    }
}

fn long(option: &Arg) -> OsString {
    format!("--{}", option.get_long().unwrap_or_default()).into()
}

/// What Go takes for true.
fn is_true(value: &OsStr) -> bool {
    matches!(value.to_str(), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command as Cmd;

    fn words(line: &str) -> Vec<OsString> {
        std::iter::once(NAME).chain(line.split_whitespace()).map(OsString::from).collect()
    }

    #[test]
    fn forms_of_options() {
        for line in [
            "--root /r run --bundle /b --detach --preserve-fds 2 --no-subreaper box",
            "-root /r run -bundle /b -detach -preserve-fds 2 -no-subreaper box",
            "--root=/r run -b=/b -d --preserve-fds=2 --no-subreaper=true box",
            "-root=/r run -b /b -detach=1 --preserve-fds 2 -no-subreaper=t box",
            "--root /x --root /r run box -b /b -d --preserve-fds 2 --no-subreaper",
        ] {
            let (global, command) = parse(words(line)).unwrap();
            assert_eq!(global.root.as_deref(), Some("/r".as_ref()), "{line}");
            let Some(Cmd::Run(run)) = command else { panic!("{line}") };
            assert_eq!(run.making.bundle, std::path::Path::new("/b"), "{line}");
            assert_eq!((run.making.id.as_str(), run.making.preserve_fds), ("box", 2), "{line}");
            assert!(run.detach && run.no_subreaper && !run.keep, "{line}");
        }
        let (_, command) = parse(words("run --detach=false --keep box")).unwrap();
        assert!(matches!(command, Some(Cmd::Run(run)) if !run.detach && run.keep));
        let (_, command) = parse(words("kill --all box 9")).unwrap();
        assert!(matches!(command, Some(Cmd::Kill(kill)) if kill.all && kill.signal == "9"));
        let (_, command) =
            parse(words("exec -t --user -1 -e A=b -env=C=d box ls -l -- --user")).unwrap();
        let Some(Cmd::Exec(exec)) = command else { panic!("no exec") };
        assert_eq!((exec.id.as_str(), exec.user.as_deref(), exec.tty), ("box", Some("-1"), true));
        assert_eq!(exec.env, ["A=b", "C=d"]);
        assert_eq!(exec.command, ["ls", "-l", "--", "--user"]);
    }

    #[test]
    fn mistakes_in_runcs_words() {
        for (line, code, want) in [
            ("foo", 3, "No help topic for 'foo'"),
            ("foo -h", 3, "No help topic for 'foo'"),
            ("help foo", 3, "No help topic for 'foo'"),
            ("create", 1, "\"create\" requires exactly 1 argument(s)"),
            ("create a b", 1, "\"create\" requires exactly 1 argument(s)"),
            ("list a", 1, "\"list\" requires exactly 0 argument(s)"),
            ("kill", 1, "\"kill\" requires a minimum of 1 argument(s)"),
            ("exec", 1, "\"exec\" requires a minimum of 1 argument(s)"),
            ("kill a b c", 1, "\"kill\" requires a maximum of 2 argument(s)"),
            ("--nope", 1, "flag provided but not defined: -nope"),
            ("state -foo", 1, "flag provided but not defined: -foo"),
            ("create --nope x", 1, "flag provided but not defined: -nope"),
            ("restore --lsm-mount-context", 1, "flag needs an argument: -lsm-mount-context"),
            ("run --preserve-fds x a", 1, "invalid value \"x\" for flag -preserve-fds"),
        ] {
            match parse(words(line)) {
                Err(Stop::Mistake { text, code: got, .. }) => {
                    assert_eq!(got, code, "{line}: {text}");
                    assert!(text.contains(want), "{line}: {text}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_is_no_mistake() {
        for (line, want) in [
            ("", "NAME:\n   orlop - Open Container Initiative runtime"),
            ("help", "COMMANDS:\n"),
            ("-h", "GLOBAL OPTIONS:\n"),
            ("--help", "--systemd-cgroup"),
            ("help create", "NAME:\n   orlop create - create a container"),
            ("create -h", "--preserve-fds"),
            ("create --help x", "USAGE:\n   orlop create [command options] <container-id>"),
            ("checkpoint --help", "orlop checkpoint"),
            ("start -h", "orlop start"),
        ] {
            match parse(words(line)) {
                Err(Stop::Help(text)) => assert!(text.contains(want), "{line}:\n{text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
