//! `shunt`: a virtual switch for hypervisor and container hosts. One binary is the daemon, its
//! client, and the check of a configuration.

mod api;
mod cli;
mod client;
mod daemon;
mod device;
mod failure;
mod frame;
mod man;
mod sys;
mod trace;

fn main() -> std::process::ExitCode {
    cli::main()
}
