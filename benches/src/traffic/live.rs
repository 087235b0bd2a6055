//! The generator's XDP program, run by the kernel on live frames.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, MapData, xdp::DevMap},
    programs::{ProgramError, TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use bench_ebpf::{Plan, Progress, histogram::CLASSES};

use super::{Device, Histogram, Shape, generator::Outcome, sys::Plain};

/// The programs of generator and sink.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shunt-bench-xdp"));

/// The largest live frame, without FCS: a page of 4 KiB without the headroom, the room behind it,
/// and what the kernel notes in it (net/bpf/test_run.c, bpf_prog_test_run_xdp).
pub const LARGEST: usize = 3392;

/// Turns of one call, which takes the kernel some tens of milliseconds to begin and to end. It is
/// interrupted when the run is over.
const TURNS: u32 = 1 << 30;

/// A loaded program and its maps.
pub struct LiveFrames {
    ebpf: Ebpf,
    program: &'static str,
    plan: Array<MapData, Plain<Plan>>,
    progress: Array<MapData, Plain<Progress>>,
    lateness: Array<MapData, [u64; CLASSES]>,
    /// The devices, as the program knows them.
    _targets: DevMap<MapData>,
}

impl LiveFrames {
    /// Loads the program for frames of a shape, which some devices send in turns.
    ///
    /// # Errors
    /// When the kernel refuses it: without root, or before 5.18. When there are too many devices.
    pub fn load(shape: &Shape, devices: &[Device]) -> Result<Self> {
        let program = ["shunt_gen_0", "shunt_gen_1", "shunt_gen_2"][shape.vids.len()];
        let mut ebpf = Ebpf::load(OBJECT).context(
            "the kernel takes no eBPF maps from here: it needs root, or CAP_BPF and CAP_NET_ADMIN",
        )?;
        let loaded: &mut Xdp = ebpf.program_mut(program).context(program)?.try_into()?;
        loaded
            .load()
            .context("the kernel refuses the generator's program")?;
        let mut map = |name: &str| ebpf.take_map(name).with_context(|| format!("map {name}"));
        let mut targets = DevMap::try_from(map("DEVICES")?)?;
        for (index, device) in devices.iter().enumerate() {
            // The index of a device means something in its own namespace.
            let set = || targets.set(index as u32, device.ifindex(), None, 0);
            let set = device.enter(set)?;
            set.with_context(|| format!("send by {}", device.place()))?;
        }
        Ok(Self {
            plan: Array::try_from(map("PLAN")?)?,
            progress: Array::try_from(map("PROGRESS")?)?,
            lateness: Array::try_from(map("LATENESS")?)?,
            program,
            _targets: targets,
            ebpf,
        })
    }

    /// Sets everything to the beginning of a run.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn prepare(&mut self, plan: &Plan) -> Result<()> {
        self.plan.set(0, Plain(*plan), 0)?;
        self.progress.set(0, Plain(Progress::default()), 0)?;
        self.lateness.set(0, [0; CLASSES], 0)?;
        Ok(())
    }

    /// Sends until all is sent, the time is over, or `stop` is set and somebody interrupts.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn run(&self, plan: &Plan, stop: &AtomicBool) -> Result<()> {
        let program = self.ebpf.program(self.program).context("the program")?;
        let program: &Xdp = program.try_into()?;
        // What is not written for each frame is zero.
        let template = vec![0; plan.largest as usize];
        loop {
            let progress = self.progress()?;
            if progress.has_ended != 0 || progress.sequence >= plan.count || stop.load(Relaxed) {
                return Ok(());
            }
            let left = plan.count - progress.sequence;
            // At full rate each turn is a frame. Otherwise some pass waiting.
            let turns = match plan.interval {
                0 => left.min(TURNS.into()) as u32,
                _ => TURNS,
            };
            let options = TestRunOptions {
                data_in: Some(&template),
                repeat: turns,
                attrs: TestRunAttrs::new().xdp_live_frames(plan.burst),
                ..TestRunOptions::new()
            };
            match program.test_run(options) {
                Ok(_) => {}
                Err(ProgramError::SyscallError(error)) => explain(error.io_error)?,
                Err(error) => return Err(error).context("the generator's program"),
            }
        }
    }

    fn progress(&self) -> Result<Progress> {
        Ok(self.progress.get(&0, 0).context("progress of the run")?.0)
    }

    /// Whether all is sent, or the time is over.
    pub fn has_ended(&self) -> bool {
        self.progress()
            .is_ok_and(|progress| progress.has_ended != 0)
    }

    /// What the run has come to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn outcome(&self) -> Result<Outcome> {
        Ok(Outcome {
            progress: self.progress()?,
            lateness: Histogram::of(&self.lateness.get(&0, 0)?),
        })
    }
}

/// Says what to do about an error of a test run. An interruption is none.
fn explain(error: io::Error) -> Result<()> {
    match error.raw_os_error() {
        Some(libc::EINTR) => Ok(()),
        Some(libc::EINVAL) => Err(error)
            .context("the kernel makes no live frames of this size, or none at all: it takes 5.18"),
        _ => bail!("the kernel does not run the generator's program: {error}"),
    }
}
