//! Options of `checkpoint` and `restore`.

use std::path::PathBuf;

use clap::Args;

use super::{COMMAND_TEMPLATE, ID};

/// Options of `checkpoint`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop checkpoint [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Checkpoint {
    /// path for saving criu image files
    #[arg(long, value_name = "value")]
    pub image_path: Option<PathBuf>,
    /// path for saving work files and logs
    #[arg(long, value_name = "value")]
    pub work_path: Option<PathBuf>,
    /// path for previous criu image files in pre-dump
    #[arg(long, value_name = "value")]
    pub parent_path: Option<PathBuf>,
    /// leave the process running after checkpointing
    #[arg(long)]
    pub leave_running: bool,
    /// allow open tcp connections
    #[arg(long)]
    pub tcp_established: bool,
    /// skip in-flight tcp connections
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// allow one to link unlinked files back when possible
    #[arg(long)]
    pub link_remap: bool,
    /// allow external unix sockets
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// allow shell jobs
    #[arg(long)]
    pub shell_job: bool,
    /// use userfaultfd to lazily restore memory pages
    #[arg(long)]
    pub lazy_pages: bool,
    /// criu writes \0 to this FD once lazy-pages is ready
    #[arg(long, value_name = "value")]
    pub status_fd: Option<i32>,
    /// ADDRESS:PORT of the page server
    #[arg(long, value_name = "value")]
    pub page_server: Option<String>,
    /// handle file locks, for safety
    #[arg(long)]
    pub file_locks: bool,
    /// dump container's memory information only, leave the container running after this
    #[arg(long)]
    pub pre_dump: bool,
    /// cgroups mode: soft|full|strict|ignore (default: soft)
    #[arg(long, value_name = "value")]
    pub manage_cgroups_mode: Option<String>,
    /// create a namespace, but don't restore its properties
    #[arg(long, value_name = "value")]
    pub empty_ns: Vec<String>,
    /// enable auto deduplication of memory images
    #[arg(long)]
    pub auto_dedup: bool,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop restore [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Restore {
    /// path to an AF_UNIX socket which will receive a file descriptor referencing
    /// the master end of the console's pseudoterminal
    #[arg(long, value_name = "value")]
    pub console_socket: Option<PathBuf>,
    /// path to criu image files for restoring
    #[arg(long, value_name = "value")]
    pub image_path: Option<PathBuf>,
    /// path for saving work files and logs
    #[arg(long, value_name = "value")]
    pub work_path: Option<PathBuf>,
    /// allow open tcp connections
    #[arg(long)]
    pub tcp_established: bool,
    /// allow external unix sockets
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// allow shell jobs
    #[arg(long)]
    pub shell_job: bool,
    /// handle file locks, for safety
    #[arg(long)]
    pub file_locks: bool,
    /// cgroups mode: soft|full|strict|ignore (default: soft)
    #[arg(long, value_name = "value")]
    pub manage_cgroups_mode: Option<String>,
    /// path to the root of the bundle directory
    #[arg(short, long, value_name = "value")]
    pub bundle: Option<PathBuf>,
    /// detach from the container's process
    #[arg(short, long)]
    pub detach: bool,
    /// specify the file to write the process id to
    #[arg(long, value_name = "value")]
    pub pid_file: Option<PathBuf>,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    pub no_subreaper: bool,
    /// do not use pivot root to jail process inside rootfs. This should be used
    /// whenever the rootfs is on top of a ramdisk
    #[arg(long)]
    pub no_pivot: bool,
    /// create a namespace, but don't restore its properties
    #[arg(long, value_name = "value")]
    pub empty_ns: Vec<String>,
    /// enable auto deduplication of memory images
    #[arg(long)]
    pub auto_dedup: bool,
    /// use userfaultfd to lazily restore memory pages
    #[arg(long)]
    pub lazy_pages: bool,
    /// specify an LSM profile to be used during restore in the form of TYPE:NAME
    #[arg(long, value_name = "value")]
    pub lsm_profile: Option<String>,
    /// specify an LSM mount context to be used during restore
    #[arg(long, value_name = "value")]
    pub lsm_mount_context: Option<String>,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}
