//! The faults of a simulation, and how often they occur.

use std::fmt;

use fastrand::Rng;

/// The chance of a fault that happens on every occasion: chances are given in thousandths.
pub const CHANCE_WHOLE: u16 = 1_000;

/// A kind of fault: something that the contract allows a store, a process or a clock to do at any
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A call returns `Unavailable`; nothing was done.
    Unavailable,
    /// An append is carried out and returns `OutcomeUnknown`.
    UnknownRecorded,
    /// An append is not carried out and returns `OutcomeUnknown`.
    UnknownNotRecorded,
    /// An append returns `OutcomeUnknown` and is carried out at some later step.
    UnknownLate,
    /// A caller that waits for a change is not notified of one until it polls.
    HintLost,
    /// A caller that waits for a change is notified later than others.
    HintLate,
    /// A caller that waits for a change is notified although there is none.
    HintDoubled,
    /// The process ends before the call is carried out. Its other pending appends reach the log
    /// later or never.
    CrashBefore,
    /// The process ends after the call was carried out, but before it returns. Its other pending
    /// appends reach the log later or never.
    CrashAfter,
    /// All processes end at once.
    CrashOfAll,
    /// The clock jumps forward.
    ClockForward,
    /// The clock jumps back.
    ClockBack,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Unavailable,
        Self::UnknownRecorded,
        Self::UnknownNotRecorded,
        Self::UnknownLate,
        Self::HintLost,
        Self::HintLate,
        Self::HintDoubled,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashOfAll,
        Self::ClockForward,
        Self::ClockBack,
    ];

    /// Faults that may happen to an append when its turn comes.
    pub(crate) const OF_APPENDS: [Self; 6] = [
        Self::Unavailable,
        Self::UnknownRecorded,
        Self::UnknownNotRecorded,
        Self::UnknownLate,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// Faults that may happen to any other call.
    pub(crate) const OF_CALLS: [Self; 3] = [Self::Unavailable, Self::CrashBefore, Self::CrashAfter];

    /// Faults that may happen to a wait for the clock.
    pub(crate) const OF_WAITS: [Self; 2] = [Self::CrashBefore, Self::CrashAfter];

    /// Faults that may happen to a notification of a change.
    pub(crate) const OF_HINTS: [Self; 2] = [Self::HintLost, Self::HintLate];

    /// Faults that may happen between two steps.
    pub(crate) const OF_THE_WORLD: [Self; 4] = [
        Self::HintDoubled,
        Self::CrashOfAll,
        Self::ClockForward,
        Self::ClockBack,
    ];

    /// Returns its index in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Returns the chance that finds most: high enough that faults coincide, low enough that work
    /// gets done.
    const fn chance_default(self) -> u16 {
        match self {
            Self::Unavailable => 20,
            Self::UnknownRecorded | Self::UnknownNotRecorded | Self::UnknownLate => 40,
            Self::HintLost | Self::HintLate => 150,
            Self::HintDoubled => 20,
            Self::CrashBefore | Self::CrashAfter => 8,
            Self::CrashOfAll => 2,
            Self::ClockForward => 20,
            Self::ClockBack => 5,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "made unavailable",
            Self::UnknownRecorded => "carried out, reported as unknown",
            Self::UnknownNotRecorded => "not carried out, reported as unknown",
            Self::UnknownLate => "in progress, reported as unknown",
            Self::HintLost => "hint lost",
            Self::HintLate => "hint late",
            Self::HintDoubled => "hint doubled",
            Self::CrashBefore => "crash before the call",
            Self::CrashAfter => "crash after the call",
            Self::CrashOfAll => "crash of all",
            Self::ClockForward => "clock moved forward",
            Self::ClockBack => "clock moved back",
        })
    }
}

/// How often each kind of fault happens, in thousandths of its occasions.
///
/// An occasion is, for a fault of a call, each such call; for a fault of a hint, each change that a
/// caller waits for; for every other fault, each step. At most one fault happens on an occasion, so
/// the chances of its kinds are added; kinds beyond a total of [`CHANCE_WHOLE`] never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    chances: [u16; Fault::ALL.len()],
}

impl Faults {
    /// No faults: calls only interleave in any order.
    pub const fn none() -> Self {
        Self {
            chances: [0; Fault::ALL.len()],
        }
    }

    /// All faults, each occasionally.
    pub fn all() -> Self {
        Self {
            chances: Fault::ALL.map(Fault::chance_default),
        }
    }

    /// Sets the chance of one kind, in thousandths; a higher number than [`CHANCE_WHOLE`] is
    /// reduced to it.
    #[must_use]
    pub fn with(mut self, fault: Fault, chance: u16) -> Self {
        self.chances[fault.index()] = chance.min(CHANCE_WHOLE);
        self
    }

    /// Removes one kind.
    #[must_use]
    pub fn without(self, fault: Fault) -> Self {
        self.with(fault, 0)
    }

    /// Removes the faults that end processes.
    #[must_use]
    pub fn without_crashes(self) -> Self {
        self.without(Fault::CrashBefore)
            .without(Fault::CrashAfter)
            .without(Fault::CrashOfAll)
    }

    /// Returns the chance of a kind, in thousandths.
    pub fn chance(&self, fault: Fault) -> u16 {
        self.chances[fault.index()]
    }

    /// Returns these faults as varied for one seed: some kinds left out, others as frequent as
    /// before, less, or more.
    ///
    /// Runs in which every fault occurs are all alike, and one kind hides the effects of another;
    /// runs that differ find more (Groce and others, "Swarm Testing", ISSTA 2012).
    pub(crate) fn varied(&self, random: &mut Rng) -> Self {
        let vary = |chance: u16| match random.u8(..6) {
            0 | 1 => 0,
            2 => chance.div_ceil(4),
            3 => chance.saturating_mul(3).min(CHANCE_WHOLE),
            _ => chance,
        };
        Self {
            chances: self.chances.map(vary),
        }
    }

    /// Returns which of these kinds happens on this occasion.
    pub(crate) fn draw(&self, kinds: &[Fault], random: &mut Rng) -> Option<Fault> {
        let mut drawn = random.u16(..CHANCE_WHOLE);
        for kind in kinds {
            let chance = self.chance(*kind);
            if drawn < chance {
                return Some(*kind);
            }
            drawn -= chance;
        }
        None
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::all()
    }
}
