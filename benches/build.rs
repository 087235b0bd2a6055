//! Builds the eBPF programs of the generator and the sink and leaves the object in `OUT_DIR`.

use std::process::ExitCode;

use ebpf_build::Programs;

fn main() -> ExitCode {
    ebpf_build::main(Programs {
        package: "bench-ebpf",
        directory: concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf"),
        object: "shunt-bench-xdp",
    })
}
