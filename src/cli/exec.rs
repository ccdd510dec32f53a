//! Options of `exec`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::COMMAND_TEMPLATE;

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
