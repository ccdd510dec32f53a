//! Writes man pages and completions for shells, from the definitions of the commands.
//!
//! `make man` puts them into `target/man`: `orlop.8` and a page for each command, `orlop.bash`,
//! `_orlop` and `orlop.fish`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use orlop::cli::{COMMANDS, Entry, Global, NAME};

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("where to?"))?;
    fs::create_dir_all(&directory)?;
    for (name, text) in pages()? {
        fs::write(directory.join(name), text)?;
    }
    completions(&directory)
}

/// The command line as one definition: the program itself builds only what it is asked for.
fn whole() -> clap::Command {
    let commands = COMMANDS.iter().map(Entry::parser);
    Global::command().help_template("{about}").subcommands(commands)
}

/// The file names and texts of all pages.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let page = |command: clap::Command, title: String| {
        let mut text = Vec::new();
        Man::new(command.display_name(title.clone()))
            .title(title.clone())
            .section("8")
            .render(&mut text)?;
        Ok((format!("{title}.8"), text))
    };
    let main = page(whole(), NAME.to_string());
    let others =
        COMMANDS.iter().map(|entry| page(entry.parser(), format!("{NAME}-{}", entry.name)));
    std::iter::once(main).chain(others).collect()
}

fn completions(directory: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut whole(), NAME, directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The long options of a command that its help shows.
    fn options(command: &clap::Command) -> Vec<String> {
        let shown = command.get_arguments().filter(|option| !option.is_hide_set());
        shown.filter_map(|option| option.get_long()).map(str::to_string).collect()
    }

    #[test]
    fn every_option_is_in_its_page() {
        let pages = pages().expect("pages");
        let commands = COMMANDS.iter().map(|entry| (entry.name, entry.parser()));
        let all = commands.chain([("", Global::command())]);
        let mut count = 0;
        for (name, command) in all {
            let title = if name.is_empty() { NAME.to_string() } else { format!("{NAME}-{name}") };
            let page = pages.iter().find(|(file, _)| *file == format!("{title}.8"));
            let text = String::from_utf8_lossy(&page.expect("a page").1).replace("\\-", "-");
            for option in options(&command) {
                assert!(text.contains(&format!("--{option}")), "{title}: --{option}");
                count += 1;
            }
        }
        assert!(count > 40, "only {count} options");
    }

    #[test]
    fn shells_complete_commands_and_options() {
        let directory = std::env::temp_dir().join(format!("orlop-manual-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("make a directory");
        completions(&directory).expect("completions");
        for file in ["orlop.bash", "_orlop", "orlop.fish"] {
            let text = fs::read_to_string(directory.join(file)).expect("read");
            for word in ["create", "pidfd-socket", "systemd-cgroup"] {
                assert!(text.contains(word), "{file}: {word}");
            }
        }
        fs::remove_dir_all(&directory).expect("remove a directory");
    }
}
