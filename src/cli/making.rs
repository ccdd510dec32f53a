//! Options of `create` and `run`.

use std::path::PathBuf;

use clap::Args;

use super::COMMAND_TEMPLATE;

const NEW_ID: &str = "\
Where \"<container-id>\" is your name for the instance of the container that you
are starting. The name you provide for the container instance must be unique on
your host.
";

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
