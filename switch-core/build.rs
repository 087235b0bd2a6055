//! Builds the eBPF programs of the datapath and leaves the object in `OUT_DIR`.

use std::process::ExitCode;

use ebpf_build::Programs;

fn main() -> ExitCode {
    ebpf_build::main(Programs {
        package: "xdp-ebpf",
        directory: concat!(env!("CARGO_MANIFEST_DIR"), "/../xdp-ebpf"),
        object: "shunt-xdp",
    })
}
