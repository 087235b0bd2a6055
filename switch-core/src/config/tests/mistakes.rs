//! Every mistake that the configuration tells, one file each: the snapshots hold the texts.
//!
//! After a change, `INSTA_UPDATE=always cargo test -p switch-core` writes them anew; read the
//! difference as a user would.

use crate::config::{decode, parse};

/// Checks the report on a file that is wrong.
fn check(name: &str, text: &str) {
    let report = parse("switch.toml", text).expect_err("the file is wrong");
    for error in report.errors() {
        assert!(!error.help.is_empty(), "{} has no remedy", error.message);
    }
    compare(name, &report.to_string());
}

fn compare(name: &str, text: &str) {
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        snapshot_path => "mistakes",
    }, {
        insta::assert_snapshot!(name, text);
    });
}

macro_rules! mistakes {
    ($($name:ident: $text:literal,)+) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), $text);
            }
        )+
    };
}

// Syntax.
mistakes! {
    syntax_no_quotes: r#"
[[network]]
name = web
vlan = 20
"#,
    syntax_open_quote: r#"
[[network]]
name = "web
vlan = 20
"#,
    syntax_no_value: r#"
[[network]]
name = "web"
vlan =
"#,
    syntax_colon: r#"
[[network]]
name: "web"
"#,
    syntax_open_header: r#"
[[network]
name = "web"
"#,
    syntax_open_list: r#"
[[port]]
name = "up0"
trunk = ["web", "db"
device = "eth1"
"#,
    syntax_two_values: r#"
[[network]]
name = "web" vlan = 20
"#,
    syntax_key_twice: r#"
[[network]]
name = "web"
vlan = 20
vlan = 30
"#,
    syntax_switch_twice: r#"
[switch]
workers = 2

[switch]
workers = 3
"#,
    syntax_single_brackets_twice: r#"
[network]
name = "web"

[network]
name = "db"
"#,
    syntax_and_other_errors: r#"
[[network]]
name = "web
vlan = 4095
colour = "red"

[[network]]
name = db
vlan = "30"

[[port]]
name = "guest-a"
network = "weeb"
"#,
}

// Tables, keys, types.
mistakes! {
    unknown_key: r#"
[[network]]
name = "web"
vlann = 20
"#,
    unknown_key_far_off: r#"
[switch]
colour = "red"
"#,
    unknown_key_of_another_table: r#"
[[network]]
name = "web"
mac_limit = 5
"#,
    unknown_table: r#"
[[networks]]
name = "web"
"#,
    unknown_top_level_key: r#"
workers = 2
"#,
    unknown_top_level_word: r#"
title = "my switch"
"#,
    single_brackets: r#"
[network]
name = "web"
vlan = 20
"#,
    named_table: r#"
[network.web]
vlan = 20
"#,
    double_brackets_for_switch: r#"
[[switch]]
workers = 2
"#,
    list_of_names: r#"
network = ["web", "db"]
"#,
    wrong_type_number_in_quotes: r#"
[[network]]
name = "web"
vlan = "20"
"#,
    wrong_type_text_without_quotes: r#"
[[network]]
name = 20
"#,
    wrong_type_boolean_in_quotes: r#"
[switch]
huge_pages = "true"
"#,
    wrong_type_text_for_number: r#"
[switch]
workers = "many"
"#,
    wrong_type_fraction: r#"
[switch]
ageing_s = 0.5
"#,
    wrong_type_no_list: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "up0"
device = "eth1"
trunk = "*"
"#,
    wrong_type_in_list: r#"
[switch]
cores = [0, "1"]
"#,
    missing_keys: r#"
[[network]]
vlan = 20

[[port]]

[[port]]
name = "guest-a"

[[static]]
"#,
}

// [switch].
mistakes! {
    flaps: r#"
[switch]
flap_window_s = 10
flap_quarantine_s = 0
"#,
    workers_zero: r#"
[switch]
workers = 0
"#,
    workers_too_many: r#"
[switch]
workers = 33
"#,
    workers_negative: r#"
[switch]
workers = -1
"#,
    cores_do_not_match: r#"
[switch]
workers = 2
cores = [0, 1, 2]
"#,
    cores_twice: r#"
[switch]
cores = [1, 1]
"#,
    cores_none: r#"
[switch]
cores = []
"#,
    cores_too_many: r#"
[switch]
cores = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31, 32,
]
"#,
    ageing_too_short: r#"
[switch]
ageing_s = 9
"#,
    ageing_too_long: r#"
[switch]
ageing_s = 1_000_001
"#,
    frames_too_few: r#"
[switch]
frames = 64
"#,
    frames_too_many: r#"
[switch]
frames = 99999999999999999999999
"#,
    express: r#"
[switch]
express = true
"#,
}

// [[network]].
mistakes! {
    network_name_characters: r#"
[[network]]
name = "web server"
"#,
    network_name_empty: r#"
[[network]]
name = ""
"#,
    network_name_too_long: r#"
[[network]]
name = "a-name-of-more-than-sixty-three-characters-is-longer-than-anybody-wants-to-type"
"#,
    network_twice: r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "web"
vlan = 30
"#,
    vlan_twice: r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "db"
vlan = 20
"#,
    vlan_zero: r#"
[[network]]
name = "web"
vlan = 0
"#,
    vlan_4095: r#"
[[network]]
name = "web"
vlan = 4095
"#,
    vlan_too_large: r#"
[[network]]
name = "web"
vlan = 5000
"#,
    vlan_enormous: r#"
[[network]]
name = "web"
vlan = 500000000000000
"#,
    vlan_wrong_has_no_consequences: r#"
[[network]]
name = "web"
vlan = 4095

[[port]]
name = "up0"
device = "eth1"
role = "uplink"
trunk = ["web"]
"#,
}

// [[port]]: itself.
mistakes! {
    port_twice: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"

[[port]]
name = "guest-a"
device = "veB"
network = "web"
"#,
    device_twice: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"

[[port]]
name = "guest-b"
device = "veA"
network = "web"
"#,
    device_loopback: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "lo"
network = "web"
"#,
    device_too_long: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "a-name-too-long-for-linux"
network = "web"
"#,
    role_unknown: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "up0"
device = "eth1"
role = "upstream"
network = "web"
"#,
    attach_tc: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
attach = "tc"
"#,
    attach_unknown: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
attach = "dpdk"
"#,
    queues_out_of_range: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
queues = 0

[[port]]
name = "guest-b"
device = "veB"
network = "web"
queues = 65
"#,
    mac_limit_zero: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
mac_limit = 0
"#,
    tpid_unknown: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "up0"
device = "eth1"
trunk = ["web"]
tpid = 0x9100
"#,
    host_keys_on_a_guest: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
addresses = ["10.0.0.1/24"]
mac = "52:54:00:00:00:01"
"#,
    host_addresses: r#"
[[network]]
name = "web"

[[port]]
name = "host"
device = "shunt0"
role = "host"
network = "web"
addresses = ["10.0.0.1", "10.0.0.1/33", "10.0.0.256/8", "224.0.0.1/4"]

[[port]]
name = "host-6"
device = "shunt6"
role = "host"
network = "web"
addresses = ["fd00::1/64", "fd00::1/48", 10]
"#,
    host_macs: r#"
[[network]]
name = "web"

[[port]]
name = "host-0"
device = "shunt0"
role = "host"
network = "web"
mac = "52:54:00"

[[port]]
name = "host-1"
device = "shunt1"
role = "host"
network = "web"
mac = "01:00:5e:00:00:01"

[[port]]
name = "host-2"
device = "shunt2"
role = "host"
network = "web"
mac = "00:00:00:00:00:00"

[[port]]
name = "host-3"
device = "shunt3"
role = "host"
network = "web"
mac = "52:54:00:00:00:01"

[[port]]
name = "host-4"
device = "shunt4"
role = "host"
network = "web"
mac = "52:54:00:00:00:01"
"#,
}

// [[port]]: its networks.
mistakes! {
    port_without_network: r#"
[[port]]
name = "guest-a"
device = "veA"
accept = "tagged"
"#,
    network_unknown: r#"
[[network]]
name = "web"

[[network]]
name = "backstage"

[[port]]
name = "guest-a"
device = "veA"
network = "bakcstage"

[[port]]
name = "guest-b"
device = "veB"
native = "database"
trunk = ["storage", { network = "Web", vid = 5 }]
"#,
    network_unknown_and_there_are_none: r#"
[[port]]
name = "guest-a"
device = "veA"
network = "web"
"#,
    access_and_trunk: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "guest-a"
device = "veA"
network = "web"
trunk = ["web"]
"#,
    private_on_an_uplink: r#"
[[network]]
name = "backstage"

[[port]]
name = "up0"
device = "eth1"
role = "uplink"
network = "backstage"

[[port]]
name = "up1"
device = "eth2"
role = "uplink"
native = "backstage"

[[port]]
name = "up2"
device = "eth3"
role = "uplink"
trunk = ["backstage"]

[[port]]
name = "up3"
device = "eth4"
role = "uplink"
trunk = [{ network = "backstage", vid = 7 }]
"#,
    trunk_to_a_private_network: r#"
[[network]]
name = "backstage"

[[port]]
name = "firewall"
device = "veF"
trunk = ["backstage"]
"#,
    trunk_empty: r#"
[[port]]
name = "up0"
device = "eth1"
trunk = []
"#,
    trunk_entries: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "up0"
device = "eth1"
trunk = [
    20,
    { network = "web" },
    { vid = 30 },
    { network = "web", vid = 4095 },
    { network = "web", vid = 30, vlan = 30 },
    { network = 20, vid = "30" },
    "*",
    "*",
]
"#,
    trunk_network_twice: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "up0"
device = "eth1"
native = "web"
trunk = ["web"]

[[port]]
name = "up1"
device = "eth2"
trunk = ["web", { network = "web", vid = 30 }]
"#,
    trunk_vid_twice: r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "db"
vlan = 30

[[port]]
name = "translated"
device = "eth1"
trunk = ["web", { network = "db", vid = 20 }]

[[port]]
name = "starred"
device = "eth2"
trunk = ["*", { network = "db", vid = 20 }]

[[port]]
name = "native"
device = "eth3"
native = "web"
native_tagged = true
trunk = [{ network = "db", vid = 20 }]
"#,
    native_tagged_without_native: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "up0"
device = "eth1"
trunk = ["web"]
native_tagged = true
"#,
    native_tagged_and_private: r#"
[[network]]
name = "backstage"

[[port]]
name = "guest-a"
device = "veA"
native = "backstage"
native_tagged = true
"#,
    accept_contradicts: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "access-tagged"
device = "veA"
network = "web"
accept = "tagged"

[[port]]
name = "access-all"
device = "veB"
network = "web"
accept = "all"

[[port]]
name = "native-tagged"
device = "veC"
native = "web"
accept = "tagged"

[[port]]
name = "trunk-untagged"
device = "veD"
trunk = ["web"]
accept = "untagged"

[[port]]
name = "unknown"
device = "veE"
trunk = ["web"]
accept = "none"
"#,
}

// [[static]], and many at once.
mistakes! {
    static_entries: r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "db"
vlan = 30

[[port]]
name = "guest-a"
device = "veA"
network = "web"

[[static]]
network = "web"
mac = "52:54:00:00:00:01"
port = "guest-a"

[[static]]
network = "web"
mac = "52:54:00:00:00:01"
port = "guest-a"

[[static]]
network = "db"
mac = "52:54:00:00:00:01"
port = "guest-a"

[[static]]
network = "web"
mac = "33:33:00:00:00:01"
port = "guest-b"

[[static]]
network = "wbe"
mac = "52-54-00-00-00-zz"
port = "up0"
"#,
    several_at_once: r#"
[switch]
workers = 64
agein_s = 300

[[network]]
name = "web"
vlan = 4095

[[network]]
name = "web"
vlan = "30"

[[port]]
name = "guest-a"
device = "veA"
network = "wbe"

[[port]]
name = "guest-b"
device = "veA"
network = "web"
isolated = 1
"#,
    terminal_escapes: "[[network]]\nname = \"\\u001b[31mred\\u0007\"\n\"\\u001b]0;x\" = 1\n",
    tabs_and_wide_characters: "[[network]]\n\tname\t= \"größe 語\" # 語語語\n\t\"語\" = 1\n",
    windows_line_ends: "[[network]]\r\nname = \"web\"\r\nvlan = 0\r\n",
}

// Quality of service.
mistakes! {
    policer_without_rate: r#"
[[policer]]
name = "gold"
burst = "64 KiB"
"#,
    policer_units: r#"
[[policer]]
name = "bits-or-bytes"
rate = "100Mb"
burst = "64 KB"

[[policer]]
name = "bytes-a-second"
rate = "12.5 MBps"
burst = "1500 B"

[[policer]]
name = "no-unit"
rate = "1000000"
burst = 65536

[[policer]]
name = "out-of-range"
rate = "2 Tbit/s"
burst = "2 GiB"
"#,
    policer_of_two_kinds: r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"
excess_burst = "64 KiB"
peak_rate = "200 Mbit/s"
"#,
    policer_peak_below_rate: r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"
peak_rate = "10 Mbit/s"
violate = "kill"
"#,
    policer_peak_burst_alone: r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"
peak_burst = "64 KiB"
"#,
    policer_violate_of_plain: r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"
violate = "drop"
"#,
    policer_words_of_the_rfcs: r#"
[[policer]]
name = "gold"
cir = "100 Mbit/s"
cbs = "64 KiB"
color_aware = true
"#,
    policer_unknown: r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"

[[network]]
name = "web"
police_to_port = "glod"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
police_from_port = "silver"
"#,
    policer_twice: r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"

[[policer]]
name = "gold"
rate = "200 Mbit/s"
"#,
}

// Classes and queues.
mistakes! {
    scheduler_without_queue: r#"
[[scheduler]]
name = "wan"
rate = "1 Gbit/s"
"#,
    scheduler_classes: r#"
[[scheduler]]
name = "wan"

[[scheduler.queue]]
classes = [6, 7, 8]

[[scheduler.queue]]
classes = [5, 6]
"#,
    scheduler_nothing_left: r#"
[[scheduler]]
name = "wan"

[[scheduler.queue]]
classes = [0, 1, 2, 3, 4, 5, 6, 7]

[[scheduler.queue]]
weight = 1
"#,
    scheduler_two_rests: r#"
[[scheduler]]
name = "wan"

[[scheduler.queue]]
weight = 2

[[scheduler.queue]]
weight = 1
"#,
    scheduler_contradictions: r#"
[[scheduler]]
name = "wan"
burst = "64 KiB"

[[scheduler.queue]]
classes = [7]
strict = true
weight = 4
min_rate = "20 Mbit/s"
max_rate = "10 Mbit/s"

[[scheduler.queue]]
limit = "1 kB"
target_ms = 5
"#,
    scheduler_minimum_above_rate: r#"
[[scheduler]]
name = "wan"
rate = "100 Mbit/s"

[[scheduler.queue]]
classes = [7]
min_rate = "60 Mbit/s"

[[scheduler.queue]]
min_rate = "60 Mbit/s"
"#,
    scheduler_is_no_list: r#"
[[scheduler]]
name = "wan"
queue = 8
"#,
    rule_acts: r#"
[[acl]]
name = "guests"
default = "deny"

[[acl.rule]]
action = "deny"
class = 5
mark_pcp = 3

[[acl.rule]]
action = "allow"
police = "100M"
mark_dscp = "8-16"

[[acl.rule]]
action = "count"
class = 8
mark_dscp = 64
"#,
    class_maps: r#"
[[class_map]]
name = "campus"
from_pcp = [0, 1, 2]
to_dscp = [8, 0, 18, 26, 34, 46, 48, 64]

[[class_map.from_dscp]]
dscp = [44, 46]
class = 8

[[class_map.from_dscp]]
dscp = 46
class = 5

[[class_map.from_dscp]]
dscp = 12

[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
class_map = "campsu"
class_from = ["pcp"]

[[port]]
name = "guest-b"
device = "veB"
network = "web"
class_map = "campus"
"#,
    port_classes: r#"
[[network]]
name = "web"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
class = 8
class_from = ["dscp", "cos", "dscp"]
scheduler = "wan"
"#,
}

#[test]
fn bytes_that_are_no_text() {
    let report = decode("switch.toml", b"[switch]\nworkers = 2 # \xffff\n").expect_err("no UTF-8");
    compare("bytes_that_are_no_text", &report.to_string());
}

#[test]
fn colours() {
    let report = parse("switch.toml", "[switch]\nworker = 2\n").expect_err("the file is wrong");
    compare("colours", &report.render(true).replace('\u{1b}', "ESC"));
}

#[test]
fn too_many_tables() {
    let mut text = String::new();
    for number in 0..=crate::limits::MAX_PORTS {
        text +=
            &format!("[[port]]\nname = \"p{number}\"\ndevice = \"d{number}\"\nnative = \"n\"\n");
    }
    for number in 0..=crate::limits::MAX_NETWORKS {
        let name = if number == 0 {
            "n".to_owned()
        } else {
            format!("n{number}")
        };
        text += &format!("[[network]]\nname = \"{name}\"\n");
    }
    check("too_many_tables", &text);
}

/// Six ports with eight queues each; five have room.
#[test]
fn too_few_frames_for_queues() {
    let file = |frames: usize, ports: usize| {
        let mut text = format!("[switch]\nframes = {frames}\n\n[[scheduler]]\nname = \"wan\"\n");
        for class in 0..8 {
            text += &format!("\n[[scheduler.queue]]\nclasses = [{class}]\n");
        }
        text += "\n[[network]]\nname = \"web\"\n";
        for port in 0..ports {
            text += &format!("\n[[port]]\nname = \"p{port}\"\ndevice = \"ve{port}\"\n");
            text += "network = \"web\"\nscheduler = \"wan\"\n";
        }
        text
    };
    check("frames_too_few_for_queues", &file(3200, 6));
    for (frames, ports) in [(3200, 5), (3456, 6)] {
        assert!(parse("switch.toml", &file(frames, ports)).is_ok());
    }
}

#[test]
fn too_many_errors() {
    let text = "[[network]]\nvlan = 0\n".repeat(150);
    let report = parse("switch.toml", &text).expect_err("the file is wrong");
    assert_eq!((report.errors().len(), report.more()), (200, 100));
    let text = report.to_string();
    let last = text.lines().last();
    assert_eq!(
        last,
        Some("switch.toml: 300 errors, of which the first 200 are shown")
    );
}

#[test]
fn a_line_too_long_to_print() {
    let text = format!("[switch]\nworkers = 0{}", " ".repeat(2000));
    check("a_line_too_long_to_print", &text);
}

#[test]
fn a_file_too_large() {
    check(
        "a_file_too_large",
        &" ".repeat(crate::limits::MAX_CONFIG_SIZE + 1),
    );
}

// Access control lists.
mistakes! {
    acl_missing_keys: r#"
[[acl]]

[[acl.rule]]
protocol = "tcp"

[[address_set]]
name = "a"

[[port_set]]
ports = 80
"#,
    acl_names: r#"
[[network]]
name = "web"
vlan = 20
acl_from_port = "gests"

[[port]]
name = "guest-a"
device = "veA"
network = "web"
acl_to_port = "guests"

[[address_set]]
name = "servers"
addresses = "10.0.0.1"

[[acl]]
name = "guest"
default = "deny"

[[acl.rule]]
action = "allow"
source = ["10.0.0.0/8", "@server"]
destination_port = "@web"
network = "wbe"

[[acl.rule]]
action = "allow"
vid = 30
"#,
    acl_twice: r#"
[[acl]]
name = "guests"
default = "deny"

[[acl.rule]]
name = "ssh"
action = "allow"

[[acl.rule]]
name = "ssh"
action = "deny"

[[acl]]
name = "guests"
default = "allow"

[[port_set]]
name = "web"
ports = 80

[[port_set]]
name = "web"
ports = 81
"#,
    acl_values: r#"
[[acl]]
name = "guests"
default = "count"

[[acl.rule]]
action = "drop"
source_mac = "52:54:00:12:34:56/ff:ff:ff:00:00:00"
destination_mac = "52:54:00"
ethertype = "ip"
pcp = 8
arp_operation = "ask"
source = ["10.0.0.1/24", "10.0.0.0/33", "fd00::/x", "web"]
destination_port = ["80-22", 65536, "http", 80.5]
icmp_type = "300"
tcp_flags = "syn,ac"
dscp = "af44"
fragment = "second"
colour = "red"

[[acl.rule]]
action = "deny"
protocol = "tpc"
tcp_flags = "syn,!syn"
"#,
    acl_rule_is_no_table: r#"
[[acl]]
name = "guests"
default = "deny"
rule = "allow"
"#,
    acl_no_frame_can: r#"
[[acl]]
name = "guests"
default = "deny"

[[acl.rule]]
action = "allow"
source = "10.0.0.1"
destination = "fd00::1"

[[acl.rule]]
action = "allow"
destination = "fd00::1"
protocol = "icmp"

[[acl.rule]]
action = "allow"
protocol = "icmp"
destination_port = 80

[[acl.rule]]
action = "allow"
ethertype = "arp"
destination_port = 80

[[acl.rule]]
action = "allow"
ethertype = "0x88cc"
source = "10.0.0.1"

[[acl.rule]]
action = "allow"
arp_operation = "reply"
protocol = "tcp"

[[acl.rule]]
action = "allow"
ethertype = "arp"
source = "fd00::1"
"#,
    acl_conditions_that_do_not_agree: r#"
[[network]]
name = "web"
vlan = 20

[[acl]]
name = "guests"
default = "deny"

[[acl.rule]]
action = "allow"
icmp_type = 8

[[acl.rule]]
action = "allow"
protocol = ["tcp", "udp"]
tcp_flags = "syn"

[[acl.rule]]
action = "deny"
destination_port = 80
fragment = "later"

[[acl.rule]]
action = "allow"
destination_port = 80
fragment = "any"

[[acl.rule]]
action = "allow"
network = "web"
vid = 20
"#,
}

// Security of ports.
mistakes! {
    security: r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "veA"
network = "web"
security = "strict"

[[port]]
name = "b"
device = "veB"
network = "web"
security = "loose"
allowed_macs = ["33:33:00:00:00:01", "52:54:00"]
allowed_addresses = "10.0.0.1/24"
dhcp_server = "no"

[[port]]
name = "up"
device = "eth1"
role = "uplink"
trunk = ["web"]
allowed_macs = "52:54:00:00:00:01"
"#,
}

#[test]
fn acl_too_much() {
    let rule = "[[acl.rule]]\naction = \"count\"\n";
    let macs: Vec<_> = (0..9).map(|n| format!("\"52:54:00:00:00:0{n}\"")).collect();
    let macs = macs.join(", ");
    let text = format!(
        "[[acl]]\nname = \"a\"\ndefault = \"allow\"\n{}\
         [[acl.rule]]\naction = \"deny\"\nsource_mac = [{macs}]\ndestination_mac = [{macs}]\n",
        rule.repeat(17)
    );
    check("acl_too_much", &text);
    let rules = "[[acl.rule]]\naction = \"deny\"\n".repeat(16_384);
    let text = format!("[[acl]]\nname = \"a\"\ndefault = \"allow\"\n{rules}");
    check("acl_too_many_rules", &text);
}
