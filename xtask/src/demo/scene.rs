//! What the demo shows, step by step.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::Stage;

/// A guest: a namespace with one interface, on a network of one of the two hosts.
struct Guest {
    name: &'static str,
    host: &'static str,
    network: &'static str,
    /// The last byte of its address. All guests are in one subnet, so that nothing but the
    /// switch keeps the networks apart.
    address: u8,
}

const fn guest(
    name: &'static str,
    host: &'static str,
    network: &'static str,
    address: u8,
) -> Guest {
    Guest {
        name,
        host,
        network,
        address,
    }
}

const HOSTS: [&str; 2] = ["north", "south"];
/// The namespace of the physical switch between the hosts.
const PHYSICAL: &str = "physical";
const SUBNET: &str = "10.77.0";
const GUESTS: &[Guest] = &[
    guest("web-1", "north", "web", 1),
    guest("web-2", "north", "web", 2),
    guest("web-3", "south", "web", 3),
    guest("db-1", "north", "db", 11),
    guest("db-2", "north", "db", 12),
    guest("db-3", "south", "db", 13),
    guest("lab-1", "north", "backstage", 21),
    guest("lab-2", "north", "backstage", 22),
    guest("lab-3", "south", "backstage", 23),
];

/// Who pings whom, whether there must be an answer, and why.
const PINGS: &[(&str, &str, bool, &str)] = &[
    ("web-1", "web-2", true, "same network, same host"),
    ("db-1", "db-2", true, "same network, same host"),
    ("lab-1", "lab-2", true, "private network, same host"),
    ("web-1", "web-3", true, "same network, over the uplink"),
    ("db-3", "db-1", true, "same network, over the uplink"),
    ("web-1", "db-1", false, "other network"),
    ("web-2", "lab-1", false, "other network"),
    ("db-1", "web-3", false, "other network, over the uplink"),
    (
        "lab-1",
        "lab-3",
        false,
        "private networks never leave their host",
    ),
];

/// Time that the daemons have until their ports are up.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Plays all steps and returns how many expectations were not met.
///
/// # Errors
/// When a step cannot be played at all.
pub fn play(stage: &Stage) -> Result<usize> {
    build_machines(stage)?;
    start_switches(stage)?;
    let mut failed = pings(stage)?;
    failed += usize::from(!stream(stage)?);
    failed += usize::from(!tagged_frames(stage)?);
    show(stage)?;
    match failed {
        0 => println!("\nEvery expectation was met."),
        _ => println!("\n{failed} expectations were not met: see WRONG above"),
    }
    Ok(failed)
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn build_machines(stage: &Stage) -> Result<()> {
    title("Two hosts, north and south, and a physical switch between them, all as namespaces");
    stage.add_namespace(PHYSICAL)?;
    stage.run(PHYSICAL, "ip link add bridge type bridge")?;
    stage.run(PHYSICAL, "ip link set bridge up")?;
    for host in HOSTS {
        stage.add_namespace(host)?;
        stage.add_cable((host, "up0"), (PHYSICAL, host))?;
        stage.run(PHYSICAL, &format!("ip link set {host} master bridge"))?;
        // A real switch sends whole frames with their tags in them.
        stage.run(PHYSICAL, &format!("ethtool -K {host} tx off txvlan off"))?;
        println!("{host}: up0 is its NIC, wired to the physical switch, which passes tags");
    }
    title("Guests, each a namespace with one interface, all in one subnet");
    for guest in GUESTS {
        stage.add_namespace(guest.name)?;
        stage.add_cable((guest.host, guest.name), (guest.name, "eth0"))?;
        let address = format!("{SUBNET}.{}", guest.address);
        stage.run(guest.name, &format!("ip address add {address}/24 dev eth0"))?;
        let Guest {
            name,
            host,
            network,
            ..
        } = guest;
        println!("{name}: {address}, network {network} on {host}");
    }
    Ok(())
}

/// The configuration of a host's switch.
fn config(host: &str) -> String {
    let mut text = String::from(
        "[[network]]\nname = \"web\"\nvlan = 20\n\n[[network]]\nname = \"db\"\nvlan = 30\n\n\
         [[network]]\nname = \"backstage\"    # no vlan: private to this host\n\n",
    );
    for Guest { name, network, .. } in GUESTS.iter().filter(|guest| guest.host == host) {
        text += &format!(
            "[[port]]\nname = \"{name}\"\ndevice = \"{name}\"\nnetwork = \"{network}\"\n\n"
        );
    }
    text + "[[port]]\nname = \"up0\"\ndevice = \"up0\"\nrole = \"uplink\"\ntrunk = [\"*\"]\n"
}

fn start_switches(stage: &Stage) -> Result<()> {
    title("The configuration of north's switch");
    println!("{}", config("north").trim_end());
    title("shunt run --config FILE, once on each host");
    for host in HOSTS {
        stage.start_switch(host, &config(host))?;
    }
    for host in HOSTS {
        let took = stage.wait_for_ports(host, START_LIMIT)?;
        println!("{host}: all ports are up ({} ms)", took.as_millis());
    }
    Ok(())
}

fn pings(stage: &Stage) -> Result<usize> {
    title("Pings that must be answered, and pings that must not");
    let mut failed = 0;
    for (from, to, expected, why) in PINGS {
        let address = GUESTS.iter().find(|guest| guest.name == *to);
        let address = address.context("no such guest")?.address;
        let ping = format!("ping -n -q -c 3 -i 0.1 -W 1 {SUBNET}.{address}");
        let answered = stage.command(from, &ping).output()?.status.success();
        let verdict = if answered == *expected { "ok" } else { "WRONG" };
        failed += usize::from(answered != *expected);
        let word = |answer: bool| if answer { "answer" } else { "silence" };
        println!(
            "{from:>6} to {to:<6} expected {:<8} got {:<8} {verdict:<6} {why}",
            word(*expected),
            word(answered)
        );
    }
    Ok(failed)
}

fn stream(stage: &Stage) -> Result<bool> {
    title("One TCP stream from web-1 to web-2, whose offloads nobody has touched (iperf3, 3 s)");
    let mut server = stage
        .command("web-2", "iperf3 --server --one-off")
        .stdout(Stdio::null())
        .spawn()?;
    sleep(Duration::from_millis(300));
    let client = format!("iperf3 --client {SUBNET}.2 --time 3 --json --connect-timeout 2000");
    let output = stage.command("web-1", &client).output()?;
    // It has ended by itself, unless nobody got through to it.
    server.kill()?;
    server.wait()?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let end = &report["end"];
    let rate_bps = end["sum_received"]["bits_per_second"]
        .as_f64()
        .unwrap_or(0.0);
    let good = output.status.success() && rate_bps > 1e6;
    println!(
        "{:.2} Gb/s received, {} retransmissions: {}",
        rate_bps / 1e9,
        end["sum_sent"]["retransmits"],
        if good {
            "ok"
        } else {
            "WRONG, a stream was expected"
        }
    );
    if !good {
        println!("{}", report["error"]);
    }
    Ok(good)
}

fn tagged_frames(stage: &Stage) -> Result<bool> {
    title("The wire between north and the physical switch, while web-1 and db-1 ping south");
    let tcpdump = stage
        .command(
            PHYSICAL,
            "timeout 10 tcpdump -i north -n -e -xx -c 4 vlan and icmp",
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    sleep(Duration::from_millis(700));
    stage
        .command("web-1", &format!("ping -q -c 1 -W 1 {SUBNET}.3"))
        .output()?;
    stage
        .command("db-1", &format!("ping -q -c 1 -W 1 {SUBNET}.13"))
        .output()?;
    let output = tcpdump.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let good = text.contains("vlan 20,") && text.contains("vlan 30,");
    let verdict = if good { "ok" } else { "WRONG" };
    println!("expected tags of VLAN 20 (web) and VLAN 30 (db): {verdict}");
    Ok(good)
}

fn show(stage: &Stage) -> Result<()> {
    for what in ["ports", "networks", "fdb", "counters"] {
        title(&format!("north: shunt get {what}"));
        print!("{}", stage.ask("north", &format!("get {what}"))?);
    }
    Ok(())
}

/// Says how to look around in a demo that is left standing.
pub fn look_around(stage: &Stage) {
    let shunt = stage.shunt().display();
    title("Everything is left standing");
    for host in HOSTS {
        let socket = stage.file(host, "sock");
        println!(
            "{host}'s switch:   {shunt} get ports --socket {}",
            socket.display()
        );
        println!("  its log:         {}", stage.file(host, "log").display());
        println!("  its file:        {}", stage.file(host, "toml").display());
    }
    let guest = stage.namespace("web-1");
    println!("inside a guest:    ip netns exec {guest} ping {SUBNET}.3");
    let wire = stage.namespace(PHYSICAL);
    println!("on the wire:       ip netns exec {wire} tcpdump -i north -n -e");
    println!("remove it:         cargo xtask demo --stop");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_guests_and_an_uplink() {
        let north = config("north");
        assert_eq!(north.matches("[[port]]").count(), 7);
        assert!(north.contains("device = \"web-1\"\nnetwork = \"web\""));
        assert!(!north.contains("web-3"));
        assert_eq!(config("south").matches("[[port]]").count(), 4);
    }

    #[test]
    fn pings_are_between_guests_that_exist() {
        for (from, to, expected, _) in PINGS {
            let find = |name| GUESTS.iter().find(|guest| guest.name == name).unwrap();
            let (from, to) = (find(*from), find(*to));
            let private = from.network == "backstage" && from.host != to.host;
            assert_eq!(from.network == to.network && !private, *expected);
        }
    }
}
