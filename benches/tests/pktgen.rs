//! The kernel's pktgen, driven with the generator's options, in a guest whose kernel has it.
#![cfg(target_arch = "x86_64")]

use std::{path::Path, time::Duration};

use serde_json::Value;
use shunt_tests::{attempts::attempts, guest::Guest};

/// Booting takes some seconds; the rest is reserve for a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// Sends from one end of a veth pair to the other, with the options that it is given, and prints
/// what both have to say, on a line with the case's name.
const PRELUDE: &str = "\
insmod /veth.ko
insmod /pktgen.ko
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
/sbin/ip link add near type veth peer name far
/sbin/ip link set near up mtu 9000
/sbin/ip link set far up mtu 9000
try() {
    name=$1
    shift
    rm -f /sink.log
    shunt-bench sink --device far --tell -o json > /sink 2> /sink.log &
    sink=$!
    while ! grep -qs receiving /sink.log && kill -0 $sink; do sleep 0.05; done
    shunt-bench gen --device near -o json \"$@\" > /gen 2>&1
    sleep 0.2
    kill -INT $sink
    wait $sink
    echo \"SENT $name $(tail -n 1 /gen)\"
    echo \"RECEIVED $name $(tail -n 1 /sink)\"
}
";

/// What came of one case: what the generator and what the sink has printed.
fn results(console: &str, case: &str) -> (Value, Value) {
    let result = |word: &str| {
        let begin = format!("{word} {case} ");
        let line = console.lines().find_map(|line| line.strip_prefix(&begin));
        let line = line.unwrap_or_else(|| panic!("no `{begin}` in:\n{console}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}\n{console}"))
    };
    let received: Value = result("RECEIVED");
    (result("SENT"), received["total"].clone())
}

#[test]
fn pktgen_sends_what_the_options_say() {
    // An emulated processor that waits for the host's loses frames in the kernel like any other.
    attempts(check_all_options);
}

fn check_all_options() {
    let mut guest = Guest::new(&["veth", "pktgen"]);
    let program = Path::new(env!("CARGO_BIN_EXE_shunt-bench"));
    guest.add_program(program, Path::new("bin/shunt-bench"));
    let cases = "\
try plain --pktgen --rate 5k --count 2000
try many --pktgen --rate 5k --count 1000 --size 594 --flows 50 --src-macs 7 --dst-macs 3
try tagged --pktgen --rate 5k --count 500 --size 128 --vlan 20
try twice --pktgen --rate 5k --count 500 --size 128 --vlan 100,30
try imix --pktgen --rate 5k --count 600 --size imix --no-stamp
try timed --pktgen --rate 1k --seconds 1
try live --rate 5k --count 1000 --flows 50
";
    let console = guest.run(&format!("{PRELUDE}{cases}"), LIMIT);
    let check = |case: &str, count: u64, expected: &[(&str, u64)]| {
        let (sent, received) = results(&console, case);
        assert_eq!(sent["accepted"], count, "{case}: {sent}");
        assert_eq!(sent["refused"], 0, "{case}: {sent}");
        for (name, value) in [("/frames", count), ("/foreign_frames", 0), ("/missing", 0)] {
            assert_eq!(
                received.pointer(name),
                Some(&value.into()),
                "{case}: {received}"
            );
        }
        for (name, value) in expected {
            assert_eq!(
                received.pointer(name),
                Some(&(*value).into()),
                "{case}: {received}"
            );
        }
    };
    let sizes = |size: u64| [("/smallest", size), ("/largest", size)];
    check("plain", 2000, &sizes(64));
    check(
        "plain",
        2000,
        &[("/distinct/flows", 1), ("/distinct/sources", 1)],
    );
    check("many", 1000, &sizes(594));
    let distinct = [
        ("/distinct/flows", 50),
        ("/distinct/sources", 7),
        ("/distinct/destinations", 3),
    ];
    check("many", 1000, &distinct);
    check("tagged", 500, &sizes(128));
    check(
        "tagged",
        500,
        &[("/single_tagged", 500), ("/outer_vid", 20)],
    );
    check("twice", 500, &sizes(128));
    let tags = [
        ("/double_tagged", 500),
        ("/outer_vid", 100),
        ("/inner_vid", 30),
    ];
    check("twice", 500, &tags);
    check("imix", 600, &[("/smallest", 64), ("/largest", 1518)]);
    check("live", 1000, &[("/distinct/flows", 50)]);
    let (sent, received) = results(&console, "timed");
    assert_eq!(sent["accepted"], received["frames"], "{sent} {received}");
    let count = sent["accepted"].as_u64().expect("a count");
    assert!(
        (500..=1100).contains(&count),
        "1 s at 1 000 a second: {sent}"
    );
}
