//! Checks of `[[port]]`, but for what a trunk carries.

use std::num::NonZero;

use serde_spanned::Spanned;

use super::{
    Directory, Known, Seen, Vlan, acl::Lists, check_count, classes::ClassMaps, missing, owner,
    qos::Policers, scheduler::Schedulers, trunk, unique_name,
};
use crate::{
    config::{
        model::{self, Role as Word, STORM_KEYS},
        reader::Field,
        report::{Code, Problem, Problems},
        shape::PORT,
        valid::{
            AcceptableFrames, Attach, AttachedAcls, Device, HostInterface, IpPrefix, KeyLines,
            Membership, Policed, Port, Role, Security,
        },
    },
    limits,
    qos::{
        classes::ClassRules,
        remark::MarkRules,
        storm::{FrameRate, StormRate, StormRates},
    },
    wire::ethernet::Mac,
};

/// What may occur at one port only.
#[derive(Debug, Default)]
struct Taken<'m> {
    names: Seen<&'m str>,
    devices: Seen<&'m Device>,
    macs: Seen<Mac>,
}

/// What a port may name.
pub(super) struct Parts<'d, 'm> {
    pub(super) directory: &'d Directory<'m>,
    pub(super) policers: &'d Policers<'m>,
    pub(super) lists: &'d Lists<'m>,
    pub(super) class_maps: &'d ClassMaps<'m>,
    pub(super) schedulers: &'d Schedulers<'m>,
}

/// All ports whose names are unique; none in place of a port with errors.
pub(super) fn ports<'m>(
    written: &'m [model::Port],
    parts: &Parts<'_, '_>,
    problems: &mut Problems,
) -> Vec<(&'m str, Option<Port>)> {
    check_count(
        "port",
        written.iter().map(|port| &port.span),
        limits::MAX_PORTS,
        problems,
    );
    let mut taken = Taken::default();
    let mut ports = Vec::with_capacity(written.len());
    for port in written {
        let name = unique_name(&PORT, &port.span, &port.name, &mut taken.names, problems);
        let policed = parts.policers.policed(&port.policed, problems);
        let valid = check_port(port, parts.directory, &mut taken, problems);
        let acls = parts.lists.attached(&port.acls, problems);
        let (classes, marks) = parts.class_maps.rules(&port.classes, problems);
        let scheduler = parts.schedulers.resolve(&port.classes, problems);
        let valid = valid.map(|port| Port {
            policed,
            acls,
            classes,
            marks,
            scheduler,
            ..port
        });
        ports.extend(name.map(|name| (name, valid)));
    }
    ports
}

fn check_port<'m>(
    port: &'m model::Port,
    directory: &Directory<'_>,
    taken: &mut Taken<'m>,
    problems: &mut Problems,
) -> Option<Port> {
    let device = device(port, &mut taken.devices, problems);
    let role = role(port, &mut taken.macs, problems);
    let membership = membership(port, directory, problems);
    let accept = accept(port, problems);
    Some(Port {
        name: port.name.get()?.clone(),
        device: device?.clone(),
        role: role?,
        membership: membership?,
        tpid: port.tpid.get().copied().unwrap_or_default(),
        accept,
        isolated: port.isolated.get().copied().unwrap_or_default(),
        mac_limit: port.mac_limit.get().and_then(|limit| NonZero::new(*limit)),
        attach: port.attach.get().copied().unwrap_or(Attach::Auto),
        queues: port
            .queues
            .get()
            .and_then(|count| NonZero::new(*count as usize)),
        policed: Policed::default(),
        acls: AttachedAcls::default(),
        security: security(port, problems),
        classes: ClassRules::default(),
        marks: MarkRules::default(),
        scheduler: None,
        lines: lines(port),
    })
}

/// Where the keys stand that frames from the port are dropped by.
fn lines(port: &model::Port) -> KeyLines {
    let keys = [
        ("isolated", port.isolated.span()),
        ("mac_limit", port.mac_limit.span()),
        ("security", port.security.span()),
        ("allowed_macs", port.allowed_macs.span()),
        ("allowed_addresses", port.allowed_addresses.span()),
        ("dhcp_server", port.dhcp_server.span()),
        ("router_advertisements", port.router_advertisements.span()),
        ("bpdus", port.bpdus.span()),
    ];
    let storm = STORM_KEYS.into_iter().zip(&port.storm);
    let keys = keys
        .into_iter()
        .chain(storm.map(|(key, field)| (key, field.span())));
    KeyLines::new(keys.filter_map(|(key, span)| Some((key, span?.start))))
}

/// What the port may say about itself. `security = "strict"` is all of it, but for what is written
/// otherwise.
fn security(port: &model::Port, problems: &mut Problems) -> Security {
    let strict = port.security.spanned();
    let lists = [
        ("allowed_macs", port.allowed_macs.span()),
        ("allowed_addresses", port.allowed_addresses.span()),
    ];
    for (key, span) in lists {
        if let (Some(strict), None) = (strict, &span) {
            let message = format!("`security = \"strict\"` needs `{key}`");
            let help = format!("add a line, for example {}", PORT.example(key));
            problems.push(Problem::new(Code::MissingKey, strict.span(), message).help(help));
        }
        if let Some(span) = span
            && word(port) == Some(Word::Uplink)
        {
            let message = format!("`{key}` is for stations, and an uplink has everybody else's");
            let help = format!("remove `{key}`, or write what may come from here as an `[[acl]]`");
            problems.push(Problem::new(Code::Conflict, span, message).help(help));
        }
    }
    let open = strict.is_none();
    let macs = port.allowed_macs.get();
    let addresses = port.allowed_addresses.get();
    Security {
        allowed_macs: macs.map(|list| list.iter().map(|mac| *mac.get_ref()).collect()),
        allowed_addresses: addresses.map(|list| list.iter().map(|one| *one.get_ref()).collect()),
        dhcp_server: port.dhcp_server.get().copied().unwrap_or(open),
        router_advertisements: port.router_advertisements.get().copied().unwrap_or(open),
        bpdus: port.bpdus.get().copied().unwrap_or(open),
        storm: storm(port, open),
    }
}

/// Storm control: what is written, or what strict security allows.
fn storm(port: &model::Port, open: bool) -> StormRates {
    let default = (!open).then_some(StormRate::Frames(FrameRate::STRICT));
    let [broadcast, multicast, unknown_unicast] = &port.storm;
    let rate = |field: &Field<Option<StormRate>>| field.get().copied().unwrap_or(default);
    StormRates {
        broadcast: rate(broadcast),
        multicast: rate(multicast),
        unknown_unicast: rate(unknown_unicast),
    }
}

fn device<'m>(
    port: &'m model::Port,
    seen: &mut Seen<&'m Device>,
    problems: &mut Problems,
) -> Option<&'m Device> {
    if !port.device.is_written() {
        missing(&PORT, &port.span, "device", Some(&owner(port)), problems);
    }
    let device = port.device.spanned()?;
    if let Err(first) = seen.insert(device.get_ref(), device.span()) {
        let message = format!("device `{}` is another port's already", device.get_ref());
        let help = "give each port its own device; for several networks on one device, use `trunk`";
        let problem = Problem::new(Code::Duplicate, device.span(), message);
        problems.push(problem.help(help).also(first, "first used here"));
    }
    Some(device.get_ref())
}

/// The word of the file; none where it is wrong.
fn word(port: &model::Port) -> Option<Word> {
    if port.role.is_written() {
        port.role.get().copied()
    } else {
        Some(Word::Guest)
    }
}

fn role(port: &model::Port, macs: &mut Seen<Mac>, problems: &mut Problems) -> Option<Role> {
    let word = word(port)?;
    if word != Word::Host {
        for (key, span) in [
            ("addresses", port.addresses.span()),
            ("mac", port.mac.span()),
        ] {
            if let Some(span) = span {
                let message = format!("`{key}` is for ports with `role = \"host\"`");
                let help = format!("remove `{key}`: the switch sets up the host's interface only");
                problems.push(Problem::new(Code::Conflict, span, message).help(help));
            }
        }
    }
    if let Some(mac) = port.mac.spanned()
        && let Err(first) = macs.insert(*mac.get_ref(), mac.span())
    {
        let message = format!("{} is another port's address already", mac.get_ref());
        let problem = Problem::new(Code::Duplicate, mac.span(), message);
        let help = "give each interface its own, or leave `mac` out";
        problems.push(problem.help(help).also(first, "first used here"));
    }
    Some(match word {
        Word::Guest => Role::Guest,
        Word::Uplink => Role::Uplink,
        Word::Host => {
            let addresses = addresses(port, problems);
            Role::Host(HostInterface {
                addresses,
                mac: port.mac.get().copied(),
            })
        }
    })
}

fn addresses(port: &model::Port, problems: &mut Problems) -> Vec<IpPrefix> {
    let addresses = port.addresses.get().map_or(&[][..], Vec::as_slice);
    let mut seen = Seen::default();
    for address in addresses {
        if let Err(first) = seen.insert(address.get_ref().address(), address.span()) {
            let message = format!("{} is listed twice", address.get_ref().address());
            let problem = Problem::new(Code::Duplicate, address.span(), message);
            problems.push(
                problem
                    .help("remove one of the two")
                    .also(first, "here first"),
            );
        }
    }
    addresses.iter().map(|address| *address.get_ref()).collect()
}

fn membership(
    port: &model::Port,
    directory: &Directory<'_>,
    problems: &mut Problems,
) -> Option<Membership> {
    let tagging = port.native.span().or(port.trunk.span());
    match (port.network.span(), tagging) {
        (None, None) => {
            let message = format!("{} is in no network", owner(port));
            let help = "add `network = \"web\"` for an access port, or `trunk` or `native`";
            problems.push(Problem::new(Code::MissingKey, port.span.clone(), message).help(help));
            check_native_tagged(port, None, problems);
            None
        }
        (Some(network), Some(tagging)) => {
            let message = "a port has either `network` or `native` and `trunk`";
            let help = "for an access port keep `network`; for a trunk, write `native` instead";
            let problem = Problem::new(Code::Conflict, tagging, message).help(help);
            problems.push(problem.also(network, "this makes it an access port"));
            trunk::trunk(port, directory, problems);
            access(port, directory, problems)
        }
        (Some(_), None) => {
            check_native_tagged(port, None, problems);
            access(port, directory, problems)
        }
        (None, Some(_)) => trunk::trunk(port, directory, problems).map(Membership::Trunk),
    }
}

fn access(
    port: &model::Port,
    directory: &Directory<'_>,
    problems: &mut Problems,
) -> Option<Membership> {
    let network = port.network.spanned()?;
    let known = directory.resolve(network, problems)?;
    check_private(port, known, network, problems);
    known.name.clone().map(Membership::Access)
}

/// `native_tagged` needs a native network with a VLAN.
pub(super) fn check_native_tagged(
    port: &model::Port,
    native: Option<&Known>,
    problems: &mut Problems,
) {
    let Some(tagged) = port
        .native_tagged
        .spanned()
        .filter(|tagged| *tagged.get_ref())
    else {
        return;
    };
    let (message, help) = match native {
        Some(known) if known.vlan != Vlan::Private => return,
        Some(_) => (
            "`native_tagged`, and the native network has no VLAN to tag frames with",
            "give the network a `vlan`, or leave `native_tagged` out",
        ),
        // Written and wrong, which is reported where it stands.
        None if port.native.is_written() => return,
        None => (
            "`native_tagged` without `native`",
            "say which network untagged frames belong to: `native = \"web\"`",
        ),
    };
    problems.push(Problem::new(Code::Conflict, tagged.span(), message).help(help));
}

/// A private network must not be on an uplink.
pub(super) fn check_private(
    port: &model::Port,
    known: &Known,
    at: &Spanned<String>,
    problems: &mut Problems,
) {
    if word(port) == Some(Word::Uplink) && known.vlan == Vlan::Private {
        let name = at.get_ref();
        let message = format!("network `{name}` is private, and this port is an uplink");
        let help = format!("give `{name}` a `vlan` if it may leave this host, or remove it here");
        let problem = Problem::new(Code::Conflict, at.span(), message).help(help);
        problems.push(match port.role.span() {
            Some(role) => problem.also(role, "an uplink leaves the host"),
            None => problem,
        });
    }
}

/// The acceptable frame types; a contradiction to the networks is an error.
fn accept(port: &model::Port, problems: &mut Problems) -> AcceptableFrames {
    let access = port.network.is_written();
    let default = if access {
        AcceptableFrames::Untagged
    } else {
        AcceptableFrames::All
    };
    let Some(accept) = port.accept.spanned() else {
        return default;
    };
    let native_tagged = port.native_tagged.get().copied().unwrap_or_default();
    let tags = port.trunk.is_written() || native_tagged;
    let wrong = match accept.get_ref() {
        AcceptableFrames::All if access => Some((
            "an access port takes untagged frames only",
            "leave `accept` out; for a port that takes both, use `native` and `trunk`",
        )),
        AcceptableFrames::Tagged if !tags => Some((
            "this port takes tagged frames only, and has no tagged network",
            "leave `accept` out, or list the tagged networks in `trunk`",
        )),
        AcceptableFrames::Untagged if !access && !port.native.is_written() => Some((
            "this port takes untagged frames only, and has no network for them",
            "leave `accept` out, or name the network of untagged frames as `native`",
        )),
        _ => None,
    };
    let nowhere = !access && !tags && !port.native.is_written();
    if let Some((message, help)) = wrong.filter(|_| !nowhere) {
        problems.push(Problem::new(Code::Conflict, accept.span(), message).help(help));
    }
    *accept.get_ref()
}
