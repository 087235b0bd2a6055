//! Frames that are lost behind the datapath: in rings, in queues, on the way to other workers.

use crate::{
    clock::Tick,
    counters::{DropReason, WorkerCounters},
    limits::PortIndex,
    mem::{Frame, FrameCache},
};

/// Where such frames are counted, and when that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses<'a> {
    pub(crate) counters: &'a WorkerCounters,
    pub(crate) now: Tick,
    pub(crate) now_ns: u64,
}

impl Losses<'_> {
    /// Drops a frame that should have left by a port: counts it, keeps what people may ask about
    /// it, and gives its memory back.
    #[cold]
    pub(crate) fn lose(
        &self,
        cache: &mut FrameCache,
        port: PortIndex,
        reason: DropReason,
        frame: Frame,
    ) {
        self.counters.port(port).dropped(reason).add(1);
        if let Some(recent) = &self.counters.recent {
            let when = (self.now, self.now_ns);
            let head = cache.region().head(&frame);
            recent.note((port, None), reason, when, (frame.size(), head));
        }
        cache.free(frame);
    }
}
