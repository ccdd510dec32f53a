//! The command line, and nothing else: names, defaults and help texts as in runc.

mod checkpoint;
mod resources;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{ArgMatches, Args, FromArgMatches, Parser};

pub use checkpoint::{Checkpoint, Restore};
pub use resources::{Events, Pause, Ps, Resume, Update};

/// What the program calls itself.
pub const NAME: &str = "orlop";

/// The name of the program in whose place it may stand: tools that know no other name start a
/// link of that name and look for it in what they read.
const REPLACED: &str = "runc";

static CALLED: OnceLock<&'static str> = OnceLock::new();

/// Takes over the name by which the program was started, if that is one it goes by.
pub fn called(path: &OsStr) {
    if Path::new(path).file_name() == Some(OsStr::new(REPLACED)) {
        // There is one start only.
        let _ = CALLED.set(REPLACED);
    }
}

/// The name that versions, errors and help show.
#[must_use]
pub fn name() -> &'static str {
    CALLED.get().copied().unwrap_or(NAME)
}

/// The version, from the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const ROOT_TEMPLATE: &str = "\
NAME:
   {name} - Open Container Initiative runtime

{about}

USAGE:
   {name} [global options] command [command options] [arguments...]

{after-help}
GLOBAL OPTIONS:
{options}
";

const COMMAND_TEMPLATE: &str = "\
NAME:
   orlop {name} - {about}

USAGE:
   {usage}

{after-help}
OPTIONS:
{options}
";

/// orlop runs applications that are packaged as OCI bundles: a directory with a
/// file named "config.json" and a root filesystem.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version = VERSION,
    help_template = ROOT_TEMPLATE,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct Global {
    /// enable debug logging
    #[arg(long)]
    pub debug: bool,
    /// set the log file to write logs to (default is '/dev/stderr')
    #[arg(long, value_name = "value")]
    pub log: Option<PathBuf>,
    /// set the log format ('text' (default), or 'json')
    #[arg(long, value_name = "value", default_value = "text", hide_default_value = true)]
    pub log_format: String,
    /// root directory for storage of container state (this should be located in tmpfs)
    #[arg(long, value_name = "value")]
    pub root: Option<PathBuf>,
    /// enable systemd cgroup support, expects cgroupsPath to be of form
    /// "slice:prefix:name" for e.g. "system.slice:runc:434234"
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// who makes cgroups ('cgroupfs' (default), 'systemd', or 'disabled')
    #[arg(long, value_name = "value")]
    pub cgroup_manager: Option<String>,
    /// ignore cgroup permission errors ('true', 'false', or 'auto')
    #[arg(long, value_name = "value", default_value = "auto", hide_default_value = true)]
    pub rootless: String,
    /// print the version
    #[arg(short, long)]
    pub version: bool,
}

/// What to do, with its options.
#[derive(Debug)]
pub enum Command {
    /// `checkpoint`
    Checkpoint(Checkpoint),
    /// `create`
    Create(Create),
    /// `delete`
    Delete(Delete),
    /// `events`
    Events(Events),
    /// `exec`
    Exec(Exec),
    /// `features`
    Features(Features),
    /// `kill`
    Kill(Kill),
    /// `list`
    List(List),
    /// `pause`
    Pause(Pause),
    /// `ps`
    Ps(Ps),
    /// `restore`
    Restore(Restore),
    /// `resume`
    Resume(Resume),
    /// `run`
    Run(Run),
    /// `seccomp`
    Seccomp(Seccomp),
    /// `spec`
    Spec(Spec),
    /// `start`
    Start(Start),
    /// `state`
    State(State),
    /// `update`
    Update(Update),
}

/// One command: only the one that is asked for is ever built, since building all of them takes
/// longer than most of them run.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// How many arguments it takes: at least, at most.
    pub arguments: (usize, usize),
    augment: fn(clap::Command) -> clap::Command,
    read: fn(&ArgMatches) -> Result<Command, clap::Error>,
}

macro_rules! entry {
    ($variant:ident, $name:literal, $arguments:expr, $about:literal) => {
        Entry {
            name: $name,
            about: $about,
            arguments: $arguments,
            augment: |command| <$variant as Args>::augment_args(command),
            read: |matches| $variant::from_arg_matches(matches).map(Command::$variant),
        }
    };
}

/// All commands, in the order in which help shows them.
pub const COMMANDS: [Entry; 18] = [
    entry!(Checkpoint, "checkpoint", (1, 1), "checkpoint a running container"),
    entry!(Create, "create", (1, 1), "create a container"),
    entry!(
        Delete,
        "delete",
        (1, 1),
        "delete any resources held by the container often used with detached container"
    ),
    entry!(
        Events,
        "events",
        (1, 1),
        "display container events such as OOM notifications, cpu, memory, and IO usage statistics"
    ),
    entry!(Exec, "exec", (1, usize::MAX), "execute new process inside the container"),
    entry!(Features, "features", (0, 0), "show the enabled features"),
    entry!(
        Kill,
        "kill",
        (1, 2),
        "kill sends the specified signal (default: SIGTERM) to the container's init process"
    ),
    entry!(List, "list", (0, 0), "lists containers started with the given root"),
    entry!(Pause, "pause", (1, 1), "suspends all processes inside the container"),
    entry!(Ps, "ps", (1, usize::MAX), "displays the processes running inside a container"),
    entry!(Restore, "restore", (1, 1), "restore a container from a previous checkpoint"),
    entry!(Resume, "resume", (1, 1), "resumes all processes that have been previously paused"),
    entry!(Run, "run", (1, 1), "create and run a container"),
    entry!(Seccomp, "seccomp", (2, usize::MAX), "explain what a profile does with system calls"),
    entry!(Spec, "spec", (0, 0), "create a new specification file"),
    entry!(Start, "start", (1, 1), "executes the user defined process in a created container"),
    entry!(State, "state", (1, 1), "output the state of a container"),
    entry!(Update, "update", (1, 1), "update container resource constraints"),
];

impl Entry {
    /// The parser of this command.
    #[must_use]
    pub fn parser(&self) -> clap::Command {
        let command = (self.augment)(clap::Command::new(self.name));
        command.about(self.about).args_override_self(true).disable_help_subcommand(true)
    }

    /// Everything from its first argument on is for a program that it executes.
    #[must_use]
    pub fn takes_program(&self) -> bool {
        self.arguments.1 == usize::MAX
    }

    /// Takes over what the parser found.
    ///
    /// # Errors
    /// Those of converting values.
    pub fn read(&self, matches: &ArgMatches) -> Result<Command, clap::Error> {
        (self.read)(matches)
    }
}

const NEW_ID: &str = "\
Where \"<container-id>\" is your name for the instance of the container that you
are starting. The name you provide for the container instance must be unique on
your host.
";

const ID: &str = "\
Where \"<container-id>\" is the name for the instance of the container.
";

/// Options of `start`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop start <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Start {
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `state`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop state <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct State {
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `create` and `run`.
#[derive(Debug, Args)]
pub struct Making {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(short, long, value_name = "value", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing
    /// the master end of the console's pseudoterminal
    #[arg(long, value_name = "value")]
    pub console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing
    /// the init process
    #[arg(long, value_name = "value")]
    pub pidfd_socket: Option<PathBuf>,
    /// specify the file to write the process id to
    #[arg(long, value_name = "value")]
    pub pid_file: Option<PathBuf>,
    /// do not use pivot root to jail process inside rootfs. This should be used
    /// whenever the rootfs is on top of a ramdisk
    #[arg(long)]
    pub no_pivot: bool,
    /// do not create a new session keyring for the container. This will cause the
    /// container to inherit the calling processes session key
    #[arg(long)]
    pub no_new_keyring: bool,
    /// pass N additional file descriptors to the container (stdio + N in total)
    #[arg(long, value_name = "value", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `create`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop create [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = NEW_ID
)]
pub struct Create {
    /// What both commands take.
    #[command(flatten)]
    pub making: Making,
}

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop run [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = NEW_ID
)]
pub struct Run {
    /// What both commands take.
    #[command(flatten)]
    pub making: Making,
    /// detach from the container's process
    #[arg(short, long)]
    pub detach: bool,
    /// do not delete the container after it exits
    #[arg(long)]
    pub keep: bool,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    pub no_subreaper: bool,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop delete [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Delete {
    /// Forcibly deletes the container if it is still running (uses SIGKILL)
    #[arg(short, long)]
    pub force: bool,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `exec`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop exec [command options] <container-id> <command> [command options]\n   \
                      orlop exec [command options] --process process.json <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = "\
Where \"<container-id>\" is the name for the instance of the container and
\"<command>\" is the command to be executed in it. Options come before both.
"
)]
pub struct Exec {
    /// path to an AF_UNIX socket which will receive a file descriptor referencing
    /// the master end of the console's pseudoterminal
    #[arg(long, value_name = "value")]
    pub console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing
    /// the exec process
    #[arg(long, value_name = "value")]
    pub pidfd_socket: Option<PathBuf>,
    /// current working directory in the container
    #[arg(long, value_name = "value")]
    pub cwd: Option<PathBuf>,
    /// set environment variables
    #[arg(short, long, value_name = "value")]
    pub env: Vec<String>,
    /// allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// UID (format: <uid>[:<gid>])
    #[arg(short, long, value_name = "value")]
    pub user: Option<String>,
    /// additional gids
    #[arg(short = 'g', long, value_name = "value")]
    pub additional_gids: Vec<String>,
    /// path to the process.json
    #[arg(short, long, value_name = "value")]
    pub process: Option<PathBuf>,
    /// detach from the container's process
    #[arg(short, long)]
    pub detach: bool,
    /// specify the file to write the process id to
    #[arg(long, value_name = "value")]
    pub pid_file: Option<PathBuf>,
    /// set the asm process label for the process commonly used with selinux
    #[arg(long, value_name = "value")]
    pub process_label: Option<String>,
    /// set the apparmor profile for the process
    #[arg(long, value_name = "value")]
    pub apparmor: Option<String>,
    /// set the no new privileges value for the process
    #[arg(long)]
    pub no_new_privs: bool,
    /// add a capability to the bounding set for the process
    #[arg(short, long, value_name = "value")]
    pub cap: Vec<String>,
    /// pass N additional file descriptors to the container (stdio + N in total)
    #[arg(long, value_name = "value", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,
    /// run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>.
    #[arg(long, value_name = "value")]
    pub cgroup: Vec<String>,
    /// allow exec in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
    /// The program and its arguments.
    #[arg(value_name = "command", hide = true)]
    pub command: Vec<OsString>,
}

/// Options of `features`.
#[derive(Debug, Args)]
#[command(override_usage = "orlop features", help_template = COMMAND_TEMPLATE, after_help = "\
The result is parsable as JSON. Its form is defined by the features document of
the runtime specification.
")]
pub struct Features {}

/// Options of `kill`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop kill [command options] <container-id> [signal]",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Kill {
    /// (obsoleted, do not use)
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
    /// The signal.
    #[arg(value_name = "signal", default_value = "SIGTERM", hide = true)]
    pub signal: String,
}

/// Options of `list`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop list [command options]",
    help_template = COMMAND_TEMPLATE,
    after_help = "\
Where the given root is specified via the global option \"--root\".
"
)]
pub struct List {
    /// select one of: table or json
    #[arg(short, long, value_name = "value", default_value = "table", hide_default_value = true)]
    pub format: String,
    /// display only container IDs
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `seccomp`.
#[derive(Debug, Args)]
#[command(override_usage = "orlop seccomp explain <bundle> [syscall...]", help_template = COMMAND_TEMPLATE)]
pub struct Seccomp {
    /// print JSON
    #[arg(long)]
    pub json: bool,
    /// What to do.
    #[arg(hide = true)]
    pub words: Vec<String>,
}

/// Options of `spec`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop spec [command options]",
    help_template = COMMAND_TEMPLATE,
    after_help = "\
The spec command creates the new specification file named \"config.json\" for
the bundle: a starter file, to be edited.
"
)]
pub struct Spec {
    /// path to the root of the bundle directory
    #[arg(short, long, value_name = "value")]
    pub bundle: Option<PathBuf>,
    /// generate a configuration for a rootless container
    #[arg(long)]
    pub rootless: bool,
}
