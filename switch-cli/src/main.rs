//! `shunt`: a virtual switch for hypervisor and container hosts. One binary is the daemon, its
//! client, and the check of a configuration.

mod api;
mod cli;
mod client;
mod daemon;
#[allow(dead_code, reason = "the daemon does not use all of it yet")]
mod device;
mod failure;
#[allow(dead_code, reason = "the daemon does not use all of it yet")]
mod sys;

fn main() -> std::process::ExitCode {
    cli::main()
}
