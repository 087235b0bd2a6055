//! The command line: what can be said, and who does it.

mod trace;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::{
    api::{FdbFilter, NewFdbEntry},
    client::{self, Client},
    daemon,
    failure::{Exit, Failure},
    man,
};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/shunt/shunt.sock";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 invalid configuration, 5 somebody else
has changed the configuration, 6 no answer in time.

Example:
  shunt check switch.toml && shunt run --config switch.toml";

/// A virtual switch for hypervisor and container hosts, over XDP and AF_XDP.
#[derive(Debug, Parser)]
#[command(name = "shunt", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, env = "SHUNT_SOCKET", value_name = "PATH",
          default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Seconds to wait for the daemon's answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switch, in the foreground
    #[command(after_help = "Example:\n  shunt run --config /etc/shunt/switch.toml")]
    Run(RunArgs),
    /// Check a configuration: print all errors, change nothing
    #[command(after_help = "Example:\n  shunt check switch.toml")]
    Check {
        /// The configuration
        file: PathBuf,
    },
    /// List ports, networks, addresses, security, policers, queues, rules, flows, counters, workers
    #[command(after_help = "Examples:\n  shunt get ports\n  shunt get fdb -o json")]
    Get {
        /// What to list
        what: What,
        /// Counters that are 0, too (tables leave them out)
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show all about one port, its security, a network, an access control list or a policer
    #[command(after_help = "Examples:\n  shunt describe port guest-a\n  shunt describe qos slow")]
    Describe {
        /// A port, its security, a network, an access control list or, as qos, a policer
        what: Described,
        /// Its name in the configuration
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show what would become of a frame, stage by stage; nothing is changed
    #[command(
        after_help = "Examples:\n  shunt trace --from guest-a --to up0 --tcp 443\n  \
        shunt trace --from guest-a --config switch.toml --arp --dst-ip 10.0.0.1\n  \
        shunt trace --from up0 --pcap frames.pcap -o json"
    )]
    Trace(Box<trace::TraceArgs>),
    /// Show the last frames that the switch dropped at a port, with reason, rule and line
    #[command(after_help = "Example:\n  shunt why guest-a")]
    Why {
        /// The port where they are counted: where they came in, or should have left
        port: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Test access control lists
    #[command(after_help = "Example:\n  shunt acl test --config switch.toml policy-tests.toml")]
    Acl {
        #[command(subcommand)]
        action: trace::Acl,
    },
    /// Change the forwarding database
    #[command(after_help = "Example:\n  shunt fdb flush --port guest-a")]
    Fdb {
        #[command(subcommand)]
        action: Fdb,
    },
    /// Take the changed configuration file, as a whole or not at all
    #[command(after_help = "Example:\n  shunt reload")]
    Reload {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  shunt completions bash > \
                            /etc/bash_completion.d/shunt")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them into a folder
    #[command(after_help = "Examples:\n  shunt man --file-format | man -l -\n  \
                            shunt man /usr/local/share/man")]
    Man {
        /// The folder, in which they go into man1 and man5
        dir: Option<PathBuf>,
        /// The page of the configuration file, shunt.toml(5), instead of shunt(1)
        #[arg(long, conflicts_with = "dir")]
        file_format: bool,
    },
}

/// What `shunt run` is told.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a filter as of the crate tracing-subscriber
    #[arg(long, env = "SHUNT_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: String,
    /// Where the found state of devices is kept, to be restored; default: beside the socket
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Ports,
    Networks,
    Fdb,
    Qos,
    Security,
    Acl,
    Flows,
    Queues,
    Counters,
    Workers,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Described {
    Port,
    Network,
    Acl,
    Qos,
    Security,
}

#[derive(Clone, Copy, Debug, Args)]
struct OutputArgs {
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs: an array of objects, stable
    Json,
}

#[derive(Debug, Subcommand)]
enum Fdb {
    /// Forget addresses: those that match all that is given, without static ones
    #[command(after_help = "Examples:\n  shunt fdb flush --port guest-a\n  \
                            shunt fdb flush --network web --static")]
    Flush {
        /// Behind this port
        #[arg(long, value_name = "NAME")]
        port: Option<String>,
        /// Of this network
        #[arg(long, value_name = "NAME")]
        network: Option<String>,
        /// This address
        #[arg(long, value_name = "MAC")]
        mac: Option<String>,
        /// Static addresses too
        #[arg(long = "static")]
        include_static: bool,
    },
    /// Bind an address to a port, until the daemon ends (for longer, write it into the file)
    #[command(after_help = "Example:\n  \
        shunt fdb add --network web --mac 52:54:00:12:34:56 --port guest-a")]
    Add {
        /// The network
        #[arg(long, value_name = "NAME")]
        network: String,
        /// The address
        #[arg(long, value_name = "MAC")]
        mac: String,
        /// The port
        #[arg(long, value_name = "NAME")]
        port: String,
    },
    /// Remove the entry of an address, dynamic or static
    #[command(after_help = "Example:\n  shunt fdb del --network web --mac 52:54:00:12:34:56")]
    Del {
        /// The network
        #[arg(long, value_name = "NAME")]
        network: String,
        /// The address
        #[arg(long, value_name = "MAC")]
        mac: String,
    },
}

/// Does what the process's arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let client = Client::new(cli.socket.clone(), Duration::from_secs(cli.timeout));
    match cli.command {
        Command::Run(arguments) => daemon::run(&arguments, &cli.socket),
        Command::Check { file } => {
            let config = daemon::settings::read(&file)?;
            let (networks, ports) = (config.networks.len(), config.ports.len());
            let (file, plural) = (file.display(), |n| if n == 1 { "" } else { "s" });
            print(&format!(
                "{file}: valid, {networks} network{}, {ports} port{}\n",
                plural(networks),
                plural(ports)
            ))
        }
        Command::Get { what, all, output } => get(&client, what, all, output.output),
        Command::Describe { what, name, output } => describe(&client, what, &name, output.output),
        Command::Trace(arguments) => trace::trace(&client, *arguments),
        Command::Why { port, output } => trace::why(&client, &port, output),
        Command::Acl { action } => trace::acl(&client, &action),
        Command::Fdb { action } => fdb(&client, action),
        Command::Reload { output } => {
            let reloaded = client.reload()?;
            print(&match output.output {
                Output::Table => client::render::reloaded(&reloaded),
                Output::Json => client::render::json(&reloaded),
            })
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shunt", &mut text);
            write(&text)
        }
        Command::Man { dir, file_format } => man(dir, file_format),
    }
}

fn get(client: &Client, what: What, all: bool, output: Output) -> Result<(), Failure> {
    let path = match what {
        What::Ports => "ports",
        What::Networks => "networks",
        What::Fdb => "fdb",
        What::Qos => "qos",
        What::Security => "security",
        What::Acl => "acl",
        What::Flows => "flows",
        What::Queues => "queues",
        What::Counters => "counters",
        What::Workers => "workers",
    };
    let path = format!("/v1/{path}");
    if output == Output::Json {
        return print(&client::render::json(&client.get_json(&path)?));
    }
    use client::render;
    print(&match what {
        What::Ports => render::ports(&client.list(&path)?),
        What::Networks => render::networks(&client.list(&path)?),
        What::Fdb => render::fdb(&client.list(&path)?),
        What::Qos => render::qos(&client.list(&path)?, &client.list("/v1/queues")?),
        What::Security => client::security::ports(&client.list(&path)?),
        What::Acl => render::acl(&client.list(&path)?),
        What::Flows => render::flows(&client.list(&path)?),
        What::Queues => render::queues(&client.list(&path)?),
        What::Counters => render::counters(&client.list(&path)?, all),
        What::Workers => render::workers(&client.list(&path)?),
    })
}

fn describe(client: &Client, what: Described, name: &str, output: Output) -> Result<(), Failure> {
    let collection = match what {
        Described::Port => "ports",
        Described::Network => "networks",
        Described::Acl => "acl",
        Described::Qos => "qos",
        Described::Security => "security",
    };
    let path = format!("/v1/{collection}/{}", client::escape(name));
    if output == Output::Json {
        return print(&client::render::json(&client.get_json(&path)?));
    }
    print(&match what {
        Described::Port => client::describe::port(&client.get(&path)?),
        Described::Network => client::describe::network(&client.get(&path)?),
        Described::Acl => client::describe::acl(&client.get(&path)?),
        Described::Qos => client::describe::policer(&client.get(&path)?),
        Described::Security => client::security::port(&client.get(&path)?),
    })
}

fn fdb(client: &Client, action: Fdb) -> Result<(), Failure> {
    let removed = match action {
        Fdb::Flush {
            port,
            network,
            mac,
            include_static,
        } => client.fdb_flush(&FdbFilter {
            port,
            network,
            mac,
            include_static,
        })?,
        Fdb::Add { network, mac, port } => {
            return client.fdb_add(&NewFdbEntry { network, mac, port });
        }
        Fdb::Del { network, mac } => client.fdb_del(&network, &mac)?,
    };
    print(&client::render::removed(removed))
}

fn man(dir: Option<PathBuf>, file_format: bool) -> Result<(), Failure> {
    match dir {
        None if file_format => print(&man::page()),
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| Failure::failed(format!("cannot make the page: {error}")))?;
            write(&page)
        }
        Some(dir) => write_pages(&dir).map_err(|error| {
            let dir = dir.display();
            Failure::failed(format!("cannot write the manual pages into {dir}: {error}"))
        }),
    }
}

fn write_pages(dir: &Path) -> io::Result<()> {
    let (commands, formats) = (dir.join("man1"), dir.join("man5"));
    fs::create_dir_all(&commands)?;
    fs::create_dir_all(&formats)?;
    clap_mangen::generate_to(Cli::command(), &commands)?;
    fs::write(formats.join("shunt.toml.5"), man::page())
}

fn print(text: &str) -> Result<(), Failure> {
    write(text.as_bytes())
}

/// Writes to stdout. A reader that has gone (`| head`) is no failure.
fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("cannot write the answer: {error}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
