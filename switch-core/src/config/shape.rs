//! The tables of a configuration file and their keys: one list, from which unknown keys are told,
//! near misses are found and examples in messages are made.

/// A table and its keys.
#[derive(Debug)]
pub(super) struct Shape {
    /// The table as its header is written.
    pub(super) header: &'static str,
    /// Each key with a value that would be right.
    pub(super) keys: &'static [(&'static str, &'static str)],
}

impl Shape {
    /// The names of the keys.
    pub(super) fn key_names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|(key, _)| *key)
    }

    /// A line that would be right, such as `vlan = 20`.
    pub(super) fn example(&self, key: &str) -> String {
        let value = self.keys.iter().find(|(known, _)| *known == key);
        format!("`{key} = {}`", value.map_or("..", |(_, value)| value))
    }
}

pub(super) const SWITCH: Shape = Shape {
    header: "[switch]",
    keys: &[
        ("workers", "2"),
        ("cores", "[0, 1]"),
        ("ageing_s", "300"),
        ("idle", "\"poll\""),
        ("huge_pages", "true"),
        ("frames", "16384"),
        ("forward_reserved", "true"),
        ("flap_moves", "5"),
        ("flap_window_s", "10"),
        ("flap_quarantine_s", "60"),
        ("express", "false"),
    ],
};

pub(super) const NETWORK: Shape = Shape {
    header: "[[network]]",
    keys: &[
        ("name", "\"web\""),
        ("vlan", "20"),
        ("police_from_port", "\"100M\""),
        ("police_to_port", "\"100M\""),
        ("acl_from_port", "\"guests\""),
        ("acl_to_port", "\"guests\""),
    ],
};

pub(super) const PORT: Shape = Shape {
    header: "[[port]]",
    keys: &[
        ("name", "\"guest-a\""),
        ("device", "\"veA\""),
        ("role", "\"uplink\""),
        ("network", "\"web\""),
        ("native", "\"web\""),
        ("native_tagged", "true"),
        ("trunk", "[\"web\"]"),
        ("tpid", "\"0x8100\""),
        ("accept", "\"tagged\""),
        ("isolated", "true"),
        ("mac_limit", "16"),
        ("attach", "\"auto\""),
        ("queues", "2"),
        ("addresses", "[\"10.0.0.1/24\"]"),
        ("mac", "\"52:54:00:12:34:56\""),
        ("police_from_port", "\"100M\""),
        ("police_to_port", "\"100M\""),
        ("acl_from_port", "\"guests\""),
        ("acl_to_port", "\"guests\""),
        ("security", "\"strict\""),
        ("allowed_macs", "[\"52:54:00:12:34:56\"]"),
        ("allowed_addresses", "[\"10.0.0.7\", \"fd00::7\"]"),
        ("dhcp_server", "false"),
        ("router_advertisements", "false"),
        ("bpdus", "false"),
        ("broadcast_limit", "\"1000 frames/s\""),
        ("multicast_limit", "\"1000 frames/s\""),
        ("unknown_unicast_limit", "\"10 Mbit/s\""),
        ("class", "1"),
        ("class_from", "[\"dscp\", \"pcp\"]"),
        ("class_map", "\"campus\""),
        ("mark", "[\"pcp\"]"),
        ("scheduler", "\"wan\""),
    ],
};

pub(super) const TRUNK_ENTRY: Shape = Shape {
    header: "a `trunk` entry",
    keys: &[("network", "\"web\""), ("vid", "120")],
};

pub(super) const STATIC: Shape = Shape {
    header: "[[static]]",
    keys: &[
        ("network", "\"web\""),
        ("mac", "\"52:54:00:12:34:56\""),
        ("port", "\"guest-a\""),
    ],
};

pub(super) const POLICER: Shape = Shape {
    header: "[[policer]]",
    keys: &[
        ("name", "\"100M\""),
        ("rate", "\"100 Mbit/s\""),
        ("burst", "\"64 KiB\""),
        ("excess_burst", "\"128 KiB\""),
        ("peak_rate", "\"200 Mbit/s\""),
        ("peak_burst", "\"128 KiB\""),
        ("colour_aware", "true"),
        ("exceed", "\"drop\""),
        ("violate", "\"drop\""),
    ],
};

pub(super) const ADDRESS_SET: Shape = Shape {
    header: "[[address_set]]",
    keys: &[
        ("name", "\"servers\""),
        ("addresses", "[\"10.0.0.0/24\", \"fd00::/64\"]"),
    ],
};

pub(super) const PORT_SET: Shape = Shape {
    header: "[[port_set]]",
    keys: &[("name", "\"web\""), ("ports", "[80, 443, \"8000-8099\"]")],
};

pub(super) const ACL: Shape = Shape {
    header: "[[acl]]",
    keys: &[
        ("name", "\"guests\""),
        ("default", "\"deny\""),
        ("rule", "[{ action = \"allow\" }]"),
    ],
};

pub(super) const RULE: Shape = Shape {
    header: "[[acl.rule]]",
    keys: &[
        ("name", "\"ssh\""),
        ("action", "\"allow\""),
        ("source_mac", "\"52:54:00:00:00:00/ff:ff:ff:00:00:00\""),
        ("destination_mac", "\"52:54:00:12:34:56\""),
        ("ethertype", "\"arp\""),
        ("network", "\"web\""),
        ("vid", "20"),
        ("pcp", "\"5-7\""),
        ("arp_operation", "\"request\""),
        ("source", "[\"10.0.0.0/8\", \"@servers\"]"),
        ("destination", "[\"10.0.0.0/8\", \"@servers\"]"),
        ("protocol", "\"tcp\""),
        ("source_port", "\"1024-65535\""),
        ("destination_port", "[22, \"8000-8099\", \"@web\"]"),
        ("icmp_type", "8"),
        ("icmp_code", "0"),
        ("tcp_flags", "\"syn,!ack\""),
        ("dscp", "\"ef\""),
        ("fragment", "\"later\""),
        ("class", "5"),
        ("police", "\"100M\""),
        ("mark_pcp", "5"),
        ("mark_dscp", "\"ef\""),
    ],
};

pub(super) const CLASS_MAP: Shape = Shape {
    header: "[[class_map]]",
    keys: &[
        ("name", "\"campus\""),
        ("from_pcp", "[1, 0, 2, 3, 4, 5, 6, 7]"),
        ("from_dscp", "[{ dscp = [44, 46], class = 6 }]"),
        ("to_pcp", "[1, 0, 2, 3, 4, 5, 6, 7]"),
        ("to_dscp", "[8, 0, 18, 26, 34, 46, 48, 56]"),
    ],
};

pub(super) const DSCP_CLASS: Shape = Shape {
    header: "[[class_map.from_dscp]]",
    keys: &[("dscp", "46"), ("class", "6")],
};

pub(super) const SCHEDULER: Shape = Shape {
    header: "[[scheduler]]",
    keys: &[
        ("name", "\"wan\""),
        ("rate", "\"1 Gbit/s\""),
        ("burst", "\"64 KiB\""),
        (
            "queue",
            "[{ classes = [7], strict = true }, { weight = 1 }]",
        ),
    ],
};

pub(super) const QUEUE: Shape = Shape {
    header: "[[scheduler.queue]]",
    keys: &[
        ("classes", "[6, 7]"),
        ("strict", "true"),
        ("weight", "4"),
        ("min_rate", "\"10 Mbit/s\""),
        ("max_rate", "\"100 Mbit/s\""),
        ("limit", "\"256 KiB\""),
        ("drop", "\"codel\""),
        ("target_ms", "5"),
        ("interval_ms", "100"),
    ],
};

/// The tables that a file consists of, under the names of their keys.
pub(super) const TABLES: [(&str, &Shape); 10] = [
    ("switch", &SWITCH),
    ("network", &NETWORK),
    ("port", &PORT),
    ("static", &STATIC),
    ("policer", &POLICER),
    ("acl", &ACL),
    ("address_set", &ADDRESS_SET),
    ("port_set", &PORT_SET),
    ("scheduler", &SCHEDULER),
    ("class_map", &CLASS_MAP),
];
