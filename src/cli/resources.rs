//! Options of the commands about what a running container uses: `events`, `pause`, `ps`,
//! `resume`, `update`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::{COMMAND_TEMPLATE, ID};

/// Options of `events`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop events [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = "\
Where \"<container-id>\" is the name for the instance of the container. Its
statistics are shown every 5 seconds, and each time when it runs out of memory.
"
)]
pub struct Events {
    /// set the stats collection interval
    #[arg(long, value_name = "value", default_value = "5s", hide_default_value = true)]
    pub interval: String,
    /// display the container's stats then exit
    #[arg(long)]
    pub stats: bool,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `pause`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop pause <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Pause {
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `ps`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop ps [command options] <container-id> [ps options]",
    help_template = COMMAND_TEMPLATE,
    after_help = "\
Where \"<container-id>\" is the name for the instance of the container, and
\"[ps options]\" are for ps(1), by default \"-ef\".
"
)]
pub struct Ps {
    /// select one of: table or json
    #[arg(short, long, value_name = "value", default_value = "table", hide_default_value = true)]
    pub format: String,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
    /// Options for ps(1).
    #[arg(value_name = "options", hide = true)]
    pub options: Vec<OsString>,
}

/// Options of `resume`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop resume <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = ID
)]
pub struct Resume {
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}

/// Options of `update`.
#[derive(Debug, Args)]
#[command(
    override_usage = "orlop update [command options] <container-id>",
    help_template = COMMAND_TEMPLATE,
    after_help = "\
Where \"<container-id>\" is the name for the instance of the container. A file of
resources has the form of \"linux.resources\" in config.json; what is not in it
stays as it is.
"
)]
pub struct Update {
    /// path to the file containing the resources to update or '-' to read from the
    /// standard input; all other options about cgroups are ignored then
    #[arg(short, long, value_name = "value")]
    pub resources: Option<PathBuf>,
    /// per cgroup weight, range is from 10 to 1000
    #[arg(long, value_name = "value")]
    pub blkio_weight: Option<String>,
    /// CPU CFS period to be used for hardcapping (in usecs)
    #[arg(long, value_name = "value")]
    pub cpu_period: Option<String>,
    /// CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period
    #[arg(long, value_name = "value")]
    pub cpu_quota: Option<String>,
    /// CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time
    /// additionally for burst a given period
    #[arg(long, value_name = "value")]
    pub cpu_burst: Option<String>,
    /// CPU shares (relative weight vs. other containers)
    #[arg(long, value_name = "value")]
    pub cpu_share: Option<String>,
    /// CPU realtime period to be used for hardcapping (in usecs)
    #[arg(long, value_name = "value")]
    pub cpu_rt_period: Option<String>,
    /// CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period
    #[arg(long, value_name = "value")]
    pub cpu_rt_runtime: Option<String>,
    /// CPU(s) to use
    #[arg(long, value_name = "value")]
    pub cpuset_cpus: Option<String>,
    /// memory node(s) to use
    #[arg(long, value_name = "value")]
    pub cpuset_mems: Option<String>,
    /// (obsoleted; do not use)
    #[arg(long, value_name = "value", hide = true)]
    pub kernel_memory: Option<String>,
    /// (obsoleted; do not use)
    #[arg(long, value_name = "value", hide = true)]
    pub kernel_memory_tcp: Option<String>,
    /// memory limit (in bytes)
    #[arg(long, value_name = "value")]
    pub memory: Option<String>,
    /// set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE
    #[arg(long, value_name = "value")]
    pub cpu_idle: Option<String>,
    /// memory reservation or soft_limit (in bytes)
    #[arg(long, value_name = "value")]
    pub memory_reservation: Option<String>,
    /// total memory usage (memory + swap); set '-1' to enable unlimited swap
    #[arg(long, value_name = "value")]
    pub memory_swap: Option<String>,
    /// maximum number of pids allowed in the container
    #[arg(long, value_name = "value")]
    pub pids_limit: Option<String>,
    /// the string of Intel RDT/CAT L3 cache schema
    #[arg(long, value_name = "value")]
    pub l3_cache_schema: Option<String>,
    /// the string of Intel RDT/MBA memory bandwidth schema
    #[arg(long, value_name = "value")]
    pub mem_bw_schema: Option<String>,
    /// The container.
    #[arg(value_name = "container-id", hide = true)]
    pub id: String,
}
