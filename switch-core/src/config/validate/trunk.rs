//! Checks of the networks that a trunk carries, and of their VIDs on the port.

use std::collections::HashMap;

use serde_spanned::Spanned;

use super::{Directory, Known, Seen, Vlan, port};
use crate::{
    config::{
        model::{self, TrunkEntry},
        report::{Code, Problem, Problems, Span, printable},
        valid::{Name, Native, Tagged, Trunk},
    },
    wire::vlan::Vid,
};

/// What the port has so far.
struct Builder<'d, 'p> {
    port: &'p model::Port,
    directory: &'d Directory<'d>,
    networks: Seen<Name>,
    vids: HashMap<Vid, (Name, Span)>,
    tagged: Vec<Tagged>,
}

/// The networks of a port with `native` or `trunk`.
pub(super) fn trunk(
    written: &model::Port,
    directory: &Directory<'_>,
    problems: &mut Problems,
) -> Option<Trunk> {
    let mut builder = Builder {
        port: written,
        directory,
        networks: Seen::default(),
        vids: HashMap::new(),
        tagged: Vec::new(),
    };
    let native = builder.native(problems);
    let entries = written.trunk.get().map_or(&[][..], Vec::as_slice);
    let mut all: Option<Span> = None;
    for entry in entries {
        match entry.get_ref() {
            TrunkEntry::All => {
                if let Some(first) = all.replace(entry.span()) {
                    let message = "`*` is listed twice";
                    let problem = Problem::new(Code::Duplicate, entry.span(), message);
                    problems.push(problem.help("once is enough").also(first, "here first"));
                }
            }
            TrunkEntry::Network(text) => {
                let text = Spanned::new(entry.span(), text.clone());
                builder.entry(&text, None, problems);
            }
            TrunkEntry::Translated {
                network: Some(text),
                vid: Some(vid),
            } => {
                builder.entry(text, Some(vid), problems);
            }
            TrunkEntry::Translated { network, .. } => {
                network
                    .as_ref()
                    .and_then(|text| directory.resolve(text, problems));
            }
        }
    }
    if let Some(star) = all {
        builder.all(&star, problems);
    }
    Some(Trunk {
        native,
        tagged: builder.tagged,
    })
}

impl Builder<'_, '_> {
    fn native(&mut self, problems: &mut Problems) -> Option<Native> {
        let known = self.port.native.spanned().and_then(|text| {
            let known = self.directory.resolve(text, problems)?;
            port::check_private(self.port, known, text, problems);
            Some((known, text.span()))
        });
        port::check_native_tagged(self.port, known.as_ref().map(|(known, _)| *known), problems);
        let (known, span) = known?;
        let network = known.name.clone()?;
        let _ = self.networks.insert(network.clone(), span.clone());
        let tagged = self.port.native_tagged.get().copied().unwrap_or_default();
        let tagged_as = match known.vlan {
            Vlan::Vid(vid) if tagged => Some(vid),
            _ => None,
        };
        if let Some(vid) = tagged_as {
            self.vids.insert(vid, (network.clone(), span));
        }
        Some(Native { network, tagged_as })
    }

    /// A network that is listed by its name.
    fn entry(
        &mut self,
        text: &Spanned<String>,
        vid: Option<&Spanned<Vid>>,
        problems: &mut Problems,
    ) {
        let Some(known) = self.directory.resolve(text, problems) else {
            return;
        };
        port::check_private(self.port, known, text, problems);
        if vid.is_none() && known.vlan == Vlan::Private && !self.on_uplink() {
            problems.push(no_vid(text));
        }
        let Some(network) = known.name.clone() else {
            return;
        };
        if let Err(first) = self.networks.insert(network.clone(), text.span()) {
            let message = format!("network `{network}` is on this port already");
            let help = "list each network once; `native` covers its untagged and tagged frames";
            let problem = Problem::new(Code::Duplicate, text.span(), message);
            problems.push(problem.help(help).also(first, "here first"));
            return;
        }
        match (vid, known.vlan) {
            (Some(vid), _) => self.tag(network, *vid.get_ref(), vid.span(), problems),
            (None, Vlan::Vid(vid)) => self.tag(network, vid, text.span(), problems),
            (None, Vlan::Private | Vlan::Wrong) => {}
        }
    }

    /// Every network with a VLAN that is not listed otherwise.
    fn all(&mut self, star: &Span, problems: &mut Problems) {
        let directory = self.directory;
        for text in &directory.order {
            if let Known {
                name: Some(name),
                vlan: Vlan::Vid(vid),
                ..
            } = &directory.known[text]
                && self.networks.insert(name.clone(), star.clone()).is_ok()
            {
                self.tag(name.clone(), *vid, star.clone(), problems);
            }
        }
    }

    fn tag(&mut self, network: Name, vid: Vid, span: Span, problems: &mut Problems) {
        if let Some((other, first)) = self.vids.get(&vid) {
            let message = format!("VID {vid} is both `{other}` and `{network}` on this port");
            let help = format!(
                "translate one of them to a VID that is free on this port, as in \
                 {{ network = \"{network}\", vid = 120 }}"
            );
            let problem = Problem::new(Code::Duplicate, span, message).help(help);
            problems.push(problem.also(first.clone(), "first used here"));
            return;
        }
        self.vids.insert(vid, (network.clone(), span));
        self.tagged.push(Tagged { network, vid });
    }

    fn on_uplink(&self) -> bool {
        self.port.role.get() == Some(&model::Role::Uplink)
    }
}

fn no_vid(text: &Spanned<String>) -> Problem {
    let name = printable(text.get_ref());
    let message = format!("network `{name}` has no VLAN, so its frames cannot be tagged");
    let help = format!(
        "give the network a `vlan`, or name the tag on this port: \
         {{ network = \"{name}\", vid = 120 }}, or use `native = \"{name}\"`"
    );
    Problem::new(Code::Conflict, text.span(), message).help(help)
}
