//! The XDP program of one device: loaded, attached, fed with sockets, and taken off again.
//!
//! The program and its maps belong to [`Program`] and go with it: the attachment is a BPF link
//! wherever the kernel has them, which ends with the descriptor that holds it, so a killed daemon
//! leaves nothing on its devices. The programs themselves are in the crate `xdp-ebpf`.

use std::{
    collections::BTreeSet,
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, MapError, PerCpuArray, XskMap},
    programs::{
        ProgramError as AyaError, ProgramInfo, Xdp, XdpMode, loaded_programs, xdp::XdpLinkId,
    },
};
pub use xdp_ebpf::{HostAddress, MAX_HOST_ADDRESSES, MAX_QUEUES, Outcome, PROGRAM_PREFIX, Role};

use self::error::{errno, load_error, map_error, refusal};
use super::attached::{self, Attached};

mod error;

pub use error::ProgramError;

/// The object that the build script has made. All programs and maps of one device are in it.
#[cfg(not(loom))]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shunt-xdp"));
/// Models load no program.
#[cfg(loom)]
static OBJECT: &[u8] = &[];

/// How long a program of ours whose holder has just been killed may stay on the device: the
/// kernel gives links back when it comes to it.
const RELEASE_DEADLINE: Duration = Duration::from_secs(1);
/// How often to look meanwhile.
const RELEASE_INTERVAL: Duration = Duration::from_millis(5);

/// Where in the kernel a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In the driver, before there is an skb.
    Native,
    /// In the stack, on skbs: works on every device, and is slower.
    Generic,
    /// On the NIC itself. Never ours.
    Hardware,
}

impl Mode {
    /// The name in the API: `native`, `generic` or `hardware`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Hardware => "hardware",
        }
    }

    /// What `ip link set dev DEVICE .. off` calls it.
    const fn iproute2(self) -> &'static str {
        match self {
            Self::Native => "xdpdrv",
            Self::Generic => "xdpgeneric",
            Self::Hardware => "xdpoffload",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The XDP program of one device with its maps. Dropping it detaches it.
pub struct Program {
    ebpf: Ebpf,
    name: &'static str,
    role: Role,
    frags: bool,
    attachment: Option<Attachment>,
    sockets: XskMap<MapData>,
    outcomes: PerCpuArray<MapData, u64>,
    host_addresses: HashMap<MapData, u64, u8>,
    host_keys: BTreeSet<u64>,
}

#[derive(Debug)]
struct Attachment {
    link: XdpLinkId,
    mode: Mode,
    fallback_reason: Option<String>,
}

impl fmt::Debug for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("Program");
        fields
            .field("name", &self.name)
            .field("attachment", &self.attachment);
        fields.finish_non_exhaustive()
    }
}

impl Program {
    /// Loads the program for a role, with maps of its own; it is not on any device yet.
    ///
    /// Frames of several buffers are taken if the kernel knows of them (5.18); see
    /// [`has_frags`](Self::has_frags).
    ///
    /// # Errors
    /// [`NoPrivilege`](ProgramError::NoPrivilege), [`NoBpf`](ProgramError::NoBpf),
    /// [`NoXdpSockets`](ProgramError::NoXdpSockets), or [`Load`](ProgramError::Load) with what the
    /// verifier said.
    pub fn load(role: Role) -> Result<Self, ProgramError> {
        let host_addresses = match role {
            Role::Guest => 1,
            Role::Uplink => MAX_HOST_ADDRESSES,
        };
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("HOST_ADDRESSES", host_addresses)
            .load(OBJECT)
            .map_err(load_error)?;
        let (plain, with_frags) = match role {
            Role::Guest => ("shunt_guest", "shunt_guest_sg"),
            Role::Uplink => ("shunt_uplink", "shunt_uplink_sg"),
        };
        let frags = match load_entry(&mut ebpf, with_frags) {
            Ok(()) => true,
            Err(error) if errno(&error) == Some(libc::EPERM) => {
                return Err(load_error(error.into()));
            }
            // Before 5.18 the flag is an invalid argument.
            Err(_) => {
                load_entry(&mut ebpf, plain).map_err(|error| load_error(error.into()))?;
                false
            }
        };
        Ok(Self {
            sockets: take(&mut ebpf, "SOCKETS")?,
            outcomes: take(&mut ebpf, "OUTCOMES")?,
            host_addresses: take(&mut ebpf, "HOST_ADDRESSES")?,
            ebpf,
            name: if frags { with_frags } else { plain },
            role,
            frags,
            attachment: None,
            host_keys: BTreeSet::new(),
        })
    }

    /// Puts the program on the device, in native mode if the driver can, else in generic mode.
    ///
    /// A program that an earlier run of ours has left there is replaced. If this one is already
    /// attached, it is detached first.
    ///
    /// # Errors
    /// [`Foreign`](ProgramError::Foreign) and [`InUse`](ProgramError::InUse) when another program
    /// is there, [`NoDevice`](ProgramError::NoDevice), [`NoPrivilege`](ProgramError::NoPrivilege),
    /// [`Query`](ProgramError::Query), or [`Attach`](ProgramError::Attach) with the reason for each
    /// mode. The device is then as it was found.
    pub fn attach(&mut self, ifindex: u32) -> Result<Mode, ProgramError> {
        self.detach();
        let device = clear(ifindex)?.device;
        let native = match self.attach_in(ifindex, XdpMode::Driver) {
            Ok(link) => return Ok(self.attached(link, Mode::Native, None)),
            Err(error) => error,
        };
        match errno(&native) {
            Some(libc::EPERM) => return Err(ProgramError::NoPrivilege("attach XDP programs")),
            Some(libc::ENODEV) => return Err(ProgramError::NoDevice { ifindex }),
            _ => {}
        }
        let native = refusal(&native, &device);
        match self.attach_in(ifindex, XdpMode::Skb) {
            Ok(link) => Ok(self.attached(link, Mode::Generic, Some(native))),
            Err(error) => {
                let generic = refusal(&error, &device);
                Err(ProgramError::Attach {
                    device,
                    native,
                    generic,
                })
            }
        }
    }

    fn attach_in(&mut self, ifindex: u32, mode: XdpMode) -> Result<XdpLinkId, AyaError> {
        entry(&mut self.ebpf, self.name)?.attach_to_if_index(ifindex, mode)
    }

    fn attached(&mut self, link: XdpLinkId, mode: Mode, reason: Option<String>) -> Mode {
        self.attachment = Some(Attachment {
            link,
            mode,
            fallback_reason: reason,
        });
        mode
    }

    /// Takes the program off its device; nothing happens when it is on none.
    ///
    /// To be called before the sockets are closed, so that no frame is redirected to a dead one.
    pub fn detach(&mut self) {
        if let Some(Attachment { link, .. }) = self.attachment.take()
            && let Ok(program) = entry(&mut self.ebpf, self.name)
        {
            // Fails only when the device is gone, and the program with it.
            let _ = program.detach(link);
        }
    }

    /// The mode that the program runs in; none while it is not attached.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.attachment.as_ref().map(|attachment| attachment.mode)
    }

    /// Why the mode is generic, for people; none in native mode.
    #[must_use]
    pub fn fallback_reason(&self) -> Option<&str> {
        self.attachment.as_ref()?.fallback_reason.as_deref()
    }

    /// What the program was loaded for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether frames of several buffers (jumbo frames, on most drivers) get through.
    #[must_use]
    pub const fn has_frags(&self) -> bool {
        self.frags
    }

    /// Steers the frames of an RX queue into an AF_XDP socket that is bound to the same queue.
    ///
    /// # Errors
    /// [`QueueTooLarge`](ProgramError::QueueTooLarge), or [`Map`](ProgramError::Map) when the
    /// descriptor is no AF_XDP socket with rings.
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), ProgramError> {
        check_queue(queue)?;
        let error = map_error("steer a queue to its socket");
        self.sockets.set(queue, socket, 0).map_err(error)
    }

    /// Steers the frames of an RX queue nowhere: a guest's are dropped, an uplink's passed.
    ///
    /// # Errors
    /// [`QueueTooLarge`](ProgramError::QueueTooLarge) or [`Map`](ProgramError::Map).
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), ProgramError> {
        check_queue(queue)?;
        match self.sockets.unset(queue) {
            // The kernel clears the entry itself when the socket is closed.
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(map_error("take a queue from its socket")),
        }
    }

    /// Makes these, and no others, the addresses whose frames reach the kernel on an uplink.
    ///
    /// New ones are entered before old ones are removed, so what is in both is never missed.
    /// On a guest's port the list is not looked at.
    ///
    /// # Errors
    /// [`TooManyAddresses`](ProgramError::TooManyAddresses), or [`Map`](ProgramError::Map); the
    /// call can be repeated.
    pub fn set_host_addresses(&mut self, addresses: &[HostAddress]) -> Result<(), ProgramError> {
        if self.role == Role::Guest {
            return Ok(());
        }
        let wanted: BTreeSet<u64> = addresses.iter().map(|address| address.key()).collect();
        if wanted.len() > MAX_HOST_ADDRESSES as usize {
            return Err(ProgramError::TooManyAddresses {
                count: wanted.len(),
            });
        }
        let new: Vec<u64> = wanted.difference(&self.host_keys).copied().collect();
        let old: Vec<u64> = self.host_keys.difference(&wanted).copied().collect();
        // A full map takes a new entry only after an old one has left.
        let full = self.host_keys.len() + new.len() > MAX_HOST_ADDRESSES as usize;
        if full {
            self.remove_host_keys(&old)?;
        }
        for key in new {
            let error = map_error("enter an address of the host");
            self.host_addresses.insert(key, 1, 0).map_err(error)?;
            self.host_keys.insert(key);
        }
        if full {
            Ok(())
        } else {
            self.remove_host_keys(&old)
        }
    }

    fn remove_host_keys(&mut self, keys: &[u64]) -> Result<(), ProgramError> {
        for key in keys {
            let error = map_error("remove an address of the host");
            self.host_addresses.remove(key).map_err(error)?;
            self.host_keys.remove(key);
        }
        Ok(())
    }

    /// How many frames had each outcome since the program was loaded, in the order of
    /// [`Outcome::ALL`].
    ///
    /// # Errors
    /// [`Map`](ProgramError::Map).
    pub fn counts(&self) -> Result<[(Outcome, u64); Outcome::COUNT], ProgramError> {
        let mut counts = [(Outcome::ToEngine, 0); Outcome::COUNT];
        for (count, outcome) in counts.iter_mut().zip(Outcome::ALL) {
            let cpus = self.outcomes.get(&(*outcome as u32), 0);
            let cpus = cpus.map_err(map_error("read the program's counters"))?;
            *count = (*outcome, cpus.iter().sum());
        }
        Ok(counts)
    }

    /// The program's name in the kernel, as `bpftool prog` shows it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The loaded program itself, for test runs and for looks at it by other means.
    ///
    /// # Panics
    /// Never: [`load`](Self::load) has found it.
    #[must_use]
    pub fn kernel_program(&self) -> &Xdp {
        let program = self.ebpf.program(self.name).expect("load has found it");
        program.try_into().expect("load has found it to be XDP")
    }
}

/// Makes sure that a device has no XDP program: takes a stale one of ours off, refuses others.
/// Waits a moment for one that is just being taken off.
///
/// # Errors
/// [`Foreign`](ProgramError::Foreign), [`InUse`](ProgramError::InUse),
/// [`NoDevice`](ProgramError::NoDevice) or [`Query`](ProgramError::Query).
pub fn make_room(ifindex: u32) -> Result<(), ProgramError> {
    clear(ifindex).map(|_| ())
}

/// [`make_room`], which also tells what is known about the device.
fn clear(ifindex: u32) -> Result<Attached, ProgramError> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    loop {
        let attached = attached::query(ifindex).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => ProgramError::NoDevice { ifindex },
            _ => ProgramError::Query(error),
        })?;
        let Some(&(mode, id)) = attached.programs.first() else {
            return Ok(attached);
        };
        let info = info(id);
        let name = info
            .as_ref()
            .and_then(ProgramInfo::name_as_str)
            .unwrap_or("name unknown");
        let device = attached.device;
        let is_late = Instant::now() > deadline;
        match &info {
            // Gone between the two questions: ask again.
            None if !is_late => {}
            Some(info) if name.starts_with(PROGRAM_PREFIX) => {
                let fd = info.fd();
                let taken_off =
                    fd.is_ok_and(|fd| attached::detach(ifindex, mode, fd.as_fd()).is_ok());
                if is_late && !taken_off {
                    return Err(ProgramError::InUse {
                        device,
                        name: name.to_owned(),
                        id,
                    });
                }
            }
            _ => {
                return Err(ProgramError::Foreign {
                    device,
                    name: name.to_owned(),
                    id,
                    mode,
                });
            }
        }
        thread::sleep(RELEASE_INTERVAL);
    }
}

/// The kernel's record of a program; none when it is gone or must not be seen.
fn info(id: u32) -> Option<ProgramInfo> {
    loaded_programs().flatten().find(|info| info.id() == id)
}

fn entry<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, AyaError> {
    ebpf.program_mut(name)
        .ok_or(AyaError::NotLoaded)?
        .try_into()
}

fn load_entry(ebpf: &mut Ebpf, name: &str) -> Result<(), AyaError> {
    entry(ebpf, name)?.load()
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, ProgramError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(MapError::InvalidName {
        name: name.to_owned(),
    });
    map.and_then(T::try_from)
        .map_err(|error| ProgramError::Load(error.into()))
}

fn check_queue(queue: u32) -> Result<(), ProgramError> {
    if queue < MAX_QUEUES {
        Ok(())
    } else {
        Err(ProgramError::QueueTooLarge { queue })
    }
}
