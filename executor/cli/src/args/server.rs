//! Arguments of what a scheduler does, and of where it is.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use davit_types::Bytes;

use super::runner::RunnerCommand;

use super::{Cpu, whole_seconds};

/// Where a command goes. Without any of it: the profile in use, else the executor of this host.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Address of a scheduler to ask instead of this host's executor [env: DAVIT_SERVER]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "URL"
    )]
    pub(crate) server: Option<String>,
    /// Scheduler by the name of its profile (`davit profile`) [env: DAVIT_PROFILE]
    #[arg(
        long,
        global = true,
        conflicts_with = "server",
        help_heading = "Global options",
        value_name = "NAME"
    )]
    pub(crate) profile: Option<String>,
    /// File that holds the scheduler's token, mode 0600 [env: DAVIT_TOKEN_FILE, or DAVIT_TOKEN for the token]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE"
    )]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Keep a scheduler by name: --server, --token-file and --ca-file say which; replaces an earlier one
    Add {
        /// Letters, digits, - and _
        name: String,
        /// Read the token from standard input, and keep it beside the profiles
        #[arg(long, conflicts_with = "token_file")]
        token_stdin: bool,
        /// Region of runs that name none
        #[arg(long, value_name = "SLUG")]
        region: Option<String>,
        /// Size of runs that name none
        #[arg(long, value_name = "SLUG")]
        instance_type: Option<String>,
        /// Commands go there from now on
        #[arg(long = "use")]
        use_it: bool,
    },
    /// List profiles, and which is in use
    List,
    /// Let commands go to a profile's scheduler, or with --none to this host
    #[command(group = ArgGroup::new("which").required(true))]
    Use {
        /// Name of a profile
        #[arg(group = "which")]
        name: Option<String>,
        /// None: the executor of this host
        #[arg(long, group = "which")]
        none: bool,
    },
    /// Forget a profile
    Remove {
        /// Name of a profile
        name: String,
    },
}

/// What only a scheduler has.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Saved jobs of a scheduler
    #[command(subcommand)]
    Runner(RunnerCommand),
    /// Tokens of a scheduler
    #[command(subcommand)]
    Token(TokenCommand),
    /// Registries that a scheduler's hosts pull from with a password
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Sizes a scheduler offers
    #[command(subcommand)]
    InstanceType(InstanceTypeCommand),
    /// Regions of a scheduler
    #[command(subcommand)]
    Region(RegionCommand),
    /// Tenants of a scheduler
    #[command(subcommand)]
    Tenant(TenantCommand),
}

/// The scheduler's side of `davit executor`.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// List a scheduler's hosts
    List,
    /// Show a scheduler's host
    Show {
        /// Id, unique beginning of an id, or name
        executor: String,
    },
    /// Give a scheduler's host no more runs; it finishes what it has
    Drain {
        /// Id, unique beginning of an id, or name
        executor: String,
    },
    /// Give a scheduler's host runs again
    Resume {
        /// Id, unique beginning of an id, or name
        executor: String,
    },
    /// Take a host out of its scheduler
    Remove {
        /// Id, unique beginning of an id, or name
        executor: String,
    },
    /// Print a token that lets one host register at the scheduler
    JoinToken {
        /// Region the host will be in
        #[arg(long, value_name = "SLUG")]
        region: String,
        /// How long it may be used, e.g. 1h [default: 1h]
        #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
        expires_in: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// Name for people
        name: String,
        /// What it may do; several times, or with commas between
        #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE")]
        scope: Vec<String>,
        /// How long it is valid, e.g. 90d [default: for ever]
        #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
        expires_in: Option<u64>,
        /// Another tenant's: for operators
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// List tokens, ended ones too
    List,
    /// End tokens: they open nothing from now on
    Revoke {
        /// Ids, unique beginnings of ids, or names
        #[arg(required = true, value_name = "TOKEN")]
        tokens: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Keep a registry; its password is read from standard input
    Add {
        /// Unique among the tenant's
        name: String,
        /// Its address, e.g. registry.example.com:5000
        #[arg(long, value_name = "HOST")]
        address: String,
        /// User there
        #[arg(long, value_name = "USER")]
        username: String,
    },
    /// List registries
    List,
    /// Forget registries
    Remove {
        /// Ids, unique beginnings of ids, or names
        #[arg(required = true, value_name = "REGISTRY")]
        registries: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum InstanceTypeCommand {
    /// List the sizes offered
    List,
    /// Offer a size, or change it
    Put {
        /// Its name in requests
        slug: String,
        /// Name for people [default: the slug]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Cores, fractions allowed
        #[arg(long, value_name = "CORES")]
        cpu: Cpu,
        /// Memory, e.g. 512MiB
        #[arg(long, value_name = "BYTES")]
        memory: Bytes,
        /// Processes and threads
        #[arg(long, value_name = "N")]
        pids: u32,
        /// Disk that is reserved [default: 10GiB]
        #[arg(long, value_name = "BYTES")]
        disk: Option<Bytes>,
        /// Price of a second, decimal, at most six places
        #[arg(long, default_value = "0", value_name = "AMOUNT")]
        price_second: String,
    },
    /// Offer a size no more; runs that have it keep it
    Remove {
        /// Its name in requests
        slug: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegionCommand {
    /// List regions
    List,
    /// Make or rename a region
    Put {
        /// Its name in requests
        slug: String,
        /// Name for people [default: the slug]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Remove a region; runs that wait for it go on waiting
    Remove {
        /// Its name in requests
        slug: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List tenants
    List,
    /// Show a tenant and what it used [default: the token's own]
    Show {
        /// Its name
        tenant: Option<String>,
    },
    /// Make or change a tenant
    Put {
        /// Its name
        tenant: String,
        /// It may submit no more runs
        #[arg(long)]
        closed: bool,
        /// What it may spend, decimal [default: without bound]
        #[arg(long, value_name = "AMOUNT")]
        spend_cap: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsageCommand {
    /// Export a scheduler's usage ledger; standard error tells where to go on
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// How rows are written
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT")]
    pub(crate) format: ExportFormat,
    /// Only rows after this place: what an earlier export told at last
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One array
    Json,
    /// An object a line
    Ndjson,
    /// With a header line
    Csv,
}
